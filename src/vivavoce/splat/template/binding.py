"""How points of the trunk and the limbs follow the joints of the template."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from vivavoce.splat.skeleton import JOINT, JOINTS
from vivavoce.splat.skinning import SLOTS, smoothstep
from vivavoce.splat.template.joints import SIDES, Joints
from vivavoce.splat.template.surface import Points, gradient_of
from vivavoce.types import Binding

SPINE = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
_BLEND = (35.0, 35.0, 35.0, 25.0, 22.0)  # mm to either side of each joint of the spine above the pelvis


def bind(points: Points, weights: Callable[[Points], Float[np.ndarray, "N J"]]) -> Binding:
    """Hang points on joints by smooth weights that sum to one, with their exact gradients."""
    share, slope = weights(points), gradient_of(weights, points)
    best = np.argsort(-share, axis=1)[:, :SLOTS]
    rows = np.arange(len(points))[:, None]
    kept = share[rows, best]
    used = kept > 0
    return Binding(
        np.where(used, best, 0).astype(np.int32),
        kept.astype(np.float32),
        (slope[rows, best] * used[..., None]).astype(np.float32),
    )


def trunk_weights(joints: Joints) -> Callable[[Points], Float[np.ndarray, "N J"]]:
    """Weights of neck and trunk: the spine by height, the collars towards the shoulders."""
    heights = [joints[name][1] for name in SPINE[1:]]
    width = joints["left_shoulder"][0]

    def weights(points: Points) -> Float[np.ndarray, "N J"]:
        out = np.zeros((len(points), len(JOINTS)))
        above = [
            1 - smoothstep(y - blend, y + blend, points[:, 1])
            for y, blend in zip(heights, _BLEND, strict=True)
        ]
        cuts = [np.ones(len(points)), *above, np.zeros(len(points))]
        for name, here, beyond in zip(SPINE, cuts[:-1], cuts[1:], strict=True):
            out[:, JOINT[name]] = here - beyond
        chest = out[:, JOINT["spine3"]].copy()
        for side, sign in SIDES.items():
            outwards = smoothstep(0.35 * width, 0.95 * width, sign * points[:, 0])
            out[:, JOINT[f"{side}_collar"]] = chest * outwards
            out[:, JOINT["spine3"]] -= chest * outwards
        return out

    return weights


def chain_weights(
    joints: Joints, names: Sequence[str], blends: Sequence[float]
) -> Callable[[Points], Float[np.ndarray, "N J"]]:
    """Weights along a straight chain of joints: each takes over from the one before it around its own place.

    `blends` are the reaches of the takeovers in mm, one for each name but the first.
    """
    start = joints[names[1]]
    along = joints[names[-1]] - start
    if len(names) == 2:
        along = start - joints[names[0]]
    along = along / np.linalg.norm(along)

    def weights(points: Points) -> Float[np.ndarray, "N J"]:
        out = np.zeros((len(points), len(JOINTS)))
        t = (points - start) @ along
        cuts = [np.ones(len(points))]
        for name, blend in zip(names[1:], blends, strict=True):
            at = float((joints[name] - start) @ along)
            cuts.append(np.minimum(cuts[-1], smoothstep(at - blend, at + blend, t)))
        cuts.append(np.zeros(len(points)))
        for name, here, beyond in zip(names, cuts[:-1], cuts[1:], strict=True):
            out[:, JOINT[name]] += here - beyond
        return out

    return weights
