"""Small motion models, and stand-ins for a trained network whose estimates are known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from vivavoce.splat.audiomotion.config import MINIATURE, MotionDiffusionConfig, PerceiverConfig
from vivavoce.splat.audiomotion.diffusion import MotionDiffusion
from vivavoce.splat.audiomotion.windows import Layout

TINY = replace(
    MINIATURE,
    audio=3,
    particles=1,
    code=2,
    width=16,
    layers=2,
    heads=2,
    perceiver=PerceiverConfig(patch=5, latents=2, width=8, layers=1, heads=2, size=4),
    layout=Layout(length=30, overlap=15, ramp=10),
    noise_steps=20,
    steps=4,
)


def stirred(module: nn.Module, seed: int = 0, std: float = 0.3) -> nn.Module:
    """The same with every parameter away from its start."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.copy_(std * torch.randn(parameter.shape, generator=generator))
    return module


def tiny(**changes) -> MotionDiffusion:
    return stirred(MotionDiffusion(replace(TINY, **changes)))


def turns(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Any rotations (*shape, 3, 3) in float64, from random quaternions."""
    q = np.random.default_rng(seed).normal(size=(*shape, 4))
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.from_numpy(np.moveaxis(np.array(rows), (0, 1), (-2, -1)).copy())


class Known(nn.Module):
    """Takes the transformer's place: the best estimate of data of a known distribution, alike for all channels.

    Frames are Gaussian about `mean` with this covariance, or about `mean` and its opposite, each as often.
    """

    def __init__(
        self, config: MotionDiffusionConfig, covariance: np.ndarray, mean: float, *, both: bool
    ) -> None:
        super().__init__()
        self.null = nn.Parameter(torch.zeros(1))
        self.covariance, self.mean, self.both = torch.from_numpy(covariance), mean, both
        u = np.arange(config.noise_steps + 1) / config.noise_steps
        f = np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
        self.kept = torch.from_numpy(np.append(f[1:] / f[0], 1.0)).clamp(min=1e-9)  # at -1: no noise

    def hear(self, audio, patches, heard=None):
        return audio

    def unheard(self, heard):
        return heard

    def forward(self, noised, step, heard, identity=None):
        kept = self.kept[step[0]]
        signal, x = kept.sqrt()[:, None], noised[0].double()
        inner = signal * self.covariance * signal.T + torch.diag(1 - kept + 1e-9)
        gain = torch.linalg.solve(inner, signal * self.covariance).T
        seen = self.mean * signal  # what the mean alone looks like
        sign = torch.tanh(seen.T @ torch.linalg.solve(inner, x)) if self.both else torch.ones(1, x.shape[1])
        centre = self.mean * sign.expand(len(x), -1)
        return (centre + gain @ (x - signal * centre)).to(noised)[None]


def smooth(frames: int, length: float) -> np.ndarray:
    """The covariance of a smooth process of unit variance that forgets within `length` frames."""
    i = np.arange(frames)
    return np.exp(-0.5 * ((i[:, None] - i) / length) ** 2) + 1e-5 * np.eye(frames)


def clip_of(frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Motion of one particle, and a code of two values."""
    random = np.random.default_rng(7)
    shift = torch.from_numpy(random.uniform(-0.1, 0.1, (frames, 1, 3, 1)))
    code = torch.from_numpy(random.normal(size=(frames, 2)))
    return torch.cat([turns((frames, 1), 7), shift], -1).float(), code.float()
