"""Random scenes, degenerate ones among them, for every backend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from jaxtyping import Float32

from vivavoce.splat.rasterize import covariance_from_quats_scales
from vivavoce.types import Camera

KINDS = ("cloud", "needles", "layers", "edges", "opacities", "skin")


@dataclass(frozen=True)
class Scene:
    means: Float32[np.ndarray, "N 3"]
    covariances: Float32[np.ndarray, "N 6"]
    opacities: Float32[np.ndarray, " N"]
    colors: Float32[np.ndarray, "N 3"]
    camera: Camera
    background: Float32[np.ndarray, "H W 3"]

    @property
    def gaussians(self):
        return self.means, self.covariances, self.opacities, self.colors


def make_scene(seed: int) -> Scene:
    """One of fifty: picture sizes from 1 x 1, six kinds in turn, one empty scene."""
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    width, height = ((1, 1), (16, 16), (17, 33), (64, 48), (95, 61), (5, 120))[seed // len(KINDS) % 6]
    count = 0 if seed == 49 else int(rng.integers(1, 600))
    focal = float(rng.uniform(0.5, 2) * max(width, height))
    camera = Camera(width, height, focal, width * rng.uniform(0.3, 0.7), height * rng.uniform(0.3, 0.7))

    z = rng.uniform(0.5, 5, count)
    spread = 1.2
    scales = np.exp(rng.normal(np.log(0.05), 0.7, (count, 3)))
    opacities = rng.uniform(0, 1, count)
    if kind == "needles":
        scales = rng.uniform(0.2, 1, (count, 1)) * np.array([1, 1e-3, 1e-3])
    elif kind == "layers":  # many Gaussians at one depth: ties are broken by index
        z = rng.choice([0.7, 1.0, 2.5], count)
    elif (
        kind == "edges"
    ):  # behind the camera, on the near plane, far outside the picture, a huge range of depth
        z = rng.choice([-1.0, 0.0, 0.0099, 0.02, 1.0, 1e3, 1e6], count)
        spread = 4
    elif kind == "opacities":
        opacities = rng.choice([0, 1 / 256, 1 / 254, 0.5, 0.99, 0.995, 1], count)
    elif kind == "skin":  # dense and opaque, so that pixels saturate
        scales = scales * 0.3
        opacities = rng.uniform(0.9, 1, count)
    across = spread * rng.uniform(-1, 1, (count, 2)) * [width, height] / (2 * focal) * np.abs(z)[:, None]
    quats = rng.normal(size=(count, 4))
    return Scene(
        np.concatenate([across, z[:, None]], 1).astype(np.float32),
        covariance_from_quats_scales(quats, scales).astype(np.float32),
        opacities.astype(np.float32),
        rng.uniform(0, 1, (count, 3)).astype(np.float32),
        camera,
        rng.uniform(0, 1, (height, width, 3)).astype(np.float32),
    )


@pytest.fixture(params=range(50))
def scene(request) -> Scene:
    return make_scene(request.param)


@pytest.fixture
def cloud() -> Scene:
    """A scene without extremes, in a picture that is no multiple of a tile."""
    return make_scene(24)
