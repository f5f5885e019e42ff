"""An avatar and its motion as the bytes that the viewer reads: JSON that describes arrays, and the arrays, gzipped."""

from __future__ import annotations

import gzip
import json
import struct
from dataclasses import asdict
from typing import Any

import numpy as np

from vivavoce.splat.avatar import Avatar
from vivavoce.splat.export.coding import LEVER, SHADE, CodedMotion, code_motion
from vivavoce.splat.layers import KINDS
from vivavoce.types import Binding, Motion

_UNIT = 2.0**14
"""The largest variance is stored as this: a thousandth of it is still exact to 11 bits in half precision."""


def payload(avatar: Avatar, motion: Motion) -> bytes:
    """What the viewer needs to draw every frame of `motion`, in the camera's space.

    Centres are exact to 2^-16 of the avatar's size, covariances and colours to 2^-11 of their values, weights to
    2^-15 of the largest, and their gradients to 1/254 of the Gaussian's largest one.
    """
    used = np.unique(avatar.binding.indices)
    rest = avatar.lift.points(avatar.rest.astype(np.float64)).astype(np.float32)
    moved = Motion(motion.fps, np.ascontiguousarray(motion.transforms[:, used]), motion.gains)
    coded = code_motion(moved, rest[used])
    box, unit, arrays = _gaussians(avatar)
    one, bound = _binding(avatar.binding, used)
    arrays |= bound | _motion(coded) | {"rest": rest[used]}
    face = rest[[name.startswith("face_") for name in avatar.particles]]
    facts = {
        "count": len(avatar.gaussians),
        "sizes": np.bincount(avatar.kinds, minlength=len(KINDS)).tolist(),
        "slots": len(arrays["indices"]),
        "kinds": len(KINDS),
        "low": box[0].tolist(),
        "high": box[1].tolist(),
        "unit": unit,
        "one": one,
        "frames": len(motion.transforms),
        "fps": motion.fps,
        "particles": len(used),
        "lever": LEVER,
        "shade": SHADE,
        "camera": asdict(avatar.lift.camera),
        "pivot": (face if len(face) else avatar.gaussians.means).mean(0).tolist(),
    }
    return pack(facts, arrays)


def pack(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """Length of the JSON, the JSON, and the arrays at multiples of 4 bytes from there; the same bytes each time."""
    table, blocks, offset = [], [], 0
    for name, array in arrays.items():
        block = array.tobytes() + b"\0" * (-array.nbytes % 4)
        table.append({"name": name, "kind": array.dtype.str[1:], "count": array.size, "offset": offset})
        blocks.append(block)
        offset += len(block)
    header = json.dumps({"facts": facts, "arrays": table}).encode()
    header += b" " * (-len(header) % 4)
    return gzip.compress(b"".join([struct.pack("<I", len(header)), header, *blocks]), mtime=0)


def _gaussians(avatar: Avatar) -> tuple[np.ndarray, float, dict[str, np.ndarray]]:
    """The box of the centres (2, 3), what variances are multiplied by, and the arrays, a plane a component."""
    means, covariances = avatar.gaussians.means.astype(np.float64), avatar.covariances.astype(np.float64)
    box = np.stack([means.min(0), means.max(0)])
    centers = np.round((means - box[0]) / np.maximum(box[1] - box[0], 1e-9) * 65535)
    unit = _UNIT / float(covariances.max())
    colors = np.concatenate([avatar.gaussians.colors, avatar.gaussians.opacities[:, None]], 1)
    arrays = {
        "centers": centers.T.astype(np.uint16),
        "covariances": _halves(covariances.T * unit),
        "colors": _halves(colors.T),
    }
    return box, unit, arrays


def _binding(binding: Binding, used: np.ndarray) -> tuple[int, dict[str, np.ndarray]]:
    """What stands for a weight of 1, and the arrays, slot by slot, of which there is an even number.

    Particles are counted among the `used` ones. Behind the lips weights go below 0 and above 1.
    """
    one = int(32766 / np.abs(binding.weights).max())
    pad = binding.indices.shape[1] % 2
    indices = np.pad(np.searchsorted(used, binding.indices), ((0, 0), (0, pad)))
    weights = np.pad(binding.weights.astype(np.float64), ((0, 0), (0, pad)))
    gradients = np.pad(binding.gradients.astype(np.float64), ((0, 0), (0, pad), (0, 0)))
    steps = (np.abs(gradients).max((1, 2)) / 127).astype(np.float16)
    whole = np.round(gradients / np.maximum(steps.astype(np.float64), 1e-12)[:, None, None])
    units = np.round(weights * one)
    # What rounding took from the sum or gave it is put right where it weighs least.
    units[np.arange(len(units)), units.argmax(1)] += one - units.sum(1)
    return one, {
        "indices": indices.T.astype(np.uint16),
        "weights": units.T.astype(np.int16),
        "gradients": np.clip(whole, -127, 127).transpose(1, 2, 0).astype(np.int8),
        "gradient_steps": steps.view(np.uint16),
    }


def _motion(coded: CodedMotion) -> dict[str, np.ndarray]:
    return {name: getattr(coded, name) for name in ("mean", "shapes", "strengths", "steps")}


def _halves(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.astype(np.float16)).view(np.uint16)
