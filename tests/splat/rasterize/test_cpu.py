"""The fast CPU backend against the torch twin in float64."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from vivavoce.errors import InputError
from vivavoce.splat.rasterize import rasterize
from vivavoce.splat.rasterize.cpu import CpuRasterizer
from vivavoce.splat.rasterize.reference import rasterize_reference


def in_float64(scene, background=None):
    return rasterize_reference(
        *(torch.from_numpy(a.astype(np.float64)) for a in scene.gaussians),
        scene.camera,
        background=None if background is None else torch.from_numpy(background.astype(np.float64)),
    )


def test_matches_the_twin(scene):
    image, alpha, depth = (t.numpy() for t in in_float64(scene, scene.background))
    drawn = rasterize(*scene.gaussians, scene.camera, background=scene.background, backend="cpu")
    error = np.abs(drawn.image - image)
    assert error.max() <= 2 / 255
    assert error.mean() <= 1e-4
    assert np.abs(drawn.alpha - alpha).max() <= 2 / 255
    assert np.isfinite(drawn.depth).all()
    solid = alpha > 0.1
    assert np.abs(drawn.depth - depth)[solid].max(initial=0) <= 1e-2 * depth.max(initial=1)
