"""Random utterances to learn articulation from, and the sets that are held out of them to judge it by."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from vivavoce.corpus.synth import augment
from vivavoce.corpus.synth.text import HARVARD, WORDS, sentence
from vivavoce.corpus.synth.voice import Voice, synthesize
from vivavoce.features.phones import PAUSE, Phone
from vivavoce.types import SPEECH_RATE

FLITE = ("slt", "rms", "kal16")
ACCENTS = (
    "en-us",
    "en-us",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
VARIANTS = (
    *(
        "Adam",
        "Alex",
        "Alicia",
        "Andrea",
        "Andy",
        "Antonio",
        "Auntie",
        "Belinda",
        "Benjamin",
        "Caleb",
        "David",
    ),
    *(
        "Diogo",
        "Ed",
        "Edward",
        "Gene",
        "Gustave",
        "Henrique",
        "Iven",
        "Jacky",
        "John",
        "Lee",
        "Linda",
        "Marcelo",
    ),
    *("Marco", "Max", "Michael", "Mike", "Pablo", "Paul", "Pedro", "Quincy", "Rob", "Robert", "Steph", "Zac"),
    *("anika", "klatt", "klatt2", "klatt3", "f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m8"),
)
FLITE_SHARE, ENGLISH_SHARE = 0.5, 0.6

HELD_OUT_TEXTS = frozenset(HARVARD)
HELD_OUT_ENGINE = "festival"
HELD_OUT_VOICES = frozenset({Voice("flite", "awb")})
TEST_SETS = {
    "seen voice, flite slt": Voice("flite", "slt"),
    "seen voice, espeak f3": Voice("espeak", "en-us+f3"),
    "held-out voice, flite awb": Voice("flite", "awb"),
    "held-out engine, festival ked": Voice("festival", "ked_diphone"),
    "held-out engine, festival kal": Voice("festival", "kal_diphone"),
    "held-out engine, festival slt-hts": Voice("festival", "cmu_us_slt_arctic_hts"),
}
"""Each speaks all of `HARVARD`, which no training utterance contains."""


@dataclass(frozen=True)
class Utterance:
    """Speech at 16 kHz with the phones that lie in it, and how it was made."""

    samples: Float32[np.ndarray, " n"]
    phones: list[Phone]
    text: str
    voice: Voice

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / SPEECH_RATE


def is_held_out(text: str, voice: Voice) -> bool:
    """Whether this may only be used to judge."""
    return text in HELD_OUT_TEXTS or voice.engine == HELD_OUT_ENGINE or voice in HELD_OUT_VOICES


def random_voice(rng: random.Random) -> tuple[Voice, str]:
    """A training voice, and the language to speak with it."""
    if rng.random() < FLITE_SHARE:
        return Voice("flite", rng.choice(FLITE)), "en"
    english = rng.random() < ENGLISH_SHARE
    language = rng.choice(ACCENTS) if english else rng.choice(tuple(WORDS))
    return Voice("espeak", f"{language}+{rng.choice(VARIANTS)}"), "en" if english else language


def random_utterance(seed: int) -> Utterance:
    """Training utterance number `seed`, which decides text, voice, speaker, pauses, room and line.

    espeak-ng draws its own breath noise, so samples differ a little from run to run.

    The speaker is changed three ways: resampling (with the tempo set against it beforehand), formants moved
    apart from the pitch, and part of the voice replaced with breath, up to whispering.
    """
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    voice, language = random_voice(draw)
    text = sentence(draw, language)
    if is_held_out(text, voice):
        raise AssertionError(f"{voice} saying {text!r} is held out")
    ratio = np.exp(rng.uniform(-0.2, 0.2)) if rng.random() < 0.75 else 1.0
    rate, pitch = rng.uniform(0.82, 1.3) / ratio, rng.uniform(0.75, 1.3)
    samples, phones = synthesize(text, voice, rate=float(rate), pitch=float(pitch))
    if ratio != 1:
        samples, phones = augment.resampled(samples, phones, float(ratio))
    if rng.random() < 0.65:
        breath = rng.choice([0, rng.uniform(0, 0.3), rng.uniform(0.3, 0.9), 1], p=[0.45, 0.35, 0.14, 0.06])
        samples = augment.respoken(samples, rng, tract=float(rng.uniform(0.86, 1.16)), breath=float(breath))
    samples, phones = padded(
        samples, phones, before=float(rng.uniform(0.05, 0.9)), after=float(rng.uniform(0.1, 1))
    )
    if rng.random() < 0.2:
        samples = _with_breath(samples, phones, rng)
    return Utterance(augment.random_recording(samples, rng), phones, text, voice)


def test_set(name: str) -> list[Utterance]:
    """The held-out sentences in the voice of `TEST_SETS[name]`, as dry as the engine made them."""
    voice = TEST_SETS[name]
    spoken = [(text, *synthesize(text, voice)) for text in HARVARD]
    return [Utterance(*padded(x, phones, before=0.3, after=0.4), text, voice) for text, x, phones in spoken]


def padded(
    samples: Float32[np.ndarray, " n"], phones: list[Phone], *, before: float, after: float
) -> tuple[Float32[np.ndarray, " m"], list[Phone]]:
    """With seconds of silence on both sides, known as pauses."""
    moved = [Phone(PAUSE, 0.0, before), *(Phone(p.label, p.start + before, p.end + before) for p in phones)]
    sound = np.pad(samples, (round(before * SPEECH_RATE), round(after * SPEECH_RATE)))
    return sound, [*moved, Phone(PAUSE, moved[-1].end, len(sound) / SPEECH_RATE)]


def _with_breath(
    samples: np.ndarray, phones: list[Phone], rng: np.random.Generator
) -> Float32[np.ndarray, " n"]:
    """A breath heard in the first or last pause: shaped noise, the lips staying as they are."""
    pause = phones[0] if rng.random() < 0.6 else phones[-1]
    length = min(pause.end - pause.start, rng.uniform(0.15, 0.5))
    start, n = int((pause.end - length) * SPEECH_RATE), int(length * SPEECH_RATE)
    puff = augment.equalized(rng.normal(size=n).astype(np.float32), rng, 6.0) * np.sin(
        np.pi * np.arange(n) / n
    )
    out = samples.copy()
    out[start : start + n] += puff[: len(out) - start] * samples.std() * 10 ** (-rng.uniform(12, 30) / 20)
    return out
