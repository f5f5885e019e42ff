"""The quadtree of Gaussians: it covers what is wanted, once, finely where it must, coarsely where it may."""

import numpy as np
import pytest

from vivavoce.splat.placement import CELLS, DETAIL, SIGMA, place

H, W = 61, 90  # no multiples of the coarsest cell


@pytest.fixture(scope="module")
def scene():
    """A plain picture with a noisy square, a wanted disc, and rows of only the finest cells."""
    rng = np.random.default_rng(0)
    image = np.full((H, W, 3), 0.5, np.float32)
    image[20:40, 30:50] = rng.random((20, 20, 3))
    y, x = np.mgrid[:H, :W]
    wanted = (x - 45) ** 2 + (y - 30) ** 2 < 28**2
    finest = np.full((H, W), 4, np.int8)
    finest[45:, :] = 1
    finest[:, 60:] = np.minimum(finest[:, 60:], 2)
    return image, wanted, finest


def painted(centres: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """How many cells lie over each pixel, and the side of the last one."""
    count = np.zeros((H + 4, W + 4), int)
    size = np.zeros_like(count)
    for (x, y), side in zip(centres, sides, strict=True):
        left, top = x - side / 2, y - side / 2
        assert left == int(left)
        assert top == int(top)
        area = np.s_[int(top) : int(top + side), int(left) : int(left + side)]
        count[area] += 1
        size[area] = side
    return np.stack([count, size])


def test_every_wanted_pixel_lies_in_one_cell(scene):
    _, wanted, _ = scene
    count, _ = painted(*place(*scene))
    assert (count[:H, :W][wanted] == 1).all()
    assert count.max() == 1
    assert not count[:H, :W][~wanted].any()  # a cell lies within what is wanted as a whole


def test_no_cell_is_larger_than_allowed(scene):
    _, wanted, finest = scene
    _, size = painted(*place(*scene))
    assert (size[:H, :W][wanted] <= finest[wanted]).all()
    assert set(np.unique(size)) == {0, *CELLS}


def test_plain_parts_get_coarse_cells_and_detail_fine_ones(scene):
    image, wanted, _ = scene
    _, size = painted(*place(image, wanted, np.full((H, W), 4, np.int8)))
    size = size[:H, :W]
    assert (size[22:38, 32:48] == 1).mean() > 0.9
    plain = np.zeros_like(wanted)
    plain[6:14, 38:54] = True
    assert (size[plain & wanted] == 4).mean() > 0.9


def test_more_blur_allowed_means_fewer_gaussians(scene):
    image, wanted, _ = scene
    free = np.full((H, W), 4, np.int8)
    smooth = np.cumsum(np.cumsum(np.random.default_rng(1).normal(0, 0.02, (H, W, 3)), 0), 1).astype(
        np.float32
    )
    counts = [len(place(smooth, wanted, free, detail=DETAIL * k)[0]) for k in (0.25, 1, 4, 16)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 2 * counts[-1]
    assert len(place(np.zeros_like(image), wanted, free)[0]) < wanted.sum() / 6


def test_nothing_wanted_gives_nothing(scene):
    image, wanted, finest = scene
    centres, sides = place(image, np.zeros_like(wanted), finest)
    assert centres.shape == (0, 2)
    assert sides.shape == (0,)


def test_gaussians_of_this_width_make_an_even_surface():
    """The sum of a lattice of Gaussians ripples by 2 exp(-2 pi^2 sigma^2) a direction (Poisson summation)."""
    at = np.arange(-8, 9)
    x = np.linspace(0, 1, 101)
    line = np.exp(-0.5 * ((x[:, None] - at) / SIGMA) ** 2).sum(1)
    ripple = np.ptp(line) / line.mean()
    assert ripple == pytest.approx(4 * np.exp(-2 * np.pi**2 * SIGMA**2), rel=1e-3)
    assert ripple < 3 / 255
