"""Which clips of a source can be trained on: found out before training starts, so that one cannot end a run of days."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from vivavoce.corpus.clips import ClipSource, TrainingClip
from vivavoce.errors import InputError
from vivavoce.progress import track

if TYPE_CHECKING:
    from vivavoce.video.config import VideoConfig

MOST_BAD = 0.1
"""Share of a source's clips that may be broken before a run is not worth starting."""
_SHOWN = 5  # broken clips in an error

T = TypeVar("T")


class Selection:
    """Some of a source's clips."""

    def __init__(self, source: ClipSource, numbers: Sequence[int]) -> None:
        self._source, self._numbers = source, tuple(numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> TrainingClip:
        return self._source[self._numbers[index]]


def usable(
    source: ClipSource,
    config: VideoConfig | None = None,
    *,
    frames: int = 1,
    most_bad: float = MOST_BAD,
) -> tuple[Selection, dict[str, str]]:
    """The clips of a source that can be trained on, by `TrainingClip.check`, and why the others cannot, by name.

    Raises InputError where more than the share `most_bad` is broken.
    """
    found, bad = gathered(
        source, lambda clip: clip.check(config, frames=frames), "Checking clips", most_bad=most_bad
    )
    return Selection(source, [i for i, _ in found]), bad


def gathered(
    source: ClipSource, work: Callable[[TrainingClip], T], description: str, *, most_bad: float = MOST_BAD
) -> tuple[list[tuple[int, T]], dict[str, str]]:
    """What `work` makes of each clip, by number, and why it raised InputError for the others, by name.

    Raises InputError as soon as more than the share `most_bad` of the clips is broken.
    """
    done: list[tuple[int, T]] = []
    bad: dict[str, str] = {}
    for i in track(range(len(source)), description):
        clip = source[i]
        try:
            done.append((i, work(clip)))
        except InputError as error:
            bad[clip.name] = str(error)
        if len(bad) > most_bad * len(source):
            raise InputError(
                f"{len(bad)} of the first {i + 1} of {len(source)} clips are broken, more than the share of "
                f"{most_bad:g} that a run may begin with: {_listed(list(bad.values()))}"
            )
    return done, bad


def _listed(sentences: Sequence[str]) -> str:
    more = f"; and {len(sentences) - _SHOWN} more" if len(sentences) > _SHOWN else ""
    return "; ".join(s.rstrip(".") for s in sentences[:_SHOWN]) + more + "."
