"""What a personal motion model is refined for (papers 001 and 003): each term by its weight, 0 for none of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vivavoce.train.moving import GROUPS


@dataclass(frozen=True)
class Objectives:
    """Weights of the loss, L = simple + trajectory + lambda_vsd + lambda_kpt + lambda_img + lambda_reg.

    The papers publish none of them. With these, a face that does two thirds of what its teacher's does costs about a
    tenth in trajectory, keypoints and pictures each. What the score pulls by cannot be told from its value.
    """

    simple: float = 1.0
    """The plain loss of diffusion."""
    trajectory: float = 1.0
    """Trajectory alignment of face, hands and surface, each by its share in `train.moving.GROUPS`."""
    score: float = 10.0
    """Video score distillation, by the mean over latents."""
    keypoints: float = 5.0
    """Dense keypoint alignment, by the mean over frames."""
    pictures: float = 2.0
    """Absolute error of the pixels, by the mean over frames."""
    perceptual: float = 0.5
    """lambda_perc: squared distance of features, relative to the absolute error."""
    rigid: float = 1.0
    """As rigid as possible: mean squared strain."""

    @property
    def losses(self) -> Mapping[str, float]:
        """The weights as a stage has them."""
        named = {"score": self.score, "keypoints": self.keypoints, "pictures": self.pictures}
        groups = {name: self.trajectory * weight for name, weight in GROUPS.items()}
        wanted = {**groups, **named, "rigid": self.rigid}
        return {"simple": self.simple, **{name: weight for name, weight in wanted.items() if weight}}
