"""In which order the chunks of a long video are drawn, and which frames each is given. Orders are data.

Frames are counted in the whole video. A chunk draws 4 (f - 1) + 1 frames; those it is given from its neighbours come
out again at its ends and are not kept, so that every frame of the video is kept from exactly one chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vivavoce.errors import InputError
from vivavoce.timing import fitting_frames, latent_frames


@dataclass(frozen=True)
class Chunk:
    """A span of the video that is drawn in one go, and what of it is new."""

    index: int
    first: int
    """The frame of the video that its first frame shows."""
    frames: int
    """How many it draws."""
    kept: range
    """The frames of the video that come from it."""
    before: int = 0
    """Frames given at its start, where the chunk before ends."""
    after: int = 0
    """Frames given at its end, where the chunk behind begins."""

    @property
    def drawn(self) -> range:
        """The frames of the video that it draws, given ones too; the last chunk's may pass the end by three."""
        return range(self.first, self.first + self.frames)

    @property
    def keep(self) -> slice:
        """What to keep of its frames."""
        return slice(self.kept.start - self.first, self.kept.stop - self.first)

    @property
    def needs(self) -> tuple[int, ...]:
        """The chunks that must be there before."""
        return (*([self.index - 1] if self.before else []), *([self.index + 1] if self.after else []))


Order = tuple[Chunk, ...]
"""All chunks of a video, by index."""


@dataclass(frozen=True)
class Loan:
    """Frames that a chunk is given: places `here` in it show what places `there` of chunk `source` show."""

    source: int
    there: range
    here: range


def loans(order: Order, chunk: Chunk) -> tuple[Loan, ...]:
    """All that a chunk is given, in time."""
    end = chunk.drawn.stop
    spans = {chunk.index - 1: range(chunk.first, chunk.first + chunk.before)}
    spans[chunk.index + 1] = range(end - chunk.after, end)
    return tuple(
        Loan(source, _within(order[source], spans[source]), _within(chunk, spans[source]))
        for source in chunk.needs
    )


def passes(order: Order) -> list[list[int]]:
    """The chunks by index, in passes: those of one pass need only chunks of earlier ones, and run side by side.

    Raises ValueError where chunks need each other in a circle.
    """
    waiting = {chunk.index: set(chunk.needs) for chunk in order}
    done: list[list[int]] = []
    while waiting:
        ready = [index for index, needs in waiting.items() if not needs & waiting.keys()]
        if not ready:
            raise ValueError(f"chunks {sorted(waiting)} wait for each other")
        done.append(ready)
        for index in ready:
            del waiting[index]
    return done


def interleaved(frames: int, *, length: int = 81, before: int = 5, after: int = 4) -> Order:
    """Odd chunks on their own, then even ones between two of them (PhysAvatar, section 3.5 and figure 3).

    An even chunk is given `before` tail frames (m) and `after` head frames (n) and adds length - m - n; 5 and 4
    of 81 fill its first two latents and its last one. Two passes whatever the number of `frames`. At the end of
    the video an even chunk whose room for head frames is enough for the rest takes that instead, and no further
    odd chunk follows. Raises InputError as `_check` does.
    """
    _check(frames, length, before, after)
    order: list[Chunk] = []
    while (start := order[-1].kept.stop if order else 0) < frames:
        rest = frames - start
        if len(order) % 2 == 0:
            # Behind an even chunk more than `after` frames are left: what that one looks at is there.
            drawn = min(length, fitting_frames(rest))
            order.append(Chunk(len(order), start, drawn, range(start, start + min(rest, drawn))))
        elif rest <= length - before:
            order.append(_continued(order, rest, before))
        else:
            kept = range(start, start + length - before - after)
            order.append(Chunk(len(order), start - before, length, kept, before, after))
    return tuple(order)


def autoregressive(frames: int, *, length: int = 81, before: int = 5) -> Order:
    """Each chunk goes on from the last `before` frames of the one before it: as many passes as chunks.

    Raises InputError as `_check` does.
    """
    _check(frames, length, before, 0)
    first = min(length, fitting_frames(frames))
    order = [Chunk(0, 0, first, range(min(first, frames)))]
    while (rest := frames - order[-1].kept.stop) > 0:
        order.append(_continued(order, min(rest, length - before), before))
    return tuple(order)


ORDERS: Mapping[str, Callable[..., Order]] = {
    "interleaved": interleaved,
    "autoregressive": autoregressive,
}
"""By name. Both take the number of frames, `length` and `before`, which are PhysAvatar's unless given."""


def _continued(order: Sequence[Chunk], new: int, before: int) -> Chunk:
    """The chunk that follows the last one by `new` frames, with no more drawn than make whole latent frames."""
    start = order[-1].kept.stop
    return Chunk(len(order), start - before, fitting_frames(before + new), range(start, start + new), before)


def _within(chunk: Chunk, frames: range) -> range:
    return range(frames.start - chunk.first, frames.stop - chunk.first)


def _check(frames: int, length: int, before: int, after: int) -> None:
    """Raise InputError for a video without frames, or chunks that cannot be laid end to end."""
    if frames < 1:
        raise InputError(f"A video of {frames} frames cannot be drawn: give at least one frame of sound.")
    try:
        latent_frames(length)
    except ValueError:
        raise InputError(
            f"A chunk of {length} frames has no whole latents: take {fitting_frames(length)}."
        ) from None
    if before < 0 or after < 0 or before + after >= length:
        raise InputError(
            f"A chunk of {length} frames that is given {before} before and {after} after has none of its own: "
            "make it longer, or give fewer."
        )
