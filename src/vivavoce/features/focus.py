"""Where one looks first in a picture of a person: at the mouth, the face, the hands."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from vivavoce.features.physical_state import PARTS, Keypoints

_MOUTH, _FACE, _HAND = 6.0, 3.0, 3.0
"""How much more an error counts there than on the background."""


def focus_of(keypoints: Keypoints, width: int, height: int) -> Float32[np.ndarray, "F H W"]:
    """The weight of each pixel: 1, and more around what is seen of mouth, face and hands, like bells.

    For losses that would otherwise hardly see a mouth, which is a hundredth of the picture. The idea of weighting
    faces and lips is StableAvatar's (Tu et al. 2025, whose masks are hard).
    """
    body, face, left, right = np.split(keypoints, np.cumsum(list(PARTS.values()))[:-1], axis=1)
    del body
    out = np.ones((len(keypoints), height, width), np.float32)
    for points, extent, gain in (
        (face[:, 48:], 1.6, _MOUTH),
        (face, 1.0, _FACE),
        (left, 1.2, _HAND),
        (right, 1.2, _HAND),
    ):
        out += gain * _bell(points, extent, width, height)
    return out


def _bell(
    points: Float32[np.ndarray, "F p 3"], extent: float, width: int, height: int
) -> Float32[np.ndarray, "F H W"]:
    """1 in the middle of the points that are seen, falling off over `extent` times their spread; 0 where none is."""
    seen = points[..., 2:] > 0
    count = np.maximum(seen.sum(1), 1)
    at = (points[..., :2] + 1) / 2 * (width, height)
    middle = (at * seen).sum(1) / count
    spread = np.sqrt((((at - middle[:, None]) ** 2).sum(-1, keepdims=True) * seen).sum(1) / count)
    radius = np.maximum(extent * spread, 2.0)[..., None]
    y, x = np.mgrid[:height, :width] + 0.5
    far = (x - middle[:, 0, None, None]) ** 2 + (y - middle[:, 1, None, None]) ** 2
    return (np.exp(-far / (2 * radius**2)) * seen.any(1)[..., None]).astype(np.float32)
