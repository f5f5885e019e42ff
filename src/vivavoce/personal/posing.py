"""Joints and a face become motion of all particles of one avatar: in torch, with gradients, and in numpy for drawing.

It is the way of `splat.rig`, begun where that has left the controls behind. Two things are told of a frame:

- `joints`: the rigid transforms [R | t] of the 55 joints from rest, in metres, in the camera's space. They are the
  first 55 of a `types.Motion`.
- `face`: how far the face's 468 vertices have moved in the head's frame, in metres at the distance of the face, x
  right, y down, z away from the camera. Joints take a vertex v to where they take the point v + offset.

The ring around the face and the tongue follow from these: the ring by the rig's own interpolation between jaw, lips,
lids and brows, the tongue with the jaw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn.functional import normalize

from vivavoce.splat import se3, topology
from vivavoce.splat.animate import gains_of
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.controls import CHANNELS, INDEX
from vivavoce.splat.lips import OPENING
from vivavoce.splat.rig import MOVED
from vivavoce.splat.skeleton import JOINT, JOINTS, PARENTS
from vivavoce.train.moving import by_jaw, moved
from vivavoce.types import Motion

_ROUNDED, _OPENED = (
    0.36,
    0.05,
)  # of the mouth's width that fully rounded and wide open lips lose (splat/lips.py)


@dataclass(frozen=True)
class Anatomy:
    """What posing needs of an avatar, as tensors. Lengths are pixels of the canvas, `anchors` and `metre` metres."""

    rest: Float[Tensor, "M 3"]
    anchors: Float[Tensor, "M 3"]
    """The same places in the camera's space."""
    scale: Float[Tensor, "M 1"]
    """Metres a pixel at each particle's depth."""
    skin: Float[Tensor, "V 55"]
    jaw: Float[Tensor, "V 1"]
    """How much each vertex of face and ring follows the jaw."""
    spread: Float[Tensor, "V P"]
    """Displacement of each vertex for a unit displacement of each of the rig's control points."""
    metre: float
    """Metres a pixel at the distance of the face."""

    @classmethod
    def of(cls, avatar: Avatar, dtype: torch.dtype = torch.float32) -> Anatomy:
        lift, rig = avatar.lift, avatar.rig
        anchors = lift.points(avatar.rest.astype(np.float64))
        arrays = {
            "rest": avatar.rest,
            "anchors": anchors,
            "scale": anchors[:, 2:] / lift.camera.focal,
            "skin": rig.skin,
            "jaw": rig.jaw[:, None],
            "spread": rig.spread,
        }
        tensors = {name: torch.tensor(array, dtype=dtype) for name, array in arrays.items()}
        return cls(**tensors, metre=lift.metre)

    @property
    def vertices(self) -> Float[Tensor, "V 3"]:
        """Of face and ring, at rest."""
        return self.rest[len(JOINTS) : len(JOINTS) + len(self.skin)]

    def lifted(self, canvas: Float[Tensor, "T m 3 4"], first: int = 0) -> Float[Tensor, "T m 3 4"]:
        """Motion on the canvas, of the particles from `first` on, as motion in space: the twin of `Lift.transforms`."""
        these = slice(first, first + canvas.shape[-3])
        return _carried_over(canvas, self.rest[these], self.anchors[these], self.scale[these])

    def lowered(self, space: Float[Tensor, "T m 3 4"]) -> Float[Tensor, "T m 3 4"]:
        """The way back of `lifted`, of the first m particles."""
        these = slice(space.shape[-3])
        return _carried_over(space, self.anchors[these], self.rest[these], 1 / self.scale[these])


def posed(
    anatomy: Anatomy, joints: Float[Tensor, "T 55 3 4"], face: Float[Tensor, "T 468 3"]
) -> Float[Tensor, "T M 3 4"]:
    """Transforms of all particles in the camera's space, differentiable in joints and face."""
    canvas = anatomy.lowered(joints)
    vertices = anatomy.vertices
    blended = (anatomy.skin @ canvas.flatten(-2)).unflatten(-1, (3, 4))
    turns = _orthonormal(blended[..., :3])
    target = moved(blended, vertices + _with_ring(anatomy, canvas, face / anatomy.metre))
    riders = se3.about(turns, vertices, target - vertices)
    tongue = canvas[..., JOINT["jaw"], None, :, :]
    return torch.cat([joints, anatomy.lifted(torch.cat([riders, tongue], -3), len(JOINTS))], -3)


