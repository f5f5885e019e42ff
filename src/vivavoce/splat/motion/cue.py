"""What the parts of the rhythm model are told at every step of the clock."""

from __future__ import annotations

from typing import NamedTuple

from vivavoce.features.prosody import ProsodyFrames

BREAK = 0.3
"""Seconds of silence that end a phrase; shorter ones belong to it."""


class Cue(NamedTuple):
    """One step of prosody. It runs ahead of `time` by the look-ahead that is left for motion."""

    time: float
    """Seconds; the moment whose motion is asked for."""
    speech: bool
    pause: float
    """Seconds since speech was heard."""
    loudness: float
    """Standard deviations from the speaker's mean; 0 where unvoiced."""
    pitch: float
    """As loudness."""
    accent: float
    """Strength of the accent that peaks here, or 0."""
    onset: bool
    """Speech sets in after a break."""
    offset: bool
    """Speech has just stopped, for a pause or for good."""


class CueReader:
    """Prosody as a sequence of cues."""

    def __init__(self, lead: float) -> None:
        """`lead`: seconds by which the cues run ahead of the motion."""
        self._lead = lead
        self._speech = False
        self._pause = 10.0

    def read(self, frames: ProsodyFrames) -> list[Cue]:
        """The cues of these hops, which follow those of the call before."""
        columns = (frames.speech, frames.pause, frames.loudness, frames.pitch_height, frames.accent)
        cues = []
        rows = zip(frames.times.tolist(), *(c.tolist() for c in columns), strict=True)
        for time, speech, pause, loudness, pitch, accent in rows:
            onset = speech and not self._speech and self._pause >= BREAK
            offset = self._speech and not speech
            cues.append(Cue(time - self._lead, speech, pause, loudness, pitch, accent, onset, offset))
            self._speech, self._pause = speech, pause
        return cues
