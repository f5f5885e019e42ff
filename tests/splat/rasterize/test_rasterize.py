"""The one function over all backends."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vivavoce.errors import InputError
from vivavoce.splat.rasterize import covariance_from_quats_scales, rasterize


def test_backends_agree(cloud):
    cpu, twin = (
        rasterize(*cloud.gaussians, cloud.camera, background=cloud.background, backend=backend)
        for backend in ("cpu", "reference")
    )
    assert cpu.image == pytest.approx(twin.image, abs=1e-4)
    assert cpu.alpha == pytest.approx(twin.alpha, abs=1e-4)
    assert cpu.depth == pytest.approx(twin.depth, abs=1e-3)


def test_a_background_of_one_color_lies_behind_everything(cloud):
    color = np.array([0.2, 0.4, 0.6], np.float32)
    plain, over = (rasterize(*cloud.gaussians, cloud.camera, background=b) for b in (None, color))
    assert over.image == pytest.approx(plain.image + (1 - plain.alpha[..., None]) * color, abs=1e-6)


def test_an_unknown_backend_is_refused(cloud):
    with pytest.raises(InputError, match="vulkan"):
        rasterize(*cloud.gaussians, cloud.camera, backend="vulkan")


def test_cuda_without_gsplat_says_how_to_get_it(cloud, monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)  # absent, also where it is installed
    with pytest.raises(InputError, match=r"vivavoce\[cuda\]"):
        rasterize(*cloud.gaussians, cloud.camera, backend="cuda")


def test_drawing_on_the_cpu_does_not_load_torch():
    program = """
import sys
sys.modules["gsplat"] = None  # it needs torch
import numpy as np
from vivavoce.splat.rasterize import rasterize
from vivavoce.types import Camera
ones = np.ones((1, 6), np.float32)
rasterize(ones[:, :3], ones, ones[:, 0], ones[:, :3], Camera(8, 8, 8.0, 4.0, 4.0))
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_covariance_is_that_of_scipys_rotation():
    rng = np.random.default_rng(0)
    quats, scales = rng.normal(size=(50, 4)), rng.uniform(0.01, 2, (50, 3))
    rotation = Rotation.from_quat(quats, scalar_first=True).as_matrix()
    matrices = rotation @ (scales[:, :, None] ** 2 * np.eye(3)) @ rotation.transpose(0, 2, 1)
    covariances = covariance_from_quats_scales(quats, scales)
    assert covariances == pytest.approx(matrices[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]])
    assert covariance_from_quats_scales(quats, scales.astype(np.float32)).dtype == np.float32
