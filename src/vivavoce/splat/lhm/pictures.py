"""What the network looks at: the whole picture, and crops of the head and of both hands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn.functional import interpolate, pad

from vivavoce.features.physical_state import PARTS
from vivavoce.splat.lhm.config import LhmConfig

Box = tuple[int, int, int, int]
"""Left, top, width and height, px."""

_STARTS = dict(zip(PARTS, np.cumsum([0, *PARTS.values()]).tolist(), strict=False))
_HAND_MARGIN = 2.0  # sides of HaMeR's crops, in extents of the hand's keypoints
_HEAD_MARGIN = 1.9  # the 68 points end at the brows: a head is about half as high again, and hair wants room
_HEAD_LIFT = 0.2  # by how many extents the head's middle lies above the points'
_SEEN = 0.4
"""Share of a part's keypoints that must be seen for it to be cropped."""
_SMALLEST = 4  # px, below which a crop shows nothing


@dataclass(frozen=True)
class Images:
    """Pictures of B people, RGB in [0, 1], the background white."""

    body: Float[Tensor, "B 3 H W"]
    head: Float[Tensor, "B 3 S S"]
    """Black where the head was not found, as LHM has it."""
    hands: Float[Tensor, "B 2 3 h w"] | None
    """The left hand mirrored, so that both look like right hands; None for networks without Hand++."""
    seen: Bool[Tensor, "B 2"] | None
    """Which hands were found."""


def look_at(
    pictures: Float[Tensor, "B 3 H W"], keypoints: Float32[np.ndarray, "B 127 3"], config: LhmConfig
) -> Images:
    """Crop pictures by the keypoints of `features.physical_state` (x and y from -1 to 1, and whether seen)."""
    size = (config.head.side, config.head.side)
    heads = [_cut(p, head_box(k, p.shape[-2:]), size) for p, k in zip(pictures, keypoints, strict=True)]
    if config.hands is None:
        return Images(pictures, torch.stack(heads), None, None)
    hands, seen = [], []
    for picture, points in zip(pictures, keypoints, strict=True):
        boxes = [hand_box(points, side, picture.shape[-2:], config.hands.crop) for side in ("left", "right")]
        left, right = (_cut(picture, box, config.hands.crop) for box in boxes)
        hands.append(torch.stack([left.flip(-1), right]))
        seen.append([box is not None for box in boxes])
    found = torch.tensor(seen, device=pictures.device)
    return Images(pictures, torch.stack(heads), torch.stack(hands), found)


def hand_box(
    keypoints: Float32[np.ndarray, "127 3"], side: str, size: Sequence[int], crop: tuple[int, int]
) -> Box | None:
    """Around a hand (`left` or `right`) of a picture of `size` (H, W), as high as twice its extent, shaped as `crop`.

    None where fewer than two in five of its keypoints are seen.
    """
    found = _pixels(keypoints, f"{side}_hand", size)
    if found is None:
        return None
    height = _HAND_MARGIN * float(np.ptp(found, axis=0).max())
    return _box((found.min(0) + found.max(0)) / 2, height * crop[1] / crop[0], height)


def head_box(keypoints: Float32[np.ndarray, "127 3"], size: Sequence[int]) -> Box | None:
    """A square around the head of a picture of `size` (H, W), hair included; None where no face is seen."""
    found = _pixels(keypoints, "face", size)
    if found is None:
        return None
    extent = float(np.ptp(found, axis=0).max())
    centre = (found.min(0) + found.max(0)) / 2 - (0.0, _HEAD_LIFT * extent)
    return _box(centre, _HEAD_MARGIN * extent, _HEAD_MARGIN * extent)


def square(picture: Float[Tensor, "B 3 H W"], side: int) -> Float[Tensor, "B 3 S S"]:
    """A picture padded with white to a square and fitted to `side` px."""
    height, width = picture.shape[-2:]
    longest = max(height, width)
    left, top = (longest - width) // 2, (longest - height) // 2
    whole = pad(picture, (left, longest - width - left, top, longest - height - top), value=1.0)
    if longest == side:
        return whole
    # LHM maps corners to corners; torch's filter for smaller pictures is off centre when it does.
    smaller = side < longest
    return interpolate(whole, (side, side), mode="bicubic", align_corners=not smaller, antialias=smaller)


def _pixels(
    keypoints: Float32[np.ndarray, "127 3"], part: str, size: Sequence[int]
) -> Float[np.ndarray, "n 2"] | None:
    start = _STARTS[part]
    points = keypoints[start : start + PARTS[part]]
    seen = points[points[:, 2] > 0.5, :2].astype(float)
    if len(seen) < _SEEN * len(points):
        return None
    found = (seen + 1) / 2 * (size[1], size[0])
    return found if np.ptp(found, axis=0).max() >= _SMALLEST / 2 else None


def _box(centre: Float[np.ndarray, " 2"], width: float, height: float) -> Box:
    size = np.maximum(np.round((width, height)), _SMALLEST)
    left, top = np.round(centre - size / 2)
    return int(left), int(top), int(size[0]), int(size[1])


def _cut(picture: Float[Tensor, "3 H W"], box: Box | None, size: tuple[int, int]) -> Float[Tensor, "3 h w"]:
    """What is in a box, white beyond the picture, at `size` (h, w); black where there is no box."""
    if box is None:
        return picture.new_zeros(3, *size)
    left, top, width, height = box
    H, W = picture.shape[-2:]
    around = (max(-left, 0), max(left + width - W, 0), max(-top, 0), max(top + height - H, 0))
    whole = pad(picture, around, value=1.0)
    left, top = max(left, 0), max(top, 0)
    part = whole[None, :, top : top + height, left : left + width]
    return interpolate(part, size, mode="bilinear", antialias=True)[0]
