"""Scenes for measuring rasterisers: like a photo lifted into space, and like a trained splat scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from vivavoce.splat.rasterize import covariance_from_quats_scales
from vivavoce.types import Camera

SIZE = 512
"""Pixels; pictures are square."""


@dataclass(frozen=True)
class Scene:
    """Gaussians in camera space, as `vivavoce.splat.rasterize.rasterize` takes them."""

    means: Float32[np.ndarray, "N 3"]
    covariances: Float32[np.ndarray, "N 6"]
    opacities: Float32[np.ndarray, " N"]
    colors: Float32[np.ndarray, "N 3"]
    camera: Camera

    @property
    def gaussians(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.means, self.covariances, self.opacities, self.colors


def _scene(means, quats, scales, *, opacities, colors, focal) -> Scene:
    arrays = means, covariance_from_quats_scales(quats, scales), opacities, np.clip(colors, 0, 1)
    camera = Camera(SIZE, SIZE, focal, SIZE / 2, SIZE / 2)
    return Scene(*(np.ascontiguousarray(a, np.float32) for a in arrays), camera)


def shell(count: int, seed: int = 0) -> Scene:
    """A relief that fills the picture: flat discs on a jittered grid, almost opaque, overlapping."""
    rng = np.random.default_rng(seed)
    focal, distance, side = 900.0, 3.0, int(np.sqrt(count))
    spacing = SIZE / side
    row, column = np.divmod(np.arange(side * side), side)
    pixels = (
        np.stack([column, row], 1) + 0.5 + rng.uniform(-0.2, 0.2, (side * side, 2))
    ) * spacing - SIZE / 2
    face = np.exp(-((pixels + np.array([0, 26])) ** 2).sum(1) / (2 * 110**2))
    z = distance - 0.5 * face + rng.normal(0, 0.002, side * side)
    means = np.concatenate([pixels * (z / focal)[:, None], z[:, None]], 1)
    scales = spacing * distance / focal * np.array([0.6, 0.6, 0.1])
    scales = scales * np.exp(rng.normal(0, 0.15, (side * side, 3)))
    colors = 0.5 + 0.4 * np.sin(pixels[:, :1] / [20, 30, 40]) * np.cos(pixels[:, 1:] / [35, 25, 15])
    upright = np.tile([1.0, 0, 0, 0], (side * side, 1))
    opacities = np.full(side * side, 0.95)
    return _scene(means, upright, scales, opacities=opacities, colors=colors, focal=focal)


def trained(count: int, seed: int = 0) -> Scene:
    """Head, torso and hair as closed shells of flakes with log-normal axes and bimodal opacity."""
    rng = np.random.default_rng(seed)
    bodies = (
        (0.40, (0.0, -0.28, 3.0), (0.26, 0.36, 0.30)),
        (0.45, (0.0, 0.62, 3.05), (0.72, 0.50, 0.35)),
        (0.15, (0.0, -0.36, 3.05), (0.33, 0.38, 0.36)),
    )
    which = rng.choice(3, count, p=[share for share, _, _ in bodies])
    centers, radii = np.array([b[1] for b in bodies])[which], np.array([b[2] for b in bodies])[which]
    sphere = rng.normal(size=(count, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    normals = sphere / radii
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)

    area = 4 * np.pi * (0.4 * 0.3**2 + 0.9 * 0.5**2 + 0.36**2)
    scales = 0.8 * np.sqrt(area / count) * np.exp(rng.normal(0, 0.45, (count, 3))) * [1, 1, 0.2]
    solid = rng.random(count) < 0.65
    return _scene(
        centers + sphere * radii + rng.normal(0, 0.006, (count, 3)),
        _lying_on(normals, rng.uniform(0, np.pi, count)),
        scales,
        opacities=np.where(solid, rng.beta(8, 1.2, count), rng.beta(1.2, 3, count)),
        colors=0.5 + 0.3 * normals + rng.normal(0, 0.05, (count, 3)),
        focal=760.0,
    )


def _lying_on(normals: np.ndarray, spin: np.ndarray) -> np.ndarray:
    """Quaternions (w, x, y, z) that turn z to the normal, after a turn by twice `spin` about z."""
    # the shortest turn from z to n is the quaternion (1 + n_z, z x n), normalised
    w, x, y = 1 + normals[:, 2], -normals[:, 1], normals[:, 0]
    cos, sin = np.cos(spin), np.sin(spin)
    return np.stack([w * cos, x * cos + y * sin, y * cos - x * sin, w * sin], 1)


SCENES = {"shell": shell, "trained": trained}
