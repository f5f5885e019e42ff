"""Driving tokens against their formula, and how far they hear."""

from math import cos, pi, sin

import pytest
import torch

from vivavoce.splat.deformer.driving import DrivingTokens


@pytest.fixture
def tokens(tiny, shaken):
    return shaken(DrivingTokens(tiny))


def by_formula(module, audio, first, said):
    """Frame by frame, for one clip: the window in words, the perceptron by its matrices."""
    p = dict(module.named_parameters())
    out = []
    for t in range(audio.shape[0] - 5):
        phase = [2 * pi * k * (first + t) / 10 for k in (1, 2)]
        where = torch.tensor([sin(a) for a in phase] + [cos(a) for a in phase], dtype=torch.float64)
        heard = torch.cat([where, *(audio[t + i] for i in range(6))])
        hidden = torch.nn.functional.gelu(p["to_token.0.weight"] @ heard + p["to_token.0.bias"])
        token = p["to_token.2.weight"] @ hidden + p["to_token.2.bias"]
        gate = 1 / (1 + torch.exp(-(p["to_gate.weight"] @ heard + p["to_gate.bias"])))
        out.append(token if said is None else gate * token + (1 - gate) * said)
    return torch.stack(out)


def test_a_token_is_the_papers_formula_of_what_is_heard(tokens, draw):
    audio = draw(2, 12, 5)
    found = tokens(audio, first=7)
    assert found.shape == (2, 7, 8)
    for b in range(2):
        torch.testing.assert_close(found[b], by_formula(tokens, audio[b], 7, None))


def test_the_gate_mixes_in_the_mean_of_the_transcript(tokens, draw):
    audio, transcript = draw(1, 12, 5), draw(1, 9, 6, seed=1)
    p = dict(tokens.named_parameters())
    said = (transcript[0] @ p["from_transcript.weight"].T + p["from_transcript.bias"]).mean(0)
    torch.testing.assert_close(tokens.pooled(transcript)[0], said)
    found = tokens(audio, first=0, said=tokens.pooled(transcript))
    torch.testing.assert_close(found[0], by_formula(tokens, audio[0], 0, said))


def test_an_open_gate_lets_nothing_of_the_transcript_through_and_a_shut_one_nothing_else(tokens, draw):
    audio, said = draw(1, 12, 5), draw(1, 8, seed=1)
    with torch.no_grad():
        tokens.to_gate.weight.zero_()
        tokens.to_gate.bias.fill_(50.0)
        torch.testing.assert_close(tokens(audio, first=0, said=said), tokens(audio, first=0))
        tokens.to_gate.bias.fill_(-50.0)
        torch.testing.assert_close(tokens(audio, first=0, said=said), said[:, None].expand(-1, 7, -1))


@pytest.mark.parametrize(("offset", "heard"), [(-4, False), (-3, True), (0, True), (2, True), (3, False)])
def test_a_token_hears_its_window_and_no_further(tokens, draw, offset, heard):
    audio = draw(1, 14, 5)
    other = audio.clone()
    other[0, 3 + 4 + offset] += 1
    same = torch.equal(tokens(audio, first=0)[0, 4], tokens(other, first=0)[0, 4])
    assert same != heard


def test_positions_come_round_after_the_length_of_a_training_clip(tokens, draw):
    audio = draw(1, 12, 5)
    assert torch.equal(tokens(audio, first=3), tokens(audio, first=3 + 10 * 1499))
    assert not torch.allclose(tokens(audio, first=3), tokens(audio, first=4))
    found = tokens.positions(0, audio.expand(-1, 12, -1))
    # No step from frame to frame is larger than any other, where they come round either.
    steps = found.diff(dim=0).norm(dim=1)
    torch.testing.assert_close(steps, steps[:1].expand(11))


def test_features_of_another_width_are_refused(tokens, draw):
    with pytest.raises(ValueError, match="features of width 5, not 6"):
        tokens(draw(1, 12, 6), first=0)
