"""Numba kernels from a premultiplied float picture to the bytes of a frame, without Python's lock."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

_ONE, _HALF, _BYTE = np.float32(1), np.float32(0.5), np.float32(255)


@njit(inline="always")
@no_type_check
def _byte(value):
    """[0, 1] to the nearest of 0 .. 255; what lies outside is clipped."""
    return np.uint8(min(max(value * _BYTE + _HALF, _HALF), _BYTE + _HALF))


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def compose(rgb, transmittance, background, out):
    """Lay premultiplied `rgb` over `background`, float32, into `out`, uint8: all (H, W, 3)."""
    height, width = transmittance.shape
    for y in range(height):
        for x in range(width):
            light = transmittance[y, x]
            out[y, x, 0] = _byte(rgb[y, x, 0] + light * background[y, x, 0])
            out[y, x, 1] = _byte(rgb[y, x, 1] + light * background[y, x, 1])
            out[y, x, 2] = _byte(rgb[y, x, 2] + light * background[y, x, 2])


@njit(nogil=True, cache=True, error_model="numpy")
@no_type_check
def compose_transparent(rgb, transmittance, out):
    """Premultiplied float32 `rgb` (H, W, 3) to `out` (H, W, 4), uint8 RGBA with straight alpha."""
    height, width = transmittance.shape
    for y in range(height):
        for x in range(width):
            alpha = _ONE - transmittance[y, x]
            scale = _ONE / alpha if alpha > 0 else np.float32(0)
            out[y, x, 0] = _byte(rgb[y, x, 0] * scale)
            out[y, x, 1] = _byte(rgb[y, x, 1] * scale)
            out[y, x, 2] = _byte(rgb[y, x, 2] * scale)
            out[y, x, 3] = _byte(alpha)
