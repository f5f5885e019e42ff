"""Motion made small: a mean and a few shapes of movement with their strengths in every frame.

Particles of a body move together, so that some thirty shapes tell seconds and hundreds tell minutes of speech to
a twentieth of a millimetre; as numbers of their own they would take a hundred times the space.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int16

from vivavoce.types import Motion

TOLERANCE = 5e-5
"""Largest error of a particle's place, metres, and of LEVER times a quaternion's component."""
LEVER = 0.2
"""Metres from a particle at which its rotation is to be as exact as its place."""
SHADE = 0.01
"""What a unit of gain weighs against a metre: a gain is exact to half a hundredth."""
MOST = 512
"""Shapes at most; motion richer than they can tell is smoothed, with a warning."""

_FULL = 32767


@dataclass(frozen=True)
class CodedMotion:
    """x(frame) = mean + sum_k steps[k] strengths[k, frame] shapes[k].

    x holds seven numbers a particle, its displacement at its rest position in metres and LEVER times its
    quaternion (x, y, z, w), then SHADE times the gains.
    """

    mean: Float32[np.ndarray, " D"]
    shapes: Int16[np.ndarray, "K D"]
    strengths: Int16[np.ndarray, "K T"]
    steps: Float32[np.ndarray, " K"]


def code_motion(motion: Motion, rest: Float32[np.ndarray, "M 3"]) -> CodedMotion:
    """Code a motion of particles that rest at `rest`, metres, to within TOLERANCE; warns where MOST shapes fail to."""
    left = _numbers(motion, rest)
    mean = left.mean(0)
    left -= mean
    shapes, strengths, steps = [], [], []
    worst = np.abs(left).max(1)
    while worst.max() > TOLERANCE and len(steps) < MOST:
        # The frame told worst so far is the next shape. Its rounding is left for later shapes to mend.
        shape = left[worst.argmax()]
        shape = np.round(shape * np.float32(_FULL / np.abs(shape).max())).astype(np.int16)
        wide = shape.astype(np.float32)
        strength = left @ wide / (wide @ wide)
        step = np.abs(strength).max() / np.float32(_FULL)
        strength = np.round(strength / step).astype(np.int16)
        left -= np.outer(strength * step, wide)
        worst = np.abs(left).max(1)
        shapes.append(shape)
        strengths.append(strength)
        steps.append(step)
    if worst.max() > TOLERANCE:
        warnings.warn(
            f"The motion is richer than {MOST} shapes tell: it is off by up to {1e3 * worst.max():.2f} mm.",
            stacklevel=2,
        )
    return CodedMotion(
        mean,
        np.array(shapes, np.int16).reshape(-1, len(mean)),
        np.array(strengths, np.int16).reshape(-1, len(worst)),
        np.array(steps, np.float32),
    )


def _numbers(motion: Motion, rest: Float32[np.ndarray, "M 3"]) -> Float32[np.ndarray, "T D"]:
    """The numbers that are coded, a row a frame."""
    from scipy.spatial.transform import Rotation

    frames, count = motion.transforms.shape[:2]
    numbers = np.empty((frames, 7 * count + motion.gains[0].size), np.float32)
    before = np.array([0.0, 0.0, 0.0, 1.0])
    for row, transforms, gains in zip(numbers, motion.transforms, motion.gains, strict=True):
        R = transforms[:, :, :3].astype(np.float64)
        displacements = np.einsum("mab,mb->ma", R, rest) + transforms[:, :, 3] - rest
        quats = Rotation.from_matrix(R).as_quat()
        quats *= np.where((quats * before).sum(1) < 0, -1, 1)[:, None]  # q and -q are one rotation
        before = quats
        row[: 7 * count] = np.concatenate([displacements, LEVER * quats], 1).ravel()
        row[7 * count :] = SHADE * gains.ravel()
    return numbers
