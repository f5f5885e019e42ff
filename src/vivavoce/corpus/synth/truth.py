"""What is known of a synthetic clip because it was made: keypoints, joints and the mouth's opening, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from vivavoce.corpus.synth.animator import Acting, moved
from vivavoce.features.physical_state import FACE_POINTS, POINTS, Keypoints
from vivavoce.splat import topology
from vivavoce.splat.controls import INDEX
from vivavoce.splat.skeleton import JOINT, JOINTS
from vivavoce.splat.template.joints import FINGERS
from vivavoce.splat.template.look import FACE
from vivavoce.splat.template.person import Person
from vivavoce.splat.template.stage import Stage

BODY = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
"""COCO's 17 points."""
_FACE_VERTEX = {"nose": topology.NOSE_TIP, "left_ear": 454, "right_ear": 234}
HEAD_ANGLES = ("head_yaw", "head_pitch", "head_roll")


@dataclass(frozen=True)
class Truth:
    """F frames of a clip."""

    keypoints: Keypoints
    """The points of figure S2 of PhysAvatar: 17 of the body, 68 of the face, 21 of each hand."""
    joints2d: Float32[np.ndarray, "F 55 2"]
    """The template's joints, over the picture's width and height from -1 to 1."""
    joints3d: Float32[np.ndarray, "F 55 3"]
    """Metres before the camera."""
    aperture: Float32[np.ndarray, " F"]
    """Between the lips' inner edges, in widths of the resting mouth."""
    head: Float32[np.ndarray, "F 3"]
    """Yaw, pitch and roll of the head against the trunk, radians."""


def truth_of(stage: Stage, acting: Acting) -> Truth:
    """All that is known of the frames that a stage draws of this acting."""
    person = stage.person
    transforms = acting.transforms
    face = moved(person.face[: topology.N_FACE], transforms[:, FACE : FACE + topology.N_FACE])
    joints = moved(person.joints.positions, transforms[:, : len(JOINTS)])
    return Truth(
        keypoints=_keypoints(stage, face, joints, transforms),
        joints2d=_relative(stage, joints).astype(np.float32),
        joints3d=stage.before_camera(joints).astype(np.float32),
        aperture=_aperture(person, face),
        head=acting.controls[:, [INDEX[name] for name in HEAD_ANGLES]],
    )


def _keypoints(
    stage: Stage,
    face: Float[np.ndarray, "F 468 3"],
    joints: Float[np.ndarray, "F 55 3"],
    transforms: Float32[np.ndarray, "F M 3 4"],
) -> Keypoints:
    tips = _tips(stage.person, transforms)
    body = [face[:, _FACE_VERTEX[n]] if n in _FACE_VERTEX else joints[:, JOINT[n]] for n in BODY]
    outline = [face[:, list(group)].mean(1) for group in FACE_POINTS]
    hands = []
    for side in ("left", "right"):
        hands.append(joints[:, JOINT[f"{side}_wrist"]])
        for finger in FINGERS:
            hands += [joints[:, JOINT[f"{side}_{finger}{k}"]] for k in (1, 2, 3)]
            hands.append(tips[f"{side}_{finger}"])
    at = _relative(stage, np.stack([*body, *outline, *hands], axis=1))
    seen = (np.abs(at) <= 1).all(-1, keepdims=True)
    out = np.concatenate([at, np.ones_like(at[..., :1])], -1) * seen
    assert out.shape[1] == POINTS
    return out.astype(np.float32)


def _tips(person: Person, transforms: Float32[np.ndarray, "F M 3 4"]) -> dict[str, Float[np.ndarray, "F 3"]]:
    """The ends of the fingers, which ride on their last joints."""
    return {
        name: moved(at[None], transforms[:, JOINT[f"{name}3"]][:, None])[:, 0]
        for name, at in person.joints.tips.items()
    }


def _relative(stage: Stage, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
    camera = stage.camera
    return 2 * stage.project(points) / (camera.width, camera.height) - 1


def _aperture(person: Person, face: Float[np.ndarray, "F 468 3"]) -> Float32[np.ndarray, " F"]:
    upper, lower = (face[:, half[0][5]] for half in (topology.LIP_UPPER, topology.LIP_LOWER))
    # Shut lips overlap a little: the gap is what opens along the face's own vertical.
    down = face[:, topology.CHIN] - face[:, topology.FOREHEAD]
    down /= np.linalg.norm(down, axis=1, keepdims=True)
    gap = ((lower - upper) * down).sum(1)
    return (np.maximum(gap, 0) / person.rig.lips.width).astype(np.float32)
