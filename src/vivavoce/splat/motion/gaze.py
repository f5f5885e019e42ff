"""Where the eyes look: at the camera, now and then away from it, and always in spite of the head's motion."""

from __future__ import annotations

import math

import numpy as np

from vivavoce.splat.motion.cue import Cue
from vivavoce.splat.motion.kinetics import MinimumJerk

_DIRECTIONS = (15.54, 6.46, 17.69, 7.44, 16.80, 7.89, 20.38, 7.79)
"""Per cent of saccades at 0, 45 .. 315 degrees, counter-clockwise from the right (Lee et al., table 1)."""
_MEAN_SHIFT = 6.9  # degrees; the magnitudes are exponential
_SMALLEST, _LARGEST = 1.5, 8.0
_MUTUAL_TALKING, _AWAY_TALKING = 4.5, 0.9  # mean seconds
_MUTUAL_SILENT, _AWAY_SILENT = 7.9, 0.45
_AT_HESITATION = 0.35  # chance to look away where speech pauses
_REFIXATION, _JITTER = 1.1, 0.35  # mean seconds between small saccades, and their spread in degrees
_COMPENSATION = 0.95


class Gaze:
    """Fixations joined by saccades, after the statistics of "Eyes alive" (Lee, Badler & Badler, SIGGRAPH
    2002).

    Magnitudes, directions, and the times of looking at the partner and away are those of that study, but that
    a speaker looks at a camera somewhat longer than at a person, and that magnitudes end at 8 degrees.
    Speakers look away as they hesitate (Kendon, "Some functions of gaze-direction in social interaction",
    Acta Psychol. 1967). A saccade of A degrees lasts 25 ms + 2.4 ms A (the main sequence: Bahill, Clark &
    Stark, Math. Biosci. 1975, with the constants of Lee et al.). The vestibulo-ocular reflex turns the eyes
    against the head.
    """

    def __init__(self, rng: np.random.Generator, expressiveness: float) -> None:
        self._rng = rng
        self._scale = expressiveness
        self._x, self._y = MinimumJerk(), MinimumJerk()
        self._away = False
        self._until = self._wait(_MUTUAL_TALKING)
        self._next_small = self._wait(_REFIXATION)

    def step(self, cue: Cue, yaw: float, pitch: float) -> tuple[float, float, float]:
        """Eyes in the head, x and y, and the size of the saccade that begins now or 0; all in degrees.

        `yaw` and `pitch` of the face against the camera, in degrees.
        """
        shift = 0.0
        if cue.offset and not self._away and self._rng.random() < _AT_HESITATION:
            self._until = cue.time
        if cue.onset and self._away:
            self._until = min(self._until, cue.time + float(self._rng.uniform(0.1, 0.5)))
        if cue.time >= self._until:
            self._away = not self._away
            means = (_MUTUAL_TALKING, _AWAY_TALKING) if cue.speech else (_MUTUAL_SILENT, _AWAY_SILENT)
            self._until = cue.time + self._wait(means[self._away])
            shift = self._look(cue.time, *(self._aversion() if self._away else self._camera()))
        elif cue.time >= self._next_small:
            dx, dy = self._camera()
            if self._away:
                dx, dy = self._x.goal + dx, self._y.goal + dy
            shift = self._look(cue.time, dx, dy)
        x, y = self._x.at(cue.time), self._y.at(cue.time)
        return x - _COMPENSATION * yaw, y - _COMPENSATION * pitch, shift

    def _look(self, time: float, x: float, y: float) -> float:
        distance = math.hypot(x - self._x.goal, y - self._y.goal)
        duration = 0.025 + 0.0024 * distance
        self._x.move_to(x, time, duration)
        self._y.move_to(y, time, duration)
        self._next_small = time + 0.15 + self._wait(_REFIXATION)
        return distance

    def _camera(self) -> tuple[float, float]:
        """A point on or about the camera."""
        scale = _JITTER * (0.4 + 0.6 * min(1.0, self._scale))
        x, y = scale * np.clip(self._rng.standard_normal(2), -2, 2)
        return float(x), float(y)

    def _aversion(self) -> tuple[float, float]:
        sector = self._rng.choice(8, p=np.array(_DIRECTIONS) / sum(_DIRECTIONS))
        angle = math.radians(45 * float(sector) + float(self._rng.uniform(-22.5, 22.5)))
        # An exponential distribution between the two bounds, by its inverse.
        low, high = (math.exp(-bound / _MEAN_SHIFT) for bound in (_SMALLEST, _LARGEST))
        size = -_MEAN_SHIFT * math.log(float(self._rng.uniform(high, low)))
        size = min(_LARGEST, size * self._scale)
        return size * math.cos(angle), -size * math.sin(angle)

    def _wait(self, mean: float) -> float:
        """Seconds; skewed as the times in the study are, whose deviations about equal their means."""
        return mean * (0.2 + 0.8 * float(self._rng.standard_exponential()))
