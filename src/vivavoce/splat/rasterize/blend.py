"""Numba kernels that composite the splats of each tile, and the gradients of that.

A tile is 16 blocks of 4 x 4 pixels, the lanes of one vector. The list of a tile is worked off in chunks: a chunk's
splats are copied out in order, each is tested against all 16 blocks at once, and every block then runs through the
short list of those that reach it with its transmittance and colour in registers.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from vivavoce.splat.rasterize import lanes as simd
from vivavoce.splat.rasterize.place import (
    FACTOR_A,
    FACTOR_B,
    FACTOR_C,
    LOG_ALPHA_MIN,
    LOG_OPACITY,
    MEAN_X,
    MEAN_Y,
    TILE,
)
from vivavoce.splat.rasterize.rules import ALPHA_MAX

BLOCK = 4
"""Pixels; side of a block."""

BLOCKS = (TILE // BLOCK) ** 2

CHUNK = 256
"""Splats of a tile that are prepared at once; what they need stays in the first-level cache."""

RECORD = 12
"""Floats of a prepared splat: u and v at the tile's first pixel, the three factors, log2 opacity, the colour."""

_STATE = 4 * simd.WIDTH
"""Floats of a block's state: transmittance, red, green, blue of its 16 pixels."""

SATURATED = np.float32(1e-4)
"""Behind this transmittance nothing shows."""

_MAX = np.float32(ALPHA_MAX)
_CUT = np.float32(LOG_ALPHA_MIN)
_ZERO = np.float32(0)
_LANE_X = (np.arange(simd.WIDTH) % BLOCK).astype(np.float32)
_LANE_Y = (np.arange(simd.WIDTH) // BLOCK).astype(np.float32)


@njit(inline="always")
def _prepare(splats, colors, indices, left, top, alive, records, entries, counts):
    """Copy a chunk's splats relative to the tile's first pixel, and list them for the blocks that they reach."""
    center_x = simd.fma(simd.load(_LANE_X, 0), np.float32(BLOCK), np.float32(0.5 * (BLOCK - 1)))
    center_y = simd.fma(simd.load(_LANE_Y, 0), np.float32(BLOCK), np.float32(0.5 * (BLOCK - 1)))
    half = np.float32(0.5 * (BLOCK - 1))
    counts[:] = 0
    for k in range(len(indices)):
        i = indices[k]
        at = k * RECORD
        a, b, c = splats[i, FACTOR_A], splats[i, FACTOR_B], splats[i, FACTOR_C]
        dx, dy = left - splats[i, MEAN_X], top - splats[i, MEAN_Y]
        u, v = a * dx + b * dy, c * dy
        log_opacity = splats[i, LOG_OPACITY]
        records[at], records[at + 1] = u, v
        records[at + 2], records[at + 3], records[at + 4] = a, b, c
        records[at + 5] = log_opacity
        records[at + 6], records[at + 7], records[at + 8] = colors[i, 0], colors[i, 1], colors[i, 2]

        # least |u| and |v| in each block: a block is a parallelogram in the plane of u and v
        least_u = simd.absolute(simd.fma(center_x, a, simd.fma(center_y, b, u))) - half * (abs(a) + abs(b))
        least_v = simd.absolute(simd.fma(center_y, c, v)) - half * c
        least_u = simd.where_less(least_u, _ZERO, _ZERO, least_u)
        least_v = simd.where_less(least_v, _ZERO, _ZERO, least_v)
        reach = log_opacity - _CUT + np.float32(1e-4)
        reached = simd.bits_less(simd.fma(least_u, least_u, least_v * least_v), reach) & alive
        while reached:
            block = simd.lowest_bit(reached)
            entries[block * CHUNK + counts[block]] = at
            counts[block] += 1
            reached &= reached - 1


@njit(inline="always")
def _exponent(records, at, x, y):
    """log2 of the alpha of the splat in the record at `at`, before clamp and cut-off, at 16 pixels of the tile."""
    u = simd.fma(
        x, simd.spread(records, at + 2), simd.fma(y, simd.spread(records, at + 3), simd.spread(records, at))
    )
    v = simd.fma(y, simd.spread(records, at + 4), simd.spread(records, at + 1))
    return simd.spread(records, at + 5) - u * u - v * v


@njit(inline="always")
def _alpha(exponent):
    alpha = simd.exp2(exponent)
    alpha = simd.where_less(alpha, _MAX, alpha, _MAX)
    return simd.where_less(exponent, _CUT, _ZERO, alpha)


@njit(inline="always")
def _blend_block(records, entries, first, count, block, state):
    """Composite `count` splats into a block's state, front to back; returns its greatest transmittance."""
    x = simd.load(_LANE_X, 0) + np.float32(BLOCK * (block % BLOCK))
    y = simd.load(_LANE_Y, 0) + np.float32(BLOCK * (block // BLOCK))
    at = block * _STATE
    light = simd.load(state, at)
    red, green, blue = simd.load(state, at + 16), simd.load(state, at + 32), simd.load(state, at + 48)
    for k in range(first, first + count):
        record = np.int64(entries[k])
        weight = _alpha(_exponent(records, record, x, y)) * light
        light = light - weight
        red = simd.fma(weight, simd.spread(records, record + 6), red)
        green = simd.fma(weight, simd.spread(records, record + 7), green)
        blue = simd.fma(weight, simd.spread(records, record + 8), blue)
    simd.store(state, at, light)
    simd.store(state, at + 16, red)
    simd.store(state, at + 32, green)
    simd.store(state, at + 48, blue)
    return simd.greatest(light)


@njit(nogil=True, cache=True, error_model="numpy")
def blend(splats, colors, starts, lists, rgb, transmittance):
    """Composite all tiles: premultiplied `rgb` (H, W, 3) and what light passes, `transmittance` (H, W)."""
    height, width = transmittance.shape
    columns = (width + TILE - 1) // TILE
    records = np.empty(CHUNK * RECORD, np.float32)
    entries = np.empty(BLOCKS * CHUNK, np.uint16)
    counts = np.empty(BLOCKS, np.int64)
    state = np.empty(BLOCKS * _STATE, np.float32)
    for tile in range(len(starts) - 1):
        left, top = TILE * (tile % columns), TILE * (tile // columns)
        _clear(state)
        alive = (1 << BLOCKS) - 1
        for first in range(starts[tile], starts[tile + 1], CHUNK):
            if alive == 0:
                break
            indices = lists[first : min(first + CHUNK, starts[tile + 1])]
            _prepare(
                splats,
                colors,
                indices,
                np.float32(left + 0.5),
                np.float32(top + 0.5),
                alive,
                records,
                entries,
                counts,
            )
            for block in range(BLOCKS):
                if counts[block] > 0:
                    most = _blend_block(records, entries, block * CHUNK, counts[block], block, state)
                    if most < SATURATED:
                        alive &= ~(1 << block)
        _write(state, left, top, rgb, transmittance)


@njit(inline="always")
def _clear(state):
    state[:] = _ZERO
    for block in range(BLOCKS):
        simd.store(state, block * _STATE, simd.splat(np.float32(1)))


@njit(inline="always")
def _write(state, left, top, rgb, transmittance):
    """Put a tile's state into the pictures, without what lies outside."""
    height, width = transmittance.shape
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            block = (y - top) // BLOCK * BLOCK + (x - left) // BLOCK
            at = block * _STATE + (y % BLOCK) * BLOCK + x % BLOCK
            transmittance[y, x] = state[at]
            rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2] = state[at + 16], state[at + 32], state[at + 48]
