"""Streamed decoding is diffusers' own bit for bit, for both kinds; normalisation, ranges, constant memory."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan

from vivavoce.errors import InputError, WeightsError
from vivavoce.video.vae import encoded, from_pictures, pictures, streamed

KINDS = {
    "2.1": {"base_dim": 8, "z_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1},
    "2.2": {
        "base_dim": 8,
        "decoder_base_dim": 8,
        "z_dim": 48,
        "dim_mult": [1, 2, 2, 2],
        "num_res_blocks": 1,
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_spatial": 16,
        "latents_mean": np.linspace(-1, 1, 48).tolist(),
        "latents_std": np.linspace(0.5, 2, 48).tolist(),
    },
}


@pytest.fixture(scope="module", params=KINDS)
def vae(request):
    torch.manual_seed(0)
    return AutoencoderKLWan(**KINDS[request.param]).eval()


@pytest.fixture(scope="module")
def latents(vae):
    torch.manual_seed(1)
    return torch.randn(1, vae.config["z_dim"], 5, 2, 2)


def statistics(vae):
    return (torch.tensor(vae.config[name]).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))


@torch.no_grad()
def whole(vae, latents):
    mean, std = statistics(vae)
    return vae.decode(latents * std + mean).sample


def test_streamed_is_decoded_at_once_bit_for_bit(vae, latents):
    parts = list(streamed(vae, latents))
    assert [part.shape[2] for part in parts] == [1, 4, 4, 4, 4]
    expected = whole(vae, latents)
    assert torch.equal(torch.cat(parts, 2), expected)
    assert expected.std() > 1e-3


def test_two_streams_and_a_plain_decode_do_not_disturb_each_other(vae, latents):
    torch.manual_seed(2)
    other = torch.randn_like(latents)
    mixed = []
    for one, two in zip(streamed(vae, latents), streamed(vae, other), strict=True):
        whole(vae, latents[:, :, :1])
        mixed.append((one, two))
    for parts, given in zip(zip(*mixed, strict=True), (latents, other), strict=True):
        assert torch.equal(torch.cat(parts, 2), whole(vae, given))


def test_a_batch_streams_together(vae, latents):
    pair = torch.cat([latents, -latents])[:, :, :2]
    expected = whole(vae, pair)
    torch.testing.assert_close(torch.cat(list(streamed(vae, pair)), 2), expected, rtol=0, atol=0)


def test_memory_does_not_grow_with_length(vae, latents):
    """What the convolutions remember stops growing, and no latent is decoded before it is asked for."""
    sizes, decoded = [], []

    def watch(module, args, kwargs, output):
        decoded.append(args[0].shape[2])
        kept = [t for t in kwargs["feat_cache"] if isinstance(t, torch.Tensor)]
        sizes.append(sum(t.untyped_storage().nbytes() for t in kept))

    handle = vae.decoder.register_forward_hook(watch, with_kwargs=True)
    stream = streamed(vae, latents.repeat(1, 1, 2, 1, 1))
    assert decoded == []
    next(stream)
    assert decoded == [1]
    list(stream)
    handle.remove()
    assert decoded == [1] * 10
    assert len(set(sizes[2:])) == 1


def test_encoding_is_the_mode_normalised(vae):
    torch.manual_seed(3)
    stride = vae.config["scale_factor_spatial"]
    frames = torch.rand(1, 3, 9, 2 * stride, 3 * stride) * 2 - 1
    got = encoded(vae, frames)
    assert got.shape == (1, vae.config["z_dim"], 3, 2, 3)
    mean, std = statistics(vae)
    with torch.no_grad():
        expected = (vae.encode(frames).latent_dist.mean.double() - mean) / std
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(encoded(vae, frames[:, :, :5]), got[:, :, :2])


def test_pictures_are_the_frames_in_bytes(vae, latents):
    frames = list(pictures(vae, latents))
    expected = whole(vae, latents)[0].permute(1, 2, 3, 0).double()
    assert len(frames) == 17
    for frame, exact in zip(frames, expected, strict=True):
        assert frame.flags["C_CONTIGUOUS"]
        assert np.abs(frame - (exact.numpy() + 1) * 127.5).max() <= 0.5 + 1e-4
    assert len({frame.tobytes() for frame in frames}) > 1


def test_bytes_go_to_the_latent_range_and_back():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    frames = from_pictures(levels)
    assert frames.shape == (1, 3, 1, 16, 16)
    assert (frames.min(), frames.max()) == (-1, 1)
    back = (frames.double() + 1) * 127.5
    np.testing.assert_allclose(back[0, :, 0].permute(1, 2, 0), levels[0], atol=1e-4)


def test_mistakes_are_named(vae):
    stride = vae.config["scale_factor_spatial"]
    with pytest.raises(ValueError, match="not 8"):
        encoded(vae, torch.zeros(1, 3, 8, stride, stride))
    with pytest.raises(InputError, match=f"{stride + 8}x{stride}|multiples of {stride}"):
        encoded(vae, torch.zeros(1, 3, 1, stride, stride + 4))


def test_statistics_of_another_vae_are_refused():
    wrong = AutoencoderKLWan(**KINDS["2.1"] | {"latents_mean": [0.0] * 48, "latents_std": [1.0] * 48})
    with pytest.raises(WeightsError, match="16 latent channels"):
        next(streamed(wrong, torch.zeros(1, 16, 1, 2, 2)))
