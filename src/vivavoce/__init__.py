"""Vivavoce: one photo and a voice in; a video of that person speaking out."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

__version__ = "0.1.0"
__all__ = ["create", "generate"]


def create(photo: str | PathLike[str], out: str | PathLike[str], *, face: int | None = None) -> Path:
    """Make an avatar folder of the person in a photo and return its path.

    `face` chooses among several people, counted from the left, from 1; by default the largest face is taken.
    Raises errors.VivavoceError with one sentence where something cannot be used or written.
    """
    from vivavoce.config import check_face

    check_face(face)
    from vivavoce.splat.create import create_avatar

    return create_avatar(Path(photo), Path(out), face=face)


def generate(
    source: str | PathLike[str],
    speech: str | PathLike[str],
    out: str | PathLike[str],
    *,
    size: int | None = None,
    fps: float | int = 25.0,
    seed: int = 0,
    background: str | PathLike[str] = "photo",
    expressiveness: float | int = 1.0,
    text: str | None = None,
    face: int | None = None,
) -> Path:
    """Make the person of a photo or avatar folder speak a recording; return the path of the video.

    `speech` may be any sound or video file, or a folder of them: then `out` is a folder that gets one video
    each. `size` is the short side of the frames in pixels (64..4096, default the avatar's own), `fps` 1..120,
    `background` "photo", "transparent" (to .webm or .mov), a colour or a picture's path, `expressiveness`
    0..2 how lively head, brows and hands are, `text` what is said, `face` as in `create`. The same `seed`
    gives the same video. Raises errors.VivavoceError with one sentence where something cannot be used or
    written.
    """
    from vivavoce.config import GenerateOptions

    options = GenerateOptions(
        size=size,
        fps=float(fps),
        seed=seed,
        background=str(background),
        expressiveness=float(expressiveness),
        text=text,
        face=face,
    )
    from vivavoce.batch import generate_any

    return generate_any(Path(source), Path(speech), Path(out), options)
