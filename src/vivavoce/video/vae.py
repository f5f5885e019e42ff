"""Frames to normalised latents and back, the way back latent by latent so that memory does not grow with length.

Both kinds of diffusers' AutoencoderKLWan: Wan 2.1 (16 channels, 4x8x8) and 2.2 (48 channels, 4x16x16).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d, unpatchify
from jaxtyping import Float, UInt8
from torch import Tensor

from vivavoce.errors import InputError, WeightsError
from vivavoce.timing import latent_frames


@torch.no_grad()
def encoded(vae: AutoencoderKLWan, frames: Float[Tensor, "B 3 F H W"]) -> Float[Tensor, "B C f h w"]:
    """Normalised latents (float32), the posterior's mode, of frames in [-1, 1].

    Raises ValueError unless F is 1, 5, 9, ... (the autoencoder would drop the rest unsaid), InputError for sizes
    that are no multiple of its stride.
    """
    latent_frames(frames.shape[2])
    stride = vae.config["scale_factor_spatial"]
    height, width = frames.shape[3:]
    if height % stride or width % stride:
        raise InputError(
            f"Frames of {width}x{height} have no whole latents: give multiples of {stride} pixels."
        )
    posterior = vae.encode(frames.to(vae.device, vae.dtype), return_dict=False)[0]
    mean, std = _statistics(vae)
    return (posterior.mode().float() - mean) * (1 / std)  # as Wan's own code: a quotient rounds otherwise


@torch.no_grad()
def streamed(
    vae: AutoencoderKLWan, latents: Float[Tensor, "B C f h w"]
) -> Iterator[Float[Tensor, "B 3 n H W"]]:
    """Frames in [-1, 1] of normalised latents, one latent's at a time: n is 1 for the first, then 4.

    Bit for bit what `vae.decode` gives of all of them together. The causal convolutions' memory belongs to this
    iterator, not to `vae`, so several may run side by side. Spatial tiling does not apply.
    """
    mean, std = _statistics(vae)
    latents = (latents.to(mean) * std + mean).to(vae.dtype)
    # A kernel of one: no frame sees another, and all at once are no larger than the latents.
    features = vae.post_quant_conv(latents)
    memory = [None] * sum(isinstance(module, WanCausalConv3d) for module in vae.decoder.modules())
    patch = vae.config["patch_size"]
    for i in range(features.shape[2]):
        frames = vae.decoder(features[:, :, i : i + 1], feat_cache=memory, feat_idx=[0], first_chunk=i == 0)
        frames = frames if patch is None else unpatchify(frames, patch_size=patch)
        yield frames.clamp(-1, 1)


def pictures(
    vae: AutoencoderKLWan, latents: Float[Tensor, "1 C f h w"]
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The frames of one video's latents, as they leave the program."""
    for frames in streamed(vae, latents):
        # In float32: half precision has fewer than 256 levels near white.
        levels = (frames[0].float() + 1).mul(127.5).round().to(torch.uint8)
        yield from np.ascontiguousarray(levels.permute(1, 2, 3, 0).cpu().numpy())


def from_pictures(pictures: UInt8[np.ndarray, "F H W 3"]) -> Float[Tensor, "1 3 F H W"]:
    """Frames in [-1, 1] (float32), as `encoded` takes them."""
    return torch.from_numpy(pictures).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def _statistics(vae: AutoencoderKLWan) -> tuple[Float[Tensor, "1 C 1 1 1"], Float[Tensor, "1 C 1 1 1"]]:
    """Mean and standard deviation of each latent channel, which the backbone was trained to see as 0 and 1."""
    values = [vae.config["latents_mean"], vae.config["latents_std"]]
    if any(len(value) != vae.config["z_dim"] for value in values):
        raise WeightsError(
            f"The VAE has {vae.config['z_dim']} latent channels but means and deviations of "
            f"{len(values[0])} and {len(values[1])}: its config.json is not the one of its weights."
        )
    mean, std = (torch.tensor(value, device=vae.device).view(1, -1, 1, 1, 1) for value in values)
    return mean, std
