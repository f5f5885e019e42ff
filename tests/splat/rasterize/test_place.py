"""The order of depth and the lists of the tiles, against numpy and brute force."""

from __future__ import annotations

import numpy as np
import pytest

from vivavoce.splat.rasterize import place

BOX = np.int64(1) << 16 | np.int64(1) << 48
"""The first tile of the picture alone."""


def depth_order(depths):
    means = np.zeros((len(depths), 3), np.float32)
    means[:, 2] = depths
    boxes = np.full(len(depths), BOX)
    pairs = place.sort_by_depth(
        means, boxes, np.zeros(len(depths), np.uint64), np.zeros(len(depths), np.uint64)
    )
    return (pairs & 0xFFFFFFFF).astype(np.int64)


@pytest.mark.parametrize(
    "depths",
    [
        np.zeros(0),
        np.ones(1),
        np.full(300, 2.5),
        np.random.default_rng(0).uniform(1, 1 + 1e-5, 500),
        np.random.default_rng(1).choice([0.01, 0.5, 3e38], 500),
        np.exp(np.random.default_rng(2).uniform(-4.6, 80, 5000)),
    ],
    ids=["none", "one", "equal", "narrow", "ties", "wide"],
)
def test_order_is_numpys_stable_order(depths):
    depths = depths.astype(np.float32)
    assert (depth_order(depths) == np.argsort(depths, kind="stable")).all()


def test_lists_hold_what_touches_a_tile_nearest_first():
    rng = np.random.default_rng(3)
    columns, rows, count = 7, 5, 400
    left, top = rng.integers(0, columns, count), rng.integers(0, rows, count)
    right, bottom = rng.integers(left + 1, columns + 1), rng.integers(top + 1, rows + 1)
    boxes = left | right << 16 | top << 32 | bottom << 48
    boxes[::5] = 0  # not drawn
    means = rng.uniform(1, 2, (count, 3)).astype(np.float32)
    pairs = place.sort_by_depth(means, boxes, np.zeros(count, np.uint64), np.zeros(count, np.uint64))
    starts = np.zeros(columns * rows + 1, np.int64)
    lists = np.full(place.count_tiles(boxes, starts, columns, rows), -1, np.int32)
    place.fill_tiles(pairs, boxes, starts, columns, lists)

    order = np.argsort(means[:, 2], kind="stable")
    for tile in range(columns * rows):
        row, column = divmod(tile, columns)
        touching = (left <= column) & (column < right) & (top <= row) & (row < bottom) & (boxes > 0)
        assert lists[starts[tile] : starts[tile + 1]].tolist() == [i for i in order if touching[i]]
