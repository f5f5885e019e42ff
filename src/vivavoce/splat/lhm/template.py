"""Bodies whose surface the network reconstructs a person on: the project's own by default, behind one interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from vivavoce.errors import InputError
from vivavoce.splat.lhm.config import HEAD_SHARE
from vivavoce.splat.skeleton import JOINT, JOINTS
from vivavoce.splat.template.clothes import Clothes
from vivavoce.splat.template.face import Features
from vivavoce.splat.template.hair import Hair
from vivavoce.splat.template.joints import Build
from vivavoce.splat.template.look import FACE, TONGUE, Look
from vivavoce.splat.template.paint import Complexion
from vivavoce.splat.template.person import Person, build_person
from vivavoce.types import Binding

PARTS = ("lower_body", "upper_body", "left_hand", "right_hand", "head")
HEAD = PARTS.index("head")

_BARE = (0.5, 0.5, 0.5)
CANONICAL = Look(
    Build(), Features(), Complexion(_BARE, _BARE, _BARE, _BARE), Hair("bald", _BARE), Clothes(_BARE, _BARE)
)
"""The mean of all people, without hair: what sets a person off from it, the network's offsets say."""
_DETAILS = (8.0, 5.0, 3.5, 2.5, 1.8)  # mm between Gaussians, from which the points are chosen
_SPARE = 1.2  # candidates for each point, so that they are chosen evenly
_BITS = 10


@dataclass(frozen=True)
class TemplatePoints:
    """N points on a body at rest in template space (metres: x right, y down, z away from the viewer)."""

    points: Float32[np.ndarray, "N 3"]
    normals: Float32[np.ndarray, "N 3"]
    """Outwards, of unit length."""
    skin: Float32[np.ndarray, "N 55"]
    """Weights of the joints of `skeleton.JOINTS`; rows sum to one."""
    parts: Int32[np.ndarray, " N"]
    """Indices into `PARTS`; the head's points come last."""
    joints: Float32[np.ndarray, "55 3"]
    """At rest, metres."""
    binding: Binding
    """The same weights for `splat.deform`, with gradients (1/metre), on the particles of the body's own rig where it
    has more of them than joints."""

    def __len__(self) -> int:
        return len(self.points)

    @property
    def on_head(self) -> int:
        """How many of the last points lie on the head."""
        return int((self.parts == HEAD).sum())

    @property
    def above(self) -> Bool[np.ndarray, " N"]:
        """Points between neck and hips, arms and hands included: LHM keeps their Gaussians small."""
        return (self.parts > 0) & (self.parts != HEAD)


@runtime_checkable
class BodyTemplate(Protocol):
    """A body at rest."""

    def sample(self, count: int) -> TemplatePoints:
        """`count` points on its surface, a quarter of them on the head; the same ones each time."""
        ...


class PersonTemplate:
    """The project's own person; hands and face, which it tiles more finely, get more points."""

    def __init__(self, look: Look = CANONICAL) -> None:
        self._look = look

    def sample(self, count: int) -> TemplatePoints:
        """Raises InputError for more points than its finest tiling has, or fewer than four."""
        counts = shared(count)
        for detail in _DETAILS:
            person = build_person(self._look, detail=detail)
            skin = _skin(person.binding)
            head = part_of(skin) == HEAD
            groups = np.flatnonzero(~head), np.flatnonzero(head)
            if all(len(group) >= _SPARE * n for group, n in zip(groups, counts, strict=True)):
                pairs = zip(groups, counts, strict=True)
                chosen = [group[spread(person.means[group], n)] for group, n in pairs]
                return _points(person, skin, np.concatenate(chosen))
        raise InputError(f"The template has no {count} points to choose from: ask for fewer.")


def shared(count: int) -> tuple[int, int]:
    """How many of `count` points lie elsewhere, and how many on the head. Raises InputError for fewer than four."""
    if count < HEAD_SHARE:
        raise InputError(f"A template of {count} points is none: ask for at least {HEAD_SHARE}.")
    return count - count // HEAD_SHARE, count // HEAD_SHARE


def part_of(skin: Float32[np.ndarray, "N 55"]) -> Int32[np.ndarray, " N"]:
    """Indices into `PARTS`, by the joint that holds a point most; the neck counts as head, as in FLAME."""
    by_joint = np.full(len(JOINTS), PARTS.index("upper_body"), np.int32)
    for name, joint in JOINT.items():
        if name in ("neck", "head", "jaw", "left_eye", "right_eye"):
            by_joint[joint] = HEAD
        elif name.endswith(("hip", "knee", "ankle", "foot")):
            by_joint[joint] = PARTS.index("lower_body")
        elif name.endswith(("wrist", "1", "2", "3")) and not name.startswith("spine"):
            by_joint[joint] = PARTS.index(f"{name.partition('_')[0]}_hand")
    return by_joint[skin.argmax(1)]


def spread(points: Float32[np.ndarray, "M 3"], count: int) -> Int64[np.ndarray, " n"]:
    """Indices of `count` of the points, evenly taken along a curve that fills space (Morton 1966)."""
    low, size = points.min(0), np.ptp(points, axis=0).max()
    cells = ((points - low) / max(size, 1e-9) * (2**_BITS - 1)).astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for bit in range(_BITS):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    order = np.argsort(code, kind="stable")
    return order[((np.arange(count) + 0.5) * len(points) / count).astype(np.int64)]


def _skin(binding: Binding) -> Float32[np.ndarray, "N 55"]:
    """Weights of the joints, the particles of the face counting for the head and the tongue's for the jaw."""
    joint = np.r_[np.arange(FACE), np.full(TONGUE - FACE, JOINT["head"]), JOINT["jaw"]]
    skin = np.zeros((len(binding.weights), len(JOINTS)), np.float32)
    np.add.at(skin, (np.arange(len(skin))[:, None], joint[binding.indices]), binding.weights)
    return skin


def _points(
    person: Person, skin: Float32[np.ndarray, "M 55"], chosen: Int64[np.ndarray, " N"]
) -> TemplatePoints:
    b = person.binding
    return TemplatePoints(
        points=person.means[chosen] / np.float32(1000),
        normals=person.normals[chosen],
        skin=skin[chosen],
        parts=part_of(skin[chosen]),
        joints=(person.joints.positions / 1000).astype(np.float32),
        binding=Binding(b.indices[chosen], b.weights[chosen], b.gradients[chosen] * np.float32(1000)),
    )
