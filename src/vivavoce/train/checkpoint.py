"""Checkpoints of one stage: written beside their place and moved there whole, the last few kept.

checkpoints/STAGE/00000500.pt    what `TrainState.kept` gives, and the settings that it was made with
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vivavoce.errors import InputError, OutputError
from vivavoce.media.files import replacing
from vivavoce.train.state import Kept

_SUFFIX = ".pt"


class Checkpoints:
    """The checkpoints in a folder, which is made if need be."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, keep: int) -> None:
        """`settings` are JSON values that decide the stage: its fields, the seed, the data's fingerprint.

        Raises OutputError where the folder cannot be made.
        """
        self.folder = folder
        self.settings = json.loads(json.dumps(settings))
        self.keep = keep
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The folder {folder} cannot be made ({error.strerror}): choose another."
            ) from error
        for left in folder.glob(f".vivavoce-*{_SUFFIX}"):  # by a process that was killed in writing
            left.unlink()

    def save(self, kept: Kept) -> Path:
        """Write a checkpoint and remove those beyond the last few.

        Raises OutputError where it cannot be written, as on a full disk; all earlier ones stay then.
        """
        path = self.path(kept["step"])
        with replacing(path) as temporary:
            try:
                with temporary.open("wb") as file:
                    torch.save({**kept, "settings": self.settings}, file)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # torch fails over what the file raised
                    raise error.__context__ from error
                raise
        for old in self.steps()[: -self.keep]:
            self.path(old).unlink()
        return path

    def latest(self, *, accept: bool = False) -> Kept | None:
        """The last checkpoint that can be read, None without any; damaged ones are passed over with a warning.

        Raises InputError where it was made with other settings, unless these are to be accepted.
        """
        for step in reversed(self.steps()):
            try:
                kept = torch.load(self.path(step), map_location="cpu", weights_only=True)
            except Exception as error:  # torch raises whatever the damage leads to
                if isinstance(error, MemoryError):
                    raise
                warnings.warn(f"{self.path(step)} is damaged: the one before it is taken.", stacklevel=2)
                continue
            if not accept:
                check_settings(kept["settings"], self.settings, self.folder)
            return kept
        return None

    def steps(self) -> list[int]:
        """Of the checkpoints that are there, in order."""
        return sorted(int(path.stem) for path in self.folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())

    def path(self, step: int) -> Path:
        """Of the checkpoint after so many steps."""
        return self.folder / f"{step:08d}{_SUFFIX}"

    def clear(self) -> None:
        """Remove all of them, and the folder."""
        for step in self.steps():
            self.path(step).unlink()
        self.folder.rmdir()


def check_settings(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError that names the settings in which a run that was begun differs from what is asked now."""
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if changed:
        what = ", ".join(f"{name} ({before.get(name)!r}, now {now.get(name)!r})" for name in changed)
        raise InputError(
            f"The training in {folder} was begun with other settings: {what}. Give the same ones again, say that the "
            "change is meant, or give another folder."
        )
