"""Shapes of hands, as how far each finger is bent, and the joints' turns that make them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from vivavoce.corpus.synth.reach import Arm, about, mirrored

# Bend of thumb, index, middle, ring and little finger (0 straight, 1 a fist's), how far the fingers are spread
# (0 side by side, 1 wide), and how far the thumb is stretched away from them.
SHAPES = {
    "flat": np.array([0.05, 0.02, 0.0, 0.02, 0.05, 0.15, 0.1]),
    "open": np.array([0.0, 0.03, 0.03, 0.05, 0.08, 0.8, 0.55]),
    "relaxed": np.array([0.25, 0.24, 0.3, 0.35, 0.4, 0.15, 0.1]),
    "pointing": np.array([0.8, 0.0, 0.95, 1.0, 1.0, 0.0, 0.0]),
    "thumb up": np.array([0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0]),
}
_FLEXION = np.radians([82.0, 92.0, 55.0])  # of knuckle, middle and last joint in a fist
_FAN = {"index": 0.16, "middle": 0.02, "ring": -0.12, "pinky": -0.26}  # radians from straight, spread wide
_OPPOSITION, _ABDUCTION = 0.75, 0.85  # radians at the thumb's root, across the palm and away from it
_THUMB_FLEXION = np.array([0.2, 0.75, 0.85])


def finger_turns(arm: Arm, shape: Float[np.ndarray, "T 7"]) -> dict[str, Float[np.ndarray, "T 3 3"]]:
    """The turns of the 15 joints of a hand whose shape changes as in `SHAPES`."""
    curl_axis = np.cross(arm.along, arm.palm)
    turns = {}
    for i, (finger, fan) in enumerate(_FAN.items(), start=1):
        for k in range(3):
            turns[f"{finger}{k + 1}"] = about(curl_axis, _FLEXION[k] * shape[:, i])
        turns[f"{finger}1"] = about(arm.palm, fan * shape[:, 5]) @ turns[f"{finger}1"]
    bend, away = shape[:, 0], shape[:, 6]
    for k in range(3):
        turns[f"thumb{k + 1}"] = about(arm.palm, -_THUMB_FLEXION[k] * bend)
    root = about(arm.palm, _ABDUCTION * away) @ about(arm.along, _OPPOSITION * bend)
    turns["thumb1"] = root @ turns["thumb1"]
    return {f"{arm.side}_{name}": mirrored(arm, turn) for name, turn in turns.items()}
