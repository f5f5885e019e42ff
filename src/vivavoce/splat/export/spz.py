"""Gaussians as .spz, version 3 (Niantic, MIT): a tenth of a .ply, and read by most viewers.

A gzipped header of 16 bytes, then the attributes one after the other: positions in 24-bit fixed point, opacities,
colours and logarithms of scales in 8 bits, rotations as the three smallest components in 10 bits each. Space is
x right, y up, z towards the viewer, where ours and the .ply's is x right, y down, z away.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from vivavoce.media.files import replacing
from vivavoce.splat.ply import SH_C0
from vivavoce.types import Gaussians

MAGIC, VERSION = 0x5053474E, 3
SCALES = (np.exp(-10.0), np.exp(255 / 16 - 10))
"""Standard deviations that can be told, in metres; others become the nearest of them."""

_COLOR_RANGE = 0.15  # of 8 bits, a unit of f_dc
_FINEST = 20  # fractional bits: a micrometre within 8 metres, which is enough of both
_FLIP = np.array([1.0, -1.0, -1.0])  # a half turn about x: proper, so that no handedness changes


def write_spz(path: Path, gaussians: Gaussians) -> None:
    """Write Gaussians of the camera's space to `path`.

    Errors are at most half a step: positions 2^-bits metres with as many bits as their range leaves (20 within 8
    metres), log scales 1 / 16 within `SCALES`, opacities 1 / 255, f_dc 1 / 38 within +-3.3, rotations 0.2 degrees.
    Raises OutputError if the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(_packed(gaussians), mtime=0))


def _packed(gaussians: Gaussians) -> bytes:
    positions, bits = _fixed_point(gaussians.means * _FLIP)
    f_dc = (gaussians.colors.astype(np.float64) - 0.5) / SH_C0
    scales = np.log(np.maximum(gaussians.scales.astype(np.float64), SCALES[0]))
    header = struct.pack("<IIIBBBB", MAGIC, VERSION, len(gaussians), 0, bits, 0, 0)
    parts = (
        positions,
        _byte(gaussians.opacities.astype(np.float64) * 255),
        _byte((f_dc * _COLOR_RANGE + 0.5) * 255),
        _byte((scales + 10) * 16),
        _smallest_three(gaussians.quats),
    )
    return header + b"".join(part.tobytes() for part in parts)


def _byte(values: np.ndarray) -> UInt8[np.ndarray, "..."]:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _fixed_point(points: np.ndarray) -> tuple[UInt8[np.ndarray, "N 9"], int]:
    """Three little-endian bytes a coordinate, and how many of their bits are fractional."""
    reach = float(np.abs(points).max(initial=0.0))
    bits = _FINEST
    while bits and round(reach * 2**bits) >= 2**23:
        bits -= 1
    fixed = np.round(points * 2.0**bits).astype("<i4")
    return fixed.view(np.uint8).reshape(len(points), 3, 4)[..., :3].reshape(len(points), 9), bits


def _smallest_three(quats: Float32[np.ndarray, "N 4"]) -> np.ndarray:
    """A 32-bit word a rotation: two bits tell the largest of x y z w, then sign and 9 bits of each other one."""
    q = quats[:, [1, 2, 3, 0]].astype(np.float64) * [*_FLIP, 1.0]
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    largest = np.abs(q).argmax(1)
    q *= np.where(q[np.arange(len(q)), largest] < 0, -1, 1)[:, None]
    sizes = np.minimum(np.round(np.abs(q) * (511 * np.sqrt(2))), 511).astype(np.uint32)
    coded = (q < 0).astype(np.uint32) << 9 | sizes
    words = largest.astype(np.uint32)
    for component in range(4):
        words = np.where(largest == component, words, words << 10 | coded[:, component])
    return words.astype("<u4")
