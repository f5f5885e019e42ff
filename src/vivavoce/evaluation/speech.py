"""How mouth and hands go with the speech: correlations that are about zero where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int

from vivavoce.evaluation.actions import gesture_size
from vivavoce.evaluation.tracks import BodyTrack
from vivavoce.features.phones import Phone
from vivavoce.features.refocusing import frame_loudness, rms
from vivavoce.splat.controls import ARTICULATION
from vivavoce.splat.motion.targets import articulation_from_phones, silences

LAG = 3
"""Frames that a mouth may be early or late by to be taken for late rather than wrong."""
_LOUDNESS = 0.5  # seconds, over which loudness is taken, as the size of gestures is


@dataclass(frozen=True)
class MouthCorrelation:
    """Pearson's correlations of a mouth with what the phones ask for; NaN where one of both never moves."""

    together: float
    """Frame by frame."""
    best: float
    """The highest among lags of up to LAG frames either way. Of speech of another clip it is above zero by chance."""
    lag: int
    """Frames that the mouth is late by there; negative where it is early."""


def asked_aperture(phones: Sequence[Phone], fps: float, frames: int) -> Float32[np.ndarray, " F"]:
    """The opening of the lips that phones ask for in the middle of every frame, 0 .. 1; NaN in pauses.

    Nearly all clips begin with a pause, and there every mouth is shut: with pauses, a mouth would correlate at 0.18
    with the speech of other clips, and without at 0.02.
    """
    duration, times = frames / fps, (np.arange(frames) + 0.5) / fps
    asked = articulation_from_phones(phones, duration, fps)[:frames, ARTICULATION.index("open")]
    for start, end in silences(phones, duration):
        asked[(times > start) & (times < end)] = np.nan
    return asked


def mouth_correlation(
    aperture: Float[np.ndarray, " F"], phones: Sequence[Phone], fps: float
) -> MouthCorrelation:
    """How far the mouth opens as the phones ask; pauses, and frames whose aperture is NaN, do not count."""
    asked = asked_aperture(phones, fps, len(aperture))
    lags = range(-LAG, LAG + 1)
    found = {lag: correlation(*_shifted(aperture, asked, lag)) for lag in lags}
    best = max(lags, key=lambda lag: (np.nan_to_num(found[lag], nan=-2.0), -abs(lag)))
    return MouthCorrelation(found[0], found[best], best)


def gesture_correlation(track: BodyTrack, samples: Float32[np.ndarray, " n"]) -> float:
    """Pearson's correlation of the size of gestures with the loudness of the speech (mono, SPEECH_RATE).

    Both are taken over half a second. NaN where the hands or the loudness never change, or no hand is seen.
    """
    size = gesture_size(track)
    return correlation(size, loudness(samples, track.fps, len(size)))


def loudness(samples: Float32[np.ndarray, " n"], fps: float, frames: int) -> Float64[np.ndarray, " F"]:
    """Mean over half a second around every frame of the loudness of ApoAvatar, eq. 2."""
    from scipy.ndimage import uniform_filter1d

    levels = frame_loudness(rms(samples), fps, frames)
    return uniform_filter1d(levels, max(1, round(_LOUDNESS * fps)), mode="nearest")


def correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Pearson's, over places where both are known; NaN for fewer than three, or where one never changes."""
    known = np.isfinite(a) & np.isfinite(b)
    if known.sum() < 3 or min(np.ptp(a[known]), np.ptp(b[known])) < 1e-9:
        return float("nan")
    return float(np.corrcoef(a[known], b[known])[0, 1])


def shuffled(count: int, *, seed: int = 0) -> Int[np.ndarray, " n"]:
    """For each of `count` clips another one, whose speech is not its own. Raises ValueError for a single clip.

    One random ring through all: no clip gets itself, and each is used once.
    """
    if count < 2:
        raise ValueError(f"{count} clip has no other one")
    ring = np.random.default_rng(seed).permutation(count)
    partner = np.empty(count, int)
    partner[ring] = np.roll(ring, 1)
    return partner


def _shifted(
    aperture: Float[np.ndarray, " F"], asked: Float32[np.ndarray, " F"], lag: int
) -> tuple[np.ndarray, np.ndarray]:
    """Both where they overlap, the mouth `lag` frames later."""
    count = len(aperture)
    return aperture[max(lag, 0) : count + min(lag, 0)], asked[max(-lag, 0) : count - max(lag, 0)]
