"""The shared embedding against its arithmetic in numpy, and what its vectors depend on."""

import numpy as np
import pytest
import torch
from motions import TINY, stirred
from scipy.special import erf

from vivavoce.splat.audiomotion.config import MINIATURE, PerceiverConfig
from vivavoce.splat.audiomotion.embedding import PatchEncoder


@pytest.fixture(scope="module")
def encoder() -> PatchEncoder:
    return stirred(PatchEncoder(3, TINY.perceiver)).double().eval()


def written_out(encoder, patch):
    """The embedding of one patch (5, 3), in numpy."""
    w = {name: p.detach().numpy() for name, p in encoder.named_parameters()}

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def gelu(x):
        return x * (1 + erf(x / np.sqrt(2))) / 2

    def attend(name, queries, keys):
        weight, bias = (np.split(w[f"{name}.in_proj_{kind}"], 3) for kind in ("weight", "bias"))
        q, k, v = (x @ a.T + b for x, a, b in zip((queries, keys, keys), weight, bias, strict=True))
        heads = []
        for own in (slice(0, 4), slice(4, 8)):
            scores = np.exp(q[:, own] @ k[:, own].T / 2)
            heads.append(scores / scores.sum(1, keepdims=True) @ v[:, own])
        return linear(f"{name}.out_proj", np.concatenate(heads, 1))

    frames = norm("norm_frames", linear("inlet", patch) + w["places"])
    x = w["latents"] + attend("gather", norm("norm_latents", w["latents"]), frames)
    normed = norm("layers.0.norm1", x)
    x = x + attend("layers.0.self_attn", normed, normed)
    x = x + linear("layers.0.linear2", gelu(linear("layers.0.linear1", norm("layers.0.norm2", x))))
    out = linear("mlp.2", gelu(linear("mlp.0", norm("norm", x.mean(0)))))
    return out / np.linalg.norm(out)


def test_the_arithmetic_in_numpy(encoder):
    features = torch.randn(2, 10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = encoder(features).detach().numpy()
    for b in range(2):
        for p in range(2):
            expected = written_out(encoder, features[b, 5 * p : 5 * p + 5].numpy())
            np.testing.assert_allclose(found[b, p], expected, rtol=1e-6, atol=1e-8)


def test_vectors_are_of_unit_length_one_for_25_frames():
    encoder = PatchEncoder(7, MINIATURE.perceiver)
    found = encoder(torch.randn(3, 125, 7))
    assert found.shape == (3, 5, 64)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3, 5))


def test_a_patch_depends_on_its_own_frames_and_their_order(encoder):
    features = torch.randn(1, 15, 3, dtype=torch.float64)
    changed = features.clone()
    changed[:, 5:10] = features[:, 5:10].flip(1)
    before, after = encoder(features), encoder(changed)
    torch.testing.assert_close(before[:, [0, 2]], after[:, [0, 2]], rtol=1e-9, atol=1e-9)
    assert (before[:, 1] - after[:, 1]).abs().max() > 1e-3


def test_frames_that_fill_no_patch_are_left_out(encoder):
    features = torch.randn(1, 14, 3, dtype=torch.float64)
    torch.testing.assert_close(encoder(features), encoder(features[:, :10]))
    with pytest.raises(ValueError, match="4 frames make no patch of 5"):
        encoder(features[:, :4])


def test_gradients_reach_every_parameter():
    encoder = PatchEncoder(3, TINY.perceiver)
    features = torch.randn(2, 5, 3)
    encoder(features)[..., 0].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for name, p in encoder.named_parameters())


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="3 heads do not divide a width of 8"):
        PerceiverConfig(width=8, heads=3)