def chained(
    anatomy: Anatomy, turns: Mapping[str, Float[Tensor, "T 3 3"]], shifts: Mapping[str, Float[Tensor, "T 3"]]
) -> Float[Tensor, "T 55 3 4"]:
    """Transforms of the joints in the camera's space from turns in a chain: the twin of `splat.skeleton.chain`, lifted.

    Each joint turns about its own rest position in its parent's frame and is moved there by its shift, in pixels of
    the canvas. There must be one turn at least; joints without an entry keep their parent's transform.
    """
    some = next(iter(turns.values()))
    still = torch.eye(3, 4, dtype=some.dtype, device=some.device).expand(*some.shape[:-2], 3, 4)
    found: dict[str | None, Tensor] = {None: still}
    for name, parent in PARENTS.items():
        found[name] = found[parent]
        if name in turns or name in shifts:
            turn = turns.get(name, still[..., :3])
            shift = shifts.get(name, torch.zeros_like(turn[..., 0]))
            found[name] = se3.compose(found[parent], se3.about(turn, anatomy.rest[JOINT[name]], shift))
    return anatomy.lifted(torch.stack([found[name] for name in JOINTS], -3))


def particle_motion(
    avatar: Avatar,
    joints: Float32[np.ndarray, "T 55 3 4"],
    face: Float32[np.ndarray, "T 468 3"],
    *,
    fps: float = 25.0,
) -> Motion:
    """The motion that draws an avatar with these joints and this face (`posed` in double precision).

    The light in the mouth is that of `splat.animate` for as wide and as round an opening as the lips leave.
    """
    anatomy = Anatomy.of(avatar, torch.float64)
    with torch.no_grad():
        transforms = posed(anatomy, *(torch.from_numpy(a.astype(np.float64)) for a in (joints, face)))
    return Motion(fps, transforms.numpy().astype(np.float32), mouth_gains(avatar, face))


def drawn_by_jaw(anatomy: Anatomy, canvas: Float[Tensor, "T 55 3 4"]) -> Float[Tensor, "T V 3"]:
    """How far the jaw draws each vertex of face and ring along in the head's frame, in pixels of the canvas.

    `canvas` are the joints there (`Anatomy.lowered`).
    """
    return anatomy.jaw * by_jaw(canvas, anatomy.vertices)


def mouth_gains(avatar: Avatar, face: Float32[np.ndarray, "T 468 3"]) -> Float32[np.ndarray, "T G 3"]:
    """`Motion.gains` of faces that have moved by these offsets."""
    rig = avatar.rig
    inner = [
        topology.LIP_UPPER[0][5],
        topology.LIP_LOWER[0][5],
        topology.LIP_UPPER[0][0],
        topology.LIP_UPPER[0][-1],
    ]
    local = rig.frame.local(rig.vertices[inner] + face[:, inner].astype(np.float64) / avatar.lift.metre)
    controls = np.zeros((len(face), len(CHANNELS)), np.float32)
    opened = (local[:, 1, 1] - local[:, 0, 1]) / (OPENING * rig.lips.width)
    width = np.linalg.norm(local[:, 3] - local[:, 2], axis=-1) / rig.lips.width
    controls[:, INDEX["open"]] = opened = opened.clip(0, 1)
    controls[:, INDEX["round"]] = ((1 - width / (1 - _OPENED * opened)) / _ROUNDED).clip(0, 1)
    return gains_of(avatar, controls)


def _with_ring(
    anatomy: Anatomy, canvas: Float[Tensor, "T 55 3 4"], face: Float[Tensor, "T 468 3"]
) -> Float[Tensor, "T V 3"]:
    """Offsets of the face's vertices and, from them, of the ring's, in pixels of the canvas."""
    drawn = drawn_by_jaw(anatomy, canvas)
    ring = slice(topology.N_FACE, None)
    own = face[:, list(MOVED)] - drawn[:, list(MOVED)]
    return torch.cat([face, drawn[:, ring] + anatomy.spread[ring] @ own], -2)


def _orthonormal(blended: Float[Tensor, "T V 3 3"]) -> Float[Tensor, "T V 3 3"]:
    """Rotations by Gram-Schmidt, as the rig makes them."""
    first, second = blended[..., 0], blended[..., 1]
    x = normalize(first, dim=-1)
    y = normalize(second - (second * x).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def _carried_over(
    transforms: Float[Tensor, "T m 3 4"],
    here: Float[Tensor, "m 3"],
    there: Float[Tensor, "m 3"],
    scale: Float[Tensor, "m 1"],
) -> Float[Tensor, "T m 3 4"]:
    """The same turns, and displacements `scale` times as long, of points that rest elsewhere."""
    return se3.about(transforms[..., :3], there, (moved(transforms, here) - here) * scale)
