"""The command line: parse, call one function, print one path."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

# Frames are drawn by threads of our own: those of the linear algebra would spin beside them and halve the speed.
# It reads this when numpy is first imported, which the lines below do not do.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import tyro
from tyro.conf import Positional, arg

import vivavoce
from vivavoce.errors import InputError, VivavoceError

_Out = Annotated[Path, arg(aliases=["-o"])]
_Number = Annotated[int | None, arg(metavar="INT")]


def create(
    photo: Annotated[Positional[Path], arg(metavar="PHOTO")], /, *, out: _Out, face: _Number = None
) -> str:
    """Make an avatar of the person in a photo.

    Args:
        photo: The photo: any picture file.
        out: The avatar folder to make.
        face: Who it is, counted from the left, from 1, when the photo shows several people.
    """
    return str(vivavoce.create(photo, out, face=face))


def generate(
    source: Annotated[Positional[Path], arg(metavar="PHOTO|AVATAR")],
    speech: Annotated[Positional[Path], arg(metavar="SPEECH")],
    /,
    *,
    out: _Out,
    size: _Number = None,
    fps: float = 25.0,
    seed: int = 0,
    background: str = "photo",
    expressiveness: float = 1.0,
    text: Annotated[str | None, arg(metavar="STR")] = None,
    face: _Number = None,
) -> str:
    """Make a person speak a recording.

    Args:
        source: A photo, or an avatar folder made by `vivavoce create`.
        speech: A sound or video file; or a folder of them, for one video each.
        out: The video to write: .mp4, .mov or .webm; for a folder of recordings, a folder.
        size: Short side of the frames in pixels, 64..4096; by default the avatar's own.
        fps: Frames a second, 1..120.
        seed: Another number gives another motion of head and eyes, the same one the same video.
        background: photo, transparent (to .webm or .mov), a colour, or a picture.
        expressiveness: How lively head, brows, shoulders and hands are, 0..2.
        text: What is said, where it is known: sharpens the timing of the lips.
        face: Who speaks, counted from the left, from 1, when the photo shows several people.
    """
    options = {"background": background, "expressiveness": expressiveness, "text": text, "face": face}
    return str(vivavoce.generate(source, speech, out, size=size, fps=fps, seed=seed, **options))


def inspect(file: Annotated[Positional[Path], arg(metavar="FILE")], /) -> str:
    """Tell how a video, picture or avatar was made.

    Args:
        file: A file or an avatar folder.
    """
    if file.is_dir():
        from vivavoce.splat.avatar import read_description

        return _describe_avatar(file, read_description(file))
    from vivavoce.media.provenance import read_provenance

    made = read_provenance(file)
    if made is None:
        raise InputError(f"{file} carries no record of Vivavoce: it was not made by it, or lost its record.")
    return made.describe()


def _describe_avatar(folder: Path, description: dict) -> str:
    try:
        camera, particles = description["camera"], description["particles"]
        lines = [
            f"{folder} is an avatar: {description['gaussians']} Gaussians on {len(particles)} particles",
            f"size           {camera['width']}x{camera['height']}",
            f"photo          sha256 {description['photo_sha256']}",
            *(f"note           {note}" for note in description["notes"]),
        ]
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder}/avatar.json lacks {error}: make the avatar again.") from error
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code: 0, 2 for a mistake of the user's, 130 after Ctrl-C."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of libraries say nothing to our users
        warnings.filterwarnings("always", category=UserWarning, module=r"vivavoce(\.|$)")
        warnings.showwarning = lambda message, *_, **__: _say(str(message))
        code, message = _run(args)
    # Only now, when the frames of the failed call are gone and with them the progress bar.
    if message:
        _say(message)
    return code


def _run(args: Sequence[str] | None) -> tuple[int, str]:
    commands = {"create": create, "generate": generate, "inspect": inspect}
    try:
        print(
            tyro.extras.subcommand_cli_from_dict(
                commands, prog="vivavoce", description=vivavoce.__doc__, args=args
            )
        )
    except VivavoceError as error:
        return 2, str(error)
    except KeyboardInterrupt:
        return 130, "stopped."
    return 0, ""


def _say(message: str) -> None:
    print("vivavoce:", " ".join(message.split()), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
