"""Room between the hands and the body: how far forward hands must be so that they touch neither trunk nor head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vivavoce.splat.template.joints import Joints

_TRUNK_WIDTH, _TRUNK_DEPTH = 0.3, 0.235
"""Half axes of the trunk's cross-section in arm lengths (chest breadth and depth with clothes)."""
_HEAD = np.array([0.15, 0.22, 0.19])  # half axes of the head, arm lengths
_SKULL = np.array([0.0, -0.1, 0.0])  # its centre from the joint at the skull's base
MARGIN = 0.04
"""Arm lengths between a joint of the hand, which is two centimetres thick, and the body."""
_SPAN, _BLUR = 0.3, 0.07  # seconds over which a push is held and blurred


@dataclass(frozen=True)
class Body:
    """What hands must stay out of, in the trunk's frame: an elliptic trunk below the neck, an ellipsoid of a head."""

    scale: float
    """The arm's length, mm."""
    girth: float
    neck: float
    """Height of the base of the neck, y."""
    hips: float
    """Height of the hip joints, y."""
    waist: float
    """Height that a lean turns the trunk about, y."""
    head: Float[np.ndarray, " 3"]

    def front(
        self, points: Float[np.ndarray, "T P 3"], lean: Float[np.ndarray, " T"]
    ) -> Float[np.ndarray, "T P"]:
        """The largest z that each point may have; `lean` is the torso's pitch, radians.

        The belly stays behind while the chest leans forward, so seen from the chest it comes nearer the hands.
        """
        x, y = points[..., 0] / self.scale, points[..., 1]
        free = np.full(x.shape, np.inf)
        across = np.abs(x) / (_TRUNK_WIDTH * self.girth)
        belly = np.maximum(y - self.waist, 0) * np.maximum(lean, 0)[:, None]
        depth = _TRUNK_DEPTH * self.girth * (1 - np.minimum(across, 1) ** 4) + MARGIN
        trunk = np.where((across < 1) & (y > self.neck) & (y < self.hips), -self.scale * depth - belly, free)
        centre = self.head + self.scale * _SKULL
        u, v = x / _HEAD[0], (y - centre[1]) / (self.scale * _HEAD[1])
        within = u**2 + v**2
        depth = _HEAD[2] * (1 - np.minimum(within, 1) ** 2) + MARGIN
        skull = np.where(within < 1, centre[2] - self.scale * depth, free)
        return np.minimum(trunk, skull)


def body_of(joints: Joints, girth: float, scale: float) -> Body:
    """The body of these joints; `scale` is the length of its arms, mm, `girth` as in `Build`."""
    neck, hips, waist = (float(joints[name][1]) for name in ("left_collar", "left_hip", "spine2"))
    return Body(scale, girth, neck, hips, waist, joints["head"].astype(np.float64))


def push(
    body: Body, points: Float[np.ndarray, "T P 3"], lean: Float[np.ndarray, " T"], fps: float
) -> Float[np.ndarray, " T"]:
    """How far forward a hand with these points must go, mm, smooth in time."""
    from scipy.ndimage import gaussian_filter1d, maximum_filter1d

    needed = np.maximum(points[..., 2] - body.front(points, lean), 0).max(axis=1)
    if not needed.any():
        return needed
    span = 2 * max(1, round(0.5 * _SPAN * fps)) + 1
    # The blur sees no further than the maximum was spread, so it never takes back what is needed.
    held = maximum_filter1d(needed, span, mode="nearest")
    return gaussian_filter1d(held, _BLUR * fps, mode="nearest", radius=span // 2)
