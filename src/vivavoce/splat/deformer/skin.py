"""From particles to Gaussians in torch: the twin of splat/deform.py, with gradients, and residuals applied."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vivavoce.splat.deform import MAX_STRETCH
from vivavoce.splat.deformer.residual import Reading, Residuals
from vivavoce.splat.se3 import rotation_matrices
from vivavoce.types import Binding, Gaussians

_ROWS, _COLUMNS = [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]
_FULL = [0, 1, 2, 1, 3, 4, 2, 4, 5]


@dataclass(frozen=True)
class Hold:
    """`types.Binding` as tensors: the particles that each Gaussian hangs on, and weights with their gradients."""

    particles: Int64[Tensor, "N K"]
    weights: Float[Tensor, "N K"]
    gradients: Float[Tensor, "N K 3"]

    @classmethod
    def of(cls, binding: Binding, device: torch.device | str = "cpu") -> Hold:
        arrays = (binding.indices, binding.weights, binding.gradients)
        particles, weights, gradients = (torch.tensor(a, device=device) for a in arrays)
        return cls(particles.long(), weights, gradients)


@dataclass(frozen=True)
class Body:
    """A person's Gaussians at rest (`types.Gaussians`) as tensors, what they hang on, and the tokens they read."""

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    scales: Float[Tensor, "N 3"]
    opacities: Float[Tensor, " N"]
    colors: Float[Tensor, "N 3"]
    hold: Hold
    reading: Reading

    @classmethod
    def of(
        cls, gaussians: Gaussians, binding: Binding, reading: Reading, *, device: torch.device | str = "cpu"
    ) -> Body:
        arrays = ("means", "quats", "scales", "opacities", "colors")
        return cls(
            **{name: torch.tensor(getattr(gaussians, name), device=device) for name in arrays},
            hold=Hold.of(binding, device),
            reading=Reading(reading.tokens.to(device), reading.weights.to(device)),
        )


@dataclass(frozen=True)
class Posed:
    """Gaussians of moved persons, as the rasterisers take them: covariances are xx xy xz yy yz zz, in m^2."""

    means: Float[Tensor, "*b N 3"]
    covariances: Float[Tensor, "*b N 6"]
    opacities: Float[Tensor, "*b N"]
    colors: Float[Tensor, "*b N 3"]


def pose(body: Body, transforms: Float[Tensor, "*b M 3 4"], residuals: Residuals | None = None) -> Posed:
    """The body under particle transforms, and under residuals of its tokens (paper 003, eq. 6 and 7).

    The residual of the scales multiplies the covariance in the Gaussian's own axes, which the motion carries with it:
    with Sigma' = J R S S R^T J^T it becomes G Sigma' G^T, G = J R exp(ds) R^T J^-1. So it stays a covariance
    whatever the network says. Offsets are added in space, opacities end in [0, 1].
    """
    frames = transforms.shape[:-3]
    if residuals is None:
        covariances = rest_covariances(body.quats, body.scales)
        means, covariances = skin(body.means, covariances, body.hold, transforms)
        opacities, colors = body.opacities.expand(*frames, -1), body.colors.expand(*frames, -1, -1)
        return Posed(means, covariances, opacities, colors)
    own = residuals.read(body.reading)
    covariances = rest_covariances(body.quats, body.scales * own.scales.exp())
    means, covariances = skin(body.means, covariances, body.hold, transforms)
    opacities = (body.opacities + own.opacities).clamp(0, 1)
    return Posed(means + own.offsets, covariances, opacities, body.colors + own.colors)


def skin(
    means: Float[Tensor, "N 3"],
    covariances: Float[Tensor, "... N 6"],
    hold: Hold,
    transforms: Float[Tensor, "*b M 3 4"],
) -> tuple[Float[Tensor, "*b N 3"], Float[Tensor, "*b N 6"]]:
    """Means and covariances moved by particles, with the exact Jacobian and the limit of `splat.deform.deform`.

    Differentiable in all but the limit itself, beyond which J is scaled down to MAX_STRETCH.
    """
    T = transforms[..., hold.particles, :, :]
    R = T[..., :3]
    x = means.unsqueeze(-2)
    shifts = (R @ x.unsqueeze(-1)).squeeze(-1) + T[..., 3] - x
    weights = hold.weights.unsqueeze(-1)
    J = (weights.unsqueeze(-1) * R).sum(-3) + shifts.transpose(-1, -2) @ hold.gradients
    size = (J * J).sum((-1, -2), keepdim=True).clamp(min=MAX_STRETCH**2).sqrt()
    J = J * (MAX_STRETCH / size)
    turned = J @ covariances[..., _FULL].unflatten(-1, (3, 3)) @ J.transpose(-1, -2)
    return means + (weights * shifts).sum(-2), turned[..., _ROWS, _COLUMNS]


def rest_covariances(quats: Float[Tensor, "N 4"], scales: Float[Tensor, "*b N 3"]) -> Float[Tensor, "*b N 6"]:
    """R diag(scales)^2 R^T as xx xy xz yy yz zz; quaternions (w, x, y, z) of any length but zero."""
    R = rotation_matrices(quats / quats.norm(dim=-1, keepdim=True))
    root = R * scales.unsqueeze(-2)
    return (root @ root.transpose(-1, -2))[..., _ROWS, _COLUMNS]
