"""Quality of frames by known errors, another implementation's numbers, and ranks."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from vivavoce.evaluation.quality import psnr, rank, sharpness, ssim


def _frames(count=2, size=32):
    noise = np.random.default_rng(0).uniform(0, 255, (count, size, size, 3))
    return gaussian_filter(noise, (0, 2, 2, 0)).astype(np.uint8)


def test_psnr_is_that_of_the_mean_square():
    frames = np.full((2, 8, 8, 3), 100, np.uint8)
    worse = frames.copy()
    worse[0] += 10
    found = psnr(worse, frames)
    assert found[0] == pytest.approx(20 * np.log10(25.5))
    assert np.isinf(found[1])


def test_ssim_is_that_of_the_paper():
    """Of one channel, at one place far from the edge, by the formula written anew."""
    a = np.repeat(_frames(1, 64)[..., :1], 3, axis=3)
    b = np.clip(
        a.astype(int) + np.random.default_rng(1).normal(0, 12, a.shape[:3])[..., None], 0, 255
    ).astype(np.uint8)
    x, y = a[0, ..., 0].astype(np.float64), b[0, ..., 0].astype(np.float64)

    def mean(values):
        return gaussian_filter(values, 1.5, truncate=3.5)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    local = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(b, a)[0] == pytest.approx(local[5:-5, 5:-5].mean(), abs=1e-6)
    assert ssim(a, a)[0] == pytest.approx(1)


def test_blur_costs_sharpness_and_noise_adds_it():
    frames = _frames()
    blurred = gaussian_filter(frames, (0, 2, 2, 0))
    noisy = np.clip(frames + np.random.default_rng(2).normal(0, 20, frames.shape), 0, 255).astype(np.uint8)
    assert (sharpness(blurred) < sharpness(frames) - 1).all()
    assert (sharpness(noisy) > sharpness(frames) + 1).all()
    assert np.isfinite(sharpness(np.zeros((1, 8, 8, 3), np.uint8))).all()


def test_a_rank_is_the_share_below():
    values = np.array([1.0, 2.0, 2.0, 3.0])
    assert rank(2.5, values) == 0.75
    assert rank(2.0, values) == 0.5
    assert (rank(0.0, values), rank(9.0, values)) == (0, 1)
    with pytest.raises(ValueError, match="no values"):
        rank(1.0, np.zeros(0))
