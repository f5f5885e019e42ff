"""Training a video autoencoder: pixels, edges and a faint pull of the latents towards a normal distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool3d

from vivavoce.corpus.windows import Stretch
from vivavoce.train.stage import Stage
from vivavoce.train.task import Examples
from vivavoce.video.taps import by_taps
from vivavoce.video.vae import encoded, from_pictures, streamed
from vivavoce.weights import load_strictly, read_state

VAE = "vae"
"""The folder of a result that holds the autoencoder, in diffusers' layout."""
_SCALES = 3
_MEASURED = 64  # examples from which the latents' statistics are taken


@dataclass(frozen=True)
class Pictures:
    """A batch: videos in [-1, 1], weights of their pixels (1 in the mean), and the noise of their latents.

    Weights are the square of the focus: a mouth of twenty pixels that is coded away is lost to all that comes after.
    """

    video: Float[Tensor, "B 3 F H W"]
    focus: Float[Tensor, "B 1 F H W"]
    noise: Float[Tensor, "B C f h w"]


class AutoencoderTask:
    """AutoencoderKLWan on footage (`Task`). Wan's own is trained with a perceptual network and a critic as well."""

    def __init__(self, vae: AutoencoderKLWan, stage: Stage, measured: Examples) -> None:
        """`measured` are the examples that the latents' mean and deviation are taken from in the end."""
        by_taps(vae)
        self.module: Any = vae
        self.weights: Mapping[str, float] = {"pixels": 1.0, "edges": 1.0, "prior": 1e-4}
        self.stage, self.measured = stage, measured

    def batch(self, examples: Sequence[Stretch], generators: Sequence[torch.Generator]) -> Pictures:
        """The clips, whole or a square of each; it and the latents' noise from each one's generator.

        Raises ValueError where the stage's squares have no whole latents or are larger than the pictures.
        """
        device, config, stride = (
            self.module.device,
            self.module.config,
            self.module.config["scale_factor_spatial"],
        )
        video = torch.cat([from_pictures(example.frames) for example in examples])
        focus = torch.stack([torch.from_numpy(example.focus)[None] for example in examples]).square()
        if side := self.stage.crop:
            places = [_square(f[0], side, stride, g) for f, g in zip(focus, generators, strict=True)]
            video, focus = (
                torch.stack(
                    [v[..., y : y + side, x : x + side] for v, (y, x) in zip(values, places, strict=True)]
                )
                for values in (video, focus)
            )
        focus = focus / focus.mean(dim=(1, 2, 3, 4), keepdim=True)
        shape = (config["z_dim"], 1 + (video.shape[2] - 1) // 4, *(n // stride for n in video.shape[3:]))
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        return Pictures(video.to(device), focus.to(device), noise.to(device))

    def losses(self, batch: Pictures) -> dict[str, Float[Tensor, " B"]]:
        """Weighted mean absolute errors of pixels and of their differences, and the Kullback-Leibler divergence.

        Edges are differences between neighbours at three scales: what a mean absolute error alone leaves blurred.
        """
        posterior = self.module.encode(batch.video, return_dict=False)[0]
        latents = posterior.mean + posterior.std * batch.noise
        drawn = self.module.decode(latents, return_dict=False)[0]
        error = (drawn - batch.video).abs() * batch.focus
        divergence = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar)
        return {
            "pixels": error.mean(dim=(1, 2, 3, 4)),
            "edges": _edges(drawn - batch.video, batch.focus),
            "prior": divergence.mean(dim=(1, 2, 3, 4)),
        }

    def load(self, folder: Path) -> None:
        """Take over what `save` wrote. Raises WeightsError where it does not fit."""
        path = folder / VAE / "diffusion_pytorch_model.safetensors"
        load_strictly(self.module, read_state(path), str(path))

    def save(self, folder: Path) -> None:
        """Write the autoencoder with the statistics of its latents, by which a backbone sees them as 0 and 1."""
        mean, deviation = self._statistics()
        self.module.register_to_config(latents_mean=mean, latents_std=deviation)
        self.module.save_pretrained(folder / VAE)

    @torch.no_grad()
    def sample(self, folder: Path | None) -> None:
        """A picture with frames above and what is left of them below."""
        import cv2

        example = self.measured[0]
        video = from_pictures(example.frames).to(self.module.device)
        drawn = torch.cat(list(streamed(self.module, encoded(self.module, video))), dim=2)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            rows = [
                np.concatenate(
                    list(((v[0].permute(1, 2, 3, 0) + 1) * 127.5).byte().cpu().numpy()[::4]), axis=1
                )
                for v in (video, drawn)
            ]
            cv2.imwrite(str(folder / "0.png"), np.concatenate(rows)[..., ::-1])

    @torch.no_grad()
    def _statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each latent channel."""
        self.module.eval()
        count = min(_MEASURED, len(self.measured))
        places = np.linspace(0, len(self.measured) - 1, count).astype(int).tolist()
        found = []
        for place in places:
            video = from_pictures(self.measured[place].frames).to(self.module.device)
            latents = self.module.encode(video, return_dict=False)[0].mode()
            found.append(latents.transpose(0, 1).flatten(1).cpu())
        values = torch.cat(found, dim=1).double()
        return values.mean(1).tolist(), values.std(1).tolist()


def _square(
    focus: Float[Tensor, "F H W"], side: int, stride: int, generator: torch.Generator
) -> tuple[int, int]:
    """The corner of a square, on the grid of latents, with a pixel drawn by its weight somewhere in it."""
    height, width = focus.shape[1:]
    if side % stride or side > min(height, width):
        raise ValueError(
            f"squares of {side} do not fit pictures of {width}x{height} and latents of {stride} pixels"
        )
    drawn = torch.multinomial(focus.sum(0).flatten(), 1, generator=generator).item()
    corner = []
    for at, length in zip(divmod(int(drawn), width), (height, width), strict=True):
        first, last = max(0, at - side + 1), min(at, length - side)
        # The grid's places from which the square covers the pixel: there is one, since a square is a stride at least.
        low, high = -(-first // stride), last // stride
        corner.append(stride * int(torch.randint(low, high + 1, (), generator=generator)))
    return corner[0], corner[1]


def _edges(error: Float[Tensor, "B 3 F H W"], focus: Float[Tensor, "B 1 F H W"]) -> Float[Tensor, " B"]:
    """Mean absolute differences of an error between neighbouring pixels, summed over scales."""
    total = torch.zeros(len(error), device=error.device)
    for scale in range(_SCALES):
        if scale:
            error, focus = (avg_pool3d(value, (1, 2, 2)) for value in (error, focus))
        for dim in (3, 4):
            steps = error.diff(dim=dim).abs() * focus.narrow(dim, 0, focus.shape[dim] - 1)
            total = total + steps.mean(dim=(1, 2, 3, 4))
    return total
