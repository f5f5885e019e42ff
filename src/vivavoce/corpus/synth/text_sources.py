"""What synthetic people say: conversational utterances of six kinds, from a grammar, a file or a language model.

Greeting, explanation and question are the conversational speech that paper 001 trains on; emotional, lecture and
narration are of the kinds that its App. E keeps for speech out of the domain. `kinds.json` holds the grammar.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import re
from pathlib import Path
from typing import Protocol, runtime_checkable

from vivavoce.corpus.synth.text import HARVARD
from vivavoce.errors import InputError
from vivavoce.media.files import check_readable

_KINDS = json.loads(Path(__file__).with_name("kinds.json").read_text("utf-8"))

KINDS: tuple[str, ...] = tuple(_KINDS["kinds"])
"""greeting, explanation, question, emotional, lecture, narration."""

HELD_OUT_SHARE = 0.1
"""Of all utterances, kept for evaluation."""
_SPLIT = b"vivavoce utterances"  # another key makes another split
_TRIES = 300  # after which a source of which a tenth is held out has failed to show any once in 10^13


@runtime_checkable
class TextSource(Protocol):
    """Utterances without end."""

    def utterance(self, rng: random.Random, kind: str) -> str:
        """Something of that kind of `KINDS` to say, chosen by `rng`. Raises InputError where there is none."""
        ...


def draw(source: TextSource, rng: random.Random, kind: str, *, for_evaluation: bool = False) -> str:
    """An utterance of the part to learn from, or of the one that is held out.

    Raises InputError where the source has none, besides what it raises itself.
    """
    for _ in range(_TRIES):
        text = source.utterance(rng, kind)
        if held_out(text) == for_evaluation:
            return text
    part = "the tenth that is kept for evaluation" if for_evaluation else "the part to learn from"
    raise InputError(
        f"None of the {kind} utterances given belongs to {part}: give more different ones of that kind."
    )


def held_out(text: str) -> bool:
    """Whether an utterance is kept for evaluation: a hash of its words decides, the Harvard sentences always are."""
    words = _words(text)
    digest = hashlib.blake2b(words.encode(), digest_size=8, key=_SPLIT).digest()
    return words in _harvard() or int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**64


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


@functools.cache
def _harvard() -> frozenset[str]:
    return frozenset(map(_words, HARVARD))


def checked(kind: str) -> str:
    """That kind. Raises ValueError where it is none of `KINDS`."""
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind of utterance; use one of {', '.join(KINDS)}")
    return kind


class Grammar:
    """The embedded source: English sentences from templates, tens of thousands and more of each kind.

    All words are in the aligner's dictionary, without figures.
    """

    def utterance(self, rng: random.Random, kind: str) -> str:
        """A sentence or two of that kind."""
        spoken = _expanded(rng.choice(_KINDS["kinds"][checked(kind)]), rng)
        return re.sub(r"(?:^|[.?!] )[a-z]", lambda start: start[0].upper(), spoken)


def _expanded(template: str, rng: random.Random) -> str:
    return re.sub(r"\{(\w+)\}", lambda part: _expanded(rng.choice(_KINDS["parts"][part[1]]), rng), template)


class TextFile:
    """Utterances from a UTF-8 file, one a line; a kind and a tab before the text make it one of that kind only."""

    def __init__(self, path: Path) -> None:
        """Raises InputError where the file cannot be read or a line of it is no utterance."""
        check_readable(path, "text file")
        self.path = path
        self._lines: dict[str, list[str]] = {kind: [] for kind in KINDS}
        for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
            kinds, text = self._parsed(line, number)
            for kind in kinds:
                self._lines[kind].append(text)
        if not any(self._lines.values()):
            raise InputError(f"{path} holds no utterance: write one a line.")

    def utterance(self, rng: random.Random, kind: str) -> str:
        """One of the lines of that kind or without one. Raises InputError where there are none."""
        lines = self._lines[checked(kind)]
        if not lines:
            raise InputError(
                f"{self.path} has no utterance of kind {kind}: add lines that begin with {kind} and a tab."
            )
        return rng.choice(lines)

    def _parsed(self, line: bytes, number: int) -> tuple[tuple[str, ...], str]:
        """The kinds that a line may serve, and its text; no kinds for an empty line."""
        try:
            before, tab, after = line.decode("utf-8").partition("\t")
        except UnicodeDecodeError as error:
            raise InputError(f"Line {number} of {self.path} is not UTF-8: save the file as UTF-8.") from error
        kind, text = (before.strip().lower(), spoken(after)) if tab else ("", spoken(before))
        if not tab and not text:
            return (), ""
        if tab and kind not in KINDS:
            raise InputError(
                f"Line {number} of {self.path} has the kind {before.strip()[:40]!r} before its tab: "
                f"use one of {', '.join(KINDS)}."
            )
        if not _words(text):
            raise InputError(
                f"Line {number} of {self.path} has no words: write an utterance, or leave it out."
            )
        return ((kind,) if tab else KINDS), text


def spoken(text: str) -> str:
    """A text on one line, without control characters."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())
