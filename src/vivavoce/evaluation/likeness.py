"""How much a person stays the same through a clip: colours of head and trunk, and looks, second by second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from vivavoce.evaluation.reader import Reading
from vivavoce.evaluation.tracks import EARS, SHOULDERS
from vivavoce.video.drift import mean_lab

_LOOKS = 5  # frames of a second that colours are taken from
_HEAD, _TRUNK = (0.6, 0.7), (0.35, 0.4)
"""Half width and half height of the boxes of head and trunk; widths between the ears, between the shoulders."""


@dataclass(frozen=True)
class Likeness:
    """Of S whole seconds to the first one; NaN where nobody has been seen by then."""

    color: Float64[np.ndarray, " S"]
    """CIE76 difference of the mean CIELAB colours, the mean over head and trunk: 0 in the first second, and about 2 is
    just noticeable."""
    contrast: Float64[np.ndarray, " S"]
    """Standard deviation of the pixels' grey over that of the first second, the mean over head and trunk."""
    identity: Float64[np.ndarray, " S"]
    """Cosine of the mean embeddings (`reader.Reading.identity`): 1 in the first second."""


def likeness(frames: UInt8[np.ndarray, "F H W 3"], reading: Reading) -> Likeness:
    """How like its first second each second of a clip is; `reading` is of these frames.

    Colours are medians over five frames of a second, so that a hand before the trunk counts little. Where head or trunk
    are no longer seen, it is what has become of the place where they were that counts: else a clip would be the better
    the worse its last seconds are. Raises ValueError for less than a second.
    """
    rate = reading.track.fps
    seconds = int(len(frames) / rate)
    if seconds < 1:
        raise ValueError(f"{len(frames)} frames at {rate:g} fps are less than a second")
    places = _places(reading)
    looks, faces = [], []
    for second in range(seconds):
        first, last = (int(np.ceil((second + k) * rate)) for k in range(2))
        some = np.linspace(first, last - 1, _LOOKS).round().astype(int).tolist()
        looks.append(_median([_colors(frames[t], places[t]) for t in some]))
        mean = reading.identity[first:last].mean(axis=0)
        faces.append(mean / np.linalg.norm(mean))
    color, faces = np.stack(looks), np.stack(faces).astype(np.float64)
    return Likeness(
        np.linalg.norm(color[..., :3] - color[0, :, :3], axis=2).mean(axis=1),
        (color[..., 3] / np.maximum(color[0, :, 3], 1e-6)).mean(axis=1),
        faces @ faces[0],
    )


def _median(colors: list[np.ndarray]) -> Float64[np.ndarray, "2 4"]:
    known = [color for color in colors if np.isfinite(color).all()]
    return np.median(known, axis=0) if known else np.full((2, 4), np.nan)


def _places(reading: Reading) -> Float64[np.ndarray, "F 2 4"]:
    """Middle, half width and half height of head and trunk's boxes; the last ones known where they are not seen."""
    body = reading.track.body.astype(np.float64)
    across = np.linalg.norm(np.diff(body, axis=1)[:, [EARS[0], SHOULDERS[0]]], axis=2)
    middles = np.stack([body[:, pair].mean(axis=1) for pair in (EARS, SHOULDERS)], axis=1)
    middles[:, 1, 1] += across[:, 1] * (_TRUNK[1] + 0.15)  # under the collar
    places = np.concatenate([middles, across[..., None] * np.array([_HEAD, _TRUNK])], axis=2)
    for t in range(1, len(places)):
        lost = np.isnan(places[t]).any(axis=1)
        places[t, lost] = places[t - 1, lost]
    return places


def _colors(
    picture: UInt8[np.ndarray, "H W 3"], places: Float64[np.ndarray, "2 4"]
) -> Float64[np.ndarray, "2 4"]:
    """L*, a*, b* and the grey's standard deviation of head and trunk; NaN where they are not in the picture."""
    return np.stack([_color(picture, place[:2], place[2:]) for place in places])


def _color(
    picture: UInt8[np.ndarray, "H W 3"], middle: Float64[np.ndarray, "2"], half: Float64[np.ndarray, "2"]
) -> Float64[np.ndarray, "4"]:
    if not np.isfinite([*middle, *half]).all():
        return np.full(4, np.nan)
    height, width = picture.shape[:2]
    centre, reach = (middle * width + (width, height)) / 2, half * width / 2
    left, top = np.maximum(np.floor(centre - reach), 0).astype(int)
    right, bottom = np.maximum(np.ceil(centre + reach), 0).astype(int)
    part = picture[top:bottom, left:right]
    return np.append(mean_lab(part), part.mean(axis=2).std()) if part.size else np.full(4, np.nan)
