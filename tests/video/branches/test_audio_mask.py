"""Algorithm 1 of PhysAvatar against its formula: exact counts, their distribution, uniform positions."""

from math import comb, floor

import numpy as np
import pytest
import torch

from vivavoce.video.branches.audio_mask import MaskEmbedding, audio_mask


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_exactly_floor_of_f_p_are_hidden():
    sigma = torch.linspace(0, 1, 500)
    hidden = (~audio_mask(sigma, 21, seeded(7))).sum(1)
    uniform = torch.rand(500, dtype=torch.float64, generator=seeded(7)).tolist()
    expected = [floor(21 * u * (1 - s)) for u, s in zip(uniform, sigma.double().tolist(), strict=True)]
    assert hidden.tolist() == expected
    assert max(expected) > 10


@pytest.mark.parametrize("sigma", [0.0, 0.3, 0.77])
def test_counts_follow_p_uniform_below_one_minus_sigma(sigma):
    """P(n = k) is the share of [k / f, (k + 1) / f) in [0, 1 - sigma)."""
    f, draws, P = 21, 40_000, 1 - np.float32(sigma).astype(np.float64)
    hidden = (~audio_mask(torch.full((draws,), sigma), f, seeded(1))).sum(1)
    share = np.bincount(hidden.numpy(), minlength=f + 1) / draws
    edges = np.clip(np.arange(f + 2) / f, 0, P)
    expected = np.diff(edges) / P
    assert np.abs(share - expected).max() < 5 * np.sqrt(0.25 / draws)
    assert share[expected == 0].sum() == 0
    assert share[f] == 0  # p stays below 1, so something is always left to infer from


def test_every_set_of_positions_is_as_likely_as_another():
    f, draws = 5, 60_000
    hidden = ~audio_mask(torch.zeros(draws), f, seeded(2))
    codes = (hidden.long() * 2 ** torch.arange(f)).sum(1).numpy()
    sizes = hidden.sum(1).numpy()
    for n in range(1, f):
        sets = np.bincount(codes[sizes == n], minlength=2**f)
        assert (sets > 0).sum() == comb(f, n)
        mean = sets.sum() / comb(f, n)
        assert np.abs(sets[sets > 0] - mean).max() < 5 * np.sqrt(mean)


def test_pure_noise_hides_nothing_and_items_have_masks_of_their_own():
    keep = audio_mask(torch.tensor([1.0, 0.0, 0.0, 0.0]), 21, seeded(3))
    assert keep[0].all()
    assert len({tuple(row) for row in keep[1:].tolist()}) == 3
    again = audio_mask(torch.tensor([1.0, 0.0, 0.0, 0.0]), 21, seeded(3))
    assert torch.equal(keep, again)


def test_a_timestep_is_no_sigma():
    with pytest.raises(ValueError, match="700"):
        audio_mask(torch.tensor([700.0]), 21, seeded(0))


def test_the_embedding_stands_where_the_audio_is_hidden():
    mask, tokens = MaskEmbedding(6), torch.randn(2, 3, 2, 6, requires_grad=True)
    keep = torch.tensor([[True, False, True], [False, True, True]])
    given = mask(tokens, keep)
    for b in range(2):
        for t in range(3):
            for m in range(2):
                assert torch.equal(given[b, t, m], tokens[b, t, m] if keep[b, t] else mask.embedding)
    given.sum().backward()
    assert torch.equal(tokens.grad, keep[..., None, None].expand(2, 3, 2, 6).float())
    assert torch.equal(mask.embedding.grad, torch.full((6,), 4.0))  # two hidden frames of two tokens


def test_hidden_tokens_keep_the_precision_of_the_others():
    tokens = torch.randn(1, 2, 1, 6, dtype=torch.bfloat16)
    assert MaskEmbedding(6)(tokens, torch.tensor([[True, False]])).dtype == torch.bfloat16
