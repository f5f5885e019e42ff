"""Colours and opacities of the person: against known pictures, the normal equations, and a soft matte."""

import numpy as np
import pytest

from vivavoce.splat.fit import fit_colors, fit_opacities
from vivavoce.splat.rasterize.cpu import CpuRasterizer
from vivavoce.types import Camera

CAMERA = Camera(48, 40, 60.0, 24.0, 20.0)


def scatter(count: int, *, seed: int, hidden: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, covariances and opacities of round Gaussians front to back, `hidden` ones behind a wall."""
    rng = np.random.default_rng(seed)
    z = np.sort(rng.uniform(0.9, 1.1, count))
    xy = rng.uniform([-0.42, -0.35], [0.42, 0.35], (count, 2)) * z[:, None]
    sigma = rng.uniform(0.02, 0.06, count)
    opacities = rng.uniform(0.3, 0.9, count)
    if hidden:
        z[-hidden:], sigma[-hidden:] = 3.0, 0.01
        wall = slice(count - 2 * hidden, count - hidden)
        z[wall], xy[wall], sigma[wall], opacities[wall] = 2.0, 0.0, 10.0, 0.99
    covariances = np.zeros((count, 6))
    covariances[:, [0, 3, 5]] = (sigma**2)[:, None]
    return np.c_[xy, z].astype(np.float32), covariances.astype(np.float32), opacities.astype(np.float32)


def placed(
    means: np.ndarray, covariances: np.ndarray, opacities: np.ndarray, dx: float = 0.0
) -> CpuRasterizer:
    camera = Camera(CAMERA.width, CAMERA.height, CAMERA.focal, CAMERA.cx + dx, CAMERA.cy)
    raster = CpuRasterizer(camera, len(means), eps2d=0.05)
    raster.place(means, covariances, opacities, presorted=True)
    return raster


def picture(raster: CpuRasterizer, colors: np.ndarray) -> np.ndarray:
    return raster.blend(colors.astype(np.float32))[0].copy()


def test_a_picture_made_of_gaussians_gives_their_colours_back():
    rng = np.random.default_rng(0)
    raster = placed(*scatter(60, seed=1))
    truth = rng.random((60, 3), np.float32)
    target = picture(raster, truth)
    start = np.full_like(truth, 0.5)
    found = fit_colors([(raster, target, 1.0)], start, iterations=60, prior=1e-5)
    before = ((picture(raster, start) - target) ** 2).sum()
    after = ((picture(raster, found) - target) ** 2).sum()
    assert after < before / 1000
    seen = raster.visible_weight() > 3
    assert seen.sum() > 20
    np.testing.assert_allclose(found[seen], truth[seen], atol=0.02)


def test_the_fit_solves_the_normal_equations():
    """(sum w A^T A + prior) c = sum w A^T target + prior c0, with A built column by column, in float64."""
    rng = np.random.default_rng(2)
    cloud = scatter(25, seed=3)
    views = [(placed(*cloud), 1.3), (placed(*cloud, dx=0.5), 0.7)]
    targets = [rng.random((CAMERA.height, CAMERA.width, 3), np.float32) for _ in views]
    start = rng.random((25, 3), np.float32)
    left, right = 0.5 * np.eye(25), 0.5 * start.astype(np.float64)
    for (raster, weight), target in zip(views, targets, strict=True):
        A = np.stack(
            [picture(raster, np.repeat(one[:, None], 3, 1))[..., 0].ravel() for one in np.eye(25)], 1
        )
        left += weight * A.T.astype(np.float64) @ A
        right += weight * A.T.astype(np.float64) @ target.reshape(-1, 3)
    given = [(raster, target, weight) for (raster, weight), target in zip(views, targets, strict=True)]
    found = fit_colors(given, start, iterations=60, prior=0.5)
    np.testing.assert_allclose(found, np.linalg.solve(left, right), atol=2e-3)


def test_hidden_gaussians_keep_their_colours():
    rng = np.random.default_rng(4)
    raster = placed(*scatter(40, seed=5, hidden=4))
    start = rng.random((40, 3), np.float32)
    target = rng.random((CAMERA.height, CAMERA.width, 3), np.float32)
    found = fit_colors([(raster, target, 1.0)], start)
    np.testing.assert_allclose(found[-4:], start[-4:], atol=1e-3)
    assert np.abs(found[:30] - start[:30]).max() > 0.1


@pytest.mark.parametrize("iterations", [1, 4, 16])
def test_a_fit_never_makes_the_picture_worse(iterations):
    rng = np.random.default_rng(6)
    raster = placed(*scatter(50, seed=7))
    start = rng.random((50, 3), np.float32)
    target = rng.random((CAMERA.height, CAMERA.width, 3), np.float32)
    found = fit_colors([(raster, target, 1.0)], start, iterations=iterations)
    before, after = (((picture(raster, c) - target) ** 2).sum() for c in (start, found))
    assert after < before


def lattice(spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Means and covariances of a square lattice of equal Gaussians, `spacing` pixels apart."""
    pixel = 1 / CAMERA.focal
    x, y = np.meshgrid(*(np.arange(spacing / 2, side, spacing) for side in (CAMERA.width, CAMERA.height)))
    means = np.c_[(x.ravel() - CAMERA.cx) * pixel, (y.ravel() - CAMERA.cy) * pixel, np.ones(x.size)]
    covariances = np.zeros((x.size, 6))
    covariances[:, [0, 3, 5]] = (0.62 * spacing * pixel) ** 2
    return means.astype(np.float32), covariances.astype(np.float32)


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_opacities_follow_a_soft_matte(spacing):
    """From full on the left to nothing on the right; at the start everything is a third too thin."""
    means, covariances = lattice(spacing)
    ramp = np.clip(1.5 - np.arange(CAMERA.width) / 24, 0, 1)
    matte = np.tile(ramp, (CAMERA.height, 1)).astype(np.float32)
    raster = CpuRasterizer(CAMERA, len(means), eps2d=0.05)
    column = (means[:, 0] * CAMERA.focal + CAMERA.cx).astype(int)
    depth = -np.log(np.clip(1 - ramp[column], 0.005, 1)) / (2 * np.pi * 0.62**2)
    start = (1 - np.exp(-0.66 * depth)).astype(np.float32)

    def miss(opacities: np.ndarray) -> np.ndarray:
        raster.place(means, covariances, opacities, presorted=True)
        alpha = 1 - raster.blend(np.zeros_like(means))[1]
        return np.abs(alpha - matte)[4:-4, 4:-4]

    fitted = fit_opacities(raster, means, covariances, start, matte)
    soft = np.s_[:, 10:28]
    assert miss(start)[soft].mean() > 0.08
    assert miss(fitted)[soft].mean() < 0.02
    assert miss(fitted).max() < 0.1
    np.testing.assert_array_equal(fitted[column < 8], start[column < 8])
    assert fitted.min() >= 0
    assert fitted.max() < 1


def test_gaussians_without_opacity_stay_without():
    means, covariances = lattice(1.0)
    raster = CpuRasterizer(CAMERA, len(means), eps2d=0.05)
    start = np.where(np.arange(len(means)) % 2, 0.5, 0).astype(np.float32)
    half = np.full((CAMERA.height, CAMERA.width), 0.5, np.float32)
    fitted = fit_opacities(raster, means, covariances, start, half)
    assert not fitted[start == 0].any()
    assert fitted[start > 0].min() > 0
