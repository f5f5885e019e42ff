"""Where a synthetic person stands: the picture behind, the light, and how the camera frames the upper body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from vivavoce.splat.template.joints import Build
from vivavoce.splat.template.stage import Light
from vivavoce.types import Camera

FIELD = 0.52
"""Height of the view at the person, in statures: from above the head to the hips."""
DISTANCE = 2.6
"""Metres from the camera to the person."""
_MIDDLE = -0.25  # height of the view's middle above the pelvis, in statures

Picture = Float32[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class Framing:
    """A camera and what it looks at."""

    camera: Camera
    centre: Float[np.ndarray, " 3"]
    """Template space, mm."""
    distance: float


def framed(build: Build, width: int, height: int) -> Framing:
    """The upper body from above the head to the hips, whatever the stature."""
    field = FIELD * build.stature / 1000
    focal = height * DISTANCE / field
    centre = np.array([0.0, _MIDDLE * build.stature, 0.0])
    return Framing(Camera(width, height, focal, width / 2, height / 2), centre, DISTANCE)


def close_up(head: Float[np.ndarray, " 3"], face: float, size: int) -> Framing:
    """A square picture of a head, whose face of `face` mm takes 45 % of it."""
    field = face / 0.45 / 1000
    return Framing(
        Camera(size, size, size * DISTANCE / field, size / 2, size / 2), head - (0.0, 30.0, 0.0), DISTANCE
    )


def light(rng: np.random.Generator) -> Light:
    """A lamp above, from either side."""
    direction = (float(rng.uniform(-0.8, 0.8)), -float(rng.uniform(0.3, 0.8)), -0.8)
    return Light(direction, float(rng.uniform(0.45, 0.65)), float(rng.uniform(-1, 1)))


def background(kind: str, width: int, height: int, rng: np.random.Generator) -> Picture:
    """A picture of this kind, one of `BACKGROUNDS`, out of focus."""
    import cv2

    y, x = (np.mgrid[:height, :width] + 0.5) / height
    picture = BACKGROUNDS[kind](x, y, rng).astype(np.float32)
    return cv2.GaussianBlur(picture, (0, 0), height / 90).clip(0, 1)


def _muted(rng: np.random.Generator) -> Float[np.ndarray, " 3"]:
    return rng.uniform(0.35, 0.8) + rng.uniform(-0.12, 0.12, 3)


def _wall(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One colour, brighter towards a side."""
    slope = rng.uniform(-0.15, 0.15, 2)
    return _muted(rng) + (slope[0] * (x - 0.5) + slope[1] * (y - 0.5))[..., None]


def _curtain(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Soft folds from top to bottom."""
    folds = np.sin(2 * np.pi * (rng.uniform(5, 9) * x + 0.15 * np.sin(3 * y) + rng.uniform()))
    return _wall(x, y, rng) * (1 + 0.1 * folds)[..., None]


def _bricks(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of bricks, every second one moved by half a brick."""
    rows = 16
    row = np.minimum((y * rows).astype(int), rows - 1)
    across = x * 6 + 0.5 * (row % 2)
    brick = across.astype(int) % 8
    base = np.array([0.55, 0.33, 0.26]) + rng.uniform(-0.08, 0.12)
    picture = base * rng.uniform(0.85, 1.15, (rows, 8, 1))[row, brick]
    picture[((y * rows) % 1 < 0.14) | (across % 1 < 0.06)] = 0.68
    return picture


def _window(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A wall with a window at one side or both."""
    picture = _wall(x, y, rng)
    for left in ((rng.uniform(0.0, 0.1),), (rng.uniform(0.65, 0.78),), (0.04, 0.72))[int(rng.integers(3))]:
        top, wide, high = rng.uniform(0.05, 0.15), rng.uniform(0.2, 0.26), rng.uniform(0.45, 0.6)
        frame = (np.abs(x - left - wide / 2) < wide / 2 + 0.015) & (
            np.abs(y - top - high / 2) < high / 2 + 0.015
        )
        glass = (np.abs(x - left - wide / 2) < wide / 2) & (np.abs(y - top - high / 2) < high / 2)
        picture[frame] = 0.9
        picture[glass] = np.array([0.66, 0.8, 0.92]) + rng.uniform(-0.1, 0.06)
        picture[glass & (np.abs(x - left - wide / 2) < 0.008)] = 0.9
    return picture


def _shelves(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of books."""
    picture = np.empty((*x.shape, 3))
    rows, books = 4, 22
    colors = np.clip(
        rng.uniform(0.2, 0.65, (rows, books, 1)) + rng.uniform(-0.15, 0.15, (rows, books, 3)), 0, 1
    )
    row, book = np.minimum((y * rows).astype(int), rows - 1), np.minimum((x * books).astype(int), books - 1)
    picture[:] = colors[row, book]
    picture[(y * rows) % 1 > 0.9] = (0.3, 0.2, 0.13)
    return picture


def _garden(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sky, a line of trees, grass."""
    sky = np.array([0.62, 0.76, 0.9]) + rng.uniform(-0.08, 0.08) + 0.15 * y[..., None]
    trees = rng.uniform(0.45, 0.6) + 0.04 * sum(
        np.sin(2 * np.pi * (k * x + rng.uniform())) / k**0.5 for k in (1.0, 2.3, 5.1)
    )
    picture = np.where((y > trees)[..., None], np.array([0.2, 0.34, 0.18]), sky)
    grass = rng.uniform(0.72, 0.85)
    return np.where((y > grass)[..., None], np.array([0.42, 0.55, 0.27]) + rng.uniform(-0.05, 0.05), picture)


BACKGROUNDS: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
    "plain wall": _wall,
    "brick wall": _bricks,
    "curtain": _curtain,
    "bookshelf": _shelves,
    "window": _window,
    "garden": _garden,
}
"""By their names in `attributes.Background`."""
