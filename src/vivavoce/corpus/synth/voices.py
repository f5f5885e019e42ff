"""Who speaks: one interface for every source of speech with phone times, and the embedded voices by gender."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from vivavoce.corpus.synth.attributes import Attributes, Gender
from vivavoce.corpus.synth.voice import Voice, synthesize
from vivavoce.features.phones import Phone

VOICES: dict[Voice, Gender] = {
    Voice("flite", "slt"): "woman",
    Voice("espeak", "en-us+f2"): "woman",
    Voice("espeak", "en-us+f3"): "woman",
    Voice("espeak", "en-us+f5"): "woman",
    Voice("espeak", "en-us-nyc+f5"): "woman",
    Voice("espeak", "en-gb-x-rp+f3"): "woman",
    Voice("espeak", "en-gb-scotland+f5"): "woman",
    Voice("flite", "rms"): "man",
    Voice("flite", "kal16"): "man",
    Voice("espeak", "en-us+Henrique"): "man",
    Voice("espeak", "en-us+klatt4"): "man",
    Voice("espeak", "en-us+m6"): "man",
    Voice("espeak", "en-us-nyc+klatt2"): "man",
    Voice("espeak", "en-gb-x-rp+klatt2"): "man",
}
"""English voices to learn from. The forced aligner follows each of them, as it does few of espeak-ng's, and agrees:
the median difference of phone ends is at most 10 ms. espeak-ng silently takes a variant that it does not know for
none; these are its names as its files are called."""

HELD_OUT_VOICES: dict[Voice, Gender] = {
    Voice("flite", "awb"): "man",
    Voice("festival", "ked_diphone"): "man",
    Voice("festival", "kal_diphone"): "man",
    Voice("festival", "cmu_us_slt_arctic_hts"): "woman",
    Voice("espeak", "en-us+f4"): "woman",
}
"""Voices to judge by only: all that `utterances` holds out, and for a second woman one that it does not use either."""


@runtime_checkable
class VoiceSource(Protocol):
    """Something that speaks, embedded or not."""

    @property
    def name(self) -> str:
        """What to call it in a message or a data set."""
        ...

    @property
    def paced(self) -> bool:
        """Whether it can change its rate."""
        ...

    @property
    def pitched(self) -> bool:
        """Whether it can change its pitch."""
        ...

    def speak(
        self, text: str, *, rate: float = 1.0, pitch: float = 1.0
    ) -> tuple[Float32[np.ndarray, " n"], list[Phone]]:
        """Samples at 16 kHz in [-1, 1], and the phones that lie in them without gap or overlap.

        `rate` and `pitch` are relative to the voice's own, and 1 for what it cannot change. Raises InputError
        where they are not, and where the voice fails or is silent.
        """
        ...


@dataclass(frozen=True)
class Embedded:
    """A voice of flite, espeak-ng or festival as a source; the same call gives the same bits."""

    voice: Voice

    @property
    def name(self) -> str:
        """Engine and voice."""
        return f"{self.voice.engine} {self.voice.name}"

    @property
    def paced(self) -> bool:
        """All can change their rate."""
        return True

    @property
    def pitched(self) -> bool:
        """Festival's voices keep their own pitch."""
        return self.voice.engine != "festival"

    def speak(
        self, text: str, *, rate: float = 1.0, pitch: float = 1.0
    ) -> tuple[Float32[np.ndarray, " n"], list[Phone]]:
        """As `VoiceSource.speak`; see `synthesize`."""
        return synthesize(text, self.voice, rate=rate, pitch=pitch)


def voice_for(attributes: Attributes, rng: random.Random, *, held_out: bool = False) -> Embedded:
    """An embedded voice that fits the person, from the table to learn from or from the one that is held out.

    The engines are equally likely, and so are the fitting voices of one.
    """
    table = HELD_OUT_VOICES if held_out else VOICES
    fitting = [voice for voice, gender in table.items() if gender == attributes.gender]
    engine = rng.choice(sorted({voice.engine for voice in fitting}))
    return Embedded(rng.choice([voice for voice in fitting if voice.engine == engine]))
