"""The body's joints, named as in SMPL-X: where they are in the photo, and how they turn in a chain.

Joints that the photo does not show stand at their parent, so every avatar has the same particles in the same
order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

_FINGERS = [f"{finger}{k}" for finger in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2, 3)]

PARENTS: dict[str, str | None] = {
    "pelvis": None,
    "left_hip": "pelvis",
    "right_hip": "pelvis",
    "spine1": "pelvis",
    "left_knee": "left_hip",
    "right_knee": "right_hip",
    "spine2": "spine1",
    "left_ankle": "left_knee",
    "right_ankle": "right_knee",
    "spine3": "spine2",
    "left_foot": "left_ankle",
    "right_foot": "right_ankle",
    "neck": "spine3",
    "left_collar": "spine3",
    "right_collar": "spine3",
    "head": "neck",
    "left_shoulder": "left_collar",
    "right_shoulder": "right_collar",
    "left_elbow": "left_shoulder",
    "right_elbow": "right_shoulder",
    "left_wrist": "left_elbow",
    "right_wrist": "right_elbow",
    "jaw": "head",
    "left_eye": "head",
    "right_eye": "head",
    **{
        f"{side}_{name}": f"{side}_wrist" if name.endswith("1") else f"{side}_{name[:-1]}{int(name[-1]) - 1}"
        for side in ("left", "right")
        for name in _FINGERS
    },
}
JOINTS = tuple(PARENTS)
JOINT = {name: i for i, name in enumerate(JOINTS)}


@dataclass(frozen=True)
class Skeleton:
    """Rest positions of all joints in canvas space (pixels), and which of them the photo shows."""

    positions: Float32[np.ndarray, "J 3"]
    seen: frozenset[str]

    def __getitem__(self, name: str) -> Float32[np.ndarray, " 3"]:
        return self.positions[JOINT[name]]


def place_joints(found: dict[str, Float[np.ndarray, " 3"]]) -> Skeleton:
    """Complete the joints found in the photo; the ones it does not show stand at their parent.

    `found` must hold pelvis, spine1-3, neck, head, jaw and both eyes.
    """
    placed: dict[str, np.ndarray] = {}
    for name, parent in PARENTS.items():
        placed[name] = found[name] if parent is None or name in found else placed[parent]
    return Skeleton(np.stack([placed[j] for j in JOINTS]).astype(np.float32), frozenset(found))


def rotation(
    yaw: Float[np.ndarray, " T"], pitch: Float[np.ndarray, " T"], roll: Float[np.ndarray, " T"]
) -> Float[np.ndarray, "T 3 3"]:
    """Rotation matrices in camera axes (x right, y down, z away), radians: roll after pitch after yaw.

    Positive yaw turns the face to the picture's right, positive pitch nods it down, positive roll tilts it
    clockwise in the picture.
    """

    def about(axis: int, angle: np.ndarray) -> np.ndarray:
        c, s = np.cos(angle), np.sin(angle)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        out = np.zeros((len(angle), 3, 3))
        out[:, axis, axis] = 1
        out[:, i, i] = out[:, j, j] = c
        out[:, i, j], out[:, j, i] = -s, s
        return out

    # The face points along -z: turning it towards +x is a negative turn about y, nodding towards +y a
    # positive one about x.
    return about(2, roll) @ about(0, pitch) @ about(1, -yaw)


def chain(
    positions: Float[np.ndarray, "J 3"],
    rotations: dict[str, Float[np.ndarray, "T 3 3"]],
    shifts: dict[str, Float[np.ndarray, "T 3"]],
    frames: int,
) -> Float[np.ndarray, "T J 3 4"]:
    """Rigid transforms [R | t] of every joint from rest.

    Each joint turns about its own rest position in its parent's frame, and `shifts` move it there; joints
    without an entry keep their parent's transform.
    """
    out = np.zeros((frames, len(JOINTS), 3, 4))
    for i, (name, parent) in enumerate(PARENTS.items()):
        if parent is None:
            R, t = np.broadcast_to(np.eye(3), (frames, 3, 3)), np.zeros((frames, 3))
        else:
            R, t = out[:, JOINT[parent], :, :3], out[:, JOINT[parent], :, 3]
        if name in rotations or name in shifts:
            turn = rotations.get(name, np.broadcast_to(np.eye(3), (frames, 3, 3)))
            centre = positions[i].astype(np.float64)
            local = centre - turn @ centre + shifts.get(name, 0.0)
            R, t = R @ turn, t + np.einsum("tij,tj->ti", R, local)
        out[:, i, :, :3], out[:, i, :, 3] = R, t
    return out
