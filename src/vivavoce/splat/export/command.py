"""PATH 3: an avatar, and speech if it is to talk, become a file for other programs: .ply, .spz or a page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vivavoce.errors import InputError, OutputError
from vivavoce.media.audio import SpeechFile, open_speech
from vivavoce.media.files import check_folder, check_target, replacing
from vivavoce.media.provenance import Provenance
from vivavoce.progress import track
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.drive import Acting, acting_by_rules, avatar_of
from vivavoce.splat.export.page import write_page
from vivavoce.splat.export.posed import posed, within_photo
from vivavoce.splat.export.spz import write_spz
from vivavoce.splat.ply import write_ply
from vivavoce.timing import frame_rate
from vivavoce.types import Gaussians, Motion

LONGEST = 600.0
"""Seconds of speech that a page holds: more would take gigabytes to make."""

_SUFFIXES = (".ply", ".spz", ".html")


def export(
    source: Path,
    out: Path,
    *,
    speech: Path | None = None,
    at: float | None = None,
    fps: float = 25.0,
    seed: int = 0,
    expressiveness: float = 1.0,
    text: str | None = None,
    face: int | None = None,
) -> Path:
    """Write an avatar (a folder, or a photo) for other programs, by the suffix of `out`; returns `out`.

    Without `speech` the Gaussians at rest, as .ply or .spz. With it a page that talks (.html), the Gaussians `at`
    so many seconds (.ply, .spz), or all frames as `frame_00000.ply` and so on in a new folder (no suffix).
    The motion is that of `splat.drive.generate` with the same `fps`, `seed`, `expressiveness` and `text`.
    Raises InputError and OutputError with what is wrong.
    """
    fps = float(frame_rate(fps))
    acting = acting_by_rules(fps=fps, seed=seed, expressiveness=expressiveness, text=text)
    return export_acting(source, out, acting, speech=speech, at=at, fps=fps, seed=seed, face=face)


def export_acting(
    source: Path,
    out: Path,
    acting: Acting,
    *,
    speech: Path | None,
    at: float | None,
    fps: float,
    seed: int,
    face: int | None,
) -> Path:
    """Write what moves the person of `source`; for the rest as `export`. A page tells which motion it shows."""
    source, out = Path(source), Path(out)
    suffix = out.suffix.lower()
    _check(out, suffix, speech, at)
    sound = None if speech is None else open_speech(Path(speech))
    if sound and suffix == ".html" and sound.duration > LONGEST:
        raise InputError(
            f"{speech} lasts {sound.duration / 60:.0f} minutes: cut it into parts of at most {LONGEST / 60:.0f}."
        )
    if sound and at is not None and not 0 <= at < sound.duration:
        raise InputError(f"{speech} has no moment {at:g} s: it lasts {sound.duration:.2f} s.")
    whole = avatar_of(source, face)
    avatar = within_photo(whole)
    if sound is None:
        _write(out, avatar.gaussians)
        return out
    motions = acting.moves(whole, sound)
    if suffix == ".html":
        inputs = {"photo": (source.name, avatar.photo_sha256), "speech": (sound.path.name, sound.sha256)}
        made = Provenance(
            method=acting.method,
            seed=seed,
            inputs=inputs | dict(acting.inputs),
            settings={"fps": fps, "face": face} | dict(acting.settings),
        )
        title = f"{source.stem}: {sound.path.stem}"
        write_page(out, avatar, _joined(motions), sound=sound.path, title=title, provenance=made)
    elif suffix:
        frame = math.floor((at or 0.0) * fps + 1e-6)  # the last one starts before the sound ends
        _write(out, posed(avatar, *next(itertools.islice(_poses(motions), frame, None))))
    else:
        _write_frames(out, avatar, motions, sound, fps)
    return out


def _check(out: Path, suffix: str, speech: Path | None, at: float | None) -> None:
    """Refuse what does not go together, before any work is done."""
    if suffix:
        check_target(out, _SUFFIXES)
    if speech is None:
        if suffix not in (".ply", ".spz"):
            raise InputError(
                f"{out.name} is to talk, but says nothing: give a recording, or a .ply or .spz to write."
            )
        if at is not None:
            raise InputError(f"The moment {at:g} s is of no recording: give one, or leave it out.")
    elif suffix in (".ply", ".spz"):
        if at is None:
            raise InputError(
                f"{out.name} shows one moment: say which in seconds, or give a folder for all frames."
            )
    elif at is not None:
        raise InputError(
            f"{out.name} shows the whole recording: leave the moment {at:g} s out, or name a .ply."
        )
    if not suffix:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputError(f"{out} has something in it: give the name of a new folder.")
        check_folder(out.absolute().parent)


def _joined(motions: Iterator[Motion]) -> Motion:
    parts = list(motions)
    return Motion(
        parts[0].fps,
        np.concatenate([part.transforms for part in parts]),
        np.concatenate([part.gains for part in parts]),
    )


def _poses(motions: Iterator[Motion]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Transforms and gains, frame by frame."""
    for motion in motions:
        yield from zip(motion.transforms, motion.gains, strict=True)


def _write_frames(
    folder: Path, avatar: Avatar, motions: Iterator[Motion], sound: SpeechFile, fps: float
) -> None:
    folder.mkdir(exist_ok=True)
    count = math.ceil(sound.duration * fps - 1e-6)
    for k, pose in enumerate(track(_poses(motions), folder.name, total=count)):
        _write(folder / f"frame_{k:05d}.ply", posed(avatar, *pose))


def _write(path: Path, gaussians: Gaussians) -> None:
    if path.suffix.lower() == ".spz":
        write_spz(path, gaussians)
        return
    with replacing(path) as temporary:
        write_ply(temporary, gaussians)
