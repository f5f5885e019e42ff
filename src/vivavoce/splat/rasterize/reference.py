"""The rasteriser in plain torch: slow, differentiable, any dtype. Its values and gradients are the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vivavoce.splat.rasterize.rules import ALPHA_MAX, ALPHA_MIN, EPS2D, NEAR, jacobian_limits
from vivavoce.types import Camera

TILE = 16
"""Pixels; side of the square that is drawn at once. Affects time and memory only."""


@dataclass(frozen=True)
class Splats:
    """Gaussians on the image plane, those that can be seen only, nearest first; lengths in pixels.

    `inverses` are the inverse covariances as xx, xy, yy; `extents` the half width and height of the box
    outside of which alpha is below the cut-off; `indices` say which Gaussian each splat was.
    """

    means: Float[Tensor, "V 2"]
    inverses: Float[Tensor, "V 3"]
    extents: Float[Tensor, "V 2"]
    depths: Float[Tensor, " V"]
    indices: Int[Tensor, " V"]


def project(
    means: Float[Tensor, "N 3"],
    covariances: Float[Tensor, "N 6"],
    opacities: Float[Tensor, " N"],
    camera: Camera,
    *,
    eps2d: float = EPS2D,
) -> Splats:
    """EWA projection (Zwicker et al., 2001; see `rules`), sorted by depth with ties in the order given."""
    indices = torch.nonzero((means[:, 2] >= NEAR) & (opacities >= ALPHA_MIN))[:, 0]
    indices = indices[torch.argsort(means[indices, 2], stable=True)]
    x, y, z = means[indices].unbind(1)
    xx, xy, xz, yy, yz, zz = covariances[indices].unbind(1)

    x_min, x_max, y_min, y_max = jacobian_limits(camera)
    scale = camera.focal / z
    jx = -scale * (x / z).clamp(x_min, x_max)
    jy = -scale * (y / z).clamp(y_min, y_max)
    sxx = scale**2 * xx + 2 * scale * jx * xz + jx**2 * zz + eps2d
    sxy = scale**2 * xy + scale * (jy * xz + jx * yz) + jx * jy * zz
    syy = scale**2 * yy + 2 * scale * jy * yz + jy**2 * zz + eps2d
    determinant = sxx * syy - sxy**2

    drawn = torch.nonzero((determinant > 0) & (sxx > 0))[:, 0]
    sxx, sxy, syy, determinant = sxx[drawn], sxy[drawn], syy[drawn], determinant[drawn]
    # alpha falls to the cut-off where the squared Mahalanobis distance is 2 ln(opacity / cut-off)
    reach = 2 * torch.log(opacities[indices[drawn]].detach() / ALPHA_MIN)
    return Splats(
        means=(torch.stack([x, y], 1) * scale[:, None] + means.new_tensor([camera.cx, camera.cy]))[drawn],
        inverses=torch.stack([syy, -sxy, sxx], 1) / determinant[:, None],
        extents=torch.sqrt(reach[:, None] * torch.stack([sxx, syy], 1).detach()),
        depths=z[drawn],
        indices=indices[drawn],
    )


def rasterize_reference(
    means: Float[Tensor, "N 3"],
    covariances: Float[Tensor, "N 6"],
    opacities: Float[Tensor, " N"],
    colors: Float[Tensor, "N 3"],
    camera: Camera,
    *,
    background: Float[Tensor, "rgb=3"] | Float[Tensor, "H W 3"] | None = None,
    eps2d: float = EPS2D,
) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """Draw N Gaussians by the rules of `rules`, differentiable in every tensor.

    Covariances are in square metres as xx, xy, xz, yy, yz, zz; opacities lie in [0, 1]. Returns the image
    over the background (black if none), alpha in [0, 1], and the expected depth sum(w z) / sum(w) in metres,
    w being alpha_i T_i, 0 where alpha is 0. Memory grows with the splats of one tile; of all tiles if
    gradients are kept.
    """
    splats = project(means, covariances, opacities, camera, eps2d=eps2d)
    features = torch.cat([colors[splats.indices], splats.depths[:, None]], 1)
    opacities = opacities[splats.indices]
    rows = [
        torch.cat([_composite(splats, opacities, features, tile) for tile in row], 1)
        for row in _tiles(camera)
    ]
    # channels: red, green, blue, depth, transmittance
    drawn = torch.cat(rows)
    transmittance = drawn[..., 4]
    alpha = 1 - transmittance
    image = drawn[..., :3]
    if background is not None:
        image = image + transmittance[..., None] * background
    covered = alpha > 0
    depth = torch.where(covered, drawn[..., 3] / torch.where(covered, alpha, 1), 0)
    return image, alpha, depth


def _tiles(camera: Camera) -> Iterator[Iterator[tuple[int, int, int, int]]]:
    """Rows of tiles as left, right, top, bottom."""
    for top in range(0, camera.height, TILE):
        bottom = min(top + TILE, camera.height)
        yield ((left, min(left + TILE, camera.width), top, bottom) for left in range(0, camera.width, TILE))


def _composite(
    splats: Splats,
    opacities: Float[Tensor, " V"],
    features: Float[Tensor, "V C"],
    tile: tuple[int, int, int, int],
) -> Float[Tensor, "h w C+1"]:
    """Features times their weights alpha_i T_i, and the transmittance left over as one more channel."""
    left, right, top, bottom = tile
    low, high = splats.means.detach() - splats.extents, splats.means.detach() + splats.extents
    touching = (low[:, 0] < right) & (high[:, 0] > left) & (low[:, 1] < bottom) & (high[:, 1] > top)
    touching = torch.nonzero(touching)[:, 0]
    mean = splats.means[touching]
    xx, xy, yy = splats.inverses[touching].unbind(1)

    options = {"dtype": mean.dtype, "device": mean.device}
    dx = torch.arange(left, right, **options) + 0.5 - mean[:, 0, None]
    dy = torch.arange(top, bottom, **options) + 0.5 - mean[:, 1, None]
    dx, dy = dx[:, None, :], dy[:, :, None]
    power = 0.5 * (xx[:, None, None] * dx**2 + yy[:, None, None] * dy**2) + xy[:, None, None] * dx * dy
    alpha = opacities[touching][:, None, None] * torch.exp(-power)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha.clamp(max=ALPHA_MAX), 0)

    light = torch.cumprod(torch.cat([alpha.new_ones(1, *alpha.shape[1:]), 1 - alpha]), 0)
    weights = alpha * light[:-1]
    return torch.cat([torch.einsum("vhw,vc->hwc", weights, features[touching]), light[-1][..., None]], -1)
