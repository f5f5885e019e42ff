"""Continuous speech of a wanted length: utterances one after another, louder and softer as people are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from vivavoce.errors import InputError
from vivavoce.features.phones import PAUSE, Phone
from vivavoce.types import SPEECH_RATE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vivavoce.corpus.synth.voices import VoiceSource

_BEFORE = (0.1, 0.4)  # seconds of silence before the first word
_BETWEEN = (0.15, 0.6)
_SOFTEST = -12.0  # dB between the loudest and the softest stretch
_STRETCH = (0.8, 2.0)  # seconds that one level of effort holds
_FADE = 0.05  # seconds in which a cut voice dies away


@dataclass(frozen=True)
class Spoken:
    """Speech with its phones."""

    samples: Float32[np.ndarray, " n"]
    """16 kHz mono in [-1, 1]."""
    phones: list[Phone]
    texts: tuple[str, ...]


def speak(
    voice: VoiceSource,
    texts: Iterable[str],
    seconds: float,
    rng: np.random.Generator,
    *,
    rate: float = 1.0,
    pitch: float = 1.0,
) -> Spoken:
    """Exactly `seconds` of speech: texts are spoken until it is full, and the last is cut off.

    Effort rises and falls by up to 12 dB from phrase to phrase, as in no synthesiser's own voice: hands follow it.
    Raises InputError where a voice fails, or the texts end too early.
    """
    wanted = round(seconds * SPEECH_RATE)
    pieces = [np.zeros(int(rng.uniform(*_BEFORE) * SPEECH_RATE), np.float32)]
    phones, said, length = [Phone(PAUSE, 0.0, len(pieces[0]) / SPEECH_RATE)], [], len(pieces[0])
    for text in texts:
        if length >= wanted:
            break
        samples, found = voice.speak(text, rate=rate, pitch=pitch)
        start = length / SPEECH_RATE
        phones += [Phone(p.label, p.start + start, p.end + start) for p in found]
        rest = np.zeros(int(rng.uniform(*_BETWEEN) * SPEECH_RATE), np.float32)
        pieces += [samples, rest]
        said.append(text)
        phones.append(
            Phone(
                PAUSE, start + len(samples) / SPEECH_RATE, (length + len(samples) + len(rest)) / SPEECH_RATE
            )
        )
        length += len(samples) + len(rest)
    if length < wanted:
        raise InputError(
            f"The texts are {length / SPEECH_RATE:.1f} s of speech, and {seconds:g} s are needed: give more."
        )
    samples = np.concatenate(pieces)[:wanted] * _effort(wanted, rng)
    fade = round(_FADE * SPEECH_RATE)
    samples[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    kept = [p._replace(end=min(p.end, seconds)) for p in phones if p.start < seconds and p.end > p.start]
    return Spoken(samples.astype(np.float32), kept, tuple(said))


def _effort(count: int, rng: np.random.Generator) -> Float32[np.ndarray, " n"]:
    """Gains that go smoothly from one level to the next, in dB evenly drawn."""
    times, levels = [0.0], [rng.uniform(_SOFTEST, 0)]
    while times[-1] < count / SPEECH_RATE:
        times.append(times[-1] + rng.uniform(*_STRETCH))
        levels.append(rng.uniform(_SOFTEST, 0))
    decibels = np.interp(np.arange(count) / SPEECH_RATE, times, levels)
    return (10 ** (decibels / 20)).astype(np.float32)
