"""Points of people who move, as motion models are trained on them: where they are, and where they should be.

Lips, lids, brows and the face's outline count in the head's own frame, since a millimetre decides there whether a mouth
is shut; hands and the surface of body and skull in space. Lengths are metres.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vivavoce.corpus.synth.motions import TIPS, MovingClip, Rest
from vivavoce.losses.trajectory import trajectory_alignment
from vivavoce.splat import se3, topology
from vivavoce.splat.rig import MOVED
from vivavoce.splat.skeleton import JOINT
from vivavoce.splat.template.joints import FINGERS, SIDES

FACE_POINTS = tuple(dict.fromkeys((*MOVED, *topology.OVAL, topology.NOSE_TIP)))
"""Vertices of the face that are looked at: four rings of the lips first, then lids, brows and the outline."""
HANDS = tuple(
    JOINT[f"{side}_{name}"]
    for side in SIDES
    for name in ("wrist", *(f"{finger}{k}" for finger in FINGERS for k in (1, 2, 3)))
)
"""Wrists and the joints of fingers."""
ENDS = tuple(JOINT[f"{tip}3"] for tip in TIPS)
"""The joints that the fingers' tips ride on."""
HEAD, JAW = JOINT["head"], JOINT["jaw"]
GROUPS = {"face": 2e5, "hands": 10.0, "surface": 30.0}
"""The groups of points, and what a square metre of error costs in each: of the mean of all motion about 0.5."""
_AT = {vertex: place for place, vertex in enumerate(FACE_POINTS)}
_LIPS = (_AT[topology.LIP_UPPER[0][5]], _AT[topology.LIP_LOWER[0][5]])
_ENDS_OF_FACE = (_AT[topology.FOREHEAD], _AT[topology.CHIN])


@dataclass(frozen=True)
class Body:
    """A person's points at rest."""

    joints: Float[Tensor, "55 3"]
    vertices: Float[Tensor, "468 3"]
    """Of the face."""
    hands: Float[Tensor, "H 3"]
    """`HANDS`, then the fingers' tips."""
    surface: Float[Tensor, "S 3"]
    skin: Float[Tensor, "S 55"]
    """Weights of the surface's points."""
    mouth: float
    """Width of the relaxed mouth."""

    @classmethod
    def of(cls, rest: Rest, device: torch.device | str = "cpu") -> Body:
        joints, riders, tips, surface, skin = (
            torch.tensor(getattr(rest, name), device=device)
            for name in ("joints", "riders", "tips", "surface", "skin")
        )
        hands = torch.cat([joints[list(HANDS)], tips])
        return cls(joints, riders[: topology.N_FACE], hands, surface, skin, rest.mouth)

    @property
    def face(self) -> Float[Tensor, "F 3"]:
        """`FACE_POINTS`."""
        return self.vertices[list(FACE_POINTS)]


@dataclass(frozen=True)
class Places:
    """Where the points of a person are in T frames."""

    face: Float[Tensor, "T F 3"]
    """In the frame of the head, at rest where that has not moved."""
    hands: Float[Tensor, "T H 3"]
    surface: Float[Tensor, "T S 3"]

    def aperture(self, body: Body) -> Float[Tensor, " T"]:
        """Between the lips' inner edges along the face's own vertical, in widths of the resting mouth; below 0 where
        they overlap."""
        forehead, chin = (self.face[:, at] for at in _ENDS_OF_FACE)
        upper, lower = (self.face[:, at] for at in _LIPS)
        down = torch.nn.functional.normalize(chin - forehead, dim=-1)
        return ((lower - upper) * down).sum(-1) / body.mouth


@dataclass(frozen=True)
class Performed:
    """What somebody does in T frames."""

    joints: Float[Tensor, "T 55 3 4"]
    places: Places


