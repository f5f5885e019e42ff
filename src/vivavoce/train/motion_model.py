"""The motion diffusion of paper 001 for many people: its vectors made of their motion, and turned into it again.

What is diffused is the motion of the 55 joints and a code of the face: the first principal components of what its
vertices do besides riding on head and jaw. People differ in build, so that motion is told as each joint's turn and
displacement from its own place at rest, and the model hears of the person's proportions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from safetensors.torch import save_file
from torch import Tensor, nn

from vivavoce.corpus.synth.motions import MovingClip
from vivavoce.splat import se3, topology
from vivavoce.splat.audiomotion.config import MotionDiffusionConfig
from vivavoce.splat.audiomotion.diffusion import MotionDiffusion
from vivavoce.splat.skeleton import JOINT
from vivavoce.train.moving import FACE_POINTS, Body, Performed, Span, by_jaw, jaw_shares, moved, places
from vivavoce.weights.files import load_strictly, read_state, written

MOTION_FILE, FACE_FILE = "motion.safetensors", "face.safetensors"
_BONES = (
    ("pelvis", "neck"),
    ("neck", "head"),
    ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("left_wrist", "left_middle3"),
)
_MEAN_BONES = (0.514, 0.103, 0.381, 0.303, 0.248, 0.165)  # metres, of a person of 1.7 m
PROPORTIONS = len(_BONES) + 1
_EVERY = 4  # frames that the components of the face are taken from


class FaceCode(nn.Module):
    """The face's vertices in the head's frame <-> K coefficients of what they do besides riding on head and jaw."""

    jaw: Tensor
    mean: Tensor
    basis: Tensor

    def __init__(self, size: int) -> None:
        """As built, the code says nothing."""
        super().__init__()
        self.register_buffer("jaw", torch.zeros(topology.N_FACE))
        self.register_buffer("mean", torch.zeros(topology.N_FACE, 3))
        self.register_buffer("basis", torch.zeros(size, topology.N_FACE, 3))

    @torch.no_grad()
    def fit(self, clips: Iterable[MovingClip]) -> None:
        """Take the jaw's shares and the principal components of the clips' faces, greatest variance first.

        Raises ValueError for fewer frames than components.
        """
        known = list(clips)
        self.jaw.copy_(jaw_shares(known))
        spans = [Span.of(clip) for clip in known]
        left = torch.cat(
            [self._left(s.joints, s.offsets, s.body)[::_EVERY].flatten(1) for s in spans]
        ).double()
        if len(left) < len(self.basis):
            raise ValueError(f"{len(left)} frames have no {len(self.basis)} components")
        mean = left.mean(0)
        away = left - mean
        found = torch.linalg.eigh(away.T @ away).eigenvectors.flip(1).T[: len(self.basis)]
        # An eigenvector may as well point the other way: its greatest entry is made positive.
        greatest = found.take_along_dim(found.abs().argmax(1, keepdim=True), 1)
        self.mean.copy_(mean.view_as(self.mean))
        self.basis.copy_((found * greatest.sign()).view_as(self.basis))

    def encode(
        self, joints: Float[Tensor, "T 55 3 4"], offsets: Float[Tensor, "T 468 3"], body: Body
    ) -> Float[Tensor, "T K"]:
        """The code of a face whose vertices have moved by `offsets` in the head's frame, in metres."""
        return torch.einsum("tvi,kvi->tk", self._left(joints, offsets, body) - self.mean, self.basis)

    def decode(
        self, joints: Float[Tensor, "T 55 3 4"], code: Float[Tensor, "T K"], body: Body
    ) -> Float[Tensor, "T 468 3"]:
        """The offsets of a code."""
        own = self.mean + torch.einsum("tk,kvi->tvi", code, self.basis)
        return own + self.jaw[:, None] * by_jaw(joints, body.vertices)

    def _left(self, joints: Tensor, offsets: Tensor, body: Body) -> Tensor:
        return offsets - self.jaw[:, None] * by_jaw(joints, body.vertices)


