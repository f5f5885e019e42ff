"""What can be seen of a person's motion: two-dimensional tracks, and the measures that actions are told by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from vivavoce.features.physical_state import PARTS, Keypoints

FACE, EARS, SHOULDERS, ELBOWS, WRISTS = [0, 1, 2], [3, 4], [5, 6], [7, 8], [9, 10]
"""COCO's body points, left before right; left is the person's own. FACE is the nose and the eyes."""
SIDES = {"left": 1.0, "right": -1.0}
"""Which way of x each side lies when the person faces the camera."""
_JITTER = 0.06  # seconds, standard deviation of the window that takes the detector's jitter out


@dataclass(frozen=True)
class BodyTrack:
    """F frames of keypoints; x and y in half picture widths, y down, NaN where a point is not seen."""

    fps: float
    body: Float[np.ndarray, "F 17 2"]
    hands: dict[str, Float[np.ndarray, "F 21 2"]]
    """By side, "left" and "right": the wrist and five fingers of four points, thumb first."""

    @property
    def width(self) -> float:
        """Between the shoulders, the track's median; the unit of all measures. NaN where they are never seen."""
        across = np.linalg.norm(self.body[:, 5] - self.body[:, 6], axis=1)
        return float(np.nanmedian(across)) if np.isfinite(across).any() else float("nan")


def track_of(keypoints: Keypoints, fps: float, *, aspect: float = 1.0) -> BodyTrack:
    """The track in keypoints of pictures whose height is `aspect` times their width."""
    points = np.where(keypoints[..., 2:] > 0.5, keypoints[..., :2] * [1.0, aspect], np.nan)
    body, _, left, right = np.split(points, np.cumsum(list(PARTS.values()))[:-1], axis=1)
    return BodyTrack(fps, body, {"left": left, "right": right})


def smooth(values: Float[np.ndarray, "F *n"], fps: float, seconds: float) -> Float64[np.ndarray, "F *n"]:
    """Gaussian average over time (`seconds` standard deviation) of what is seen; NaN where nothing near is."""
    from scipy.ndimage import gaussian_filter1d

    seen = np.isfinite(values).astype(np.float64)
    total = gaussian_filter1d(np.nan_to_num(values), seconds * fps, axis=0, mode="nearest")
    share = gaussian_filter1d(seen, seconds * fps, axis=0, mode="nearest")
    return np.where(share > 0.25, total / np.maximum(share, 1e-9), np.nan)


@dataclass(frozen=True)
class Arm:
    """One arm, seen from its own shoulder and upright with it; shoulder widths."""

    wrist: Float64[np.ndarray, "F 2"]
    """Outwards and up from the shoulder."""
    elbow: Float64[np.ndarray, "F 2"]
    fingers: Float64[np.ndarray, "F 2"]
    """From the wrist to the mean of the fingers' tips, outwards and up; NaN where the hand is not seen."""
    thumb: Float64[np.ndarray, "F 2"]
    """From the wrist to the thumb's tip."""
    index: Float64[np.ndarray, "F 2"]
    others: Float64[np.ndarray, "F 2"]
    """From the wrist to the mean tip of the three fingers beside the index."""


@dataclass(frozen=True)
class Measures:
    """A track's measures in its own unit: shoulder widths, and radians as `controls` has them."""

    arms: dict[str, Arm]
    torso_roll: Float64[np.ndarray, " F"]
    """Of the line of the shoulders."""
    head_roll: Float64[np.ndarray, " F"]
    """Of the lines of eyes and ears against that of the shoulders."""
    turn: Float64[np.ndarray, " F"]
    """How far nose and eyes lie to the picture's right of the ears."""
    dip: Float64[np.ndarray, " F"]
    """How far nose and eyes lie below the ears."""
    bob: Float64[np.ndarray, " F"]
    """How far nose and eyes lie below the middle between ears and shoulders: a nod, more sharply than `dip`."""
    neck: Float64[np.ndarray, " F"]
    """Height of the ears above the shoulders."""
    sunk: Float64[np.ndarray, " F"]
    """How far below the picture's middle the shoulders are."""
    head: Float64[np.ndarray, " F"]
    """How far below the picture's middle the ears are."""
    breadth: Float64[np.ndarray, " F"]
    """Distance of the shoulders."""


def measures(track: BodyTrack) -> Measures:
    """The measures of a track; NaN where the points they need are not seen."""
    body = smooth(track.body / track.width, track.fps, _JITTER)
    across = body[:, 5] - body[:, 6]
    roll = np.arctan2(across[:, 1], across[:, 0])
    # The line of the ears is the longer one, is seen more sharply and counts for more.
    line = body[:, 1] - body[:, 2] + body[:, 3] - body[:, 4]
    ears, shoulders = body[:, EARS].mean(axis=1), body[:, SHOULDERS].mean(axis=1)
    face = body[:, FACE].mean(axis=1)
    up = np.stack([np.sin(roll), -np.cos(roll)], axis=1)
    return Measures(
        {side: _arm(track, body, roll, side) for side in SIDES},
        roll,
        np.arctan2(line[:, 1], line[:, 0]) - roll,
        (face - ears)[:, 0],
        (face - ears)[:, 1],
        (face - 0.5 * (ears + shoulders))[:, 1],
        ((ears - shoulders) * up).sum(axis=1),
        shoulders[:, 1],
        ears[:, 1],
        np.linalg.norm(across, axis=1),
    )


def _arm(
    track: BodyTrack, body: Float[np.ndarray, "F 17 2"], roll: Float[np.ndarray, " F"], side: str
) -> Arm:
    k = list(SIDES).index(side)
    c, s = np.cos(roll), np.sin(roll)

    def upright(offset: np.ndarray) -> np.ndarray:
        """Out and up along and across the line of the shoulders."""
        x, y = offset[:, 0], offset[:, 1]
        return np.stack([SIDES[side] * (c * x + s * y), s * x - c * y], axis=1)

    hand = smooth(track.hands[side] / track.width, track.fps, _JITTER)
    tips = hand[:, [4, 8, 12, 16, 20]] - hand[:, :1]
    shoulder = body[:, SHOULDERS[k]]
    return Arm(
        upright(body[:, WRISTS[k]] - shoulder),
        upright(body[:, ELBOWS[k]] - shoulder),
        upright(tips[:, 1:].mean(axis=1)),
        upright(tips[:, 0]),
        upright(tips[:, 1]),
        upright(tips[:, 2:].mean(axis=1)),
    )
