"""Residuals of the tokens against their formula, what each frame of them sees, and how Gaussians read them."""

import pytest
import torch

from vivavoce.splat.deformer.residual import UNITS, GaussianHead, Reading


@pytest.fixture
def head(tiny, shaken):
    return shaken(GaussianHead(tiny))


def normed(x, weight, bias):
    return (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() * weight + bias


def test_an_untrained_head_changes_nothing(tiny, draw):
    head = GaussianHead(tiny).double()
    found = head(head.queries(draw(2, 5, 8)), draw(2, 6, 8, seed=1))
    assert found.offsets.shape == (2, 4, 5, 3)
    assert found.opacities.shape == (2, 4, 5)
    for name in UNITS:
        assert getattr(found, name).abs().max() == 0


def test_a_token_reads_the_last_driving_tokens_by_attention(head, draw):
    avatar, driving = draw(2, 5, 8), draw(2, 6, 8, seed=1)
    found = head(head.queries(avatar), driving)
    p = dict(head.named_parameters())
    b, t, q = 1, 2, 3
    query = p["to_q.weight"] @ normed(avatar[b, q], p["norm.weight"], p["norm.bias"]) + p["to_q.bias"]
    recent = driving[b, t : t + 3]
    keys = recent @ p["to_k.weight"].T + p["to_k.bias"] + p["ages"]
    values = recent @ p["to_v.weight"].T + p["to_v.bias"]
    gathered = []
    for part in (slice(0, 4), slice(4, 8)):
        scores = torch.exp(keys[:, part] @ query[part] / 2)
        gathered.append((scores / scores.sum()) @ values[:, part])
    feature = query + torch.cat(gathered)
    for name, unit in UNITS.items():
        w = [p[f"to_residuals.{name}.{i}.{kind}"] for i in (0, 1, 3) for kind in ("weight", "bias")]
        hidden = torch.nn.functional.gelu(w[2] @ normed(feature, w[0], w[1]) + w[3])
        expected = unit * (w[4] @ hidden + w[5])
        torch.testing.assert_close(getattr(found, name)[b, t, q].reshape(-1), expected)


@pytest.mark.parametrize(("age", "seen"), [(-1, False), (0, True), (2, True), (3, False)])
def test_a_frame_sees_its_history_and_nothing_else(head, draw, age, seen):
    queries, driving = head.queries(draw(1, 2, 8)), draw(1, 9, 8, seed=1)
    other = driving.clone()
    other[0, 2 + 4 - age] += 1
    same = torch.equal(head(queries, driving).colors[0, 4], head(queries, other).colors[0, 4])
    assert same != seen


def test_gaussians_read_their_tokens_with_their_weights(head, draw):
    tokens = head(head.queries(draw(1, 5, 8)), draw(1, 4, 8, seed=1))
    reading = Reading(
        torch.tensor([[4, 0], [2, 2], [1, 3]]), torch.tensor([[0.25, 0.75], [1, 0], [0.5, 0.5]]).double()
    )
    found = tokens.read(reading)
    for name in UNITS:
        of, read = getattr(tokens, name), getattr(found, name)
        torch.testing.assert_close(read[0, 1, 0], 0.25 * of[0, 1, 4] + 0.75 * of[0, 1, 0])
        torch.testing.assert_close(read[0, 1, 1], of[0, 1, 2])
        torch.testing.assert_close(read[0, 1, 2], 0.5 * of[0, 1, 1] + 0.5 * of[0, 1, 3])
