"""When lips close: whether a mouth shuts where another one does, as for p, b and m, and only there.

Lips that meet between two words' sounds are events, told by their moment. Found moments are compared as onsets are in
music (each may be met once, within a tolerance), so that a mouth which is always shut meets nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from vivavoce.features.phones import Phone
from vivavoce.splat.motion.targets import silences

SHUT = 0.02
"""Gap between the lips' inner edges, in widths of the resting mouth, below which they are shut: a millimetre."""
WITHIN = 0.04
"""Seconds that a closure may be early or late: a frame at 25 frames a second."""
DEPTH = 0.05
"""How far a mouth narrows and opens again, in the same widths, for it to count as a dip."""


@dataclass(frozen=True)
class Timing:
    """Events that are asked for, those that are found, and how many of both are the same."""

    asked: int
    found: int
    met: int

    @property
    def recall(self) -> float:
        """Share of the asked ones that are met; NaN where none is asked for."""
        return self.met / self.asked if self.asked else float("nan")

    @property
    def false(self) -> float:
        """Share of the found ones that nobody asked for; NaN where none is found."""
        return 1 - self.met / self.found if self.found else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and of what is not false; NaN where there is nothing to find and nothing found."""
        return 2 * self.met / (self.asked + self.found) if self.asked + self.found else float("nan")


def closures(
    aperture: Float[np.ndarray, " F"], phones: Sequence[Phone], fps: float
) -> Float64[np.ndarray, " n"]:
    """Middles in seconds of all stretches in which the lips are shut while somebody speaks.

    `aperture` is in widths of the resting mouth, below 0 for lips that are pressed. Stretches that reach into a pause,
    or over an end of the clip, are of no sound.
    """
    shut, speech = aperture < SHUT, _speech(phones, fps, len(aperture))
    edges = np.flatnonzero(np.diff(np.r_[False, shut, False]))
    begins, ends = edges[::2], edges[1::2]
    inside = [
        begin > 0 and end < len(shut) and speech[begin - 1 : end + 1].all()
        for begin, end in zip(begins, ends, strict=True)
    ]
    return ((begins + ends) / 2 / fps)[np.array(inside, bool)]


def dips(aperture: Float[np.ndarray, " F"], phones: Sequence[Phone], fps: float) -> Float64[np.ndarray, " n"]:
    """Moments in seconds at which the mouth is narrowest between two openings, shut or not, while somebody speaks."""
    from scipy.signal import find_peaks

    places = find_peaks(-aperture.astype(np.float64), prominence=DEPTH)[0]
    return (places[_speech(phones, fps, len(aperture))[places]] + 0.5) / fps


def timing(
    asked: Float64[np.ndarray, " n"], found: Float64[np.ndarray, " m"], *, within: float = WITHIN
) -> Timing:
    """How many of two ascending rows of moments can be paired, each once, at most `within` seconds apart."""
    i = j = met = 0
    while i < len(asked) and j < len(found):
        late = found[j] - asked[i]
        if abs(late) <= within + 1e-9:
            met, i, j = met + 1, i + 1, j + 1
        elif late < 0:
            j += 1
        else:
            i += 1
    return Timing(len(asked), len(found), met)


def _speech(phones: Sequence[Phone], fps: float, frames: int) -> Bool[np.ndarray, " F"]:
    """Frames whose middle lies in no pause."""
    times = (np.arange(frames) + 0.5) / fps
    spoken = np.ones(frames, bool)
    for start, end in silences(phones, frames / fps):
        spoken[(times > start) & (times < end)] = False
    return spoken
