"""How far along a long step is, for someone who looks on: silent where standard error is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def track(iterable: Iterable[T], description: str, *, total: int | None = None) -> Iterator[T]:
    """The items of `iterable`, with a bar and the time left on standard error while they are worked on.

    `total` is their number, where `len` cannot tell it.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with counted(description, total) as advance:
        for item in iterable:
            yield item
            advance()


@contextmanager
def counted(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A bar with the time left over `total` steps; call what it gives after each, with what is done now, if at all."""
    if not sys.stderr.isatty():
        yield lambda now=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total)
        yield lambda now=None: progress.update(task, advance=1, description=now)
        progress.refresh()
