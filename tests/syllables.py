"""Speech-like sound whose accents, pitch and pauses are known: harmonic syllables, some louder and higher."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from vivavoce.types import SPEECH_RATE


@dataclass(frozen=True)
class Talk:
    samples: Float32[np.ndarray, " n"]
    accents: Float64[np.ndarray, " A"]
    """Seconds of the middles of accented syllables."""
    pauses: Float64[np.ndarray, "P 2"]
    """Seconds of start and end of the silences between phrases, the first and last of them included."""


def harmonics(f0: Float64[np.ndarray, " n"], phase: float = 0.0) -> Float64[np.ndarray, " n"]:
    """A voice with the spectral tilt of -6 dB an octave, of unit power."""
    angle = phase + 2 * np.pi * np.cumsum(f0) / SPEECH_RATE
    voice = np.zeros(len(f0))
    for k in range(1, 40):
        voice += np.where(k * f0 < 7000, np.cos(k * angle + 0.7 * k * k) / k, 0.0)
    return voice / np.sqrt((voice**2).mean())


def talk(seconds: float, seed: int = 0, *, f0: float = 120.0, level: float = 0.05) -> Talk:
    """Phrases of 6 to 14 syllables of 180 ms; a third are accented: 5 dB louder and 3.5 semitones higher."""
    rng = np.random.default_rng(seed)
    parts, accents, pauses, at = [], [], [], 0

    def silence() -> None:
        nonlocal at
        gap = int(rng.uniform(0.4, 1.0) * SPEECH_RATE)
        pauses.append((at / SPEECH_RATE, (at + gap) / SPEECH_RATE))
        parts.append(np.zeros(gap))
        at += gap

    silence()
    while at < seconds * SPEECH_RATE:
        count = int(rng.integers(6, 15))
        since = 2
        for i in range(count):
            accented = since >= 2 and rng.random() < 0.5
            since = 0 if accented else since + 1
            length = int(0.18 * SPEECH_RATE)
            arch = np.sin(np.pi * (np.arange(length) + 0.5) / length)
            semitones = 2.0 - 4.0 * i / count + (3.5 * arch if accented else 0.0) + rng.normal(0, 0.3)
            voice = harmonics(f0 * 2 ** (semitones * np.ones(length) / 12), rng.uniform(0, 6))
            loud = level * 10 ** ((5.0 if accented else 0.0) / 20 + rng.normal(0, 0.5) / 20)
            parts.append(loud * np.minimum(1.0, 2.5 * arch) * voice)
            if accented:
                accents.append((at + length / 2) / SPEECH_RATE)
            at += length
            if rng.random() < 0.3:
                parts.append(np.zeros(int(0.05 * SPEECH_RATE)))
                at += len(parts[-1])
        silence()
    return Talk(np.concatenate(parts).astype(np.float32), np.array(accents), np.array(pauses))
