"""A function of many tasks in several processes: results come in the tasks' order, and no process outlives its work."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vivavoce.errors import InputError, VivavoceError
from vivavoce.media.files import write_error

Make = Callable[[Any], Mapping[str, bytes]]
"""A task to its sample's files by extension; a function of a module, and of the task alone."""
Result = Mapping[str, bytes] | str
"""A sample's files, or why there are none."""

_AHEAD = 4  # samples under way a process: enough to ride over their uneven lengths
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    "PYTHONHASHSEED": "0",  # the order of sets
}
"""Of each process: one thread, since they are as many as the cores, and nothing at random."""


@contextmanager
def results_of(
    make: Make, tasks: Iterable[tuple[str, Any]], *, workers: int, count: int
) -> Iterator[Iterator[tuple[str, Result]]]:
    """What becomes of each of `count` named tasks, in their order, made by processes some way ahead.

    An InputError that `make` raises is the task's result; whatever else it raises is raised here. Leaving the block
    drops what is not begun yet. Raises InputError where a process is killed.
    """
    if not count:
        yield iter(())
        return
    workers = min(workers, count)
    context = multiprocessing.get_context("spawn")  # threads of numba and torch do not survive a fork
    with (
        _environment(_ENVIRONMENT),
        ProcessPoolExecutor(workers, mp_context=context, initializer=_start) as pool,
    ):
        try:
            yield _in_order(pool, make, tasks, workers * _AHEAD)
        except BrokenProcessPool as error:
            raise InputError(
                "A process that made samples was killed, probably for want of memory: take fewer of them, and go on."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor, make: Make, tasks: Iterable[tuple[str, Any]], ahead: int
) -> Iterator[tuple[str, Result]]:
    under_way: deque[tuple[str, Future[Result]]] = deque()
    for key, task in tasks:
        under_way.append((key, pool.submit(_attempt, make, key, task)))
        if len(under_way) == ahead:
            yield _done(*under_way.popleft())
    while under_way:
        yield _done(*under_way.popleft())


def _done(key: str, future: Future[Result]) -> tuple[str, Result]:
    return key, future.result()


def _attempt(make: Make, key: str, task: Any) -> Result:
    """In a process of the pool: a sample's files, or why they cannot be made."""
    try:
        return dict(make(task))
    except InputError as error:
        return str(error)
    except VivavoceError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise write_error(Path(error.filename or "A temporary file"), error) from error
        raise RuntimeError(f"sample {key} failed: {error!r}") from error


def _start() -> None:
    """In each process of the pool: Ctrl-C is the parent's business, and without a parent there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def leave() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """For processes that are started within the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
