"""The one flow-matching convention: losses, samplers and distillation share it.

x_sigma = (1 - sigma) data + sigma eps, and the network predicts v = d x / d sigma = eps - data. Sigma is 1 at
pure noise. (PhysAvatar writes the same path with t = 1 - sigma, and the velocity with the other sign.)
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

STEPS = 1000
"""The backbone's timesteps are sigma times this."""


def _like(sigma: Tensor, x: Tensor) -> Tensor:
    """Sigma (B,) or (B, 1, f, 1, 1) broadcast over latents (B, C, f, h, w)."""
    return sigma.reshape(sigma.shape + (1,) * (x.ndim - sigma.ndim))


def noised(
    data: Float[Tensor, "B *rest"], noise: Float[Tensor, "B *rest"], sigma: Float[Tensor, "..."]
) -> Float[Tensor, "B *rest"]:
    """The point of the path at `sigma` in [0, 1]."""
    s = _like(sigma, data)
    return (1 - s) * data + s * noise


def velocity(data: Float[Tensor, "B *rest"], noise: Float[Tensor, "B *rest"]) -> Float[Tensor, "B *rest"]:
    """What the network is trained to predict."""
    return noise - data


def data_from(
    x: Float[Tensor, "B *rest"], v: Float[Tensor, "B *rest"], sigma: Float[Tensor, "..."]
) -> Float[Tensor, "B *rest"]:
    """The clean latents that a predicted velocity points to: x - sigma v."""
    return x - _like(sigma, x) * v


def noise_from(
    x: Float[Tensor, "B *rest"], v: Float[Tensor, "B *rest"], sigma: Float[Tensor, "..."]
) -> Float[Tensor, "B *rest"]:
    """The noise that a predicted velocity points back to: x + (1 - sigma) v."""
    return x + (1 - _like(sigma, x)) * v


def timestep(sigma: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """What the backbone is told: 0 at data, 1000 at noise."""
    return sigma * STEPS


def shifted(sigma: Float[Tensor, "..."], shift: float) -> Float[Tensor, "..."]:
    """More of the steps at high noise for big pictures: shift s / (1 + (shift - 1) s) (Esser et al. 2024, eq. 23)."""
    return shift * sigma / (1 + (shift - 1) * sigma)
