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
    """How many cells lie over each quarter of a pixel, and the side of the last one."""
    count, size = np.zeros((2, 2 * (H + 4), 2 * (W + 4)))
    for (x, y), side in zip(2 * centres, sides, strict=True):
        left, top = x - side, y - side
        assert left == int(left)
        assert top == int(top)
        area = np.s_[int(top) : int(top + 2 * side), int(left) : int(left + 2 * side)]
        count[area] += 1
        size[area] = side
    return np.stack([count, size])[:, : 2 * H, : 2 * W]


def quartered(pixels: np.ndarray) -> np.ndarray:
    """The values of pixels at each of their quarters."""
    return pixels.repeat(2, 0).repeat(2, 1)


def test_every_wanted_pixel_lies_in_one_cell(scene):
    wanted = quartered(scene[1])
    count, _ = painted(*place(*scene))
    assert (count[wanted] == 1).all()
    assert not count[~wanted].any()  # a cell lies within what is wanted as a whole


def test_no_cell_is_larger_than_allowed(scene):
    _, wanted, finest = scene
    _, size = painted(*place(*scene))
    assert (size <= quartered(finest))[quartered(wanted)].all()
    assert set(np.unique(size)) == {0, 0.5, *CELLS}


def test_plain_parts_get_coarse_cells_and_detail_fine_ones(scene):
    image, wanted, _ = scene
    _, size = painted(*place(image, wanted, np.full((H, W), 4, np.int8)))
    assert (size[44:76, 64:96] <= 1).mean() > 0.9
    plain = np.zeros_like(wanted)
    plain[6:14, 38:54] = True
    assert (size[quartered(plain & wanted)] == 4).mean() > 0.9


def test_only_hard_edges_are_finer_than_pixels(scene):
    _, wanted, finest = scene
    ramp = np.linspace(0, 1, W, dtype=np.float32)[None, :, None].repeat(H, 0).repeat(3, 2)
    assert place(ramp, wanted, finest)[1].min() == 1
    bar = np.full_like(ramp, 0.8)
    bar[:, 40:43] = 0.05
    _, size = painted(*place(bar, wanted, finest))
    columns = np.unique(np.nonzero(size == 0.5)[1] // 2)
    assert set(columns) == {39, 40, 42, 43}


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
