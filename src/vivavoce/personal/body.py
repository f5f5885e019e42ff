"""The points of an avatar's person that motion is told by: as those of synthetic people, in the avatar's own space."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vivavoce.corpus.synth.motions import SURFACE, TIPS, Rest
from vivavoce.features.physical_state import FACE_POINTS, PARTS, POINTS
from vivavoce.splat import topology
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.lhm.template import spread
from vivavoce.splat.skeleton import JOINT, JOINTS
from vivavoce.splat.template.joints import FINGERS, SIDES
from vivavoce.train.moving import HANDS, Places
from vivavoce.types import Camera

_POINTS = sum(SURFACE.values())
_KNUCKLES = 3  # joints of a finger
_PER_HAND = len(HANDS) // len(SIDES)


def rest_of(avatar: Avatar) -> Rest:
    """The person of an avatar at rest, metres.

    Fingertips, which no avatar has, lie as far beyond the last joint as that beyond the one before. Points of the
    surface are Gaussians that hang on joints alone; a photo of a face and no more shows none, and the joints stand
    for them.
    """
    points = avatar.lift.points(avatar.rest.astype(np.float64)).astype(np.float32)
    joints = points[: len(JOINTS)]
    tips = [2 * joints[JOINT[f"{tip}3"]] - joints[JOINT[f"{tip}2"]] for tip in TIPS]
    surface, skin = _surface(avatar)
    if not len(surface):
        surface, skin = joints, np.eye(len(JOINTS), dtype=np.float32)
    chosen = spread(surface, _POINTS)
    return Rest(
        joints=joints,
        riders=np.concatenate([points[len(JOINTS) : len(JOINTS) + topology.N_FACE], points[-1:]]),
        tips=np.stack(tips),
        surface=surface[chosen],
        skin=skin[chosen],
        mouth=float(avatar.rig.lips.width * avatar.lift.metre),
    )


def _surface(avatar: Avatar) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 55"]]:
    """The Gaussians that hang on joints alone, and by which weights."""
    indices, weights = avatar.binding.indices, avatar.binding.weights
    alone = ((indices < len(JOINTS)) | (weights == 0)).all(axis=1)
    skin = np.zeros((int(alone.sum()), len(JOINTS)), np.float32)
    rows, slots = np.nonzero(weights[alone] > 0)
    np.add.at(skin, (rows, indices[alone][rows, slots]), weights[alone][rows, slots])
    return avatar.gaussians.means[alone], skin


def projected(points: Float[Tensor, "*b 3"], camera: Camera) -> Float[Tensor, "*b 2"]:
    """Where points of space (metres) are seen: x and y over the picture's width and height, from -1 to 1 within it."""
    x, y, z = points.unbind(-1)
    across = 2 * (camera.focal * x / z + camera.cx) / camera.width - 1
    down = 2 * (camera.focal * y / z + camera.cy) / camera.height - 1
    return torch.stack([across, down], dim=-1)


def keypoints(
    face: Float[Tensor, "T 468 3"], places: Places, seen: frozenset[str], camera: Camera
) -> Float[Tensor, "T 127 3"]:
    """The keypoints of `features.physical_state` that a moving avatar shows: those of the face, and of `seen` hands.

    `face` is in space. Those of the body are told as not seen.
    """
    found = face.new_zeros(len(face), POINTS, 3)
    flat = projected(face, camera)
    begin = PARTS["body"]
    found[:, begin : begin + PARTS["face"]] = _confident(
        torch.stack([flat[:, list(vertices)].mean(dim=1) for vertices in FACE_POINTS], dim=1)
    )
    begin += PARTS["face"]
    hands = projected(places.hands, camera)
    for k, side in enumerate(SIDES):
        if f"{side}_wrist" in seen and f"{side}_index1" in seen:
            found[:, begin : begin + PARTS[f"{side}_hand"]] = _confident(hands[:, _hand(k)])
        begin += PARTS[f"{side}_hand"]
    return found


def _confident(flat: Float[Tensor, "T n 2"]) -> Float[Tensor, "T n 3"]:
    return torch.cat([flat, torch.ones_like(flat[..., :1])], dim=-1)


def _hand(side: int) -> list[int]:
    """The places in `Places.hands` of a wrist and five fingers of four points each, thumb first."""
    wrist = side * _PER_HAND
    order = [wrist]
    for finger in range(len(FINGERS)):
        first = wrist + 1 + _KNUCKLES * finger
        tip = len(HANDS) + side * len(FINGERS) + finger
        order += [*range(first, first + _KNUCKLES), tip]
    return order
