"""Where the arms are at rest and at the height of every action, for a body of any build."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vivavoce.corpus.synth.hands import SHAPES
from vivavoce.corpus.synth.reach import Arm, bend, hand_angles, outwards, within_reach

_Vector = tuple[float, float, float]
DOWN_OUT: _Vector = (0.55, -0.8, -0.25)


@dataclass(frozen=True)
class Pose:
    """An arm; directions are (out, up, forward) as its owner sees them."""

    wrist: _Vector
    """Out from the midline in half shoulder widths; up and forward from the shoulder in arm lengths."""
    fingers: _Vector
    """Where they point."""
    palm: _Vector
    """Where it faces."""
    shape: str
    """Of the hand, one of SHAPES."""
    elbow: _Vector = DOWN_OUT
    """Where it points."""
    swerve: _Vector = (0.04, 0.0, 0.09)
    """How far from the straight line the wrist's way there leads, arm lengths: around the trunk."""


RESTS = {
    "belly": Pose((0.72, -0.59, 0.44), (-0.25, 0.0, 0.95), (-0.85, -0.4, -0.3), "relaxed", (0.6, -0.6, -0.6)),
    "hanging": Pose((1.4, -0.96, 0.1), (0.1, -1.0, 0.15), (-1.0, 0.0, -0.2), "relaxed", (0.6, -0.1, -0.8)),
}
WIDER = {"belly": np.array([0.0, 0.0, 0.2]), "hanging": np.array([0.3, 0.0, 0.0])}
"""Where the resting hands go (out, up, forward) for a body of twice the girth, arm lengths."""
_RAISED = Pose((1.45, 0.2, 0.28), (0.05, 1.0, 0.1), (0.0, 0.0, 1.0), "open", (0.5, -1.0, 0.0))
_PALM = Pose((1.34, -0.46, 0.5), (0.2, 0.2, 0.9), (-0.1, 0.95, 0.3), "open", (0.3, -0.8, -0.5))
POSES: dict[str, dict[str, Pose]] = {
    "raise_{side}_hand": {"{side}": _RAISED},
    "wave_{side}_hand": {"{side}": _RAISED},
    "open_{side}_palm": {"{side}": _PALM},
    "point_{side}_at_camera": {
        "{side}": Pose((0.7, -0.02, 0.84), (-0.1, 0.05, 1.0), (-0.6, -0.8, 0.0), "pointing")
    },
    "point_{side}_aside": {
        "{side}": Pose((1.62, -0.09, 0.32), (0.85, 0.3, 0.4), (0.2, -0.5, 0.8), "pointing", (0.2, -1.0, -0.1))
    },
    "{side}_thumb_up": {
        "{side}": Pose((0.8, -0.3, 0.6), (-0.6, 0.05, 0.8), (-0.8, 0.0, -0.6), "thumb up", (0.6, -0.8, -0.2))
    },
    "{side}_hand_on_chest": {
        "{side}": Pose((0.3, -0.24, 0.27), (-0.9, 0.4, 0.0), (0.0, 0.0, -1.0), "flat", (0.7, -0.8, 0.0))
    },
    "raise_both_hands": {"left": _RAISED, "right": _RAISED},
    "open_both_palms": {"left": _PALM, "right": _PALM},
    "hands_together": {
        side: Pose((0.14, -0.42, 0.5), (-0.05, 0.7, 0.7), (-1.0, 0.0, 0.0), "flat", (0.8, -0.6, -0.3))
        for side in ("left", "right")
    },
    "cross_arms": {
        "left": Pose(
            *((-0.51, -0.31, 0.52), (-0.91, 0.25, -0.09), (0.0, -0.2, -1.0), "relaxed", (0.77, -0.71, 0.09)),
            swerve=(0.0, 0.24, 0.12),  # over the other arm
        ),
        "right": Pose(
            *((-0.38, -0.5, 0.46), (-0.87, 0.09, 0.06), (0.0, -0.2, -1.0), "relaxed", (0.59, -0.83, 0.0)),
            swerve=(0.0, -0.1, -0.06),
        ),
    },
}


def poses_of(name: str) -> dict[str, Pose]:
    """The poses, by side, at the height of an action; none where it does not need the arms."""
    for side in ("left", "right"):
        for pattern, arms in POSES.items():
            if pattern.format(side=side) == name:
                return {arm.format(side=side): pose for arm, pose in arms.items()}
    return {}


WRIST, POLE, HAND, SHAPE = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 16)
"""Of an arm's state: the wrist's place (mm) and the elbow's direction in template axes of a left arm, the hand's
angles as in `reach.hand_angles`, and its shape as in `hands.SHAPES`. States can be added and weighted."""


def state(arm: Arm, pose: Pose, offset: Float[np.ndarray, " 3"] | None = None) -> Float[np.ndarray, " 16"]:
    """A pose of this arm; `offset` of the wrist (out, up, forward) in arm lengths."""
    half = arm.shoulder[0]
    place = np.array([half * pose.wrist[0], arm.length * pose.wrist[1], arm.length * pose.wrist[2]])
    place = outwards(place + arm.length * (np.zeros(3) if offset is None else offset))
    wrist = within_reach(arm, (place + arm.shoulder * [0, 1, 1])[None])
    pole = outwards(np.array(pose.elbow)) / np.linalg.norm(pose.elbow)
    forearm = bend(arm, wrist, pole[None]).forearm(arm)[0]
    hand = hand_angles(
        arm, forearm, fingers=outwards(np.array(pose.fingers)), palm=outwards(np.array(pose.palm))
    )
    return np.concatenate([wrist[0], pole, hand, SHAPES[pose.shape]])
