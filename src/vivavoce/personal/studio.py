"""Where a moving avatar is drawn as its teacher's frames show it, with gradients, and compared with what it drew."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from vivavoce.personal.data import Clip, Subject
from vivavoce.personal.posing import Anatomy, mouth_gains, posed
from vivavoce.personal.sketch import Sketch
from vivavoce.personal.teacher import Teacher
from vivavoce.personal.view import FACE
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.layers import KINDS
from vivavoce.splat.lhm.template import spread
from vivavoce.train.moving import moved
from vivavoce.video.maker import Scene

_CLOUD = 600  # points of the surface


@dataclass(frozen=True, eq=False)
class Studio:
    """An avatar, its photo as the teacher sees it, and the teacher. What moves and is drawn is on the CPU."""

    avatar: Avatar
    subject: Subject
    teacher: Teacher

    @cached_property
    def anatomy(self) -> Anatomy:
        return Anatomy.of(self.avatar)

    @cached_property
    def _sketch(self) -> Sketch:
        whole = self.subject.view.whole
        return Sketch.of(self.avatar, whole.width, whole.height)

    def face(
        self, joints: Float[Tensor, "T 55 3 4"], offsets: Float[Tensor, "T 468 3"]
    ) -> Float[Tensor, "T 468 3"]:
        """Where the face's vertices are, metres in space."""
        return moved(posed(self.anatomy, joints, offsets)[:, FACE], self.anatomy.anchors[FACE])

    @cached_property
    def _cloud(self) -> Int64[Tensor, " n"]:
        """Some Gaussians of skin, clothes and hair, evenly spread."""
        skin = (self._sketch.kinds == KINDS.index("skin")).nonzero()[:, 0]
        return skin[torch.from_numpy(spread(self._sketch.means[skin].numpy(), min(_CLOUD, len(skin))))]

    @property
    def cloud(self) -> Float[Tensor, "n 3"]:
        """Where some points of the avatar's surface rest, metres in space."""
        return self._sketch.means[self._cloud]

    def moved_cloud(
        self, joints: Float[Tensor, "T 55 3 4"], offsets: Float[Tensor, "T 468 3"]
    ) -> Float[Tensor, "T n 3"]:
        """Where they go."""
        means, _ = self._sketch.moved(posed(self.anatomy, joints, offsets))
        return means[:, self._cloud]

    def pictures(
        self, joints: Float[Tensor, "T 55 3 4"], offsets: Float[Tensor, "T 468 3"]
    ) -> Float[Tensor, "T H W 3"]:
        """The frames of a motion as the teacher would show them, RGB about [0, 1]."""
        gains = mouth_gains(self.avatar, offsets.detach().numpy())
        drawn = self._sketch.draw(posed(self.anatomy, joints, offsets), torch.from_numpy(gains))
        rows, columns = self.subject.view.window
        return drawn[:, rows, columns]

    def score(
        self,
        pictures: Float[Tensor, "F H W 3"],
        clip: Clip,
        first: int,
        *,
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """`Teacher.score` of frames of a clip from `first` on."""
        return self.teacher.score(
            pictures,
            self._scene(clip),
            first=first,
            given=clip.pictures(first, self.given(first)),
            generator=generator,
        )

    def given(self, first: int) -> int:
        """Frames that the teacher is given where it goes on from `first`: none at the beginning."""
        return self.teacher.config.before if first else 0

    def _scene(self, clip: Clip) -> Scene:
        return clip.scene(self.subject.picture)


def as_floats(frames: UInt8[np.ndarray, "T H W 3"]) -> Float[Tensor, "T H W 3"]:
    """Frames as RGB in [0, 1]."""
    return torch.from_numpy(frames).float() / 255
