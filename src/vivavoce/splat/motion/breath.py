"""Breathing, at rest and around speech."""

from __future__ import annotations

import numpy as np

from vivavoce.splat.motion.cue import Cue
from vivavoce.splat.motion.kinetics import CriticalSpring, MinimumJerk

_CYCLE = 4.0  # mean seconds of a breath at rest: 15 a minute
_INHALE_SHARE = 0.4
_TIDE = 0.45  # a breath at rest goes from -TIDE to TIDE
_GASP = (0.4, 0.6)  # seconds of a breath between phrases
_FULL = (0.6, 0.9)  # where it ends
_EMPTYING = 5.0  # seconds in which speech uses up most of the air
_WANT = 0.25  # below this, a pause is used to breathe
_SMOOTH = 12.0  # radians a second


class Breath:
    """Air in the lungs, -1 out .. 1 in.

    At rest 12 to 20 breaths a minute, in a little faster than out. Speech is spoken on long, slow exhalations between
    quick inhalations (Conrad & Schönle, "Speech and respiration", Arch. Psychiatr. Nervenkr. 1979; Hixon, Goldman & Mead,
    J. Speech Hear. Res. 1973), taken mostly at the boundaries of clauses (Winkworth et al., "Breathing patterns during
    spontaneous speech", J. Speech Hear. Res. 1995).
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._volume = 0.3
        self._inhaling = MinimumJerk()
        self._until = 0.0  # an inhalation ends
        self._rest_from: float | None = None  # start of the current breath at rest
        self._cycle = _CYCLE
        self._spring = CriticalSpring(_SMOOTH)
        self._spring.reset(self._volume)
