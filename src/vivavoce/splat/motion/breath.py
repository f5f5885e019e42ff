"""Breathing, at rest and around speech."""

from __future__ import annotations

import math

import numpy as np

from vivavoce.splat.motion.cue import Cue
from vivavoce.splat.motion.kinetics import STEP, CriticalSpring

_CYCLE, _SPREAD = (
    4.0,
    0.15,
)  # median seconds of a breath at rest (15 a minute), and its log-standard deviation
_INHALING = 0.42  # share of the cycle
_TIDE = 0.45  # a breath at rest goes from -TIDE to TIDE
_GASP = (0.4, 0.6)  # seconds of a breath between phrases
_FULL = (0.4, 0.9)  # where it ends
_EMPTY, _EMPTYING = -0.95, (3.0, 8.0)  # where speech tends to, and how fast: seconds
_WANT = (-0.5, 0.4)  # with less air than this, a pause is used to breathe in: not every pause is
_CALM = 0.8  # seconds without speech after which breathing is as at rest
_SMOOTH = 9.0  # radians a second


class Breath:
    """Air in the lungs, -1 out .. 1 in.

    At rest 12 to 20 breaths a minute, in a little faster than out. Speech is spoken on long, slow exhalations
    between quick inhalations (Conrad & Schönle, "Speech and respiration", Arch. Psychiatr. Nervenkr. 1979;
    Hixon, Goldman & Mead, J. Speech Hear. Res. 1973), most of them taken at the boundaries of clauses
    (Winkworth et al., "Breathing patterns during spontaneous speech", J. Speech Hear. Res. 1995).
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._volume = float(rng.uniform(-_TIDE, _TIDE))
        self._spring = CriticalSpring(_SMOOTH, self._volume)
        self._speaking = False
        self._emptying = _EMPTYING[0]
        self._cycle = _CYCLE
        self._goal, self._rate = _TIDE, 2 * _TIDE / (_INHALING * _CYCLE)

    def step(self, cue: Cue) -> float:
        """The air in the lungs now."""
        if cue.speech:
            if not self._speaking:
                self._speaking = True
                self._emptying = float(self._rng.uniform(*_EMPTYING))
            self._volume += (_EMPTY - self._volume) * STEP / self._emptying
        else:
            if cue.offset and self._volume < float(self._rng.uniform(*_WANT)):
                self._goal = float(self._rng.uniform(*_FULL))
                self._rate = (self._goal - self._volume) / float(self._rng.uniform(*_GASP))
                self._speaking = False
            elif self._speaking and cue.pause > _CALM:
                self._speaking = False
                self._turn()
            if not self._speaking:
                self._breathe()
        return min(1.0, max(-1.0, self._spring.follow(self._volume)))

    def _breathe(self) -> None:
        """Go on to the goal, and turn there."""
        left = self._goal - self._volume
        if abs(left) <= self._rate * STEP:
            self._volume = self._goal
            self._turn()
        else:
            self._volume += math.copysign(self._rate * STEP, left)

    def _turn(self) -> None:
        """The next half of a breath at rest."""
        inhale = self._volume <= 0
        if inhale:
            self._cycle = _CYCLE * float(np.exp(_SPREAD * self._rng.standard_normal()))
        self._goal = _TIDE if inhale else -_TIDE
        duration = self._cycle * (_INHALING if inhale else 1 - _INHALING)
        self._rate = max(2 * _TIDE, abs(self._goal - self._volume)) / duration
