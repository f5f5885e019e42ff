"""Phones with times, and the inventory of labels that every aligner and synthesiser is mapped onto.

The labels are ARPAbet in lower case, widened by a few classes so that other languages fit: what two sounds
share is the shape of the visible mouth, not their place in one language's phonology. Diphthongs are two
phones.
"""

from __future__ import annotations

from typing import NamedTuple

PAUSE = "pau"
BILABIAL = frozenset("pbm")
LABIODENTAL = frozenset("fv")

VOWELS = (
    *("aa", "ae", "ah", "ao", "ax", "eh", "er", "ih", "iy", "uh", "uw"),
    *("a", "e", "o"),  # open central, close-mid front, close-mid back: [a e o] of most languages
    *("ix", "ue", "oe"),  # close unrounded [ɨ ɯ], close front rounded [y], mid front rounded [ø œ]
)
CONSONANTS = (
    *("p", "b", "m", "f", "v", "th", "dh", "t", "d", "n", "dx", "l", "s", "z", "sh", "zh", "ch", "jh"),
    *("k", "g", "ng", "r", "w", "y", "hh"),
    *("bh", "c", "ny", "rr", "x", "q"),  # [β ɸ], [ɕ ç], [ɲ ʎ], trills and uvulars, [x ɣ χ], glottal stop
)
LABELS = (PAUSE, *VOWELS, *CONSONANTS)

DIPHTHONGS = {"aw": ("a", "uh"), "ay": ("a", "ih"), "ey": ("e", "ih"), "ow": ("o", "uh"), "oy": ("ao", "ih")}
NUCLEUS_SHARE = 0.55  # of a diphthong's duration; the glide takes the rest

_ARPABET_ALIASES = {
    "axr": "er", "ax-h": "ax", "em": "m", "en": "n", "el": "l", "nx": "n", "hv": "hh",
    "ux": "uw", "h#": PAUSE, "sil": PAUSE, "ssil": PAUSE, "brth": PAUSE, "pau": PAUSE,
}  # fmt: skip


class Phone(NamedTuple):
    """One label of `LABELS`, from `start` to `end` in seconds."""

    label: str
    start: float
    end: float


def from_arpabet(symbol: str) -> tuple[str, ...]:
    """The labels of one ARPAbet symbol, in either case and with or without a stress digit.

    Raises KeyError for a symbol that is not ARPAbet.
    """
    plain = symbol.lower().rstrip("0123456789")
    plain = _ARPABET_ALIASES.get(plain, plain)
    if plain in DIPHTHONGS:
        return DIPHTHONGS[plain]
    if plain not in LABELS:
        raise KeyError(symbol)
    return (plain,)


def spread(labels: tuple[str, ...], start: float, end: float) -> list[Phone]:
    """One interval shared out among labels: the nucleus first and longest."""
    if len(labels) == 1:
        return [Phone(labels[0], start, end)]
    cut = start + NUCLEUS_SHARE * (end - start)
    return [Phone(labels[0], start, cut), *spread(labels[1:], cut, end)]
