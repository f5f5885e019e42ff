"""Numba kernels that bring Gaussians onto the image plane, in order of depth, and hand each tile its list.

A splat is stored as the factors of its exponent, so that an alpha needs two squares and no cancellation, however
thin the splat:

    alpha = 2^(log2(opacity) - u^2 - v^2),    u = a dx + b dy,    v = c dy,

where a, b, c are the Cholesky factor of the inverse covariance times sqrt(log2(e) / 2).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from vivavoce.splat.rasterize.rules import ALPHA_MIN, NEAR

TILE = 16
"""Pixels; side of a tile."""

MEAN_X, MEAN_Y, FACTOR_A, FACTOR_B, FACTOR_C, LOG_OPACITY = range(6)
SPLAT = 8
"""Floats a splat takes; the names above are their places, the last two are free."""

LOG_ALPHA_MIN = math.log2(ALPHA_MIN)

_RADIX_BITS = 11
_RADIX = 1 << _RADIX_BITS


@njit(inline="always")
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


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "arcp", "nsz", "reassoc"})
def project(means, covariances, opacities, view, splats, boxes):
    """Splats of all Gaussians, and the tiles they touch (see `rules` for the equations).

    `view` holds focal, cx, cy, the four limits of the Jacobian, eps2d, width and height. `boxes` (N, 4) are set
    to the first and last column, first and last row of tiles; the last column is -1 for what is not drawn.
    Arithmetic is in float64: a determinant of a thin splat is a small difference of large numbers.
    """
    focal, cx, cy, x_min, x_max, y_min, y_max, eps2d, width, height = view
    for i in range(len(means)):
        x, y, z = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        xx, xy, xz = (
            np.float64(covariances[i, 0]),
            np.float64(covariances[i, 1]),
            np.float64(covariances[i, 2]),
        )
        yy, yz, zz = (
            np.float64(covariances[i, 3]),
            np.float64(covariances[i, 4]),
            np.float64(covariances[i, 5]),
        )
        per_z = 1 / z
        scale = focal * per_z
        jx = -scale * min(max(x * per_z, x_min), x_max)
        jy = -scale * min(max(y * per_z, y_min), y_max)
        sxx = scale * (scale * xx + 2 * jx * xz) + jx * jx * zz + eps2d
        sxy = scale * (scale * xy + jy * xz + jx * yz) + jx * jy * zz
        syy = scale * (scale * yy + 2 * jy * yz) + jy * jy * zz + eps2d
        determinant = sxx * syy - sxy * sxy

        mean_x = x * scale + cx
        mean_y = y * scale + cy
        log_opacity = _log2(opacities[i])
        # squared Mahalanobis distance at the cut-off; a little more, against rounding
        reach = 2 * math.log(2) * (log_opacity - LOG_ALPHA_MIN) + 1e-4
        reach_x = math.sqrt(reach * sxx)
        reach_y = math.sqrt(reach * syy)
        # pixels whose centres lie within
        left = math.ceil(max(mean_x - reach_x, 0.0) - 0.5)
        right = math.floor(min(mean_x + reach_x, width) - 0.5)
        top = math.ceil(max(mean_y - reach_y, 0.0) - 0.5)
        bottom = math.floor(min(mean_y + reach_y, height) - 0.5)
        drawn = (
            (z >= NEAR)
            & (opacities[i] >= ALPHA_MIN)
            & (determinant > 0)
            & (sxx > 0)
            & (left <= right)
            & (top <= bottom)
        )
        boxes[i, 0] = np.int32(left / TILE) if drawn else 0
        boxes[i, 1] = np.int32(right / TILE) if drawn else -1
        boxes[i, 2] = np.int32(top / TILE) if drawn else 0
        boxes[i, 3] = np.int32(bottom / TILE) if drawn else -1

        unit = math.sqrt(0.5 / math.log(2))
        per_root = unit / math.sqrt(syy)
        splats[i, MEAN_X] = mean_x
        splats[i, MEAN_Y] = mean_y
        splats[i, FACTOR_A] = unit * math.sqrt(syy / determinant)
        splats[i, FACTOR_B] = -sxy / math.sqrt(determinant) * per_root
        splats[i, FACTOR_C] = per_root
        splats[i, LOG_OPACITY] = log_opacity


@njit(nogil=True, cache=True, error_model="numpy")
def sort_by_depth(means, boxes, pairs, spare):
    """Indices of what is drawn, nearest first, ties in the order given, in the low words of the pairs returned.

    `pairs` and `spare` (N,) uint64 are overwritten. A radix sort on the bits of the float32 depth, which order
    positive floats as they order integers: exact whatever the range, and short where the range is.
    """
    count = 0
    least, most = np.uint32(0xFFFFFFFF), np.uint32(0)
    for i in range(len(means)):
        if boxes[i, 1] >= 0:
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
def count_tiles(boxes, starts, columns, rows):
    """Set `starts` (tiles + 1,) to where the list of each tile begins; returns the length of all lists."""
    corners = np.zeros((rows + 1, columns + 1), np.int32)
    for i in range(len(boxes)):
        if boxes[i, 1] >= 0:
            left, right, top, bottom = boxes[i, 0], boxes[i, 1] + 1, boxes[i, 2], boxes[i, 3] + 1
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
def fill_tiles(pairs, boxes, starts, columns, lists):
    """Write the indices of the splats that touch each tile, nearest first, into `lists`."""
    ends = starts.copy()
    for pair in pairs:
        i = np.uint32(pair)
        left, right = boxes[i, 0], boxes[i, 1]
        for row in range(boxes[i, 2], boxes[i, 3] + 1):
            for tile in range(row * columns + left, row * columns + right + 1):
                lists[ends[tile]] = i
                ends[tile] += 1
