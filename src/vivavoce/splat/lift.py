"""Canvas space to metres: what is drawn in pixels with depth becomes Gaussians before a pinhole camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from vivavoce.splat.layers import KINDS, Layer
from vivavoce.splat.skinning import join
from vivavoce.types import Binding, Camera

FOCAL_IN_SIDES = 2.0
"""Focal length in long sides of the picture: a portrait lens."""

THICKNESS = 0.15
"""Thickness of a Gaussian across the surface it lies in, as a share of its width."""


@dataclass(frozen=True)
class Lift:
    """The map between a padded canvas and the camera's space. The face's plane lies at `distance` metres."""

    camera: Camera
    """Of the unpadded picture."""
    pad: int
    metre: float
    """Metres a pixel at the distance of the face."""

    @property
    def distance(self) -> float:
        return self.camera.focal * self.metre

    def points(self, canvas: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
        """Canvas points to metres: the same pixel, at the depth z pixels behind the face's plane."""
        z = self.distance + canvas[:, 2] * self.metre
        k = z / self.camera.focal
        return np.stack(
            [
                (canvas[:, 0] - self.pad - self.camera.cx) * k,
                (canvas[:, 1] - self.pad - self.camera.cy) * k,
                z,
            ],
            1,
        )

    def gradients(
        self, slopes: Float[np.ndarray, "N K 3"], points: Float[np.ndarray, "N 3"]
    ) -> Float[np.ndarray, "N K 3"]:
        """Gradients with respect to canvas x and y (1/pixel) as gradients in space (1/metre).

        With x = f X / Z + c: dx/dX = f / Z and dx/dZ = -f X / Z^2, and the same for y.
        """
        X, Y, Z = points[:, None, 0], points[:, None, 1], points[:, None, 2]
        gx, gy = slopes[..., 0] * self.camera.focal / Z, slopes[..., 1] * self.camera.focal / Z
        return np.stack([gx, gy, -(gx * X + gy * Y) / Z], -1)

    def transforms(
        self, canvas: Float32[np.ndarray, "T M 3 4"], rest: Float32[np.ndarray, "M 3"]
    ) -> Float32[np.ndarray, "T M 3 4"]:
        """Rigid motions of particles in canvas space as rigid motions in space.

        A canvas is space seen in parallel at the face's distance: rotations are kept, and each particle's
        displacement is scaled at its own depth.
        """
        anchor = self.points(rest.astype(np.float64))
        scale = (anchor[:, 2] / self.camera.focal)[None, :, None]
        R = canvas[..., :3].astype(np.float64)
        at = rest.astype(np.float64)
        shift = (np.einsum("tmab,mb->tma", R, at) + canvas[..., 3] - at) * scale
        t = anchor + shift - np.einsum("tmab,mb->tma", R, anchor)
        return np.concatenate([R, t[..., None]], -1).astype(np.float32)


def make_lift(width: int, height: int, pad: int, millimetre: float) -> Lift:
    """A camera for a picture of `width` x `height` canvas pixels, `millimetre` of which are a millimetre."""
    focal = FOCAL_IN_SIDES * max(width, height)
    return Lift(Camera(width, height, focal, width / 2, height / 2), pad, 1e-3 / millimetre)


@dataclass(frozen=True)
class Lifted:
    """All layers in space, sorted front to back within and between kinds.

    Covariances are xx xy xz yy yz zz in m^2.
    """

    means: Float32[np.ndarray, "N 3"]
    covariances: Float32[np.ndarray, "N 6"]
    opacities: Float32[np.ndarray, " N"]
    colors: Float32[np.ndarray, "N 3"]
    kinds: np.ndarray
    binding: Binding


def lift_layers(layers: list[Layer], lift: Lift) -> Lifted:
    """Join layers, order them for drawing, and take them into space."""
    kinds = np.concatenate([np.full(len(la.points), KINDS.index(la.kind), np.int32) for la in layers])
    canvas = np.concatenate([la.points for la in layers]).astype(np.float64)
    order = np.lexsort((canvas[:, 2], kinds))
    binding = join([la.binding for la in layers])
    stacked = {
        f: np.concatenate([getattr(la, f) for la in layers])[order]
        for f in ("sigmas", "colors", "opacities", "slopes")
    }
    canvas = canvas[order]
    means = lift.points(canvas)
    gradients = lift.gradients(binding.gradients[order].astype(np.float64), means)
    return Lifted(
        means.astype(np.float32),
        _covariances(stacked["sigmas"], stacked["slopes"], means[:, 2] / lift.camera.focal),
        stacked["opacities"],
        stacked["colors"],
        kinds[order],
        Binding(binding.indices[order], binding.weights[order], gradients.astype(np.float32)),
    )


def _covariances(
    sigmas: Float32[np.ndarray, " N"], slopes: Float32[np.ndarray, "N 2"], metre: Float[np.ndarray, " N"]
) -> Float32[np.ndarray, "N 6"]:
    """Discs in the surface z(x, y) that look round from the camera.

    s^2 (u u^T + v v^T) + thickness, with the tangents u = (1, 0, z_x) and v = (0, 1, z_y).
    """
    zx, zy = slopes[:, 0].astype(np.float64), slopes[:, 1].astype(np.float64)
    v = (sigmas * metre) ** 2
    one, zero = np.ones_like(v), np.zeros_like(v)
    normal = np.stack([-zx, -zy, one], 1) / np.sqrt(1 + zx**2 + zy**2)[:, None]
    e = THICKNESS**2
    nx, ny, nz = normal.T
    tangent = np.stack([one, zero, zx, one, zy, zx**2 + zy**2], 1)
    across = np.stack([nx * nx, nx * ny, nx * nz, ny * ny, ny * nz, nz * nz], 1)
    return (v[:, None] * (tangent + e * across)).astype(np.float32)
