"""Vivavoce: one photo and a voice in; a video of that person speaking out."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

__version__ = "0.1.0"
__all__ = ["create", "export", "generate"]


def create(
    photo: str | PathLike[str],
    out: str | PathLike[str],
    *,
    face: int | None = None,
    personalize: bool = False,
    **personal: Any,
) -> Path:
    """Make an avatar folder of the person in a photo and return its path.

    `face` chooses among several people, counted from the left, from 1; by default the largest face is taken.
    With `personalize` the avatar is taught a motion of its own; `personal` are the fields of
    `config.PersonalOptions`, of which `teacher` must be given. A making that was stopped goes on.
    Raises errors.VivavoceError with one sentence where something cannot be used or written.
    """
    from vivavoce.config import PersonalOptions, check_face
    from vivavoce.errors import InputError, extra

    check_face(face)
    files: dict[str, Any] = {
        name: Path(personal[name]) for name in ("weights", "motion") if personal.get(name)
    }
    options = PersonalOptions(**personal | files)
    if personalize:
        with extra("train"):
            from vivavoce.personal.pipeline import personalize as teach

        return teach(Path(photo), Path(out), options, face=face)
    if options.teacher is not None:
        raise InputError(f"{options.teacher} is to teach nothing: say --personalize, or leave --teacher out.")
    from vivavoce.splat.create import create_avatar

    return create_avatar(Path(photo), Path(out), face=face)


def generate(
    source: str | PathLike[str] | None,
    speech: str | PathLike[str],
    out: str | PathLike[str],
    *,
    method: str | None = None,
    size: int | None = None,
    fps: float | int | None = None,
    seed: int = 0,
    background: str | PathLike[str] = "photo",
    expressiveness: float | int = 1.0,
    text: str | None = None,
    face: int | None = None,
    **video: Any,
) -> Path:
    """Make the person of a photo or avatar folder speak a recording; return the path of the video.

    `speech` may be any sound or video file, or a folder of them: then `out` is a folder that gets one video
    each. `size` is the short side of the frames in pixels (64..4096, default the avatar's own), `fps` 1..120,
    `background` "photo", "transparent" (to .webm or .mov), a colour or a picture's path, `expressiveness`
    0..2 how lively head, brows and hands are, `text` what is said, `face` as in `create`. The same `seed`
    gives the same video. Raises errors.VivavoceError with one sentence where something cannot be used or
    written.

    Without a `method` an avatar moves as it was taught, where it was (`create` with `personalize`), else by "splat".
    A `method` of the video family (`vivavoce.methods.METHODS`) draws a photo, or without one (None) what `text`
    describes, at a size and rate of its own; `video` are the fields of `config.VideoOptions`.
    """
    from vivavoce.config import GenerateOptions, VideoOptions

    files: dict[str, Any] = {
        name: Path(video[name]) for name in ("weights", "plan", "pose", "states") if video.get(name)
    }
    options = GenerateOptions(
        size=size,
        fps=None if fps is None else float(fps),
        seed=seed,
        background=str(background),
        expressiveness=float(expressiveness),
        text=text,
        face=face,
        method=method,
        video=VideoOptions(**video | files),
    )
    from vivavoce.batch import generate_any

    return generate_any(None if source is None else Path(source), Path(speech), Path(out), options)


def export(
    source: str | PathLike[str],
    out: str | PathLike[str],
    *,
    speech: str | PathLike[str] | None = None,
    at: float | int | None = None,
    method: str | None = None,
    fps: float | int = 25.0,
    seed: int = 0,
    expressiveness: float | int = 1.0,
    text: str | None = None,
    face: int | None = None,
) -> Path:
    """Write an avatar (its folder, or a photo) for other programs; return the path.

    Without `speech` it is at rest: `out` is a .ply or .spz. With it, `out` is a page that talks and can be looked at
    from around (.html), the moment `at` so many seconds (.ply, .spz), or a new folder for a .ply of every frame. It
    moves by the `method` "audioavatar" or "splat", chosen as in `generate`, and so is the rest. Raises
    errors.VivavoceError with one sentence where something cannot be used or written.
    """
    from vivavoce.config import GenerateOptions

    options = GenerateOptions(
        fps=float(fps),
        seed=seed,
        expressiveness=float(expressiveness),
        text=text,
        face=face,
        method=method,
    )
    from vivavoce.batch import export_any

    spoken = None if speech is None else Path(speech)
    return export_any(Path(source), spoken, Path(out), options, at=None if at is None else float(at))
