"""The personal motion in an avatar's folder, beside the files that every avatar has.

AVATAR/personal/motion.safetensors, face.safetensors    the motion model
AVATAR/personal/personal.json                           how it was made, of which avatar, and the files' digests
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vivavoce.errors import InputError
from vivavoce.media.files import file_sha256, temporary_beside, write_error

if TYPE_CHECKING:
    from vivavoce.features.encoders import SpeechEncoder
    from vivavoce.train.motion_model import MotionModel

PERSONAL = "personal"
DESCRIPTION = "personal.json"
FORMAT = 1
_AVATAR = ("canonical.ply", "rig.safetensors")


@dataclass(frozen=True)
class PersonalMotion:
    """What an avatar's folder tells of its own motion."""

    folder: Path
    teacher: str
    clips: tuple[int, int]
    """That speak, and of the open domain."""
    encoder: Mapping[str, str | None]
    """Kind, name and source of the speech encoder."""
    seed: int
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Of the model's files."""

    @property
    def digest(self) -> str:
        """Which model it is."""
        return self.sha256["motion.safetensors"]

    def describe(self) -> str:
        """It in a few words."""
        speak, silent = self.clips
        return (
            f"its own, taught by {self.teacher} with {speak} clips that speak and {silent} of the open domain"
        )

    def model(self) -> MotionModel:
        """Raises InputError for files that were altered, WeightsError for damaged ones."""
        from vivavoce.train.motion_model import MotionModel

        for name, sha256 in self.sha256.items():
            path = self.folder / name
            if not path.is_file() or file_sha256(path) != sha256:
                raise InputError(
                    f"{path} is missing or was altered since it was made: personalize the avatar again."
                )
        return MotionModel.load(self.folder)

    def speech_encoder(self) -> SpeechEncoder:
        """Raises WeightsError where it cannot be loaded."""
        return encoder_of(self.encoder)


def encoder_of(told: Mapping[str, str | None]) -> SpeechEncoder:
    """A speech encoder by its kind and source. Raises WeightsError where it cannot be loaded."""
    from vivavoce.features.encoders import LogMelEncoder, load_encoder

    kind, source = told["kind"], told["source"]
    if kind == "log-mel" or source is None:
        return LogMelEncoder()
    return load_encoder(source, kind=kind)  # pyright: ignore[reportArgumentType]


def has_motion(avatar: Path) -> bool:
    """Whether an avatar's folder holds a motion of its own."""
    return (avatar / PERSONAL / DESCRIPTION).is_file()


def read_motion(avatar: Path) -> PersonalMotion:
    """What the folder of an avatar tells of its own motion.

    Raises InputError where there is none, it is damaged, of another version, or was made for another avatar.
    """
    folder = avatar / PERSONAL
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(
            f"{avatar} has no motion of its own: make it with `vivavoce create PHOTO -o {avatar} --personalize`."
        )
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        version, made_for = told["format"], told["avatar"]
        found = PersonalMotion(
            folder, told["teacher"], tuple(told["clips"]), told["encoder"], told["seed"], told["sha256"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}): personalize the avatar again.") from error
    if version != FORMAT:
        raise InputError(f"{folder} has format {version}, this version reads {FORMAT}: personalize it again.")
    if made_for != avatar_digests(avatar):
        raise InputError(f"{folder} was made for another avatar than {avatar}: personalize this one.")
    return found


def add_motion(avatar: Path, model: Path, told: Mapping[str, Any]) -> None:
    """Put the motion model of the folder `model` into an avatar's folder, in the place of the one before.

    `told` are the fields of `PersonalMotion` but folder and digests. Raises OutputError where it cannot be written;
    the one before stays then.
    """
    folder = avatar / PERSONAL
    fresh = temporary_beside(folder)
    aside = fresh.with_name(f"{fresh.name}.old")
    names = ("motion.safetensors", "face.safetensors")
    try:
        fresh.mkdir()
        for name in names:
            shutil.copyfile(model / name, fresh / name)
        digests = {name: file_sha256(fresh / name) for name in names}
        record = {"format": FORMAT, **told, "avatar": avatar_digests(avatar), "sha256": digests}
        (fresh / DESCRIPTION).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(aside)
        fresh.rename(folder)
    except OSError as error:
        if aside.exists() and not folder.exists():
            aside.rename(folder)
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def avatar_digests(avatar: Path) -> dict[str, str]:
    """Which avatar it is: the motion belongs to its joints and its face."""
    return {name: file_sha256(avatar / name) for name in _AVATAR}
