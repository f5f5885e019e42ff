# ruff: noqa: PLR0917 (numba kernels have no keyword-only parameters)
"""Numba kernels for the gradients of `blend`: colours alone, or colours, depths and the splats' exponents.

With the gradient g of a loss by the picture, pixel by pixel, and w = alpha T the weight of a splat,

    dL/dcolor = sum w g,
    dL/dalpha = T along - rest / (1 - alpha),    along = g . (color - picture) + ...,

where rest is the sum of w `along` over what lies behind, the background with it. Weights and the last
transmittance add up to one, so taking the picture off every colour changes no dL/dalpha, and makes the sum of
w `along` over all zero: going front to back again, `rest` is minus what has been met. (Kerbl et al., 2023, go
back to front and divide T instead; that needs the last splat of each pixel.) Alpha is a channel of colour 1
before a background of 0, and the expected depth one whose own mean is taken off, so they come along:

    along = g . (color - picture) + g_alpha T_end + g_depth / alpha_total (z - depth).

An alpha that moves, neither clamped nor cut off, is opacity 2^(-u^2 - v^2), so that with q = alpha dL/dalpha
the sums of q, q u, q v, q u^2, q u v and q v^2 are all that mean and covariance need (`place_gradient`).

Sums are kept for every splat of every tile apart and gathered in the order of the tiles: the result does not
depend on how the tiles were shared out among threads.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from vivavoce.splat.rasterize import lanes as simd
from vivavoce.splat.rasterize.blend import (
    BLOCK,
    BLOCKS,
    BLUE,
    CHUNK,
    FIELDS,
    GREEN,
    LANE_X,
    LANE_Y,
    LOG,
    MAX,
    RED,
    SATURATED,
    ZERO,
    A,
    B,
    C,
    U,
    V,
    clamped_alpha,
    exponent,
    prepare,
    reaching,
)
from vivavoce.splat.rasterize.place import TILE

COLOR_SUMS = 4
"""Floats of a splat's sums where colours alone are asked for: red, green, blue, nothing."""

SUMS = 12
"""Floats of a splat's sums: red, green, blue, then those named below; two are free, as four are added at once."""

BY_DEPTH, BY_LOG, BY_U, BY_V, BY_UU, BY_UV, BY_VV = 3, 4, 5, 6, 8, 9, 10

CHANNELS = 6
"""Floats of a pixel: the gradient by red, green and blue, what is added to g . color, the gradient by the
depth over the pixel's alpha, the depth."""

_DEPTH = CHUNK * FIELDS
"""Where the depths of a chunk begin."""

_STATE = (CHANNELS + 2) * simd.WIDTH
"""Floats of a block's state: transmittance, the rest, the channels, of its 16 pixels."""

_ONE = np.float32(1)


