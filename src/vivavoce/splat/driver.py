"""Speech becomes motion: samples are pushed in, motion of the avatar comes out with a bounded look-ahead."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from vivavoce.splat.animate import motion_of
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.controls import ARTICULATION
from vivavoce.splat.motion.articulation import ArticulationStream
from vivavoce.splat.motion.rhythm import RhythmModel
from vivavoce.types import Motion


class Driver:
    """One avatar, one speech: `push` samples at 16 kHz and get the frames they settle, `finish` for the last
    ones.

    The articulation (learned) and the rhythm (rules) run side by side; frame k shows the time (k + 0.5) /
    fps.
    """

    def __init__(
        self,
        avatar: Avatar,
        *,
        fps: float,
        seed: int = 0,
        expressiveness: float = 1.0,
        articulation: object | None = None,
    ) -> None:
        self._avatar = avatar
        self._fps = fps
        self._articulation = articulation or ArticulationStream(fps=fps)
        self._rhythm = RhythmModel(fps, seed, expressiveness=expressiveness)
        self._waiting: list[np.ndarray] = [
            np.empty((0, len(ARTICULATION)), np.float32),
            np.empty((0, 15), np.float32),
        ]

    def push(self, samples: Float32[np.ndarray, " n"]) -> Motion:
        """Motion of the frames that these samples settle, possibly none."""
        return self._join(self._articulation.push(samples), self._rhythm.push(samples))

    def finish(self, frames: int) -> Motion:
        """The remaining frames, `frames` being the clip's total: the last row is held if the speech ends
        within it."""
        return self._join(self._articulation.finish(), self._rhythm.finish())

    def _join(self, *parts: np.ndarray) -> Motion:
        self._waiting = [np.concatenate([old, new]) for old, new in zip(self._waiting, parts, strict=True)]
        ready = min(len(w) for w in self._waiting)
        controls = np.concatenate([w[:ready] for w in self._waiting], axis=1)
        self._waiting = [w[ready:] for w in self._waiting]
        return motion_of(self._avatar, controls, self._fps)