@dataclass(frozen=True)
class Span:
    """T frames of a clip as tensors."""

    name: str
    fps: float
    audio: Float[Tensor, "T A"]
    joints: Float[Tensor, "T 55 3 4"]
    offsets: Float[Tensor, "T 468 3"]
    """How far the face's vertices have moved in the frame of the head."""
    body: Body

    @classmethod
    def of(
        cls,
        clip: MovingClip,
        *,
        first: int = 0,
        frames: int | None = None,
        device: torch.device | str = "cpu",
    ) -> Span:
        """`frames` frames from `first` on, all of them where None. Raises ValueError where they are not all there."""
        last = len(clip) if frames is None else first + frames
        if not 0 <= first < last <= len(clip):
            raise ValueError(f"{clip.name} has no frames {first} to {last}: it has {len(clip)}")
        arrays = clip.audio, clip.joints, clip.riders[:, : topology.N_FACE]
        audio, joints, offsets = (torch.tensor(a[first:last], device=device) for a in arrays)
        return cls(clip.name, clip.fps, audio, joints, offsets, Body.of(clip.rest, device))

    @classmethod
    def drawn(
        cls, clip: MovingClip, frames: int, generator: torch.Generator, device: torch.device | str
    ) -> Span:
        """One of the clip's spans at random. Raises ValueError for a clip that is shorter."""
        begins = len(clip) - frames + 1
        first = int(torch.randint(begins, (), generator=generator)) if begins > 0 else 0
        return cls.of(clip, first=first, frames=frames, device=device)

    @property
    def places(self) -> Places:
        """Where the points are."""
        return places(self.joints, self.body.face + self.offsets[:, list(FACE_POINTS)], self.body)


def places(joints: Float[Tensor, "T 55 3 4"], face: Float[Tensor, "T F 3"], body: Body) -> Places:
    """The points of a body under transforms of its joints; `face` is in the head's frame already."""
    riding = joints[:, [*HANDS, *ENDS]]
    return Places(face, moved(riding, body.hands), carried(body.surface, body.skin, joints))


def moved(transforms: Float[Tensor, "T m 3 4"], points: Float[Tensor, "... n 3"]) -> Float[Tensor, "T n 3"]:
    """Where points go that each ride on a transform of their own, or all on the same one."""
    return (transforms[..., :3] @ points[..., None])[..., 0] + transforms[..., 3]


def carried(
    points: Float[Tensor, "n 3"], skin: Float[Tensor, "n 55"], joints: Float[Tensor, "T 55 3 4"]
) -> Float[Tensor, "T n 3"]:
    """Where points go by linear blend skinning: means as `splat.deformer.skin.skin` gives them."""
    blended = (skin @ joints.flatten(2)).unflatten(2, (3, 4))
    return moved(blended, points)


def in_head(joints: Float[Tensor, "T 55 3 4"], points: Float[Tensor, "T n 3"]) -> Float[Tensor, "T n 3"]:
    """Points in space as the head sees them: where they would be had it not moved."""
    head = joints[:, HEAD]
    return (points - head[:, None, :, 3]) @ head[..., :3]


def out_of_head(joints: Float[Tensor, "T 55 3 4"], points: Float[Tensor, "T n 3"]) -> Float[Tensor, "T n 3"]:
    """The way back of `in_head`."""
    return moved(joints[:, HEAD, None], points)


def by_jaw(joints: Float[Tensor, "T 55 3 4"], face: Float[Tensor, "n 3"]) -> Float[Tensor, "T n 3"]:
    """How far points would move in the head's frame if they rode on the jaw."""
    jaw = se3.compose(se3.inverse(joints[:, HEAD]), joints[:, JAW])
    return moved(jaw[:, None], face) - face


@torch.no_grad()
def jaw_shares(clips: Iterable[MovingClip]) -> Float32[Tensor, " 468"]:
    """How much each vertex of the face follows the jaw, 0..1, the others' share being the head's.

    These are the weights by which skinning to the joints, as they truly move, comes nearest to the clips' faces in the
    mean of squares: a fair deal for a motion that has nothing else to move a face by.
    """
    along = torch.zeros(topology.N_FACE, dtype=torch.float64)
    square = torch.full_like(along, 1e-12)
    for clip in clips:
        joints = torch.from_numpy(clip.joints).double()
        face = torch.from_numpy(clip.rest.riders[: topology.N_FACE]).double()
        way = by_jaw(joints, face)
        offsets = torch.from_numpy(clip.riders[:, : topology.N_FACE]).double()
        along += (way * offsets).sum(dim=(0, 2))
        square += way.square().sum(dim=(0, 2))
    return (along / square).clamp(0, 1).float()


def misplaced(found: Places, wanted: Places, *, fps: float) -> dict[str, Float[Tensor, ""]]:
    """Trajectory alignment (`losses.trajectory`) of each of the `GROUPS`."""
    pairs = {name: (getattr(found, name), getattr(wanted, name)) for name in GROUPS}
    return {name: trajectory_alignment(a[None], b[None], fps=fps)[0] for name, (a, b) in pairs.items()}


def evenly(count: int, most: int) -> list[int]:
    """Up to `most` of `count` numbers from 0 on, evenly spread."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()
