"""An avatar with a motion of its own speaks: the recording becomes its motion, window by window, and that a file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vivavoce.config import OWN
from vivavoce.errors import InputError
from vivavoce.features.encoders import SpeechEncoder
from vivavoce.features.loudness import Speech, leveled
from vivavoce.media.audio import SpeechFile
from vivavoce.personal.body import rest_of
from vivavoce.personal.folder import read_motion
from vivavoce.personal.posing import particle_motion
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.drive import Acting, film
from vivavoce.splat.export.command import export_acting
from vivavoce.timing import frame_rate
from vivavoce.train.motion_model import MotionModel
from vivavoce.train.moving import Body
from vivavoce.types import Motion

_BLOCK = 125  # frames whose features are computed at once


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
    """Make the person of an avatar's folder speak a recording by the motion that it was taught, as a video.

    Arguments are those of `splat.drive.generate`; `expressiveness` and `text` are of its rules, and refused here.
    Returns `out`. Raises InputError, WeightsError and OutputError with what is wrong.
    """
    fps = float(frame_rate(fps))
    acting = own_acting(source, fps=fps, seed=seed, expressiveness=expressiveness, text=text)
    return film(source, speech, out, acting, size=size, fps=fps, seed=seed, background=background, face=face)


def export(
    source: Path,
    out: Path,
    *,
    speech: Path,
    at: float | None = None,
    fps: float = 25.0,
    seed: int = 0,
    expressiveness: float = 1.0,
    text: str | None = None,
    face: int | None = None,
) -> Path:
    """Write an avatar's folder, speaking by the motion that it was taught, for other programs.

    Arguments are those of `splat.export.command.export`, of which `expressiveness` and `text` are refused here.
    Returns `out`. Raises InputError, WeightsError and OutputError with what is wrong.
    """
    fps = float(frame_rate(fps))
    acting = own_acting(source, fps=fps, seed=seed, expressiveness=expressiveness, text=text)
    return export_acting(source, out, acting, speech=speech, at=at, fps=fps, seed=seed, face=face)


def own_acting(source: Path, *, fps: float, seed: int, expressiveness: float, text: str | None) -> Acting:
    """The motion that the avatar in the folder `source` was taught, loaded.

    Raises InputError where it was taught none, its files were altered, or `expressiveness` is not 1 or a `text` is
    given, which belong to the rules; WeightsError where it or its speech encoder cannot be loaded.
    """
    for option, usual in (("expressiveness", expressiveness == 1), ("text", text is None)):
        if not usual:
            raise InputError(
                f"--{option} does not change a motion that was taught: leave it out, or take --method splat."
            )
    told = read_motion(source)
    model, encoder = told.model(), told.speech_encoder()

    def moves(avatar: Avatar, sound: SpeechFile) -> Iterator[Motion]:
        return performance(avatar, model, encoder, leveled(sound.spooled()), fps=fps, seed=seed)

    settings = {"expressiveness": expressiveness, "text": text, "teacher": told.teacher}
    return Acting(OWN, moves, settings, {"motion": ("motion.safetensors", told.digest)})


def performance(
    avatar: Avatar,
    model: MotionModel,
    encoder: SpeechEncoder,
    speech: Speech,
    *,
    fps: float,
    seed: int = 0,
    block: int = _BLOCK,
) -> Iterator[Motion]:
    """The motion of an avatar that says this, in runs of frames: ceil(duration fps) of them in all.

    Features of speech are computed `block` frames at a time, which does not change the motion. The look-ahead is that
    of the model (`MotionDiffusion.stream`), and memory does not grow with the recording.
    """
    body, rate = Body.of(rest_of(avatar)), model.diffusion.config.fps
    heard = _count(speech, rate)
    features = (
        encoder.features(speech, rate, np.arange(first, min(first + block, heard)))
        for first in range(0, heard, block)
    )
    vectors = model.diffusion.sample(features, seed=seed, identity=model.identity(body))
    for part in at_rate(vectors, rate, fps, _count(speech, fps)):
        with torch.no_grad():
            joints, offsets = model.acted(part, body)
        yield particle_motion(avatar, joints.numpy(), offsets.numpy(), fps=fps)


def at_rate(
    parts: Iterable[Float[Tensor, "_ D"]], rate: float, fps: float, frames: int
) -> Iterator[Float[Tensor, "_ D"]]:
    """Vectors of frames at another rate, linear between the middles of those of `rate`; the same at its own.

    Beyond the first and last of them they are held. Two frames are kept of what has been given.
    """
    if rate == fps:
        yield from parts
        return
    ratio = float(frame_rate(rate) / frame_rate(fps))
    kept, first, done = torch.zeros(0, 0), 0, 0
    for part in chain(parts, [None]):
        if part is not None:
            kept = part if not len(kept) else torch.cat([kept, part])
        last = first + len(kept) - 1
        ready = frames if part is None else max(done, min(frames, math.floor((last + 0.5) / ratio - 0.5) + 1))
        if ready > done:
            places = ((torch.arange(done, ready, dtype=torch.float64) + 0.5) * ratio - 0.5).clamp(0, last)
            before = places.floor().clamp(max=max(last - 1, 0))
            share = (places - before)[:, None].to(kept)
            index = before.long() - first
            yield torch.lerp(kept[index], kept[(index + 1).clamp(max=len(kept) - 1)], share)
            done = ready
        spent = max(0, min(math.floor((done + 0.5) * ratio - 0.5), last - 1) - first)
        kept, first = kept[spent:].clone(), first + spent


def _count(speech: Speech, fps: float) -> int:
    """Frames of a recording."""
    return math.ceil(speech.duration * fps - 1e-6)
