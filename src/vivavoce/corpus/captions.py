"""What is said of synthetic clips, without the clips: captions for a text encoder to learn words from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from vivavoce.corpus.synth.actions import plan_of, script
from vivavoce.corpus.synth.attributes import describe, sample
from vivavoce.corpus.synth.clip import PRONOUN
from vivavoce.video.plan import Plan

_SECONDS = 7.0  # of the clips that there might be


@dataclass(frozen=True)
class Caption:
    """What is said of a clip, block by block."""

    name: str
    blocks: tuple[str, ...]


class Captions:
    """`count` captions of people who act (`train.task.Examples`), told as the methods tell their plans."""

    def __init__(self, count: int, *, people: int = 1000, seed: int = 0) -> None:
        self._count, self._seed = count, seed
        self._people = sample(people, seed)

    @property
    def fingerprint(self) -> str:
        """A digest of all of them."""
        first = "\n".join(" ".join(self[i].blocks) for i in range(min(100, self._count)))
        return hashlib.sha256(f"{self._count} {self._seed}\n{first}".encode()).hexdigest()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Caption:
        rng = np.random.default_rng([self._seed, index])
        person = self._people[int(rng.integers(len(self._people)))]
        plan = plan_of(describe(person), script(rng, _SECONDS, density=0.5, pronoun=PRONOUN[person.gender]))
        return Caption(f"caption {index}", _told(plan, timed=rng.random() < 0.5))


def _told(plan: Plan, *, timed: bool) -> tuple[str, ...]:
    """The blocks of a plan: with their times in words, as ActAvatar reads them, or without."""
    from vivavoce.video.branches.phases import prompt_blocks

    if timed:
        return prompt_blocks(Plan(base=f"A person is speaking. {plan.base}", phases=plan.phases))
    return ("A person is speaking to the camera.", plan.base, *(phase.text for phase in plan.phases))
