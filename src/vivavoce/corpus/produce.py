"""Many samples made side by side and written as shards: the same bytes for any number of processes, and after a stop.

Which samples a shard holds depends on their order alone. Each finished shard has its record beside it, so that a run
that was killed goes on behind it; the records become the index when all are there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from vivavoce import __version__
from vivavoce.corpus.pool import Make, Result, results_of
from vivavoce.corpus.shards import (
    BEGUN,
    INDEX,
    Index,
    Sample,
    Shard,
    fault_of,
    read_index,
    read_json,
    record_of,
    write_index,
    write_json,
    write_shard,
)
from vivavoce.errors import InputError, OutputError
from vivavoce.media.files import check_folder
from vivavoce.progress import counted

HOPELESS = 10
"""Samples of which not one can be made: then it is not they that are at fault."""
_SHOWN = 3  # failures told in full


def produce(
    tasks: Mapping[str, Any],
    make: Make,
    out: Path,
    *,
    per_shard: int,
    workers: int,
    settings: Mapping[str, Any],
) -> Index:
    """Make the sample of every task, in `workers` processes, and write them to `out` in shards of `per_shard`.

    The keys of `tasks` become those of the samples. `settings` are JSON values and must be everything that decides
    them, the seed included: a folder that was begun with others is refused. Shards that are there already are kept
    if they have the digest that was written down with them.

    A task for which `make` raises InputError leaves its place in its shard empty; no other sample moves for it. The
    index keeps why, and a warning tells it at the end.

    Raises InputError for other settings, where the first `HOPELESS` tasks all fail, and where a process is killed;
    OutputError where `out` cannot be written, or has no room for what is left. Whatever stops a run, finished
    shards are kept.
    """
    if per_shard < 1 or workers < 1 or not tasks:
        raise ValueError(f"nothing is made of {len(tasks)} tasks by {per_shard} in {workers} processes")
    record = {
        **json.loads(json.dumps(settings, allow_nan=False)),  # as it is read back
        "per_shard": per_shard,
        "samples": len(tasks),
        "keys": hashlib.sha256("\n".join(tasks).encode()).hexdigest(),
        "vivavoce": __version__,
    }
    done = _begin(out, record)
    groups = [tuple(tasks)[i : i + per_shard] for i in range(0, len(tasks), per_shard)]
    left = {name: keys for i, keys in enumerate(groups) if (name := f"shard-{i:06d}.tar") not in done}
    if done:
        warnings.warn(
            f"{len(done)} of {len(groups)} shards in {out} were there already and are kept.", stacklevel=2
        )
    count = sum(map(len, left.values()))
    wanted = ((key, tasks[key]) for keys in left.values() for key in keys)
    with (
        results_of(make, wanted, workers=workers, count=count) as results,
        counted("Making samples", count) as advance,
    ):
        made = _Made(out, done, count)
        made.check_room()
        for name, keys in left.items():
            made.write(name, _counted(islice(results, len(keys)), advance))
    index = Index(tuple(shard for _, shard in sorted(made.shards.items())), record)
    _end(out, index)
    return index


class _Made:
    """The shards of a folder as they come to be."""

    def __init__(self, out: Path, shards: dict[str, Shard], left: int) -> None:
        self.out = out
        self.shards = dict(shards)
        self._total = self._left = left
        self._failed: list[str] = []
        self._any = any(shard.keys for shard in shards.values())

    def write(self, name: str, results: Iterable[tuple[str, Result]]) -> None:
        """A shard of what was made, and its record."""
        failed: dict[str, str] = {}
        samples: list[Sample] = []
        for key, result in results:
            if isinstance(result, str):
                failed[key] = result
            else:
                samples.append((key, result))
            self._hope(result)
        shard = write_shard(self.out / name, samples)
        shard = Shard(shard.name, shard.sha256, shard.size, shard.keys, failed)
        write_json(_record(self.out / name), record_of(shard))
        self.shards[name] = shard
        self._left -= len(failed) + len(samples)
        self.check_room()

    def check_room(self) -> None:
        """Raise OutputError where what is left will not fit on the disk, judged by what is there."""
        count = sum(len(shard.keys) for shard in self.shards.values())
        if not count or not self._left:
            return
        needed = sum(shard.size for shard in self.shards.values()) / count * self._left
        free = shutil.disk_usage(self.out).free
        if needed > free:
            raise OutputError(
                f"The {self._left} samples that are left need about {needed / 1e9:.2f} GB and {self.out} has "
                f"{free / 1e9:.2f} GB free: make room and go on, or choose another place."
            )

    def _hope(self, result: Result) -> None:
        self._any = self._any or not isinstance(result, str)
        if isinstance(result, str):
            self._failed.append(result)
        if not self._any and len(self._failed) in (HOPELESS, self._total):
            raise InputError(f"None of the first {len(self._failed)} samples can be made: {self._failed[0]}")


def _begin(out: Path, record: Mapping[str, Any]) -> dict[str, Shard]:
    """Make the folder, or compare its record with this one; the shards that are finished."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {out} cannot be made ({error.strerror}): choose another.") from error
    check_folder(out)
    for path in out.glob(".vivavoce-*"):  # what a killed run was writing
        path.unlink(missing_ok=True)
    if (out / INDEX).is_file():
        index = read_index(out)
        _compare(out, index.settings, record)
        found = index.shards
    elif (out / BEGUN).is_file():
        _compare(out, read_json(out / BEGUN), record)
        paths = sorted(out.glob("shard-*.json"))
        found = [Shard.of(path, read_json(path)) for path in paths]
    elif any(out.glob("*.tar")):
        raise OutputError(f"{out} holds shards of which nothing is known: choose another folder.")
    else:
        write_json(out / BEGUN, record)
        found = []
    return {shard.name: shard for shard in found if shard.keys and _kept(out / shard.name, shard)}


def _kept(path: Path, shard: Shard) -> bool:
    fault = fault_of(path, shard)
    if fault is not None:
        warnings.warn(f"{fault.partition(':')[0]}, and is made again.", stacklevel=4)
    return fault is None


def _compare(out: Path, before: Any, now: Mapping[str, Any]) -> None:
    """Raise InputError unless the folder was begun with these settings."""
    if not isinstance(before, Mapping):
        raise InputError(f"The record in {out} is damaged: remove the folder and begin again.")
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if changed:
        what = ", ".join(f"{name} ({before.get(name)!r}, now {now.get(name)!r})" for name in changed)
        raise InputError(
            f"The shards in {out} were begun with other settings: {what}. Give the same ones, or another folder."
        )


def _end(out: Path, index: Index) -> None:
    """The index, which makes the records needless; and what could not be made, told."""
    write_index(out, index)
    for shard in index.shards:
        _record(out / shard.name).unlink(missing_ok=True)
    (out / BEGUN).unlink(missing_ok=True)
    if index.failed:
        told = "; ".join(f"{key}: {why.rstrip('.')}" for key, why in list(index.failed.items())[:_SHOWN])
        more = f"; and {len(index.failed) - _SHOWN} more in {INDEX}" if len(index.failed) > _SHOWN else ""
        warnings.warn(
            f"{len(index.failed)} of {index.samples + len(index.failed)} samples could not be made: {told}{more}.",
            stacklevel=3,
        )


def _record(shard: Path) -> Path:
    return shard.with_suffix(".json")


def _counted(
    results: Iterator[tuple[str, Result]], advance: Callable[..., None]
) -> Iterator[tuple[str, Result]]:
    for result in results:
        yield result
        advance()
