# ruff: noqa: PLR0917 (numba kernels have no keyword-only parameters)
"""Numba kernels that bring Gaussians onto the image plane, in order of depth, and list them by tile.

A splat is stored as the factors of its exponent, so that an alpha takes two squares and loses no digits,
however thin the splat:

    alpha = 2^(log2(opacity) - u^2 - v^2),    u = a dx + b dy,    v = c dy,

where a, b, c are the Cholesky factor of the inverse covariance times sqrt(log2(e) / 2).
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

from vivavoce.splat.rasterize.lanes import square_root
from vivavoce.splat.rasterize.rules import ALPHA_MIN, NEAR

_TILE_BITS = 4
TILE = 1 << _TILE_BITS
"""Pixels; side of a tile."""

MEAN_X, MEAN_Y, FACTOR_A, FACTOR_B, FACTOR_C, LOG_OPACITY = range(6)
SPLAT = 8
"""Floats a splat takes; the names above are their places, the last two are free."""

LOG_ALPHA_MIN = math.log2(ALPHA_MIN)

_UNIT = math.sqrt(0.5 / math.log(2))
"""Turns the exponent -d^2 / 2 of e into one of 2 when d is multiplied by it."""

_RADIX_BITS = 11
_RADIX = 1 << _RADIX_BITS


@njit(inline="always")
@no_type_check
def _log2(x):
    """log2 of a positive float32 to 1e-7, without a call, so that the loop around it is vectorised."""
    bits = np.float32(x).view(np.int32)
    # the mantissa is taken from [sqrt(1/2), sqrt(2)), where the series converges fast
    exponent = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
    mantissa = np.float64(np.int32(bits - (exponent << np.int32(23))).view(np.float32))
    s = (mantissa - 1) / (mantissa + 1)
    s2 = s * s
    series = s * (1 + s2 * (1 / 3 + s2 * (1 / 5 + s2 * (1 / 7 + s2 / 9))))
    return exponent + 2 / math.log(2) * series


@njit(inline="always")
@no_type_check
def _hold(value, low, high):
    """`value` within [low, high]; `low` for what is not a number."""
    value = value if value > low else low
    return value if value < high else high


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "arcp", "nsz", "reassoc"})
@no_type_check
def project(means, covariances, opacities, view, splats, boxes):
    """Splats of all Gaussians, and the tiles they touch (see `rules` for the equations).

    `view` holds focal, cx, cy, the four limits of the Jacobian, eps2d, width and height. `boxes` (N,) are
    set to the first column of tiles, the one after the last, and so for rows, 16 bits each; 0 for what is
    not drawn. Arithmetic is in float64: a determinant of a thin splat is a small difference of large
    numbers.
    """
    focal, cx, cy, x_min, x_max, y_min, y_max, eps2d, width, height = view
    # flat arrays have strides that LLVM knows, without which it does not vectorise
    means, covs = means.reshape(-1), covariances.reshape(-1)
    splats = splats.reshape(-1)
    for i in range(len(opacities)):
        x, y, z = np.float64(means[3 * i]), np.float64(means[3 * i + 1]), np.float64(means[3 * i + 2])
        xx, xy, xz = np.float64(covs[6 * i]), np.float64(covs[6 * i + 1]), np.float64(covs[6 * i + 2])
        yy, yz, zz = np.float64(covs[6 * i + 3]), np.float64(covs[6 * i + 4]), np.float64(covs[6 * i + 5])
        per_z = 1 / z
        scale = focal * per_z
        jx = -scale * _hold(x * per_z, x_min, x_max)
        jy = -scale * _hold(y * per_z, y_min, y_max)
        sxx = scale * (scale * xx + 2 * jx * xz) + jx * jx * zz + eps2d
        sxy = scale * (scale * xy + jy * xz + jx * yz) + jx * jy * zz
        syy = scale * (scale * yy + 2 * jy * yz) + jy * jy * zz + eps2d
        determinant = sxx * syy - sxy * sxy

        mean_x = x * scale + cx
        mean_y = y * scale + cy
        log_opacity = _log2(opacities[i])
        # squared Mahalanobis distance at the cut-off; a little more, against rounding
        reach = 2 * math.log(2) * (log_opacity - LOG_ALPHA_MIN) + 1e-4
        reach_x = square_root(reach * sxx)
        reach_y = square_root(reach * syy)
        # the first pixel whose centre lies within, and the one after the last
        left = np.int64(_hold(mean_x - reach_x, 0.0, width) + 0.5)
        right = np.int64(_hold(mean_x + reach_x, -0.5, width) + 0.5)
        top = np.int64(_hold(mean_y - reach_y, 0.0, height) + 0.5)
        bottom = np.int64(_hold(mean_y + reach_y, -0.5, height) + 0.5)
        seen = (z >= NEAR) & (opacities[i] >= ALPHA_MIN) & (determinant > 0) & (sxx > 0)
        # false as well for what is infinite or not a number
        seen &= (z < np.inf) & (determinant < np.inf)
        drawn = np.int64(seen & (left < right) & (top < bottom))
        right, bottom = (right + TILE - 1) >> _TILE_BITS, (bottom + TILE - 1) >> _TILE_BITS
        boxes[i] = drawn * ((left >> _TILE_BITS) | right << 16 | (top >> _TILE_BITS) << 32 | bottom << 48)

        per_root = _UNIT / square_root(syy * determinant)
        splats[SPLAT * i + MEAN_X] = mean_x
        splats[SPLAT * i + MEAN_Y] = mean_y
        splats[SPLAT * i + FACTOR_A] = syy * per_root
        splats[SPLAT * i + FACTOR_B] = -sxy * per_root
        splats[SPLAT * i + FACTOR_C] = _UNIT / square_root(syy)
        splats[SPLAT * i + LOG_OPACITY] = log_opacity


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def sort_by_depth(means, boxes, pairs, spare):
    """Indices of what is drawn, nearest first, ties in the order given: the low words of what is returned.

    `pairs` and `spare` (N,) uint64 are overwritten. A radix sort on the bits of the float32 depth, which
    order positive floats as they order integers: exact whatever the range, and short where the range is.
    """
    count = 0
    least, most = np.uint32(0xFFFFFFFF), np.uint32(0)
    for i in range(len(means)):
        if boxes[i] > 0:
            key = np.float32(means[i, 2]).view(np.uint32)
            least, most = min(least, key), max(most, key)
            pairs[count] = (np.uint64(key) << np.uint64(32)) | np.uint64(i)
            count += 1
    places = np.empty(_RADIX, np.int64)
    shift = 32
    while count > 0 and (np.uint64(most - least) << np.uint64(32)) >> np.uint64(shift) > 0:
        places[:] = 0
        offset = np.uint64(least) << np.uint64(32)
        for i in range(count):
            places[((pairs[i] - offset) >> np.uint64(shift)) & np.uint64(_RADIX - 1)] += 1
        below = 0
        for digit in range(_RADIX):
            below, places[digit] = below + places[digit], below
        for i in range(count):
            digit = ((pairs[i] - offset) >> np.uint64(shift)) & np.uint64(_RADIX - 1)
            spare[places[digit]] = pairs[i]
            places[digit] += 1
        pairs, spare = spare, pairs
        shift += _RADIX_BITS
    return pairs[:count]


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def keep_order(boxes, pairs):
    """Indices of what is drawn, in the order given, as `sort_by_depth` returns them."""
    count = 0
    for i in range(len(boxes)):
        if boxes[i] > 0:
            pairs[count] = i
            count += 1
    return pairs[:count]


@njit(inline="always")
@no_type_check
def _unpack(box):
    """First column of tiles, the one after the last, first row, the one after the last."""
    return box & 0xFFFF, (box >> 16) & 0xFFFF, (box >> 32) & 0xFFFF, box >> 48


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def count_tiles(boxes, starts, columns, rows):
    """Set `starts` (tiles + 1,) to where the list of each tile begins; returns the length of all lists."""
    corners = np.zeros((rows + 1, columns + 1), np.int32)
    for i in range(len(boxes)):
        if boxes[i] > 0:
            left, right, top, bottom = _unpack(boxes[i])
            corners[top, left] += 1
            corners[top, right] -= 1
            corners[bottom, left] -= 1
            corners[bottom, right] += 1
    # the sum over everything above and to the left of a tile is the number of boxes it lies in
    total = 0
    for row in range(rows):
        across = 0
        for column in range(columns):
            across += corners[row, column]
            if row > 0:
                corners[row, column] = across + corners[row - 1, column]
            else:
                corners[row, column] = across
            starts[row * columns + column] = total
            total += corners[row, column]
    starts[rows * columns] = total
    return total


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def fill_tiles(pairs, boxes, starts, columns, lists):
    """Write the indices of the splats that touch each tile, nearest first, into `lists`."""
    ends = starts.copy()
    for pair in pairs:
        i = np.uint32(pair)
        left, right, top, bottom = _unpack(boxes[i])
        for row in range(top, bottom):
            for tile in range(row * columns + left, row * columns + right):
                lists[ends[tile]] = i
                ends[tile] += 1
