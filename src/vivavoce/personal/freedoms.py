"""What a person on film may do, as numbers of which 1 is much: turns of joints, the jaw, gaze, and the face.

The face moves by the rig's own expressions, in any amount, and beside these each vertex by a little of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vivavoce.personal.posing import Anatomy, chained, drawn_by_jaw
from vivavoce.splat import se3, topology
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.controls import CHANNELS, INDEX
from vivavoce.splat.rig import GLIDE, JAW_DROP, MOVED
from vivavoce.splat.skeleton import JOINT

LIMBS = {
    "head": ({"neck": 0.4, "head": 0.6}, 0.3),
    "torso": ({"spine1": 1 / 3, "spine2": 1 / 3, "spine3": 1 / 3}, 0.15),
    **{f"{side}_{name}": ({f"{side}_{name}": 1.0}, much) for side in ("left", "right") for name, much in (
        ("collar", 0.15), ("shoulder", 0.4), ("elbow", 0.6), ("wrist", 0.5),
    )},
}  # fmt: skip
"""What turns as one: the shares of its joints, and how many radians are much."""
EXPRESSIONS = ("open", "wide", "round", "tuck", "press", "smile", "brow_raise", "blink")
"""Controls of the rig whose full effect on the face is one unit."""
GAZE = 0.3
"""Radians; gaze and root follow the turns in a frame's numbers."""
ROOT = 0.05
"""Metres that the pelvis is shifted by."""
OWN = 0.002
"""Metres of a vertex's own."""
_TURN = 3


@dataclass(frozen=True)
class Freedoms:
    """The numbers of one avatar's frames: D for its joints and expressions, and 468 x 3 of the vertices' own."""

    anatomy: Anatomy
    limbs: tuple[str, ...]
    """Those of `LIMBS` that the photo shows."""
    expressions: Float[Tensor, "E 468 3"]
    """Metres in the head's frame; the last takes the photo's mouth to rest."""
    hinge: Float[Tensor, " 3"]
    """The axis of the jaw."""
    glide: Float[Tensor, " 3"]
    """Metres that the jaw's hinge moves for one unit."""
    opening: float
    """Sine of the jaw's turn for one unit."""

    @classmethod
    def of(cls, avatar: Avatar) -> Freedoms:
        rig, metre = avatar.rig, avatar.lift.metre
        limbs = tuple(
            name
            for name, (joints, _) in LIMBS.items()
            if name in ("head", "torso") or rig.skeleton.seen.issuperset(joints)
        )
        drop = JAW_DROP * rig.frame.millimetre
        behind = float(rig.frame.local(rig.skeleton["jaw"].astype(np.float64))[2])
        arrays = {
            "expressions": metre * _expressions(avatar),
            "hinge": rig.frame.axes[0],
            "glide": metre * drop * rig.frame.canvas(GLIDE),
        }
        return cls(
            Anatomy.of(avatar),
            limbs,
            **{name: torch.tensor(array, dtype=torch.float32) for name, array in arrays.items()},
            opening=(1 - GLIDE[1]) * drop / max(behind, 0.3 * rig.frame.height),
        )

    @property
    def size(self) -> int:
        """D."""
        return _TURN * len(self.limbs) + 2 + 3 + 1 + len(self.expressions)

    def split(self, numbers: Float[Tensor, "T D"]) -> dict[str, Tensor]:
        """The parts of a frame's numbers by name: "turns", "gaze", "root", "jaw" and "face"."""
        sizes = {
            "turns": _TURN * len(self.limbs),
            "gaze": 2,
            "root": 3,
            "jaw": 1,
            "face": len(self.expressions),
        }
        return dict(zip(sizes, numbers.split(list(sizes.values()), dim=-1), strict=True))

    def decode(
        self, numbers: Float[Tensor, "T D"], own: Float[Tensor, "T 468 3"]
    ) -> tuple[Float[Tensor, "T 55 3 4"], Float[Tensor, "T 468 3"]]:
        """Joints and face, as `posing.posed` takes them."""
        parts = self.split(numbers)
        turns = {}
        for k, name in enumerate(self.limbs):
            shares, much = LIMBS[name]
            vector = much * parts["turns"][..., _TURN * k : _TURN * (k + 1)]
            turns |= {joint: _rotation(share * vector) for joint, share in shares.items()}
        right, down = (GAZE * parts["gaze"]).unbind(-1)
        turns["left_eye"] = turns["right_eye"] = _rotation(torch.stack([down, -right, 0 * down], -1))
        turns["jaw"] = _rotation(torch.asin((self.opening * parts["jaw"]).clamp(-0.6, 0.6)) * self.hinge)
        metre = self.anatomy.metre
        shifts = {"pelvis": ROOT / metre * parts["root"], "jaw": parts["jaw"] * self.glide / metre}
        joints = chained(self.anatomy, turns, shifts)
        face = self.chin(joints) + torch.einsum("te,evi->tvi", parts["face"], self.expressions)
        return joints, face + OWN * own

    def chin(self, joints: Float[Tensor, "T 55 3 4"]) -> Float[Tensor, "T 468 3"]:
        """What the jaw does to the face, metres: as in the rig, it leaves the lips, lids and brows where they are."""
        drawn = drawn_by_jaw(self.anatomy, self.anatomy.lowered(joints))
        offsets = drawn - self.anatomy.spread @ drawn[:, list(MOVED)]
        return self.anatomy.metre * offsets[:, : topology.N_FACE]


def _rotation(vector: Float[Tensor, "T 3"]) -> Float[Tensor, "T 3 3"]:
    return se3.rotation_matrices(se3.vector_quaternions(vector))


def _expressions(avatar: Avatar) -> Float64[np.ndarray, "E 468 3"]:
    """Pixels of the canvas, the jaw being where the photo has it."""
    rig, controls = avatar.rig, np.zeros((len(EXPRESSIONS) + 3, len(CHANNELS)))
    controls[-1, INDEX["jaw"]] = 1
    jaw, hinge = rig.transforms(controls[-2:].astype(np.float32))[:, JOINT["jaw"]], rig.skeleton["jaw"]
    shut, low = (jaw[..., :3] @ hinge + jaw[..., 3] - hinge) @ rig.frame.axes[1]
    controls[:, INDEX["jaw"]] = shut / (shut - low)  # the hinge's way grows with the control
    for k, name in enumerate(EXPRESSIONS):
        controls[k, INDEX[name]] = 1
    moved = rig.vertex_offsets(controls[:-2])[:, : topology.N_FACE]
    # Without controls the rig shuts the mouth that the photo shows: all expressions are told from there.
    moved[:-1] -= moved[-1]
    return moved
