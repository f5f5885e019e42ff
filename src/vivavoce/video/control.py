"""What a backbone is shown of the picture: VACE's control latents, or given latent frames (Wan 2.2 TI2V).

Frames that are known beforehand are the photo at the first frame, and in a long video what neighbouring chunks show.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from vivavoce.timing import latent_frames
from vivavoce.video.vae import encoded, from_pictures


def control_latents(
    vae: AutoencoderKLWan,
    reference: UInt8[np.ndarray, "H W 3"] | None,
    frames: UInt8[np.ndarray, "F H W 3"],
    given: Bool[np.ndarray, " F"],
    *,
    grey: Float[Tensor, "1 C f h w"] | None = None,
) -> Float[Tensor, "1 c n h w"]:
    """VACE's control (Jiang et al. 2025): inactive and reactive latents, and the mask folded into channels.

    Frames that are `given` are kept, all others are drawn, whatever `frames` holds there. A reference picture is one
    more latent frame before the video, kept as well. c = 2 z + stride^2: 96 for Wan 2.1. `grey` are `grey_latents` of
    as many frames, where they are at hand.
    """
    drawn = torch.from_numpy(~given).to(vae.device)[None, None, :, None, None]
    reactive = grey_latents(vae, len(frames), frames.shape[1:3]) if grey is None else grey
    inactive = reactive
    if given.any():
        inactive = encoded(vae, torch.where(drawn, 0, from_pictures(frames).to(vae.device)))
    stride = vae.config["scale_factor_spatial"]
    mask = drawn.float()[0].expand(stride**2, -1, *inactive.shape[3:])
    latents = (latent_frames(len(frames)), *inactive.shape[3:])
    # Sampled at one frame a latent, as in VACE's training.
    mask = torch.nn.functional.interpolate(mask[None], size=latents, mode="nearest-exact")
    control = torch.cat([inactive, reactive, mask], dim=1)
    if reference is None:
        return control
    picture = encoded(vae, from_pictures(reference[None]).to(vae.device))
    rest = picture.new_zeros(1, control.shape[1] - picture.shape[1], *picture.shape[2:])
    return torch.cat([torch.cat([picture, rest], dim=1), control], dim=2)


def grey_latents(vae: AutoencoderKLWan, frames: int, size: Sequence[int]) -> Float[Tensor, "1 C f h w"]:
    """Of grey frames, VACE's word for what is to be drawn; `size` is their height and width."""
    return encoded(vae, torch.zeros(1, 3, frames, *size, device=vae.device))


def given_frames(
    vae: AutoencoderKLWan, first: UInt8[np.ndarray, "n H W 3"], latents: int
) -> dict[str, Float[Tensor, "..."]]:
    """The conditions that say that a video of `latents` latent frames begins with these n = 1, 5, 9, ... frames.

    "image" (1, f) is 1 at the latent frames that are given, and guidance may drop it; "given" is the same and stays;
    "given.latents" (1, C, f, h, w) are those frames, zeros elsewhere.
    """
    known = encoded(vae, from_pictures(first).to(vae.device))
    rest = known.new_zeros(*known.shape[:2], latents - known.shape[2], *known.shape[3:])
    mask = torch.zeros(1, latents, device=known.device)
    mask[:, : known.shape[2]] = 1
    return {"image": mask, "given": mask, "given.latents": torch.cat([known, rest], dim=2)}


def placed(
    x: Float[Tensor, "B C f h w"],
    sigma: Float[Tensor, " B"],
    conditions: dict[str, Tensor],
    *,
    tokens: int,
) -> tuple[Float[Tensor, "B C f h w"], Float[Tensor, "..."]]:
    """Latents with what is given in its places, and the noise level of each item or, then, of each token (B, L).

    A given frame is clean and has level 0. Where guidance dropped "image" it is as noisy as the rest, on the path from
    "given.noise", as in a video that begins so by chance: what text-to-video training shows. `tokens` are those of a
    latent frame. The entries are taken out of `conditions`.
    """
    if "given" not in conditions:
        return x, sigma
    image, given = conditions.pop("image"), conditions.pop("given")
    latents, noise = conditions.pop("given.latents"), conditions.pop("given.noise")
    level = sigma[:, None] * (1 - image)
    at = _like(level)
    known = ((1 - at) * latents + at * noise).to(x.dtype)
    return torch.where(_like(given).bool(), known, x), level.repeat_interleave(tokens, dim=1)


def _like(mask: Float[Tensor, "B f"]) -> Float[Tensor, "B 1 f 1 1"]:
    return mask[:, None, :, None, None]
