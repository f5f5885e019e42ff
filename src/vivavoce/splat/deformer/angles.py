"""The pose bottleneck that paper 003 argues against: speech turns the joints of a skeleton, and nothing else."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vivavoce.splat import se3
from vivavoce.splat.deformer.config import DeformerConfig
from vivavoce.splat.deformer.particles import LeakyTwists, transforms_of
from vivavoce.splat.skeleton import JOINT, PARENTS

_ABOVE = tuple(None if parent is None else JOINT[parent] for parent in PARENTS.values())


class JointAngles(nn.Module):
    """The baseline to `FreeParticles`: it hears the same through the same parts, and only its outlet is narrower.

    Joints turn in a kinematic chain, so that bones keep their lengths; no joint is displaced.
    """

    def __init__(self, config: DeformerConfig) -> None:
        super().__init__()
        self.twists = LeakyTwists(config, axes=3)

    def forward(
        self, features: Float[Tensor, "B T M h"], rest: Float[Tensor, "B M 3"], poses: Float[Tensor, "B M 7"]
    ) -> tuple[Float[Tensor, "B T M 3 4"], Float[Tensor, "B T M 7"]]:
        """Transforms [R | t] from rest, and each joint's pose in its parent's frame, of which they were made."""
        found = self.twists(features, poses)
        return chained(transforms_of(found, rest)), found


def chained(local: Float[Tensor, "B T M 3 4"]) -> Float[Tensor, "B T M 3 4"]:
    """Transforms from rest of the joints of `skeleton.PARENTS`, each given in its parent's frame."""
    world: list[Tensor] = []
    for above, own in zip(_ABOVE, local.unbind(2), strict=True):
        world.append(own if above is None else se3.compose(world[above], own))
    return torch.stack(world, 2)
