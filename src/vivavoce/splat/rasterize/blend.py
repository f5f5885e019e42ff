# ruff: noqa: PLR0917 (numba kernels have no keyword-only parameters)
"""Numba kernels that composite the splats of each tile into a picture.

A tile is 16 blocks of 4 x 4 pixels, each the lanes of one vector. The list of a tile is worked off in chunks
of 64. The chunk is copied out in order; a block tests 16 splats at once for whether they reach it, and runs
through those that do, the set bits of one word, with its transmittance and colour in registers.
"""

from __future__ import annotations

from typing import no_type_check

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

CHUNK = 64
"""Splats prepared at once: as many as a word has bits."""

FIELDS = 11
U, V, A, B, C, LOG, REACH_U, REACH_V, RED, GREEN, BLUE = (CHUNK * field for field in range(FIELDS))
"""Where the fields of a chunk begin: u and v at the tile's first pixel and the factors (see `place`), log2 of
the opacity, how much |u| and |v| can change from the centre of a block to its corner pixels, the colour."""

STATE = 4 * simd.WIDTH
"""Floats of a block's state: transmittance, red, green, blue of its 16 pixels."""

SATURATED = np.float32(1e-4)
"""Behind this transmittance nothing shows."""

MAX = np.float32(ALPHA_MAX)
CUT = np.float32(LOG_ALPHA_MIN)
ZERO = np.float32(0)
LANE_X = (np.arange(simd.WIDTH) % BLOCK).astype(np.float32)
LANE_Y = (np.arange(simd.WIDTH) // BLOCK).astype(np.float32)
_HALF = np.float32(0.5 * (BLOCK - 1))


@njit(inline="always")
@no_type_check
def prepare(splats, colors, indices, left, top, chunk):
    """Copy splats into `chunk`, their exponents relative to the pixel centre at (left, top)."""
    for k in range(len(indices)):
        i = indices[k]
        a, b, c = splats[i, FACTOR_A], splats[i, FACTOR_B], splats[i, FACTOR_C]
        dx, dy = left - splats[i, MEAN_X], top - splats[i, MEAN_Y]
        chunk[U + k], chunk[V + k] = a * dx + b * dy, c * dy
        chunk[A + k], chunk[B + k], chunk[C + k] = a, b, c
        chunk[LOG + k] = splats[i, LOG_OPACITY]
        chunk[REACH_U + k], chunk[REACH_V + k] = _HALF * (abs(a) + abs(b)), _HALF * c
        chunk[RED + k], chunk[GREEN + k], chunk[BLUE + k] = colors[i, 0], colors[i, 1], colors[i, 2]


@njit(inline="always")
@no_type_check
def reaching(chunk, count, block):
    """The splats of a chunk that may show in a block, as the bits of a word.

    In the plane of u and v a block is a parallelogram and the splat a circle; what is tested is the
    parallelogram's bounding box, so nothing that shows is lost.
    """
    x = np.float32(block % BLOCK * BLOCK) + _HALF
    y = np.float32(block // BLOCK * BLOCK) + _HALF
    word = np.uint64(0)
    for k in range(0, count, simd.WIDTH):
        center_u = simd.fma(
            simd.load(chunk, A + k), x, simd.fma(simd.load(chunk, B + k), y, simd.load(chunk, U + k))
        )
        center_v = simd.fma(simd.load(chunk, C + k), y, simd.load(chunk, V + k))
        u = simd.absolute(center_u) - simd.load(chunk, REACH_U + k)
        v = simd.absolute(center_v) - simd.load(chunk, REACH_V + k)
        u, v = simd.where_less(u, ZERO, ZERO, u), simd.where_less(v, ZERO, ZERO, v)
        # a little more than the cut-off, against rounding
        reach = simd.load(chunk, LOG + k) - (CUT - np.float32(1e-3))
        word |= np.uint64(simd.bits_less(simd.fma(u, u, v * v), reach)) << np.uint64(k)
    # what lies behind the last splat is left over from another chunk
    return word & (~np.uint64(0) >> np.uint64(CHUNK - count))


@njit(inline="always")
@no_type_check
def exponent(chunk, k, x, y):
    """log2 of the alpha of splat k, before clamp and cut-off, at 16 pixels relative to the tile's first."""
    u = simd.fma(
        x, simd.spread(chunk, A + k), simd.fma(y, simd.spread(chunk, B + k), simd.spread(chunk, U + k))
    )
    v = simd.fma(y, simd.spread(chunk, C + k), simd.spread(chunk, V + k))
    return simd.spread(chunk, LOG + k) - u * u - v * v


@njit(inline="always")
@no_type_check
def clamped_alpha(power):
    """2^power, held below one and cut off."""
    alpha = simd.exp2(power)
    alpha = simd.where_less(alpha, MAX, alpha, MAX)
    return simd.where_less(power, CUT, ZERO, alpha)


@njit(inline="always")
@no_type_check
def _blend_block(chunk, word, block, state):
    """Composite the splats in `word` into a block's state; returns its greatest transmittance."""
    x = simd.load(LANE_X, 0) + np.float32(block % BLOCK * BLOCK)
    y = simd.load(LANE_Y, 0) + np.float32(block // BLOCK * BLOCK)
    at = block * STATE
    light = simd.load(state, at)
    red, green, blue = simd.load(state, at + 16), simd.load(state, at + 32), simd.load(state, at + 48)
    while word:
        k = simd.lowest_bit(word)
        word &= word - np.uint64(1)
        weight = clamped_alpha(exponent(chunk, k, x, y)) * light
        light = light - weight
        red = simd.fma(weight, simd.spread(chunk, RED + k), red)
        green = simd.fma(weight, simd.spread(chunk, GREEN + k), green)
        blue = simd.fma(weight, simd.spread(chunk, BLUE + k), blue)
    simd.store(state, at, light)
    simd.store(state, at + 16, red)
    simd.store(state, at + 32, green)
    simd.store(state, at + 48, blue)
    return simd.greatest(light)


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def blend(splats, colors, starts, lists, rgb, transmittance):
    """Composite all tiles: premultiplied `rgb` (H, W, 3) and what light passes, `transmittance` (H, W)."""
    width = transmittance.shape[1]
    columns = (width + TILE - 1) // TILE
    chunk = np.zeros(FIELDS * CHUNK, np.float32)
    state = np.empty(BLOCKS * STATE, np.float32)
    for tile in range(len(starts) - 1):
        left, top = TILE * (tile % columns), TILE * (tile // columns)
        state[:] = ZERO
        for block in range(BLOCKS):
            simd.store(state, block * STATE, simd.splat(np.float32(1)))
        alive = (1 << BLOCKS) - 1
        for first in range(starts[tile], starts[tile + 1], CHUNK):
            if alive == 0:
                break
            indices = lists[first : min(first + CHUNK, starts[tile + 1])]
            prepare(splats, colors, indices, np.float32(left + 0.5), np.float32(top + 0.5), chunk)
            for block in range(BLOCKS):
                if alive >> block & 1:
                    word = reaching(chunk, len(indices), block)
                    if word and _blend_block(chunk, word, block, state) < SATURATED:
                        alive ^= 1 << block
        _write(state, left, top, rgb, transmittance)


@njit(inline="always")
@no_type_check
def _write(state, left, top, rgb, transmittance):
    """Put a tile's state into the pictures, without what lies outside."""
    height, width = transmittance.shape
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            block = (y - top) // BLOCK * BLOCK + (x - left) // BLOCK
            at = block * STATE + (y % BLOCK) * BLOCK + x % BLOCK
            transmittance[y, x] = state[at]
            rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2] = state[at + 16], state[at + 32], state[at + 48]
