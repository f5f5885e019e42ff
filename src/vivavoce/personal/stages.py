"""Stages of long work: each is a folder that is made once, gone on with after a stop, and made anew from other inputs.

FOLDER/              what the stage has made
FOLDER/stage.json    what it is made from, and whether it is whole
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vivavoce.errors import OutputError
from vivavoce.media.files import check_folder, replacing

RECORD = "stage.json"


def make_stage(folder: Path, inputs: Mapping[str, Any], make: Callable[[Path], object]) -> str:
    """See that a stage is there and whole; a digest of its inputs, for stages that go on from it.

    Where it is not whole `make` is called with its folder, and finds there what an earlier call with the same inputs
    has left. `inputs` are JSON values by name, everything that decides the result. What was made from others is
    removed, with a warning. Raises OutputError where nothing can be written, and what `make` raises.
    """
    text = json.dumps(dict(inputs), sort_keys=True, allow_nan=False)
    told, before = json.loads(text), _read(folder / RECORD)
    digest = hashlib.sha256(text.encode()).hexdigest()
    if before == {"inputs": told, "whole": True}:
        return digest
    if folder.exists() and before.get("inputs") != told:
        warnings.warn(f"{folder} was made from something else, and is made anew.", stacklevel=2)
        shutil.rmtree(folder)
    work_folder(folder)
    _write(folder / RECORD, {"inputs": told, "whole": False})
    make(folder)
    _write(folder / RECORD, {"inputs": told, "whole": True})
    return digest


def work_folder(folder: Path) -> Path:
    """The folder, which is made if need be. Raises OutputError where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made ({error.strerror}): choose another place with -o."
        ) from error
    check_folder(folder)
    return folder


def _read(path: Path) -> dict[str, Any]:
    """A record; nothing where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, record: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
