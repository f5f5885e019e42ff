"""Where a speaker stresses: prominence from loudness and pitch, and its peaks, one hop after the other.

Everything here is causal but for two short windows, so that a stream and a whole recording give the same
answer.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

SMOOTHING = 2
"""Hops on either side of the window that smooths prominence."""
CONFIRMATION = 3
"""Hops of lower prominence that must follow a peak."""
DELAY = SMOOTHING + CONFIRMATION

_MEMORY = 800  # voiced hops (8 s of them) in the running statistics of a voice
_PRIOR = 100  # voiced hops that the prior spreads are worth
_SPREAD_DB, _SPREAD_SEMITONES = 5.0, 2.5  # of ordinary speech
_RISE_SPAN = 12  # hops over which a syllable's onset rises
_BEFORE = 12  # hops before a peak without a higher one
_SPACING = 22  # hops between accents: stressed syllables follow each other at 2 to 4 a second
_PEAKS = 12  # peaks in the running mean that strengths are measured by
_WEIGHTS = {"base": 0.4, "loudness": 0.75, "pitch": 0.9, "rise": 0.15}


class RunningNorm:
    """Deviations from a running mean, in running standard deviations, both with an exponential memory."""

    def __init__(self, spread: float, memory: float = _MEMORY, prior: float = _PRIOR) -> None:
        self._variance = spread**2
        self._memory = memory
        self._prior = prior
        self._mean = 0.0
        self._count = 0

    def update(self, value: float) -> float:
        """Take a value in and return where it lies, within +-3."""
        self._count += 1
        rate = 1 / min(self._count, self._memory)
        self._mean += rate * (value - self._mean)
        deviation = value - self._mean
        rate = 1 / min(self._count + self._prior, self._memory)
        self._variance += rate * (deviation**2 - self._variance)
        return min(3.0, max(-3.0, deviation / max(self._variance, 1e-6) ** 0.5))


class Measure(NamedTuple):
    """What one hop of sound gives: dBFS, semitones re 1 Hz (None where unvoiced), clarity, activity."""

    level: float
    semitones: float | None
    clarity: float
    speech: bool


class Prominence:
    """How far a hop stands out in its speaker's own range: louder, higher, and after a steep rise.

    Loudness and F0 movements are the acoustic correlates of prominence that hold across languages (Terken,
    "Fundamental frequency and perceived prominence of accented syllables", JASA 1991; Kochanski et al.,
    "Loudness predicts prominence", JASA 2005), here in units of the voice's own spread.
    """

    def __init__(self) -> None:
        self._loudness = RunningNorm(_SPREAD_DB)
        self._pitch = RunningNorm(_SPREAD_SEMITONES)
        self._recent: deque[float] = deque(maxlen=_RISE_SPAN)

    def update(self, hop: Measure) -> tuple[float, float, float]:
        """Normalised loudness and pitch (0 where unvoiced), and prominence (0 and above)."""
        self._recent.append(hop.level)
        if hop.semitones is None or not hop.speech:
            return 0.0, 0.0, 0.0
        loudness = self._loudness.update(hop.level)
        pitch = self._pitch.update(hop.semitones)
        rise = min(2.0, (hop.level - min(self._recent)) / 10)
        weighted = (
            _WEIGHTS["base"]
            + _WEIGHTS["loudness"] * loudness
            + _WEIGHTS["pitch"] * pitch
            + _WEIGHTS["rise"] * rise
        )
        return loudness, pitch, hop.clarity * max(0.0, weighted)


class AccentPeaks:
    """Peaks of smoothed prominence; the answer for a hop comes DELAY hops later."""

    def __init__(self) -> None:
        self._raw: deque[float] = deque([0.0] * (2 * SMOOTHING + 1), maxlen=2 * SMOOTHING + 1)
        self._smooth: deque[float] = deque(
            [0.0] * (_BEFORE + 1 + CONFIRMATION), maxlen=_BEFORE + 1 + CONFIRMATION
        )
        hann = [1 - abs(k) / (SMOOTHING + 1) for k in range(-SMOOTHING, SMOOTHING + 1)]
        self._kernel = [weight / sum(hann) for weight in hann]
        self._mean_peak = 1.0
        self._since = _SPACING

    def update(self, prominence: float) -> float:
        """Take the next hop in; give the strength (0 none .. 1) of the accent DELAY hops before it."""
        self._raw.append(prominence)
        self._smooth.append(sum(w * p for w, p in zip(self._kernel, self._raw, strict=True)))
        self._since += 1
        window = list(self._smooth)
        peak = window[_BEFORE]
        is_peak = peak > max(window[_BEFORE + 1 :]) and peak >= max(window[:_BEFORE])
        if not is_peak or peak < 0.2:
            return 0.0
        self._mean_peak += (peak - self._mean_peak) / _PEAKS
        if peak < 0.75 * self._mean_peak or self._since < _SPACING:
            return 0.0
        self._since = 0
        return min(1.0, 0.5 * peak / self._mean_peak)
