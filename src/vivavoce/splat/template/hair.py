"""Skull, ears and hair of the template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from vivavoce.splat.template.surface import Patch, Points, ellipsoid, joined, tube

Style = Literal["bald", "short", "curly", "bob", "long", "bun"]

SKULL_CENTRE = np.array([0.0, -32.0, 20.0])
SKULL_RADII = np.array([72.0, 84.0, 90.0])
"""mm, from between the ears of the mean face."""

# How high above the ears' middle (y) hair begins, from the forehead back to the nape (z), mm.
_HAIRLINE = np.array(
    [(-75, -80), (-62, -74), (-50, -52), (-30, -16), (-12, 4), (4, 14), (24, 30), (60, 46), (130, 52)]
)


@dataclass(frozen=True)
class Hair:
    """How somebody wears the hair."""

    style: Style
    color: tuple[float, float, float]


def skull(width: float, spacing: float) -> Patch:
    """The head behind the face, from between the ears; `width` is relative to the mean face's."""
    return ellipsoid(SKULL_CENTRE, SKULL_RADII * (width, 1.0, 1.0), spacing)


def ears(width: float, spacing: float) -> Patch:
    """Both ears."""
    return joined(
        [
            ellipsoid(np.array([sign * 70.0 * width, 4.0, 8.0]), np.array([6.0, 29.0, 16.0]), spacing)
            for sign in (1, -1)
        ]
    )


def hair(look: Hair, width: float, spacing: float, rng: np.random.Generator) -> tuple[Patch, Patch]:
    """What moves with the head, and what hangs lower; in the ears' frame. Either may be empty."""
    cap = ellipsoid(SKULL_CENTRE, SKULL_RADII * (width, 1.0, 1.0) + _THICKNESS[look.style], spacing)
    line = np.interp(cap.points[:, 2], *_HAIRLINE.T)
    if look.style == "bald":
        cap = cap.kept(np.zeros(len(cap), bool))
    else:
        ragged = line + 4.0 * rng.standard_normal(len(cap))
        cap = cap.kept(cap.points[:, 1] < ragged)
    parts = [cap]
    if look.style == "curly":
        parts = [_moved(cap, 5.0 * rng.standard_normal(len(cap)))]
    if look.style == "bun":
        parts.append(ellipsoid(np.array([0.0, -128.0, 46.0]), np.full(3, 34.0), spacing))
    hanging = cap.kept(np.zeros(len(cap), bool))
    if look.style in _HANGING:
        hanging = _curtain(_HANGING[look.style], width, spacing)
    return _streaked(joined(parts), look, rng), _streaked(hanging, look, rng)


_THICKNESS: dict[Style, float] = {
    "bald": 0.0,
    "short": 6.0,
    "curly": 20.0,
    "bob": 9.0,
    "long": 9.0,
    "bun": 5.0,
}
_HANGING: dict[Style, float] = {"bob": 82.0, "long": 190.0}  # how far below the ears' middle it reaches, mm


def _curtain(low: float, width: float, spacing: float) -> Patch:
    """Hair around the back and the sides of the neck, open to the front."""
    y = np.array([-30.0, 20.0, 60.0, low])
    y = y[: 3 if low < 61 else 4]
    axis = np.c_[np.zeros_like(y), y, np.array([20.0, 22.0, 26.0, 30.0])[: len(y)]]
    radii = np.array([(84.0, 96.0), (86.0, 92.0), (90.0, 86.0), (97.0, 78.0)])[: len(y)] * (width, 1.0)
    outer = tube(axis, radii, np.array([1.0, 0.0, 0.0]), spacing)
    inner = tube(axis, 0.86 * radii, np.array([1.0, 0.0, 0.0]), spacing)
    both = joined([outer, inner])
    return both.kept(both.points[:, 2] > -34.0)


def _moved(patch: Patch, by: Float[np.ndarray, " N"]) -> Patch:
    from dataclasses import replace

    return replace(patch, points=patch.points + by[:, None] * patch.normals)


def _streaked(patch: Patch, look: Hair, rng: np.random.Generator) -> Patch:
    """Strands: brightness that changes around the head but little along the hair."""
    around = np.arctan2(patch.points[:, 0], patch.points[:, 2])
    phases = rng.uniform(0, 2 * np.pi, 4)
    waves = sum(np.sin(k * around + p) for k, p in zip((17, 29, 43, 61), phases, strict=True))
    shade = 1 + 0.07 * waves + 0.05 * rng.standard_normal(len(patch))
    return patch.colored(np.clip(np.array(look.color) * shade[:, None], 0, 1))


def scalp_shade(points: Points, look: Hair, skin: tuple[float, float, float]) -> Float[np.ndarray, "N 3"]:
    """Colours of the skull: hair's own where hair grows, so that nothing shines through it."""
    grows = (points[:, 1] < np.interp(points[:, 2], *_HAIRLINE.T)) & (look.style != "bald")
    return np.where(grows[:, None], 0.85 * np.array(look.color), np.array(skin))
