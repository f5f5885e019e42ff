"""From landmarks to the joints of a body, by their SMPL-X names (Pavlakos et al. 2019)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from vivavoce.features.portrait import Portrait

_BLAZEPOSE = {
    "shoulder": (11, 12), "elbow": (13, 14), "wrist": (15, 16), "hip": (23, 24),
    "knee": (25, 26), "ankle": (27, 28), "foot": (31, 32),
}  # fmt: skip
"""Indices of the person's left and right."""
_FINGERS = {"thumb": 1, "index": 5, "middle": 9, "ring": 13, "pinky": 17}
"""First of the three joints of each finger among the 21 points of a hand."""
_SPINE = {"spine1": 0.24, "spine2": 0.53, "spine3": 0.66}
"""How far up from pelvis to neck, as in the template of SMPL-X."""
_ARM = ("elbow", "wrist")
_MIN_VISIBILITY = 0.5
_MIN_TRUNK = 2.4  # face heights from shoulders to hips; an upright adult's are 2.5 to 3
_EARS, _JAW_HINGES, _PUPILS = [234, 454], [93, 323], [473, 468]
_FOREHEAD, _CHIN = 10, 152

Joint = Float32[np.ndarray, "4"]
"""x, y, z in pixels (z away from the camera) and a confidence in [0, 1]."""


def smplx_joints(portrait: Portrait) -> dict[str, Joint]:
    """Where the joints are that the photo shows; what it does not show is absent.

    Pelvis, spine, neck, head, jaw, eyes, collars and shoulders are always there: where the body was not found
    they are put at an adult's usual distance from the face, with confidence 0.
    """
    joints = _head(portrait.face)
    body = portrait.body
    if body is None:
        pelvis = _trunk_from_face(portrait.face, joints)
    else:
        pelvis = _from_body(body, portrait.face, portrait.matte.shape, joints)
    _add_trunk(joints, pelvis)
    for side, hand in portrait.hands.items():
        joints[f"{side}_wrist"] = _joint(hand[0])
        for finger, first in _FINGERS.items():
            for k in range(3):
                joints[f"{side}_{finger}{k + 1}"] = _joint(hand[first + k])
    return joints


def _joint(point: np.ndarray, confidence: float = 1.0) -> Joint:
    return np.append(point, confidence).astype(np.float32)


def _axes(face: Float32[np.ndarray, "478 3"]) -> tuple[np.ndarray, np.ndarray, float]:
    """Unit vectors down and into the face, and its height in pixels."""
    down = face[_CHIN] - face[_FOREHEAD]
    height = float(np.linalg.norm(down))
    across = face[_EARS[1]] - face[_EARS[0]]
    inwards = np.cross(across, down)
    return down / height, inwards / np.linalg.norm(inwards), height


def _head(face: Float32[np.ndarray, "478 3"]) -> dict[str, Joint]:
    down, inwards, height = _axes(face)
    # An eyeball's centre lies 0.2 interpupillary distances behind the iris (12.5 of 63 mm).
    eyes = face[_PUPILS] + 0.2 * np.linalg.norm(face[_PUPILS[0]] - face[_PUPILS[1]]) * inwards
    return {
        "head": _joint(face[_EARS].mean(axis=0) + 0.12 * height * down),
        "jaw": _joint(face[_JAW_HINGES].mean(axis=0)),
        "left_eye": _joint(eyes[0]),
        "right_eye": _joint(eyes[1]),
    }


def _from_body(
    body: Float32[np.ndarray, "33 4"],
    face: Float32[np.ndarray, "478 3"],
    shape: tuple[int, ...],
    joints: dict[str, Joint],
) -> Joint:
    """Add shoulders, arms and legs as far as they are seen, and return the pelvis."""
    _, _, height = _axes(face)
    shoulders, hips = (body[list(_BLAZEPOSE[name])].mean(axis=0) for name in ("shoulder", "hip"))
    trunk = hips - shoulders
    length = float(np.linalg.norm(trunk[:2]))
    # Where the photo ends at the chest, the network draws a short trunk and legs right under it.
    whole = length >= _MIN_TRUNK * height
    if not whole:
        hips = shoulders + trunk * (_MIN_TRUNK * height / max(length, 1e-6))
        hips[3] = 0
    for name, pair in _BLAZEPOSE.items():
        for side, index in zip(("left", "right"), pair, strict=True):
            x, y, _, visibility = body[index]
            seen = visibility >= _MIN_VISIBILITY and 0 <= x <= shape[1] and 0 <= y <= shape[0]
            if name == "shoulder" or (seen and (whole or name in _ARM)):
                joints[f"{side}_{name}"] = body[index].copy()
    return hips.astype(np.float32)


def _trunk_from_face(face: Float32[np.ndarray, "478 3"], joints: dict[str, Joint]) -> Joint:
    """Add shoulders below the face of an adult who stands upright, and return the pelvis."""
    _, _, height = _axes(face)
    middle = np.array([face[_EARS, 0].mean(), face[_CHIN, 1], face[_EARS, 2].mean()])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        joints[f"{side}_shoulder"] = _joint(middle + height * np.array([sign, 0.55, 0.0]), 0.0)
    return _joint(middle + height * np.array([0.0, 3.2, 0.0]), 0.0)


def _add_trunk(joints: dict[str, Joint], pelvis: Joint) -> None:
    left, right = joints["left_shoulder"], joints["right_shoulder"]
    middle = (left + right) / 2
    neck = middle.copy()
    neck[:3] += 0.08 * np.linalg.norm(left - right) * _unit(joints["head"][:3] - middle[:3])
    joints["pelvis"], joints["neck"] = pelvis, neck
    for name, share in _SPINE.items():
        joints[name] = (1 - share) * pelvis + share * neck
    for side in ("left", "right"):
        # The collar bone starts a quarter of the way out, somewhat below the line of the shoulders.
        collar = neck + 0.27 * (joints[f"{side}_shoulder"] - neck)
        joints[f"{side}_collar"] = (collar + 0.15 * (joints["spine3"] - neck)).astype(np.float32)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-6)
