"""How much of each action is seen in every frame of a track.

Evidence comes from places of wrist and elbow against the shoulder, from lines of head and shoulders, and from
oscillations; fingers add to it where they are seen.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from vivavoce.corpus.synth.actions import ACTIONS
from vivavoce.evaluation.tracks import SIDES, Arm, BodyTrack, Measures, measures, smooth

# Where wrist and elbow (from the shoulder), fingertips and thumb's tip (from the wrist) are at an action's height:
# out and up, shoulder widths; means over true clips of seeds that no reported number comes from.
_PLACES = {
    "raised": ((0.28, 0.31), (0.64, -0.27), (0.03, 0.46), (-0.26, 0.19)),
    "palm": ((0.25, -0.73), (0.25, -0.74), (0.12, 0.1), (0.29, 0.2)),
    "ahead": ((-0.07, -0.02), (0.19, -0.36), (-0.03, -0.05), (-0.05, 0.0)),
    "aside": ((0.38, -0.13), (0.32, -0.71), (0.17, 0.08), (0.16, 0.13)),
    "thumb": ((-0.04, -0.47), (0.29, -0.67), (-0.15, -0.02), (-0.11, 0.34)),
    "chest": ((-0.35, -0.36), (0.18, -0.72), (-0.45, 0.14), (-0.19, 0.28)),
    "together": ((-0.42, -0.67), (0.13, -0.74), (-0.03, 0.31), (-0.08, 0.35)),
    "over": ((-0.78, -0.5), (-0.15, -0.61), (-0.37, 0.06), (-0.23, 0.22)),
    "under": ((-0.71, -0.78), (-0.12, -0.72), (-0.4, 0.0), (-0.28, 0.18)),
}
_WEIGHTS = (1.0, 0.4, 0.3, 0.3)
_RADIUS = 0.21  # shoulder widths from a place where evidence is a half
_ONE_HAND = {
    "raise_{side}_hand": "raised",
    "open_{side}_palm": "palm",
    "point_{side}_at_camera": "ahead",
    "point_{side}_aside": "aside",
    "{side}_thumb_up": "thumb",
    "{side}_hand_on_chest": "chest",
}
_BOTH_HANDS = {
    "raise_both_hands": "raised",
    "open_both_palms": "palm",
    "hands_together": "together",
}
# Where evidence of the others is a half: radians, or shoulder widths.
_TILT, _LEAN = 0.16, 0.1
_FORWARD, _SHRUG = 0.068, 0.065
_NOD, _SHAKE, _WAVE = 0.0165, 0.021, 0.045
_STEEPNESS = 5.0  # of evidence against measure, in units of the measure's half
_HEAD_DRIFT, _HAND_DRIFT = 0.3, 0.15  # seconds, standard deviations: what is slower is no oscillation
_STILLEST = 20  # percent
_BEATS = 0.35  # seconds, the same of the window that oscillations are measured over
_HOLD = 0.1  # seconds, the same of the window over which evidence lasts


def evidence(track: BodyTrack) -> dict[str, Float64[np.ndarray, " F"]]:
    """How much each of ACTIONS is seen to be under way, 0 .. 1; what cannot be seen is 0."""
    m = measures(track)
    found = {**_of_arms(m, track.fps), **_of_body(m, track.fps)}
    return {name: smooth(np.nan_to_num(found[name]), track.fps, _HOLD) for name in ACTIONS}


def _of_arms(m: Measures, fps: float) -> dict[str, Float64[np.ndarray, " F"]]:
    at = {side: {place: _near(arm, place) for place in _PLACES} for side, arm in m.arms.items()}
    found = {}
    for side, other in (("left", "right"), ("right", "left")):
        here, there = at[side], at[other]
        for name, place in _ONE_HAND.items():
            found[name.format(side=side)] = here[place] * (1 - there[place])
        wave = _above(_swing(m.arms[side].wrist[:, 0], here["raised"], fps, _HAND_DRIFT), _WAVE)
        found[f"wave_{side}_hand"] = here["raised"] * wave
        found[f"raise_{side}_hand"] *= 1 - wave
    for name, place in _BOTH_HANDS.items():
        found[name] = np.minimum(at["left"][place], at["right"][place])
    crossed = [np.minimum(at[over]["over"], at[under]["under"]) for over, under in (SIDES, [*SIDES][::-1])]
    found["cross_arms"] = np.maximum(*crossed)
    return found


def _of_body(m: Measures, fps: float) -> dict[str, Float64[np.ndarray, " F"]]:
    # At rest shoulders and ears are as high as in most frames, or a little less.
    sunk, head, breadth, dip = (_from(values, 35.0) for values in (m.sunk, m.head, m.breadth, m.dip))
    lifted, shorter = -_from(m.sunk, 65.0), -_from(m.neck, 65.0)
    return {
        "nod": _above(_above_floor(m.bob, fps), _NOD),
        "shake_head": _above(_above_floor(m.turn, fps), _SHAKE),
        "tilt_head_left": _above(m.head_roll, _TILT),
        "tilt_head_right": _above(-m.head_roll, _TILT),
        "lean_left": _above(m.torso_roll, _LEAN),
        "lean_right": _above(-m.torso_roll, _LEAN),
        "lean_forward": _above(sunk + head + 0.5 * (breadth + dip), _FORWARD),
        "shrug": _above(np.minimum(lifted, shorter), _SHRUG),
    }


def _near(arm: Arm, place: str) -> Float64[np.ndarray, " F"]:
    """Evidence that an arm is at a place; 0 where the wrist is not seen."""
    total, weights = np.zeros(len(arm.wrist)), np.zeros(len(arm.wrist))
    for seen, where, weight in zip(
        (arm.wrist, arm.elbow, arm.fingers, arm.thumb), _PLACES[place], _WEIGHTS, strict=True
    ):
        away = ((seen - np.array(where)) ** 2).sum(axis=1)
        total += weight * np.nan_to_num(away)
        weights += weight * np.isfinite(away)
    distance = np.sqrt(total / np.maximum(weights, 1e-9))
    near = 1 - _above(distance, _RADIUS)
    return np.where(np.isfinite(arm.wrist[:, 0]), near, 0)


def _swing(
    values: Float64[np.ndarray, " F"], weight: Float64[np.ndarray, " F"], fps: float, drift: float
) -> Float64[np.ndarray, " F"]:
    """Root mean square of what is faster than a posture, over the frames around that have `weight`."""
    fast = np.nan_to_num(values - smooth(values, fps, drift))
    power, share = smooth(weight * fast**2, fps, _BEATS), smooth(weight, fps, _BEATS)
    return np.sqrt(power / np.maximum(share, 1e-3))


def _above_floor(values: Float64[np.ndarray, " F"], fps: float) -> Float64[np.ndarray, " F"]:
    """The swing of the head beyond what jitter alone gives: that of the track's stillest fifth."""
    power = _swing(values, np.ones(len(values)), fps, _HEAD_DRIFT) ** 2
    return np.sqrt(np.maximum(power - np.percentile(power, _STILLEST), 0))


def _from(values: Float64[np.ndarray, " F"], percentile: float) -> Float64[np.ndarray, " F"]:
    """Values from where they mostly are."""
    return values - np.nanpercentile(values, percentile) if np.isfinite(values).any() else values


def _above(values: Float64[np.ndarray, " F"], half: float) -> Float64[np.ndarray, " F"]:
    """A logistic step that is a half at `half`."""
    return 1 / (1 + np.exp(np.clip(_STEEPNESS * (1 - values / half), -50, 50)))