@njit(inline="always")
@no_type_check
def _color_block(chunk, word, block, state, sums, at_sums):
    """Add the weights of the splats in `word` times the picture's gradient to their colours' gradient.

    Returns the greatest transmittance that is left.
    """
    x = simd.load(LANE_X, 0) + np.float32(block % BLOCK * BLOCK)
    y = simd.load(LANE_Y, 0) + np.float32(block // BLOCK * BLOCK)
    at = block * _STATE
    light = simd.load(state, at)
    red, green, blue = simd.load(state, at + 32), simd.load(state, at + 48), simd.load(state, at + 64)
    while word:
        k = simd.lowest_bit(word)
        word &= word - np.uint64(1)
        weight = clamped_alpha(exponent(chunk, k, x, y)) * light
        light = light - weight
        simd.add_totals(sums, at_sums + COLOR_SUMS * k, weight * red, weight * green, weight * blue, ZERO)
    simd.store(state, at, light)
    return simd.greatest(light)


@njit(inline="always")
@no_type_check
def _full_block(chunk, word, block, state, sums, at_sums):
    """As `_color_block`, and all other sums."""
    x = simd.load(LANE_X, 0) + np.float32(block % BLOCK * BLOCK)
    y = simd.load(LANE_Y, 0) + np.float32(block // BLOCK * BLOCK)
    at = block * _STATE
    light, rest = simd.load(state, at), simd.load(state, at + 16)
    red, green, blue = simd.load(state, at + 32), simd.load(state, at + 48), simd.load(state, at + 64)
    added, by_depth, depth = simd.load(state, at + 80), simd.load(state, at + 96), simd.load(state, at + 112)
    while word:
        k = simd.lowest_bit(word)
        word &= word - np.uint64(1)
        u = simd.fma(
            x, simd.spread(chunk, A + k), simd.fma(y, simd.spread(chunk, B + k), simd.spread(chunk, U + k))
        )
        v = simd.fma(y, simd.spread(chunk, C + k), simd.spread(chunk, V + k))
        alpha = clamped_alpha(simd.spread(chunk, LOG + k) - u * u - v * v)
        weight = alpha * light

        along = simd.fma(blue, simd.spread(chunk, BLUE + k), added)
        along = simd.fma(green, simd.spread(chunk, GREEN + k), along)
        along = simd.fma(red, simd.spread(chunk, RED + k), along)
        along = simd.fma(by_depth, simd.spread(chunk, _DEPTH + k) - depth, along)
        rest = rest - weight * along
        by_alpha = light * along - rest / (_ONE - alpha)
        light = light - weight
        # a clamped alpha does not move
        q = simd.where_less(alpha, MAX, alpha, ZERO) * by_alpha
        qu, qv = q * u, q * v

        to = at_sums + SUMS * k
        simd.add_totals(sums, to, weight * red, weight * green, weight * blue, weight * by_depth)
        simd.add_totals(sums, to + BY_LOG, q, qu, qv, ZERO)
        simd.add_totals(sums, to + BY_UU, qu * u, qu * v, qv * v, ZERO)
    simd.store(state, at, light)
    simd.store(state, at + 16, rest)
    return simd.greatest(light)


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def backward(splats, colors, depths, starts, lists, pixels, first_tile, last_tile, sums):
    """Write what the splats of tiles first_tile .. last_tile - 1 sum up over their pixels into `sums`.

    `pixels` (H, W, 6) holds CHANNELS, or (H, W, 3) the picture's gradient alone for colours alone; `sums`,
    flat, has SUMS floats, or COLOR_SUMS, for each entry of `lists`.
    """
    columns = (pixels.shape[1] + TILE - 1) // TILE
    full = pixels.shape[2] == CHANNELS
    floats = SUMS if full else COLOR_SUMS
    chunk = np.zeros((FIELDS + 1) * CHUNK, np.float32)
    state = np.empty(BLOCKS * _STATE, np.float32)
    for tile in range(first_tile, last_tile):
        left, top = TILE * (tile % columns), TILE * (tile // columns)
        _read(state, left, top, pixels)
        sums[floats * starts[tile] : floats * starts[tile + 1]] = ZERO
        alive = (1 << BLOCKS) - 1
        for first in range(starts[tile], starts[tile + 1], CHUNK):
            if alive == 0:
                break
            indices = lists[first : min(first + CHUNK, starts[tile + 1])]
            prepare(splats, colors, indices, np.float32(left + 0.5), np.float32(top + 0.5), chunk)
            for k in range(len(indices)):
                chunk[_DEPTH + k] = depths[indices[k]]
            for block in range(BLOCKS):
                word = reaching(chunk, len(indices), block) if alive >> block & 1 else np.uint64(0)
                if word:
                    if full:
                        most = _full_block(chunk, word, block, state, sums, SUMS * first)
                    else:
                        most = _color_block(chunk, word, block, state, sums, COLOR_SUMS * first)
                    if most < SATURATED:
                        alive ^= 1 << block


@njit(inline="always")
@no_type_check
def _read(state, left, top, pixels):
    """Set a tile's state: full transmittance, no rest, and the channels, 0 outside of the picture."""
    height, width, channels = pixels.shape
    state[:] = ZERO
    for block in range(BLOCKS):
        simd.store(state, block * _STATE, simd.splat(_ONE))
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            block = (y - top) // BLOCK * BLOCK + (x - left) // BLOCK
            at = block * _STATE + (y % BLOCK) * BLOCK + x % BLOCK
            for channel in range(channels):
                state[at + simd.WIDTH * (channel + 2)] = pixels[y, x, channel]


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def gather(lists, count, sums, gathered):
    """Add the first `count` entries of the lists' `sums`, flat, up by splat: to `gathered` (N, floats)."""
    floats = gathered.shape[1]
    for entry in range(count):
        i = lists[entry]
        # four at a time, which LLVM makes one addition
        for to in range(0, floats, 4):
            at = floats * entry + to
            gathered[i, to] += sums[at]
            gathered[i, to + 1] += sums[at + 1]
            gathered[i, to + 2] += sums[at + 2]
            gathered[i, to + 3] += sums[at + 3]
