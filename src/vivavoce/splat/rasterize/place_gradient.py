# ruff: noqa: PLR0917 (numba kernels have no keyword-only parameters)
"""A numba kernel for the gradients of `place.project`, from what `gradient` has summed up over pixels.

Numba knows a cached kernel by its own file alone: after a change of the places in `gradient` or `place`, touch
this one.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from numba import njit

from vivavoce.splat.rasterize.gradient import BY_DEPTH, BY_LOG, BY_U, BY_UU, BY_UV, BY_V, BY_VV
from vivavoce.splat.rasterize.place import FACTOR_A, FACTOR_B, FACTOR_C

_PER_UNIT = 2 * math.log(2)
"""One over the square of what the factors of a splat are scaled by (see `place`)."""


@njit(inline="always")
@no_type_check
def _inside(value, low, high):
    """1 where `value` may move within [low, high], 0 where it is held."""
    return 1.0 if low <= value <= high else 0.0


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def project_backward(
    means, covariances, opacities, view, splats, boxes, sums, by_means, by_covariances, by_opacities
):
    """Gradients by means (N, 3), covariances (N, 6) and opacities (N,), 0 for what is not drawn.

    `view`, `splats` and `boxes` are those of `place.project`, `sums` (N, SUMS) those of `gradient`. With P
    the inverse of the projected covariance S and d a pixel's offset, P d = U^T (u, v) for the factor U, so

        dL/dmean = sum q P d,    dL/dS = G = sum q P d (P d)^T / 2,

    and S = J V J^T + eps2d I gives dL/dV = J^T G J, dL/dJ = 2 G J V. Off the diagonal, a covariance's
    number stands for two entries of the matrix. Arithmetic is in float64.
    """
    focal, _, _, x_min, x_max, y_min, y_max, _, _, _ = view
    for i in range(len(opacities)):
        by_means[i], by_covariances[i], by_opacities[i] = 0, 0, 0
        if boxes[i] == 0:
            continue
        a, b = np.float64(splats[i, FACTOR_A]), np.float64(splats[i, FACTOR_B])
        c = np.float64(splats[i, FACTOR_C])
        uu, uv, vv = np.float64(sums[i, BY_UU]), np.float64(sums[i, BY_UV]), np.float64(sums[i, BY_VV])
        by_x = _PER_UNIT * a * sums[i, BY_U]
        by_y = _PER_UNIT * (b * sums[i, BY_U] + c * sums[i, BY_V])
        half = 0.5 * _PER_UNIT**2
        gxx = half * a * a * uu
        gxy = half * a * (b * uu + c * uv)
        gyy = half * (b * (b * uu + 2 * c * uv) + c * c * vv)

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
        slope_x = min(max(x * per_z, x_min), x_max)
        slope_y = min(max(y * per_z, y_min), y_max)
        jx, jy = -scale * slope_x, -scale * slope_y

        by_covariances[i, 0] = scale * scale * gxx
        by_covariances[i, 1] = 2 * scale * scale * gxy
        by_covariances[i, 2] = 2 * scale * (gxx * jx + gxy * jy)
        by_covariances[i, 3] = scale * scale * gyy
        by_covariances[i, 4] = 2 * scale * (gxy * jx + gyy * jy)
        by_covariances[i, 5] = gxx * jx * jx + 2 * gxy * jx * jy + gyy * jy * jy

        # the columns of V J^T, and with them 2 G J V where J depends on the mean
        ux, uy, uz = scale * xx + jx * xz, scale * xy + jx * yz, scale * xz + jx * zz
        vx, vy, vz = scale * xy + jy * xz, scale * yy + jy * yz, scale * yz + jy * zz
        by_jx, by_jy = 2 * (gxx * uz + gxy * vz), 2 * (gxy * uz + gyy * vz)
        by_scale = 2 * (gxx * ux + gxy * (vx + uy) + gyy * vy) - slope_x * by_jx - slope_y * by_jy
        by_scale += by_x * x + by_y * y
        by_slope_x = -scale * by_jx * _inside(x * per_z, x_min, x_max)
        by_slope_y = -scale * by_jy * _inside(y * per_z, y_min, y_max)

        by_means[i, 0] = by_x * scale + by_slope_x * per_z
        by_means[i, 1] = by_y * scale + by_slope_y * per_z
        by_means[i, 2] = sums[i, BY_DEPTH] - per_z * (
            by_scale * scale + per_z * (by_slope_x * x + by_slope_y * y)
        )
        by_opacities[i] = sums[i, BY_LOG] / opacities[i]
