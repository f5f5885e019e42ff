"""Control tracks become motion of one avatar: its rig's transforms in metres, and the light in its mouth."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from vivavoce.splat.avatar import Avatar
from vivavoce.splat.controls import CHANNELS, INDEX
from vivavoce.splat.layers import KINDS
from vivavoce.types import Motion

SHADED = ("upper_teeth", "lower_teeth", "tongue", "cavity")


def motion_of(avatar: Avatar, controls: Float32[np.ndarray, "T C"], fps: float) -> Motion:
    """Particle motion of an avatar under the given control tracks (C = len(CHANNELS))."""
    assert controls.shape[1] == len(CHANNELS)
    canvas = avatar.rig.transforms(controls)
    return Motion(fps, avatar.lift.transforms(canvas, avatar.rest), gains_of(avatar, controls))


def gains_of(avatar: Avatar, controls: Float32[np.ndarray, "T C"]) -> Float32[np.ndarray, "T G 3"]:
    """`Motion.gains`: the mouth's light under the given control tracks."""
    gains = np.ones((len(controls), len(KINDS), 3), np.float32)
    light = mouth_light(controls)
    if not avatar.colored:
        light = light.mean(1, keepdims=True)
    gains[:, [KINDS.index(k) for k in SHADED]] = light[:, None]
    return gains


def mouth_light(controls: Float32[np.ndarray, "T C"]) -> Float32[np.ndarray, "T 3"]:
    """How much light falls into the mouth, by colour: little through a narrow or a rounded opening.

    What light there is has passed lips and cheeks, so that blue goes first.
    """
    opened = np.clip(controls[:, INDEX["open"]] / 0.25, 0, 1)
    light = (0.5 + 0.5 * opened) * (1 - 0.45 * np.clip(controls[:, INDEX["round"]], 0, 1))
    return (light[:, None] ** np.array([0.85, 1.1, 1.25])).astype(np.float32)
