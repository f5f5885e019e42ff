"""Blinks: when the lids close, and how."""

from __future__ import annotations

import numpy as np

from vivavoce.splat.motion.cue import Cue
from vivavoce.splat.motion.kinetics import MinimumJerk

_INTERVAL, _SPREAD = 4.4, 0.45  # median in seconds and log-standard deviation of the time between blinks
_SHORTEST, _LONGEST = 1.3, 9.0  # seconds
_CLOSING, _OPENING = (0.075, 0.1), (0.15, 0.25)  # seconds
_LONGEST_SHUT = 0.06
_AT_PAUSE = 0.4  # chance of a blink in a pause, if the last one is long enough ago
_WITHIN = 0.45  # seconds from the start of the pause
_RIPE = 0.35  # of the interval must have passed for a pause or a look to bring a blink on
_GAZE_SHARE = 0.05  # chance of a blink with a gaze shift, per degree


class Blinks:
    """Blinks at log-normal intervals, brought forward by pauses and by shifts of gaze.

    People blink 17 times a minute at rest and 26 in conversation, log-normally distributed (Bentivoglio et
    al., "Analysis of blink rate patterns in normal subjects", Mov. Disord. 1997); speakers' blinks gather at
    the ends of phrases and in pauses (Nakano & Kitazawa, "Eyeblink entrainment at breakpoints of speech",
    Exp. Brain Res. 2010) and go with shifts of gaze, the more surely the larger they are (Evinger et al.,
    "Not looking while leaping", Exp. Brain Res. 1994). The lids fall in 75 to 100 ms and rise in about twice
    that (Evinger, Manning & Sibony, "Eyelid movements", IOVS 1991; VanderWerf et al., J. Neurophysiol. 2003).
    """

    def __init__(self, rng: np.random.Generator, fps: float) -> None:
        self._rng = rng
        # Shut for one frame, so that every blink of a video has a frame that shows it.
        self._shut = min(1 / fps, _LONGEST_SHUT)
        self._lids = MinimumJerk()
        self._last = 0.0
        self._interval = self._draw() * float(rng.uniform(0.2, 1.0))

    def step(self, cue: Cue, gaze_shift: float) -> float:
        """How far the lids are shut, 0 .. 1; `gaze_shift`: degrees of a saccade that begins now, or 0."""
        since = cue.time - self._last
        due = since >= self._interval
        if since >= max(_SHORTEST, _RIPE * self._interval):
            if cue.offset and self._rng.random() < _AT_PAUSE:
                self._interval = min(self._interval, since + float(self._rng.uniform(0, _WITHIN)))
            due |= gaze_shift > 0 and self._rng.random() < _GAZE_SHARE * gaze_shift
        if due:
            self._blink(cue.time)
        return min(1.0, max(0.0, self._lids.at(cue.time)))

    def _blink(self, time: float) -> None:
        closing = float(self._rng.uniform(*_CLOSING))
        self._lids.move_to(1.0, time, closing)
        self._lids.move_to(0.0, time + closing + self._shut, float(self._rng.uniform(*_OPENING)))
        self._last = time
        self._interval = self._draw()

    def _draw(self) -> float:
        drawn = _INTERVAL * float(np.exp(_SPREAD * self._rng.standard_normal()))
        return min(_LONGEST, max(_SHORTEST, drawn))
