"""The particles' motion: twists become poses, and no error stays for good.

Paper 003 integrates twists, T_t = exp(twist_t) T_{t-1} (eq. 2). Whatever the network gets wrong in one frame then
stays, and over the 15 000 frames of ten minutes the sum of small errors walks away from the person. Here each
particle m forgets a learned share kappa_m of its pose before it takes the next twist,

    R_t = exp(w_t) R_{t-1}^(1 - kappa),    u_t = exp(w_t) (1 - kappa) u_{t-1} + V(w_t) v_t,

where R^a is the turn by a times the angle, and (w_t, v_t) the twist about the particle's own rest position p, which
moves to p + u_t. With kappa = 0 this is eq. 2; towards kappa = 1 the network gives the pose itself; in between
the leak smooths. The twists are bounded, |w| <= kappa W and |v| <= kappa S, and so

    the pose is bounded: angle(R_t) <= W and |u_t| <= S. By induction, since the angle of a product of rotations is at
    most the sum of their angles, and V averages rotations: kappa W + (1 - kappa) W = W, and the same with S.

    errors are forgotten: under the same twists two poses draw together in every frame. Their displacements' distance
    is multiplied by 1 - kappa, the angle between their rotations by c = sin((1 - kappa) W / 2) / sin(W / 2) < 1 or
    less. For rotations lie on a sphere of radius 1, at half their angle from rest: shrinking these distances r to a r
    multiplies what lies along the radius by a and what lies across it by sin(a r) / sin(r), which grows with r
    and is the larger; the common twist then moves both alike. This needs W < pi, where rotations have one logarithm.

kappa is LEAST_LEAK at least, whatever training makes of it. The twists are functions of speech and not of the pose:
a network that saw T_{t-1} could undo the second proof, and would have to be run frame by frame.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vivavoce.splat import se3
from vivavoce.splat.deformer.blocks import perceptron
from vivavoce.splat.deformer.config import LEAST_LEAK, DeformerConfig

GAIN = 0.1
"""Of its reach that one unit of the network's output asks for: then steps of training are centimetres, not metres."""


class LeakyTwists(nn.Module):
    """MLP_xi of eq. 2 and the leaky integration of its twists; `axes` is 6, or 3 for turns alone."""

    def __init__(self, config: DeformerConfig, *, axes: int) -> None:
        super().__init__()
        self.axes, self.turn, self.shift = axes, config.turn, config.shift
        self.to_twist = perceptron(config.hidden, axes)
        share = (config.leak - LEAST_LEAK) / (1 - LEAST_LEAK)
        self.leak = nn.Parameter(torch.full((config.particles,), math.log(share / (1 - share))))

    @property
    def leaks(self) -> Float[Tensor, " M"]:
        """kappa of each particle, between LEAST_LEAK and 1."""
        return LEAST_LEAK + (1 - LEAST_LEAK) * self.leak.sigmoid()

    def twists(self, features: Float[Tensor, "B T M h"]) -> Float[Tensor, "B T M 6"]:
        """Twists of all frames at once, each half within its particle's kappa times its reach."""
        asked = GAIN * self.to_twist(features)
        turns = self.turn * _within(asked[..., :3])
        shifts = torch.zeros_like(turns) if self.axes == 3 else self.shift * _within(asked[..., 3:])
        return self.leaks[:, None] * torch.cat([turns, shifts], -1)

    def forward(
        self, features: Float[Tensor, "B T M h"], poses: Float[Tensor, "B M 7"]
    ) -> Float[Tensor, "B T M 7"]:
        """Poses of all frames after the one that `poses` are of."""
        return integrate(self.twists(features), 1 - self.leaks, poses)


class FreeParticles(nn.Module):
    """Every particle turns about its own rest position and moves away from it, on its own."""

    def __init__(self, config: DeformerConfig) -> None:
        super().__init__()
        self.twists = LeakyTwists(config, axes=6)

    def forward(
        self, features: Float[Tensor, "B T M h"], rest: Float[Tensor, "B M 3"], poses: Float[Tensor, "B M 7"]
    ) -> tuple[Float[Tensor, "B T M 3 4"], Float[Tensor, "B T M 7"]]:
        """Transforms [R | t] from rest, and the poses that they were made from."""
        found = self.twists(features, poses)
        return transforms_of(found, rest), found


def integrate(
    twists: Float[Tensor, "B T M 6"], keep: Float[Tensor, " M"], poses: Float[Tensor, "B M 7"]
) -> Float[Tensor, "B T M 7"]:
    """T_t = exp(twist_t) T_{t-1} (eq. 2), of the pose before which each particle keeps the share `keep` = 1 - kappa.

    `poses` are those of the frame before; T >= 1. Only the shrinking of a pose and one product are done frame by
    frame; the quaternion is made anew there, so that rounding does not add up either.
    """
    turns = _left_products(se3.vector_quaternions(twists[..., :3])).unbind(1)
    moves = se3.exp(twists)
    rotations, shifts = moves[..., :3].unbind(1), moves[..., 3].unbind(1)
    keep = keep[:, None]
    q, u = poses.split([4, 3], -1)
    found = []
    for turn, rotation, shift in zip(turns, rotations, shifts, strict=True):
        q = (turn * _shrunk(q, keep).unsqueeze(-2)).sum(-1)
        u = (rotation * (keep * u).unsqueeze(-2)).sum(-1) + shift
        found.append(torch.cat([q, u], -1))
    return torch.stack(found, 1)


def at_rest(rest: Float[Tensor, "B M 3"]) -> Float[Tensor, "B M 7"]:
    """Poses of particles that have not moved.

    A pose is the unit quaternion (w, x, y, z) of the particle's turn, and its displacement in metres.
    """
    return rest.new_tensor([1.0, 0, 0, 0, 0, 0, 0]).expand(*rest.shape[:2], -1)


def transforms_of(
    poses: Float[Tensor, "B T M 7"], rest: Float[Tensor, "B M 3"]
) -> Float[Tensor, "B T M 3 4"]:
    """Transforms [R | t] from rest, in metres: a turn about each particle's own rest position, then its displacement.

    About the camera's origin, a metre and more away, a hundredth of a radian of error would move the person by
    centimetres; about the particle it moves what hangs on it by millimetres.
    """
    q, u = poses.split([4, 3], -1)
    return se3.about(se3.rotation_matrices(q), rest.unsqueeze(1), u)


def _within(x: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """x drawn into the unit ball, and left almost as it is near the centre."""
    return x / (1 + (x * x).sum(-1, keepdim=True)).sqrt()


def _left_products(q: Float[Tensor, "... 4"]) -> Float[Tensor, "... 4 4"]:
    """The matrix of the product q p, as a function of p."""
    w, x, y, z = q.unbind(-1)
    rows = [[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _shrunk(q: Float[Tensor, "... 4"], share: Float[Tensor, "..."]) -> Float[Tensor, "... 4"]:
    """The same turn by a share of its angle, as a unit quaternion whatever the length of q."""
    w, v = q[..., :1], q[..., 1:]
    length = se3.safe_length(v)
    half = share * torch.atan2(length, w)
    return torch.cat([half.cos(), v * (half.sin() / length)], -1)
