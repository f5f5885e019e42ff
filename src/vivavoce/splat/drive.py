"""PATH 2: an avatar (or a photo) and speech become a clip."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vivavoce.errors import InputError
from vivavoce.media.audio import SpeechFile, open_speech
from vivavoce.media.provenance import Provenance
from vivavoce.media.video import VideoWriter, check_video_target
from vivavoce.progress import track
from vivavoce.splat.avatar import Avatar, load_avatar
from vivavoce.splat.backgrounds import resolve_background
from vivavoce.splat.driver import Driver
from vivavoce.splat.render import Renderer
from vivavoce.timing import frame_rate
from vivavoce.types import SPEECH_RATE, Motion

METHOD = "splat"
BLOCK_SECONDS = 0.4
MAX_SECONDS = 6 * 3600.0
"""Longer recordings are refused: they are rarely meant, and take hours and gigabytes."""


def generate(
    source: Path,
    speech: Path,
    out: Path,
    *,
    size: int | None = None,
    fps: float = 25.0,
    seed: int = 0,
    background: str = "photo",
    expressiveness: float = 1.0,
    text: str | None = None,
    face: int | None = None,
) -> Path:
    """Make the person of `source` (a photo or an avatar folder) speak the recording `speech`, as a video.

    `size` is the short side in pixels (default: the avatar's), `background` "photo", "transparent", a colour
    or a picture's path, `expressiveness` 0..2 how lively head, brows and hands are; `text` the words, where
    they are known, for sharper timing. The same seed gives the same motion. Returns `out`.
    Raises InputError and OutputError with what is wrong.
    """
    fps = float(frame_rate(fps))
    acting = acting_by_rules(fps=fps, seed=seed, expressiveness=expressiveness, text=text)
    return film(source, speech, out, acting, size=size, fps=fps, seed=seed, background=background, face=face)


@dataclass(frozen=True)
class Acting:
    """What moves an avatar, and what is to be told of it."""

    method: str
    moves: Callable[[Avatar, SpeechFile], Iterator[Motion]]
    """The motion of a recording in short runs, ceil(duration fps) frames in all."""
    settings: Mapping[str, str | float | int | None]
    inputs: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Name and SHA-256 of what it stands on, by role (`media.provenance`)."""


def acting_by_rules(*, fps: float, seed: int, expressiveness: float, text: str | None) -> Acting:
    """The motion that every avatar has; arguments as in `generate`."""

    def moves(avatar: Avatar, sound: SpeechFile) -> Iterator[Motion]:
        script = script_of(sound, text)
        driver = Driver(avatar, fps=fps, seed=seed, expressiveness=expressiveness, script=script)
        return motions_of(driver, sound)

    return Acting(METHOD, moves, {"expressiveness": expressiveness, "text": text})


def film(
    source: Path,
    speech: Path,
    out: Path,
    acting: Acting,
    *,
    size: int | None,
    fps: float,
    seed: int,
    background: str,
    face: int | None,
) -> Path:
    """Film what moves the person of `source`; for the rest as `generate`."""
    source, speech, out = Path(source), Path(speech), Path(out)
    check_video_target(out, alpha=background == "transparent")
    sound = open_speech(speech)
    if sound.duration > MAX_SECONDS:
        hours = sound.duration / 3600
        raise InputError(
            f"{speech} lasts {hours:.1f} hours: cut it into parts of at most {MAX_SECONDS / 3600:.0f}."
        )
    avatar = avatar_of(source, face)
    width, height = frame_size(avatar, size)
    plate = resolve_background(background, avatar, width, height)
    frames = math.ceil(sound.duration * fps - 1e-6)
    chosen = {"fps": fps, "size": size, "background": background, "face": face}
    files = {"photo": (source.name, avatar.photo_sha256), "speech": (speech.name, sound.sha256)}
    provenance = Provenance(
        method=acting.method,
        seed=seed,
        inputs=files | dict(acting.inputs),
        settings=chosen | dict(acting.settings),
    )
    renderer = Renderer(avatar, width, height, background=plate)
    try:
        with VideoWriter(
            out, width, height, fps, sound=speech, provenance=provenance, alpha=plate is None
        ) as writer:
            drawn = renderer.stream(acting.moves(avatar, sound))
            for frame in track(drawn, total=frames, description=f"{out.name}"):
                writer.write(frame)
    finally:
        renderer.close()
    return out


def motions_of(driver: Driver, sound: SpeechFile) -> Iterator[Motion]:
    """Motion in short runs of frames, so that memory does not grow with the speech."""
    for block in sound.blocks(BLOCK_SECONDS):
        yield driver.push(block)
    yield driver.finish()


def script_of(sound: SpeechFile, text: str | None) -> np.ndarray | None:
    """The articulation of known words, or None where the network is to hear them."""
    if text is None:
        return None
    from vivavoce.features.align import align
    from vivavoce.splat.motion.targets import articulation_from_phones

    samples = sound.read()
    return articulation_from_phones(align(samples, text), len(samples) / SPEECH_RATE)


def frame_size(avatar: Avatar, size: int | None) -> tuple[int, int]:
    """Width and height of the frames, both even, in the photo's aspect; `size` is the short side, pixels."""
    w, h = avatar.lift.camera.width, avatar.lift.camera.height
    k = 1.0 if size is None else size / min(w, h)
    return tuple(max(2, 2 * round(k * side / 2)) for side in (w, h))  # type: ignore[return-value]


def avatar_of(source: Path, face: int | None) -> Avatar:
    """Load an avatar folder, or make one of a photo for this once."""
    if source.is_dir():
        return load_avatar(source)
    from vivavoce.splat.create import create_avatar

    with tempfile.TemporaryDirectory(prefix="vivavoce-") as folder:
        return load_avatar(create_avatar(source, Path(folder) / "avatar", face=face))
