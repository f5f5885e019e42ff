"""Files on the way in and out: checked before work starts, replaced whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Collection, Iterator
from pathlib import Path

from vivavoce.errors import InputError, OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_readable(path: Path, kind: str) -> None:
    """Raise InputError unless `path` is a file that may be read and is not empty; `kind` as in "photo"."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a {kind}: give a file.")
    if not path.exists():
        raise InputError(f"There is no {kind} at {path}: check the name.")
    if not path.is_file():  # a pipe can be read only once, and here it is read several times
        raise InputError(f"{path} is not an ordinary file: save the {kind} to one first.")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise InputError(
            f"The {kind} {path} cannot be read ({error.strerror}): check its permissions."
        ) from error
    if empty:
        raise InputError(f"The {kind} {path} is empty (0 bytes): give another file.")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes in hexadecimal, in constant memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_target(path: Path, suffixes: Collection[str]) -> None:
    """Raise OutputError unless a file of one of these suffixes (as ".mp4") can be put at `path`.

    A target or folder without any write permission is refused also to the superuser: someone marked it so.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder: give the name of a file to write.")
    if path.suffix.lower() not in suffixes:
        known = ", ".join(sorted(suffixes))
        raise OutputError(f"{path.name!r} does not end in a known suffix: choose one of {known}.")
    if path.exists() and not _marked_writable(path):
        raise OutputError(f"{path} is read-only: choose another name, or make it writable.")
    check_folder(path.absolute().parent)


def check_folder(folder: Path) -> None:
    """Raise OutputError unless files can be made in `folder`."""
    if not folder.is_dir():
        raise OutputError(f"The folder {folder} does not exist: create it first, or choose another place.")
    probe = folder / _hidden_name("")
    try:
        if not _marked_writable(folder):
            raise PermissionError(errno.EACCES, "Permission denied")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"Nothing can be written to {folder} ({error.strerror}): choose another place."
        ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden name beside `path` to write to; it takes the place of `path` if the block ends well.

    Raises OutputError where the block fails with an OSError, as on a full disk; nothing is left then.
    """
    temporary = temporary_beside(path)
    try:
        yield temporary
        put_in_place(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A hidden, unused name in the folder of `path`, with its suffix."""
    return Path(os.path.realpath(path)).with_name(_hidden_name(path.suffix))


def put_in_place(temporary: Path, path: Path) -> None:
    """Move a finished file to `path` in one step; where that is a link, to where it points."""
    temporary.replace(os.path.realpath(path))


def write_error(path: Path, error: OSError) -> OutputError:
    """What to tell the user about a write that failed."""
    reason = "the disk is full" if error.errno in _FULL else (error.strerror or str(error))
    return OutputError(f"{path} could not be written ({reason}): make room, or choose another place.")


def _marked_writable(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o222) and os.access(path, os.W_OK)


def _hidden_name(suffix: str) -> str:
    return f".vivavoce-{secrets.token_hex(6)}{suffix}"
