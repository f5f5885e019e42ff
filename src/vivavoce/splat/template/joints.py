"""Where the joints of the standing body are, from a few measures of a person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vivavoce.splat.skeleton import JOINT, JOINTS

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
SIDES = {"left": 1.0, "right": -1.0}
"""Which way of x each side of the body lies."""

ARM_ANGLE = np.radians(20.0)
"""Of the resting arms from the vertical, in the picture's plane; palms face the thighs, thumbs forwards."""

_STATURE = 1700.0  # mm, what the lengths below are of

# Segment lengths as shares of stature, by Drillis & Contini 1966; joints of the trunk as SMPL-X places them.
_UPPER_ARM, _FOREARM = 0.178, 0.146
_TRUNK = {
    "pelvis": (0.0, 0.0, 0.0),
    "spine1": (0.0, -0.065, 0.004),
    "spine2": (0.0, -0.143, 0.0),
    "spine3": (0.0, -0.178, 0.0),
    "neck": (0.0, -0.302, 0.006),
    "head": (0.0, -0.362, -0.004),
    "left_hip": (0.04, 0.05, 0.0),
    "left_knee": (0.06, 0.285, -0.004),
    "left_ankle": (0.065, 0.525, 0.012),
    "left_foot": (0.075, 0.558, -0.062),
    "left_collar": (0.036, -0.282, 0.0),
}

# Along the hand, towards the thumb, and out of the palm, mm for a hand of 184 mm; the last is the finger's tip.
_HAND = {
    "thumb": ((22, 24, 8), (50, 46, 16), (76, 60, 20), (100, 70, 22)),
    "index": ((88, 24, 0), (130, 28, 0), (155, 30, 0), (177, 31, 0)),
    "middle": ((90, 3, 0), (135, 4, 0), (163, 4, 0), (186, 4, 0)),
    "ring": ((85, -16, 0), (126, -20, 0), (152, -22, 0), (175, -23, 0)),
    "pinky": ((77, -34, 0), (108, -42, 0), (127, -46, 0), (146, -49, 0)),
}
_HAND_LENGTH = 0.108


@dataclass(frozen=True)
class Build:
    """The measures of a body."""

    stature: float = _STATURE
    """mm."""
    shoulders: float = 1.0
    """Width between the shoulder joints, relative to the mean of 22 % of stature."""
    girth: float = 1.0
    """Thickness of trunk and limbs, relative to the mean."""
    face: float = 177.0
    """Forehead to chin, mm."""


@dataclass(frozen=True)
class Joints:
    """The rest pose: all joints in the order of `skeleton.JOINTS`, and the ends of the fingers."""

    positions: Float[np.ndarray, "55 3"]
    tips: dict[str, Float[np.ndarray, " 3"]]
    """By side and finger, as "left_thumb"."""

    def __getitem__(self, name: str) -> Float[np.ndarray, " 3"]:
        return self.positions[JOINT[name]]


def rest_joints(build: Build) -> Joints:
    """The joints of a standing body whose arms hang a little away from it."""
    s = build.stature
    at = {name: np.array(where) * s for name, where in _TRUNK.items()}
    at["left_shoulder"] = np.array([0.112 * build.shoulders, -0.250, 0.004]) * s
    at["left_collar"][0] *= build.shoulders
    along = np.array([np.sin(ARM_ANGLE), np.cos(ARM_ANGLE), 0.0])
    at["left_elbow"] = at["left_shoulder"] + _UPPER_ARM * s * along
    at["left_wrist"] = at["left_elbow"] + _FOREARM * s * along
    # The jaw's hinge lies before and above the skull's base; the eyes two thirds up the face, 11 mm behind the lids.
    at["jaw"] = at["head"] + np.array([0.0, 0.02, -0.15]) * build.face
    at["left_eye"] = at["head"] + np.array([31.5 / 177, -0.28, -0.44]) * build.face
    tips = {}
    scale = _HAND_LENGTH * s / 184.0
    forward, palm = np.array([0.0, 0.0, -1.0]), np.array([-along[1], along[0], 0.0])
    for finger, chain in _HAND.items():
        points = [at["left_wrist"] + scale * (a * along + b * forward + c * palm) for a, b, c in chain]
        at |= {f"left_{finger}{k + 1}": point for k, point in enumerate(points[:3])}
        tips[f"left_{finger}"] = points[3]
    mirror = np.array([-1.0, 1.0, 1.0])
    at |= {f"right_{name[5:]}": mirror * where for name, where in at.items() if name.startswith("left_")}
    tips |= {f"right_{name[5:]}": mirror * where for name, where in tips.items()}
    return Joints(np.stack([at[name] for name in JOINTS]), tips)
