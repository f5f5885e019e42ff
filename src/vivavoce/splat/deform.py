"""The deformer: particles move rigidly, Gaussians follow by smooth weights and stretch by their gradient."""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float32
from numba import njit

from vivavoce.types import Binding


def deform(
    means: Float32[np.ndarray, "N 3"],
    covariances: Float32[np.ndarray, "N 6"],
    binding: Binding,
    transforms: Float32[np.ndarray, "M 3 4"],
    *,
    out: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[Float32[np.ndarray, "N 3"], Float32[np.ndarray, "N 6"]]:
    """Move Gaussians with their particles.

    A Gaussian at x goes to y(x) = sum_k w_k(x) T_k x, and its covariance S (stored xx xy xz yy yz zz)
    to J S J^T with J = dy/dx = sum_k w_k R_k + sum_k (T_k x) grad(w_k)^T. The translations alone are relative
    to x, which keeps the second sum small and exact in float32. `out` reuses arrays of the results' shapes.
    """
    moved, turned = out if out is not None else (np.empty_like(means), np.empty_like(covariances))
    _deform(
        means, covariances, binding.indices, binding.weights, binding.gradients, transforms, moved, turned
    )
    return moved, turned


MAX_STRETCH = 4.0
"""Largest Frobenius norm of J: beyond it a Gaussian would smear, so it is scaled down to this."""


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
@no_type_check
def _deform(means, covariances, indices, weights, gradients, transforms, moved, turned):  # noqa: PLR0917
    slots = indices.shape[1]
    for n in range(means.shape[0]):
        x, y, z = means[n, 0], means[n, 1], means[n, 2]
        j = np.zeros((3, 3), np.float32)
        dx = dy = dz = np.float32(0.0)
        for k in range(slots):
            w = weights[n, k]
            gx, gy, gz = gradients[n, k, 0], gradients[n, k, 1], gradients[n, k, 2]
            if w == 0.0 and gx == 0.0 and gy == 0.0 and gz == 0.0:
                continue
            t = transforms[indices[n, k]]
            # Displacements rather than positions: sum_k grad(w_k) = 0 makes both equal, this loses no digits.
            ux = t[0, 0] * x + t[0, 1] * y + t[0, 2] * z + t[0, 3] - x
            uy = t[1, 0] * x + t[1, 1] * y + t[1, 2] * z + t[1, 3] - y
            uz = t[2, 0] * x + t[2, 1] * y + t[2, 2] * z + t[2, 3] - z
            dx += w * ux
            dy += w * uy
            dz += w * uz
            for c in range(3):
                u = ux if c == 0 else (uy if c == 1 else uz)
                j[c, 0] += w * t[c, 0] + u * gx
                j[c, 1] += w * t[c, 1] + u * gy
                j[c, 2] += w * t[c, 2] + u * gz
        moved[n, 0], moved[n, 1], moved[n, 2] = x + dx, y + dy, z + dz
        size = np.float32(0.0)
        for a in range(3):
            for b in range(3):
                size += j[a, b] * j[a, b]
        if size > np.float32(MAX_STRETCH * MAX_STRETCH):
            shrink = np.float32(MAX_STRETCH) / math.sqrt(size)
            for a in range(3):
                for b in range(3):
                    j[a, b] *= shrink
        _congruence(j, covariances[n], turned[n])


@njit(nogil=True, cache=True, fastmath=True, error_model="numpy", inline="always")
@no_type_check
def _congruence(j, s, out):
    q = 0
    for a in range(3):
        r0 = j[a, 0] * s[0] + j[a, 1] * s[1] + j[a, 2] * s[2]
        r1 = j[a, 0] * s[1] + j[a, 1] * s[3] + j[a, 2] * s[4]
        r2 = j[a, 0] * s[2] + j[a, 1] * s[4] + j[a, 2] * s[5]
        for b in range(a, 3):
            out[q] = r0 * j[b, 0] + r1 * j[b, 1] + r2 * j[b, 2]
            q += 1
