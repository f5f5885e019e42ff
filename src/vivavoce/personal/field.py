"""The deformation field of a clip (paper 001, App. B): how an avatar's joints and face move so that it looks like it.

The paper fits a deformation field model to clips that a video model has drawn, and takes the motion of its Gaussians
for the truth that a motion model learns. Here the field is made of what moves an avatar: turns of its joints in a
chain, its expressions and a little of each face vertex's own. They are found by gradient descent through the
rasteriser (`personal.tracing`), a window of frames after the other, so that memory does not grow with the clip.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vivavoce.errors import InputError
from vivavoce.media.files import replacing
from vivavoce.personal.stages import work_folder
from vivavoce.personal.tracing import FieldConfig, Trace, Tracer
from vivavoce.progress import counted
from vivavoce.splat.avatar import Avatar
from vivavoce.weights.files import written

FITTING = FieldConfig()
_FPS = "fps"


@dataclass(frozen=True)
class Field:
    """T frames of motion of one avatar, told as in `personal.posing`."""

    joints: Float32[np.ndarray, "T 55 3 4"]
    """Rigid transforms [R | t] from rest in the camera's space, metres."""
    face: Float32[np.ndarray, "T 468 3"]
    """How far the face's vertices have moved in the head's frame, metres."""
    fps: float
    psnr: Float32[np.ndarray, " T"]
    """How near the avatar comes to each frame, in dB, in pictures of the size that the field was fitted at."""

    def save(self, path: Path) -> None:
        """Write it as safetensors. Raises OutputError where that cannot be done."""
        arrays = {"joints": self.joints, "face": self.face, "psnr": self.psnr}
        _write(path, arrays, {_FPS: repr(self.fps)})

    @classmethod
    def load(cls, path: Path) -> Field:
        """Read what `save` wrote. Raises InputError for a file that is missing, damaged or something else."""
        try:
            with safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in ("joints", "face", "psnr")}
                field = cls(fps=float(file.metadata()[_FPS]), **arrays)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} holds no deformation field ({error}): fit it again.") from error
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise InputError(f"{path} holds numbers that are not finite: fit the deformation field again.")
        return field


def fit_field(
    avatar: Avatar,
    frames: UInt8[np.ndarray, "T H W 3"],
    fps: float,
    config: FieldConfig = FITTING,
    *,
    folder: Path | None = None,
) -> Field:
    """The motion with which an avatar looks like its person in a clip, before the avatar's own background.

    Frames are RGB, of the avatar's aspect ratio; the camera stands still. Finished windows are kept in `folder`, where
    there is one, and a fit of the same frames with the same settings goes on from them; the result is the same.
    Raises InputError for frames that cannot be used and OutputError where nothing can be written.
    """
    _check(avatar, frames, fps)
    height, width = frames.shape[1:3]
    digest = ""
    if folder is not None:
        work_folder(folder)
        digest = _digest(avatar, frames, fps, config)
    tracer, found = None, []
    with counted("deformation field", len(frames)) as advance:
        for first in range(0, len(frames), config.window):
            path = None if folder is None else folder / f"{digest}-{first:06d}.safetensors"
            kept = None if path is None else _read(path)
            if kept is None:
                tracer = tracer or Tracer(avatar, width, height, config, fps=fps)
                kept = _window(tracer, frames[first : first + config.window], _last(found))
                if path is not None:
                    _write(path, kept, {})
            found.append(kept)
            for _ in range(len(kept["psnr"])):
                advance()
    whole = {name: np.concatenate([kept[name] for kept in found]) for name in ("joints", "face", "psnr")}
    return Field(fps=float(fps), **whole)


def _window(
    tracer: Tracer, frames: UInt8[np.ndarray, "t H W 3"], before: Trace | None
) -> dict[str, np.ndarray]:
    """What is kept of a window: the field, and the numbers that the next window goes on from."""
    trace = tracer.fit(frames, before)
    drawn = tracer.draw(trace, frames)
    return {**vars(drawn), "numbers": trace.numbers.numpy(), "own": trace.own.numpy()}


def _last(found: list[dict[str, np.ndarray]]) -> Trace | None:
    """The numbers of the last two frames that are known."""
    if not found:
        return None
    numbers, own = (np.concatenate([kept[name] for kept in found[-2:]])[-2:] for name in ("numbers", "own"))
    return Trace(torch.from_numpy(numbers), torch.from_numpy(own))


def _check(avatar: Avatar, frames: UInt8[np.ndarray, "T H W 3"], fps: float) -> None:
    camera, (height, width) = avatar.lift.camera, frames.shape[1:3]
    if not len(frames):
        raise InputError("The clip has no frames: give one with a frame at least.")
    if not (math.isfinite(fps) and fps > 0):
        raise InputError(f"A clip cannot have {fps} frames a second: give a positive number.")
    # Sides of frames are whole and even numbers of pixels.
    if abs(width - height * camera.width / camera.height) > 1 + camera.width / camera.height:
        raise InputError(
            f"The clip's frames of {width}x{height} pixels have another aspect ratio than the avatar's photo "
            f"({camera.width}x{camera.height}): crop or pad them to its shape."
        )


def _digest(avatar: Avatar, frames: UInt8[np.ndarray, "T H W 3"], fps: float, config: FieldConfig) -> str:
    """Of everything that decides a field."""
    gaussians = avatar.gaussians
    digest = hashlib.sha256(repr((frames.shape, float(fps), config)).encode())
    for array in (frames, gaussians.means, gaussians.colors, gaussians.opacities, avatar.background):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """A window that was kept; None where there is none that is whole."""
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None


def _write(path: Path, arrays: dict[str, np.ndarray], told: dict[str, str]) -> None:
    with replacing(path) as temporary, written():
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary, told)
