"""Noise by the cosine schedule (Nichol & Dhariwal 2021), the plain DDPM loss, and sampling in few steps.

x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps for t = 0 .. steps - 1, and networks predict the data x_0. This is the
arithmetic of diffusers' DDPMScheduler and DPMSolverMultistepScheduler (squaredcos_cap_v2, prediction "sample"),
with which it agrees; their import alone takes longer than speech of some seconds may take to become a video, and
the Gaussian family needs no extra packages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from vivavoce.errors import InputError

Denoise = Callable[[Float[Tensor, "B T D"], int], Float[Tensor, "B T D"]]
"""The estimate of the data at a step of noise."""

_OFFSET, _GREATEST = 0.008, 0.999  # s and the cap on beta of Nichol & Dhariwal, section 3.2


@dataclass(frozen=True)
class CosineSchedule:
    """abar_t = f(t + 1) / f(0), f(u) = cos^2((u / steps + s) / (1 + s) pi / 2), with beta at most 0.999 (eq. 17)."""

    steps: int = 200

    @cached_property
    def kept(self) -> Float64[np.ndarray, " S"]:
        """abar, the share of the data in the variance at each step."""
        u = np.arange(self.steps + 1) / self.steps
        f = np.cos((u + _OFFSET) / (1 + _OFFSET) * np.pi / 2) ** 2
        return np.cumprod(1 - np.minimum(1 - f[1:] / f[:-1], _GREATEST))

    def noised(
        self, data: Float[Tensor, "B *rest"], noise: Float[Tensor, "B *rest"], step: Int[Tensor, " B"]
    ) -> Float[Tensor, "B *rest"]:
        """Data at a step of noise for each item."""
        kept = torch.from_numpy(self.kept).to(data.device)[step]
        kept = kept.reshape(kept.shape + (1,) * (data.ndim - 1))
        return (kept.sqrt() * data + (1 - kept).sqrt() * noise).to(data.dtype)

    def chosen(self, count: int) -> Int64[np.ndarray, " n"]:
        """The `count` steps at which sampling evaluates the network, noisiest first.

        They lie equally in the logarithm of the signal-to-noise ratio, as far as whole steps allow. What is slow in
        motion, posture above all, is decided under much noise, what is fine under little: of Gaussian data of 0.1 to
        11 deviations ten such steps keep 0.83 to 1.07 of the variance, ten equally spaced ones a quarter at both ends.
        (125 frames of which each is the same add up to 11.) The very last step has next to no signal, and the first
        ones next to no noise; only sampling in all steps makes use of them. Raises InputError for fewer than one, or
        more than there are.
        """
        if not 1 <= count <= self.steps:
            raise InputError(f"{count} denoising steps are out of bounds: take 1 to {self.steps}.")
        decay = np.log(self.kept / (1 - self.kept))[::-1]
        wanted = np.linspace(decay[min(1, self.steps - 1)], decay[-1 - self.steps // 100], count)
        nearest = np.round(np.interp(wanted, decay, np.arange(self.steps)[::-1])).astype(np.int64)
        above = self.steps
        for i, step in enumerate(nearest):
            nearest[i] = above = min(above - 1, max(step, count - 1 - i))
        return nearest

    def sample(self, denoise: Denoise, start: Float[Tensor, "B T D"], count: int) -> Float[Tensor, "B T D"]:
        """The data that the noise `start` leads to in `count` evaluations; the last estimate is the result.

        DPM-Solver++(2M) in the data (Lu et al. 2022, algorithm 2): of second order but for the first step and the
        last, deterministic, and linear in the estimates. Raises InputError as `chosen` does.
        """
        levels = [(math.sqrt(kept), math.sqrt(1 - kept)) for kept in self.kept[self.chosen(count)].tolist()]
        decay = [math.log(signal / noise) for signal, noise in levels]
        x, before = start, start
        for i, step in enumerate(self.chosen(count).tolist()):
            data = denoise(x, step)
            if i == count - 1:
                return data
            stride = decay[i + 1] - decay[i]
            target = data
            if i:
                target = data + stride / (2 * (decay[i] - decay[i - 1])) * (data - before)
            (_, noise), (signal, less) = levels[i : i + 2]
            x, before = less / noise * x - signal * math.expm1(-stride) * target, data
        raise AssertionError("there is always a last step")


def simple_loss(estimate: Float[Tensor, "B T D"], data: Float[Tensor, "B T D"]) -> Float[Tensor, ""]:
    """L_simple of DDPM (Ho et al. 2020) in the data: the mean square over everything, all noise steps alike.

    As in motion diffusion throughout (Tevet et al. 2023, eq. 2). Against the error of the noise, which is this one
    times abar / (1 - abar), it does not count the least noise some thousand times.
    """
    return (estimate - data).square().mean()
