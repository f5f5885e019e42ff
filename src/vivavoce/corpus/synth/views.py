"""Photos of synthetic people, and the same people from several sides: examples that a reconstruction is trained on.

The people are those of a corpus (`orders`), some of them held out from it.
"""

from __future__ import annotations

import hashlib
import pickle
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vivavoce.corpus.synth.orders import BOTH, PEOPLE, Corpus, orders
from vivavoce.corpus.synth.sitter import DETAIL, DRAWN, Shot, Sitter, Subject
from vivavoce.types import Camera

WIDEST = 40.0
"""Degrees to either side from which people are seen in training."""
_SPANS = ((-WIDEST, 0.0), (0.0, WIDEST), (-WIDEST, WIDEST))


@dataclass(frozen=True)
class Sitting:
    """An example: a person's photo, and K views of the same person."""

    name: str
    photo: Shot
    camera: Camera
    """Of all views, which differ in where it stands."""
    views: tuple[Shot, ...]


Plan = Callable[[int, np.random.Generator], tuple[int, Sequence[tuple[int, float]]]]
"""For a person's sitting 0, 1, ...: the pose of the photo, and pose and yaw (degrees) of each view. Poses are numbers,
and the same number is the same pose; the lips are shut in even ones."""


def around(sitting: int, rng: np.random.Generator) -> tuple[int, Sequence[tuple[int, float]]]:
    """For training: the photo's pose as the photo is, from either side, and another pose from anywhere."""
    left, right, any_side = (float(rng.uniform(*span)) for span in _SPANS)
    own = 2 * sitting
    return own, ((own, 0.0), (own, left), (own, right), (own + 1, any_side))


def sides(sitting: int, rng: np.random.Generator) -> tuple[int, Sequence[tuple[int, float]]]:
    """For judging: the photo's own pose, as the photo is and from 20 degrees to either side."""
    del rng
    return 2 * sitting, ((2 * sitting, 0.0), (2 * sitting, 20.0), (2 * sitting, -20.0))


def frontal(sitting: int, rng: np.random.Generator) -> tuple[int, Sequence[tuple[int, float]]]:
    """For one person: always the photo of pose 0, and six views from where it was taken, all but one in other poses.

    As clips show a person that a video model made from one photo.
    """
    del rng
    return 0, ((0, 0.0), *((1001 + 5 * sitting + k, 0.0) for k in range(5)))


def subjects(people: int, seed: int) -> tuple[list[Subject], list[Subject]]:
    """The people of a corpus of so many who are trained on, and those who are held out from it (`orders`).

    Raises InputError for numbers that make no corpus.
    """
    found: tuple[list[Subject], list[Subject]] = ([], [])
    corpus = Corpus(people, 1e-9, 32, 32, 25.0, seed)  # one clip of each
    for key, order in orders(corpus).items():
        group = found[order.split in (PEOPLE, BOTH)]
        group.append(Subject(key.partition("-")[0], order.attributes, order.person))
    return found


class Sittings:
    """`each` sittings of every subject (`train.task.Examples`), all drawn when one of the subject's is asked for.

    They are kept in memory from then on, packed: a person takes a second to build.
    """

    def __init__(
        self,
        people: Sequence[Subject],
        *,
        each: int,
        plan: Plan = around,
        photo: int = 288,
        size: int = 96,
        detail: float = DETAIL,
        drawn: int = DRAWN,
    ) -> None:
        """`photo` and `size` are the sides of photos and views, px; the rest as in `Sitter`."""
        self._people, self._each, self._plan = tuple(people), each, plan
        self._photo, self._size, self._detail, self._drawn = photo, size, detail, drawn
        self._kept: dict[int, list[bytes]] = {}

    @property
    def fingerprint(self) -> str:
        """A digest of who sits, and how."""
        sizes = (self._photo, self._size, self._detail, self._drawn)
        told = (self._people, self._each, self._plan.__name__, *sizes)
        return hashlib.sha256(repr(told).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._people) * self._each

    def __getitem__(self, index: int) -> Sitting:
        person, number = divmod(index, self._each)
        if person not in self._kept:
            subject = self._people[person]
            sitter = Sitter(subject, detail=self._detail, drawn=self._drawn)
            self._kept[person] = [
                zlib.compress(pickle.dumps(self._sitting(sitter, subject, k)), 1) for k in range(self._each)
            ]
        return pickle.loads(zlib.decompress(self._kept[person][number]))

    def _sitting(self, sitter: Sitter, subject: Subject, number: int) -> Sitting:
        pose, seen = self._plan(number, np.random.default_rng([subject.seed, 6, number]))
        photo = sitter.shot(pose, 0.0, self._photo)
        views = tuple(sitter.shot(k, yaw, self._size) for k, yaw in seen)
        return Sitting(f"{subject.name}-{number}", photo, sitter.camera(self._size), views)
