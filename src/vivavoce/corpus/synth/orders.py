"""Which clips a corpus is made of: who speaks in each, with which voice, of what, and which part it is kept for."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np

from vivavoce.corpus.synth.attributes import Attributes, sample
from vivavoce.corpus.synth.clip import Order
from vivavoce.corpus.synth.text_sources import KINDS
from vivavoce.corpus.synth.voices import VoiceSource, voice_for
from vivavoce.errors import InputError

SECONDS = 7.24
"""Of a clip: 181 frames of 25 a second are 46 latent frames."""
TRAIN, PEOPLE, VOICES, BOTH = "train", "held-out people", "held-out voices", "held-out people and voices"
_PEOPLE_SHARE, _VOICES_SHARE = 0.1, 0.1
_FEWEST = 2  # people held out
_RATE, _PITCH = (0.88, 1.15), (0.92, 1.1)


@dataclass(frozen=True)
class Corpus:
    """What a corpus is to be."""

    people: int
    hours: float
    width: int
    height: int
    fps: float
    seed: int
    seconds: float = SECONDS

    @property
    def each(self) -> int:
        """Clips of every person."""
        return max(1, math.ceil(self.hours * 3600 / self.seconds / self.people - 1e-9))


def orders(corpus: Corpus, *, voice: VoiceSource | None = None) -> dict[str, Order]:
    """All clips by their keys, person by person.

    A tenth of the people, two at least, are held out; so is a tenth of the clips of all others, two for each person at
    most, in which a held-out voice speaks. With people held out, every second clip has a held-out voice as well.
    `voice` speaks in all clips in place of the embedded ones; then no voice is held out.

    Raises InputError for numbers that make no corpus.
    """
    _check(corpus)
    people = sample(corpus.people, corpus.seed)
    first_held_out = corpus.people - max(_FEWEST, round(_PEOPLE_SHARE * corpus.people))
    made: dict[str, Order] = {}
    for person, attributes in enumerate(people):
        rng = random.Random(f"{corpus.seed} {person}")
        own = voice or voice_for(attributes, rng)
        other = voice or voice_for(attributes, rng, held_out=True)
        away = person >= first_held_out
        spared = _spared(corpus.each, rng)
        for k in range(corpus.each):
            strange = voice is None and (k % 2 == 1 if away else k in spared)
            split = {(0, 0): TRAIN, (1, 0): PEOPLE, (0, 1): VOICES, (1, 1): BOTH}[int(away), int(strange)]
            key = f"{person:04d}-{k:04d}"
            made[key] = _order(corpus, (person, k), attributes, voice=other if strange else own, split=split)
    return made


def _order(
    corpus: Corpus, place: tuple[int, int], attributes: Attributes, *, voice: VoiceSource, split: str
) -> Order:
    person, k = place
    seeds = np.random.SeedSequence([corpus.seed, person, k])
    seed = int(seeds.generate_state(1)[0])
    rng = random.Random(seed)
    return Order(
        person=int(np.random.SeedSequence([corpus.seed, person]).generate_state(1)[0]),
        attributes=attributes,
        voice=voice,
        rate=round(rng.uniform(*_RATE), 3) if voice.paced else 1.0,
        pitch=round(rng.uniform(*_PITCH), 3) if voice.pitched else 1.0,
        kind=KINDS[(person + k) % len(KINDS)],
        seed=seed,
        split=split,
        seconds=corpus.seconds,
        width=corpus.width,
        height=corpus.height,
        fps=corpus.fps,
    )


def _spared(each: int, rng: random.Random) -> set[int]:
    """The clips of a person in which a held-out voice speaks."""
    count = math.floor(_VOICES_SHARE * each + rng.random())
    return set(rng.sample(range(each), min(count, 2)))


def _check(corpus: Corpus) -> None:
    if corpus.people < _FEWEST + 1:
        raise InputError(
            f"{corpus.people} people are too few: {_FEWEST} are held out, give {_FEWEST + 1} at least."
        )
    if not 0 < corpus.hours < math.inf:
        raise InputError(f"{corpus.hours:g} hours make no corpus: give a number above 0.")
    if corpus.width < 32 or corpus.height < 32 or corpus.width % 16 or corpus.height % 16:
        raise InputError(
            f"Pictures of {corpus.width}x{corpus.height} have no whole latents: give multiples of 16 from 32 on."
        )
    if not 1 <= corpus.fps <= 120:
        raise InputError(f"{corpus.fps:g} frames a second are out of range: give 1 to 120.")
    if corpus.seed < 0:
        raise InputError(f"The seed {corpus.seed} is negative: give a whole number from 0 up.")
