"""The arms between actions: where a person's hands rest, and how they beat with the voice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64

from vivavoce.features.prosody import prosody
from vivavoce.features.refocusing import frame_loudness, normalised, rms
from vivavoce.splat.motion.kinetics import MinimumJerk

_RESTS = (("belly", "belly"), ("hanging", "belly"), ("belly", "hanging"))
_SHARES = (0.76, 0.12, 0.12)  # of people; nobody lets both hang, where an upper body's picture shows none
_SMOOTH = 0.07  # seconds, standard deviation of the window that finds syllables in loudness
_SPACING = 0.3  # seconds at least between two beats of a hand
_SILENT = 0.12  # relative loudness below which no hand beats
_SNAP = 0.14  # seconds between a peak of loudness and the accent that stands for it
_RISE, _FALL = (0.15, 0.19), (0.22, 0.3)  # seconds up to the extreme of a beat, and back


@dataclass(frozen=True)
class SpeechCues:
    """What the hands hear."""

    loudness: Float64[np.ndarray, " T"]
    """Of every frame, 0 .. 1 (ApoAvatar, eq. 2 and 3)."""
    accents: tuple[float, ...]
    """Seconds."""


def speech_cues(samples: Float32[np.ndarray, " n"], fps: float, frames: int) -> SpeechCues:
    """The cues in speech (mono, SPEECH_RATE). Raises InputError as `refocusing.frame_loudness` does."""
    heard = prosody(samples)
    accents = heard.times[heard.accent > 0]
    return SpeechCues(normalised(frame_loudness(rms(samples), fps, frames)), tuple(accents.tolist()))


@dataclass(frozen=True)
class Habit:
    """How one person holds and moves the hands, in every clip."""

    rests: tuple[str, str]
    """Of left and right hand: "belly" or "hanging"."""
    offset: Float[np.ndarray, "2 3"]
    """Of the resting hands (out, up, forward) from where they rest on average, arm lengths."""
    size: Float[np.ndarray, " 2"]
    """Of the loudest beats of left and right hand, arm lengths."""
    direction: Float[np.ndarray, " 3"]
    """Of the beats (out, up, forward), unit length."""


def habit(rng: np.random.Generator) -> Habit:
    """A random person's habit."""
    rests = _RESTS[int(rng.choice(len(_RESTS), p=_SHARES))]
    leader = 0 if rng.random() < 0.3 else 1  # seven in ten lead with the right
    size = np.full(2, rng.uniform(0.12, 0.18))
    size[1 - leader] *= rng.uniform(0.6, 1.0)
    direction = np.array([rng.uniform(0.0, 0.5), 1.0, rng.uniform(0.2, 0.7)])
    offset = np.clip(rng.standard_normal((2, 3)), -1.5, 1.5) * [0.025, 0.03, 0.02]
    return Habit(rests, offset, size, direction / np.linalg.norm(direction))


def beats(
    cues: SpeechCues, fps: float, times: Float[np.ndarray, " T"], rng: np.random.Generator
) -> Float64[np.ndarray, "T 2"]:
    """Heights of both hands' beats at `times`, 1 at the loudest.

    Every syllable that stands out has a beat whose extreme lies on its accent (Leonard & Cummins, "The temporal
    relation between beat gestures and speech", Lang. Cogn. Process. 2011) and whose height is its loudness, as
    arm and voice are coupled (Pouw, Harrison & Dixon, "Gesture-speech physics", J. Exp. Psychol. Gen. 2020).
    """
    events = beat_times(cues, fps)
    hands = [MinimumJerk(), MinimumJerk()]
    heard = np.interp(events, (np.arange(len(cues.loudness)) + 0.5) / fps, _smooth(cues.loudness, fps))
    for time, loud in zip(events, heard.tolist(), strict=True):
        rise, fall = float(rng.uniform(*_RISE)), float(rng.uniform(*_FALL))
        for hand in hands:
            hand.pulse(loud, time - rise, rise, fall)
    return np.stack([sampled(hand, times) for hand in hands], axis=1)


def beat_times(cues: SpeechCues, fps: float) -> Float64[np.ndarray, " n"]:
    """Seconds of the beats' extremes: at accents, and at peaks of loudness that are far from one."""
    from scipy.signal import find_peaks

    loudness = _smooth(cues.loudness, fps)
    peaks, _ = find_peaks(loudness, height=_SILENT, distance=max(1, round(_SPACING * fps)))
    accents = np.array(cues.accents)
    found: list[float] = []
    for time in (peaks + 0.5) / fps:
        near = accents[np.abs(accents - time) < _SNAP]
        at = float(near[np.abs(near - time).argmin()]) if len(near) else float(time)
        if not found or at - found[-1] > 0.5 * _SPACING:
            found.append(at)
    return np.array(found)


def sampled(motion: MinimumJerk, times: Float[np.ndarray, " T"]) -> Float64[np.ndarray, " T"]:
    """The positions at `times`, in order."""
    return np.array([motion.at(time) for time in times.tolist()])


def _smooth(values: Float64[np.ndarray, " T"], fps: float) -> Float64[np.ndarray, " T"]:
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(values, _SMOOTH * fps, mode="nearest")
