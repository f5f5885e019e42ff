"""What a user may choose about a video, with the bounds within which it makes sense."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vivavoce.errors import InputError


@dataclass(frozen=True)
class GenerateOptions:
    """The options of `vivavoce.generate`. Raises InputError for a value that is out of bounds."""

    size: int | None = None
    """Short side of the frames in pixels, 64..4096; None for the avatar's own."""
    fps: float = 25.0
    """Frames a second, 1..120."""
    seed: int = 0
    """The same seed gives the same motion."""
    background: str = "photo"
    """`photo`, `transparent`, a colour, or the path of a picture."""
    expressiveness: float = 1.0
    """How lively head, brows, shoulders and hands are, 0..2."""
    text: str | None = None
    """What is said, where that is known."""
    face: int | None = None
    """Who speaks, counted from the left, from 1; None for the largest face."""

    def __post_init__(self) -> None:
        if self.size is not None:
            _check("size", self.size, 64, 4096)
        _check("fps", self.fps, 1, 120)
        _check("expressiveness", self.expressiveness, 0, 2)
        _check("seed", self.seed, 0, 2**32 - 1)
        check_face(self.face)
        if self.text is not None and not self.text.strip():
            raise InputError("The text is empty: give the words that are said, or leave --text out.")


def check_face(face: int | None) -> None:
    """Raise InputError unless `face` can number a person in a photo."""
    if face is not None:
        _check("face", face, 1, 1000)


def _check(name: str, value: float | int, low: int, high: int) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"--{name} {value:g} is out of bounds: give a number from {low} to {high}.")