class MotionModel(nn.Module):
    """The diffusion with what turns its vectors into people who move."""

    def __init__(self, config: MotionDiffusionConfig) -> None:
        super().__init__()
        self.diffusion = MotionDiffusion(config)
        self.face = FaceCode(config.code)

    @torch.no_grad()
    def fit(self, clips: Sequence[MovingClip]) -> None:
        """Take the face's components and all statistics from clips; the mean person's rest is that of the motion."""
        self.face.fit(clips)
        space = self.diffusion.space
        rest = torch.from_numpy(np.mean([clip.rest.joints for clip in clips], axis=0))
        space.rest.copy_(rest)
        space.fit(rest, (self._told(Span.of(clip)) for clip in clips))

    def vectors(self, span: Span) -> Float[Tensor, "T D"]:
        """The motion of a span, standardised."""
        return self.diffusion.space.encode(*self._told(span))

    def acted(
        self, vectors: Float[Tensor, "T D"], body: Body
    ) -> tuple[Float[Tensor, "T 55 3 4"], Float[Tensor, "T 468 3"]]:
        """What a person does by such vectors: transforms of the joints, offsets of the face in the head's frame."""
        space = self.diffusion.space
        transforms, code = space.decode(vectors)
        joints = rehung(transforms, space.rest, body.joints)
        return joints, self.face.decode(joints, code, body)

    def performed(self, vectors: Float[Tensor, "T D"], body: Body) -> Performed:
        """The same, as places."""
        joints, offsets = self.acted(vectors, body)
        face = body.vertices + offsets
        return Performed(joints, places(joints, face[:, list(FACE_POINTS)], body))

    def perform(self, audio: Float32[np.ndarray, "T A"], body: Body, *, seed: int = 0) -> Performed:
        """What a person does while this is said."""
        drawn = self.diffusion.sample(audio, seed=seed, identity=self.identity(body))
        return self.performed(torch.cat(list(drawn)), body)

    def save(self, folder: Path) -> None:
        """Write the diffusion as `MotionDiffusion.load` reads it, and the face's code beside it."""
        self.diffusion.save(folder / MOTION_FILE)
        with written():
            save_file({name: v.cpu() for name, v in self.face.state_dict().items()}, folder / FACE_FILE)

    def take(self, folder: Path) -> None:
        """Take over what `save` wrote. Raises WeightsError where it does not fit."""
        for part, name in ((self.diffusion, MOTION_FILE), (self.face, FACE_FILE)):
            load_strictly(part, read_state(folder / name), str(folder / name))

    @classmethod
    def load(cls, folder: Path) -> MotionModel:
        """The model of a folder of `save`, ready to perform.

        Raises WeightsError for files that are missing, damaged or made by something else.
        """
        model = cls(MotionDiffusion.load(folder / MOTION_FILE).config)
        model.take(folder)
        return model.eval()

    def identity(self, body: Body) -> Float[Tensor, " S"] | None:
        """What the model is told of the person; None for a model of one."""
        return proportions(body) if self.diffusion.config.identity else None

    def _told(self, span: Span) -> tuple[Tensor, Tensor]:
        code = self.face.encode(span.joints, span.offsets, span.body)
        return rehung(span.joints, span.body.joints, self.diffusion.space.rest), code


def rehung(
    transforms: Float[Tensor, "T m 3 4"], rest: Float[Tensor, "m 3"], other: Float[Tensor, "m 3"]
) -> Float[Tensor, "T m 3 4"]:
    """The same turns and displacements for particles that rest in other places."""
    return se3.about(transforms[..., :3], other, moved(transforms, rest) - rest)


def proportions(body: Body) -> Float[Tensor, " S"]:
    """Lengths of bones and the mouth's width in tenths of the mean person's, less those."""
    lengths = [
        (body.joints[JOINT[a]] - body.joints[JOINT[b]]).norm() / mean
        for (a, b), mean in zip(_BONES, _MEAN_BONES, strict=True)
    ]
    return 10 * (torch.stack([*lengths, body.joints.new_tensor(body.mouth / 0.05)]) - 1)
