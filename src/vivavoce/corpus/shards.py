"""WebDataset shards: plain tar files whose members `key.extension` make up samples, the same bytes every time.

shard-000000.tar    000000.json 000000.mp4 000000.wav 000001.json ...
index.json          written last: each shard's digest and keys, and the settings they were made with
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from vivavoce.errors import InputError
from vivavoce.media.files import check_readable, file_sha256, replacing

INDEX = "index.json"
BEGUN = "begun.json"
"""Stands in the place of the index as long as not every shard is there."""
VERSION = 1
"""Of the index."""
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)  # how a tar file ends

Sample = tuple[str, Mapping[str, bytes]]
"""A key, and files by their extension ("mp4", "truth.npz")."""


class Place(NamedTuple):
    """Where a file lies in a shard, in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class Shard:
    """What the index says of a shard."""

    name: str
    sha256: str
    size: int
    """Bytes."""
    keys: tuple[str, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    """Samples that could not be made, and why."""

    @staticmethod
    def of(path: Path, record: Any) -> Shard:
        """From JSON. Raises InputError, with the file's name, where it is none."""
        try:
            return Shard(**{**record, "keys": tuple(record["keys"])})
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(f"{path} is damaged: remove it, and make the shards again.") from error


@dataclass(frozen=True)
class Index:
    """All shards of a folder, and the settings that decided them."""

    shards: tuple[Shard, ...]
    settings: Mapping[str, Any]
    version: int = VERSION

    @property
    def samples(self) -> int:
        """Their number in all shards."""
        return sum(len(shard.keys) for shard in self.shards)

    @property
    def failed(self) -> dict[str, str]:
        """Samples that could not be made, and why."""
        return {key: why for shard in self.shards for key, why in shard.failed.items()}


def write_shard(path: Path, samples: Iterable[Sample]) -> Shard:
    """Write samples in their order, all or nothing.

    The bytes depend on the samples alone: no times, owners or compression. Raises OutputError where they cannot be
    written, ValueError for a key that WebDataset would split, or that comes twice.
    """
    keys: dict[str, None] = {}
    with replacing(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for key, files in samples:
                if not _KEY.fullmatch(key) or key in keys:
                    raise ValueError(f"a key is of letters, digits, - and _, and comes once: not {key!r}")
                keys[key] = None
                for extension in sorted(files):
                    member = tarfile.TarInfo(f"{key}.{extension}")  # of the year 1970, owned by nobody
                    member.size = len(files[extension])
                    tar.addfile(member, io.BytesIO(files[extension]))
        sha256, size = file_sha256(temporary), temporary.stat().st_size
    return Shard(path.name, sha256, size, tuple(keys))


def read_shard(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of a shard, one at a time.

    Raises InputError, before the first of them, where the shard is not there, is cut off, or is no tar file.
    """
    places = table(path)
    with path.open("rb") as file:
        for key, files in places.items():
            yield key, {extension: read_at(file, place) for extension, place in files.items()}


def read_at(file: BinaryIO, place: Place) -> bytes:
    """A sample's file out of an opened shard."""
    file.seek(place.offset)
    return file.read(place.size)


def table(path: Path) -> dict[str, dict[str, Place]]:
    """Where the files of each sample lie, from the headers alone.

    Raises InputError where the shard is not there, is cut off, or is no tar file.
    """
    check_readable(path, "shard")
    found: dict[str, dict[str, Place]] = {}
    end = 0
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                if member.isfile():
                    found.setdefault(key, {})[extension] = Place(member.offset_data, member.size)
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
    except (tarfile.TarError, OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    with path.open("rb") as file:  # tarfile takes a header that it cannot read for the end
        if read_at(file, Place(end, len(_END))) != _END:
            raise _damaged(path, f"no sample and no end after {end} bytes")
    return found


def write_index(folder: Path, index: Index) -> None:
    """Write the index of a folder. Raises OutputError where it cannot be written."""
    write_json(folder / INDEX, {**asdict(index), "samples": index.samples})


def read_index(folder: Path) -> Index:
    """The index of a folder of shards.

    Raises InputError where there is none, or production has not come to its end, or it is damaged.
    """
    path = folder / INDEX
    if not path.is_file() and (folder / BEGUN).is_file():
        raise InputError(
            f"The shards in {folder} are unfinished: give the command that makes them once more."
        )
    check_readable(path, "index of shards")
    record = read_json(path)
    if not isinstance(record, dict) or record.get("version") != VERSION:
        raise InputError(
            f"{path} is no index of version {VERSION}: make the shards again, or use the program that made them."
        )
    try:
        return Index(tuple(Shard.of(path, shard) for shard in record["shards"]), record["settings"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: remove it, and make the shards again.") from error


def check(folder: Path) -> dict[str, str]:
    """What is wrong with the shards of a folder, by their names; nothing where all is well.

    Every byte is compared with the index's digests. Raises InputError as `read_index` does.
    """
    wrong = {}
    for shard in read_index(folder).shards:
        fault = fault_of(folder / shard.name, shard)
        if fault is not None:
            wrong[shard.name] = fault
    return wrong


def fault_of(path: Path, shard: Shard) -> str | None:
    """Why a file is not the shard that the index speaks of, in a sentence; None where it is."""
    if not path.is_file():
        return f"The shard {path} is missing: make or copy it again."
    size = path.stat().st_size
    if size != shard.size:
        what = "is cut off" if size < shard.size else "is too long"
        return f"The shard {path} {what} ({size} bytes of {shard.size}): make or copy it again."
    if file_sha256(path) != shard.sha256:
        return f"The shard {path} is damaged (its digest is not the index's): make or copy it again."
    return None


def write_json(path: Path, value: Any) -> None:
    """Write JSON that looks the same every time. Raises OutputError where it cannot be written."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """What a JSON file says. Raises InputError where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged or no JSON ({error}): mend or remove it.") from error


def record_of(shard: Shard) -> dict[str, Any]:
    """A shard as JSON."""
    return asdict(shard)


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"The shard {path} is cut off or damaged ({reason}): make or copy it again.")
