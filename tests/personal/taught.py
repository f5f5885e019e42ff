"""A tiny teacher, sizes to match, and fields that are known instead of fitted."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import tiny
from portraits import portrait
from vivavoce import methods
from vivavoce.config import PersonalOptions
from vivavoce.features.portrait import analyze
from vivavoce.personal.field import Field
from vivavoce.personal.sizes import Sizes, sizes_for
from vivavoce.splat.animate import motion_of
from vivavoce.splat.audiomotion.config import PerceiverConfig
from vivavoce.splat.audiomotion.windows import Layout
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.controls import CHANNELS, INDEX
from vivavoce.splat.create import build_avatar

TEACHER = tiny.method("physavatar")
LENGTH = 50
"""Frames of a window, and so of a clip: two seconds."""


def only_tiny(monkeypatch) -> None:
    """The tiny teacher in the miniature's place."""
    known = lambda: dict(methods.METHODS) | {TEACHER.name: TEACHER}  # noqa: E731
    monkeypatch.setattr(methods, "all_methods", known)
    monkeypatch.setattr("vivavoce.personal.teacher.all_methods", known)


def sizes(**changes: object) -> Sizes:
    """A network of a few thousand parameters, two steps in every stage."""
    found = sizes_for(TEACHER)
    perceiver = PerceiverConfig(patch=25, latents=2, width=16, layers=1, heads=2, size=8)
    model = replace(
        found.model,
        code=4,
        width=16,
        layers=1,
        heads=2,
        perceiver=perceiver,
        layout=Layout(length=LENGTH, overlap=25, ramp=12),
        steps=2,
    )
    brief = {"steps": 2, "batch": 2, "warmup": 0}
    short = {
        "embedding": replace(found.embedding, **brief),
        "motion": tuple(replace(stage, **brief) for stage in found.motion),
        "refined": replace(found.refined, **brief),
    }
    return replace(found, **{"model": model, "drawn": 5, **short, **changes})


def options(**changes: object) -> PersonalOptions:
    """Two clips that speak and one of the open domain."""
    return PersonalOptions(
        **{"teacher": TEACHER.name, "motions": 2, "open_domain": 1, "device": "cpu", **changes}  # pyright: ignore[reportArgumentType]
    )


def photo(path: Path, kind: str = "close_up") -> Path:
    Image.fromarray((portrait(kind) * 255 + 0.5).astype(np.uint8)).save(path)
    return path


@functools.cache
def avatar() -> Avatar:
    """A face that fills its photo."""
    return build_avatar(analyze(portrait("close_up")), photo_sha256="0" * 64)


def known_field(of: Avatar, frames: int, *, phase: float = 0.0, fps: float = 25.0) -> Field:
    """A head that turns and a mouth that opens and shuts, by the avatar's own rig."""
    time = np.arange(frames) / fps
    controls = np.zeros((frames, len(CHANNELS)), np.float32)
    controls[:, INDEX["head_yaw"]] = 0.1 * np.sin(3 * time + phase)
    controls[:, INDEX["jaw"]] = controls[:, INDEX["open"]] = 0.4 + 0.4 * np.sin(20 * time + phase)
    joints = motion_of(of, controls, fps).transforms[:, :55]
    offsets = of.rig.vertex_offsets(controls.astype(np.float64))[:, :468] * of.lift.metre
    return Field(
        np.ascontiguousarray(joints), offsets.astype(np.float32), fps, np.full(frames, 30, np.float32)
    )


def fitted(of: Avatar, frames: np.ndarray, fps: float, config: object, *, folder: Path) -> Field:
    """In the place of `fit_field`: what it finds depends on the frames alone."""
    return known_field(of, len(frames), phase=float(frames.astype(np.float64).mean()), fps=fps)
