"""Things to say: sentences and pseudo-words without end, in many languages, and the sentences kept for tests.

`texts.json` holds the words: lists as strings, separated by spaces.
"""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

_TEXTS = json.loads(Path(__file__).with_name("texts.json").read_text("utf-8"))

HARVARD: tuple[str, ...] = tuple(_TEXTS["harvard"])
"""The first four of the Harvard lists (IEEE 1969): held out, never a part of what `sentence` makes."""

WORDS: dict[str, str] = _TEXTS["languages"]
"""Everyday words of languages other than English, by the name of espeak-ng's voice, in no order."""

_SLOTS = {"a": "adjectives", "b": "adjectives", "n": "nouns", "m": "nouns", "v": "verbs", "w": "verbs"}
_NAME_SLOTS = ("N", "M")


def sentence(rng: random.Random, language: str = "en") -> str:
    """Something to say, never one of `HARVARD`; English is half sentences, half prose and pseudo-words."""
    if language in WORDS:
        return _phrases(rng, lambda: rng.choice(WORDS[language].split()))
    kind = rng.random()
    if kind < 0.5:
        spoken = _templated(rng)
    elif kind < 0.75:
        spoken = rng.choice(_prose())
    else:
        spoken = _phrases(rng, lambda: _pseudo_word(rng))
    return sentence(rng, language) if spoken in HARVARD else spoken


def _templated(rng: random.Random) -> str:
    english = _TEXTS["english"]
    filling = {slot: rng.choice(english[pool].split()) for slot, pool in _SLOTS.items()}
    filling |= {slot: rng.choice(english["names"].split()) for slot in _NAME_SLOTS}
    return rng.choice(english["templates"]).format(p=rng.choice(english["places"]), **filling)


def _phrases(rng: random.Random, word: Callable[[], str]) -> str:
    """Four to ten words with a comma now and then."""
    said = [word() + ("," if rng.random() < 0.12 else "") for _ in range(rng.randint(4, 10))]
    return " ".join(said).rstrip(",") + "."


def _pseudo_word(rng: random.Random) -> str:
    onsets, nuclei, codas = (_TEXTS["pseudo_words"][part].split() for part in ("onsets", "nuclei", "codas"))
    syllables = [rng.choice(onsets) + rng.choice(nuclei) for _ in range(rng.choice((1, 1, 2, 2, 3)))]
    return "".join(syllables) + (rng.choice(codas) if rng.random() < 0.6 else "")


@functools.cache
def _prose() -> tuple[str, ...]:
    """English sentences from Python's own documentation, which every Python carries."""
    from pydoc_data.topics import topics

    text = re.sub(r"\s+", " ", " ".join(topics[name] for name in sorted(topics)))
    found = {
        s
        for s in re.split(r"(?<=[.!?]) ", text)
        if 25 < len(s) < 110 and re.fullmatch(r"[A-Za-z ,.'!?-]+", s) and sum(c.isupper() for c in s) < 6
    }
    return tuple(sorted(found - set(HARVARD)))
