# ruff: noqa: PLR0917 (numba kernels have no keyword-only parameters)
"""Numba kernels for the gradients of `blend` with respect to colours and opacities.

With the gradient g of a loss by the picture, pixel by pixel, and w = alpha T the weight of a splat,

    dL/dcolor = sum w g,
    dL/dalpha = T (color . g) - rest / (1 - alpha),

where rest is what lies behind: the sum of w (color . g) of all later splats, and T_end (background . g). The
picture itself gives the whole sum, so going front to back again `rest` is what has not been met yet. (Kerbl
et al., 2023, go back to front and divide T instead; that needs the last splat of each pixel.)
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
    MAX,
    RED,
    SATURATED,
    ZERO,
    clamped_alpha,
    exponent,
    prepare,
    reaching,
)
from vivavoce.splat.rasterize.place import TILE

_STATE = 5 * simd.WIDTH
"""Floats of a block's state: transmittance, the gradient's three channels, the rest, of its 16 pixels."""


@njit(inline="always")
@no_type_check
def _color_block(chunk, word, block, state, gradient):
    """Add the weights of the splats in `word` times the picture's gradient to their colours' gradient.

    Returns the greatest transmittance that is left.
    """
    x = simd.load(LANE_X, 0) + np.float32(block % BLOCK * BLOCK)
    y = simd.load(LANE_Y, 0) + np.float32(block // BLOCK * BLOCK)
    at = block * _STATE
    light = simd.load(state, at)
    red, green, blue = simd.load(state, at + 16), simd.load(state, at + 32), simd.load(state, at + 48)
    while word:
        k = simd.lowest_bit(word)
        word &= word - np.uint64(1)
        weight = clamped_alpha(exponent(chunk, k, x, y)) * light
        light = light - weight
        simd.add_totals(gradient, 4 * k, weight * red, weight * green, weight * blue, ZERO)
    simd.store(state, at, light)
    return simd.greatest(light)


@njit(inline="always")
@no_type_check
def _opacity_block(chunk, word, block, state, gradient):
    """As `_color_block`, and the gradient by log opacity as the fourth."""
    x = simd.load(LANE_X, 0) + np.float32(block % BLOCK * BLOCK)
    y = simd.load(LANE_Y, 0) + np.float32(block // BLOCK * BLOCK)
    at = block * _STATE
    light = simd.load(state, at)
    red, green, blue = simd.load(state, at + 16), simd.load(state, at + 32), simd.load(state, at + 48)
    rest = simd.load(state, at + 64)
    while word:
        k = simd.lowest_bit(word)
        word &= word - np.uint64(1)
        alpha = clamped_alpha(exponent(chunk, k, x, y))
        weight = alpha * light
        along = red * simd.spread(chunk, RED + k)
        along = simd.fma(green, simd.spread(chunk, GREEN + k), along)
        along = simd.fma(blue, simd.spread(chunk, BLUE + k), along)
        rest = rest - weight * along
        by_alpha = light * along - rest / (np.float32(1) - alpha)
        light = light - weight
        # a clamped alpha does not move with the opacity
        moving = simd.where_less(alpha, MAX, alpha, ZERO)
        simd.add_totals(gradient, 4 * k, weight * red, weight * green, weight * blue, moving * by_alpha)
    simd.store(state, at, light)
    simd.store(state, at + 64, rest)
    return simd.greatest(light)


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def backward(splats, colors, starts, lists, image_gradient, rest, with_opacity, gradient):
    """Add to `gradient` (N, 4) the gradients by red, green, blue and, if asked for, by log opacity.

    `image_gradient` (H, W, 3) is the loss's gradient by the picture, `rest` (H, W) the scalar product of
    that with the picture over its background; without opacity it is not used.
    """
    columns = (rest.shape[1] + TILE - 1) // TILE
    chunk = np.zeros(FIELDS * CHUNK, np.float32)
    chunk_gradient = np.empty(4 * CHUNK, np.float32)
    state = np.empty(BLOCKS * _STATE, np.float32)
    for tile in range(len(starts) - 1):
        left, top = TILE * (tile % columns), TILE * (tile // columns)
        _read(state, left, top, image_gradient, rest)
        alive = (1 << BLOCKS) - 1
        for first in range(starts[tile], starts[tile + 1], CHUNK):
            if alive == 0:
                break
            indices = lists[first : min(first + CHUNK, starts[tile + 1])]
            prepare(splats, colors, indices, np.float32(left + 0.5), np.float32(top + 0.5), chunk)
            chunk_gradient[:] = ZERO
            for block in range(BLOCKS):
                word = reaching(chunk, len(indices), block) if alive >> block & 1 else np.uint64(0)
                if word:
                    if with_opacity:
                        most = _opacity_block(chunk, word, block, state, chunk_gradient)
                    else:
                        most = _color_block(chunk, word, block, state, chunk_gradient)
                    if most < SATURATED:
                        alive ^= 1 << block
            for k in range(len(indices)):
                for channel in range(4):
                    gradient[indices[k], channel] += chunk_gradient[4 * k + channel]


@njit(inline="always")
@no_type_check
def _read(state, left, top, image_gradient, rest):
    """Set a tile's state: full transmittance, and the gradient and the rest, 0 outside of the picture."""
    height, width = rest.shape
    state[:] = ZERO
    for block in range(BLOCKS):
        simd.store(state, block * _STATE, simd.splat(np.float32(1)))
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            block = (y - top) // BLOCK * BLOCK + (x - left) // BLOCK
            at = block * _STATE + (y % BLOCK) * BLOCK + x % BLOCK
            state[at + 16] = image_gradient[y, x, 0]
            state[at + 32] = image_gradient[y, x, 1]
            state[at + 48] = image_gradient[y, x, 2]
            state[at + 64] = rest[y, x]
