"""The shared embedding's two terms: angles, cross entropies, and that only the contrast keeps vectors apart."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from vivavoce.losses.contrastive import cosine_distance, pair_contrast


@pytest.fixture
def pairs():
    return tuple(torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0)).double())


def test_the_distance_is_of_angles_alone():
    audio = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [1.0, 0.0]])
    motion = torch.tensor([[5.0, 0.0], [0.0, -1.0], [2.0, 0.0], [0.0, 0.0]])
    expected = [0, 2, 1 - math.sqrt(0.5), 1]
    assert cosine_distance(audio, motion).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_contrast_is_the_mean_of_two_cross_entropies(pairs):
    audio, motion = pairs
    found = pair_contrast(audio, motion, temperature=0.2)
    s = [
        [1 - cosine_distance(audio[i : i + 1], motion[j : j + 1]).item() for j in range(4)] for i in range(4)
    ]
    for i in range(4):
        by_audio = math.exp(s[i][i] / 0.2) / sum(math.exp(s[i][j] / 0.2) for j in range(4))
        by_motion = math.exp(s[i][i] / 0.2) / sum(math.exp(s[j][i] / 0.2) for j in range(4))
        assert found[i].item() == pytest.approx(-0.5 * (math.log(by_audio) + math.log(by_motion)))


def test_speech_and_motion_may_change_places(pairs):
    audio, motion = pairs
    torch.testing.assert_close(pair_contrast(audio, motion), pair_contrast(motion, audio))
    torch.testing.assert_close(pair_contrast(3 * audio, motion), pair_contrast(audio, motion))


def test_gradients_are_finite_differences(pairs):
    audio, motion = (value.requires_grad_() for value in pairs)
    temperature = torch.tensor(0.3).double().requires_grad_()
    assert gradcheck(cosine_distance, (audio, motion))
    assert gradcheck(lambda a, m, t: pair_contrast(a, m, temperature=t), (audio, motion, temperature))


def test_one_vector_for_all_is_near_by_distance_and_worst_by_contrast():
    same = torch.ones(8, 3)
    assert cosine_distance(same, same).abs().max() < 1e-6
    assert pair_contrast(same, same).tolist() == pytest.approx([math.log(8)] * 8)
    apart = torch.eye(8)
    assert pair_contrast(apart, apart).max() < 1e-4
    assert pair_contrast(apart, apart.roll(1, 0)).min() > 10
    assert pair_contrast(apart[:1], apart[1:2]).item() == 0


def test_only_the_contrast_keeps_vectors_from_falling_together():
    """Both sides share a direction to begin with; what is left apart tells the pairs."""

    def spread(contrast, steps=150):
        generator = torch.Generator().manual_seed(1)
        given = torch.randn(8, 16, generator=generator)
        shared = torch.randn(16, 4, generator=generator)
        maps = [(shared + 0.3 * torch.randn(16, 4, generator=generator)).requires_grad_() for _ in range(2)]
        bias = torch.ones(4, requires_grad=True)
        optimizer = torch.optim.Adam([*maps, bias], lr=0.05)
        for _ in range(steps):
            audio, motion = (torch.tanh(given @ weight) + bias for weight in maps)
            loss = pair_contrast(audio, motion) if contrast else cosine_distance(audio, motion)
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
        similar = torch.nn.functional.normalize((torch.tanh(given @ maps[0]) + bias).detach(), dim=1)
        return (similar @ similar.T)[~torch.eye(8, dtype=torch.bool)].mean().item()

    begun = spread(contrast=False, steps=0)
    assert spread(contrast=False) > begun + 0.1
    assert spread(contrast=True) < begun - 0.3
