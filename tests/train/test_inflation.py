"""An inflated autoencoder draws video as the pictures it was trained on."""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from vivavoce.methods.miniature import SMALL_VAE
from vivavoce.train.inflation import inflate


def drawn(vae, video):
    with torch.no_grad():
        return vae.decode(vae.encode(video, return_dict=False)[0].mode(), return_dict=False)[0]


def test_only_what_pictures_do_not_train_is_touched():
    torch.manual_seed(0)
    vae = AutoencoderKLWan(**SMALL_VAE)
    picture = torch.randn(2, 3, 1, 32, 32)
    before = drawn(vae, picture)
    assert torch.isfinite(before).all()
    inflate(vae)
    torch.testing.assert_close(drawn(vae, picture), before, rtol=0, atol=0)


def test_what_stands_still_stays_so():
    torch.manual_seed(0)
    vae = AutoencoderKLWan(**SMALL_VAE)
    still = torch.randn(1, 3, 1, 32, 32).expand(-1, -1, 13, -1, -1)
    moved = drawn(vae, still)[:, :, 1:].std(dim=2).mean()
    inflate(vae)
    after = drawn(vae, still)
    assert moved > 0.01
    torch.testing.assert_close(
        after[:, :, 1:], after[:, :, 1:2].expand(-1, -1, 12, -1, -1), rtol=0, atol=1e-5
    )


def test_a_latent_forgets_what_came_before_its_frames():
    torch.manual_seed(0)
    vae = AutoencoderKLWan(**SMALL_VAE)
    inflate(vae)
    video = torch.randn(1, 3, 9, 32, 32)
    other = torch.cat([torch.randn(1, 3, 5, 32, 32), video[:, :, 5:]], dim=2)
    torch.testing.assert_close(drawn(vae, video)[:, :, 5:], drawn(vae, other)[:, :, 5:], rtol=0, atol=1e-5)
