"""Body and hands of the person whose face was chosen."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from vivavoce.features.face import Face, square_crop
from vivavoce.features.solutions import run

Side = Literal["left", "right"]

_NOSE = 0
_POSE_SIZE, _HAND_SIZE = 768, 320
_POSE_REACHES = (8.0, 14.0, 5.0)  # side of the crop in face heights, tried in turn
_WRIST: dict[Side, int] = {"left": 15, "right": 16}
_ELBOW: dict[Side, int] = {"left": 13, "right": 14}
_KNUCKLES: dict[Side, list[int]] = {"left": [15, 17, 19, 21], "right": [16, 18, 20, 22]}


@dataclass(frozen=True)
class Body:
    """The 33 points of BlazePose (x, y, z, visibility; pixels, z away from the camera), and its own matte."""

    landmarks: Float32[np.ndarray, "33 4"]
    matte: Float32[np.ndarray, "H W"]


class _Hand(NamedTuple):
    points: np.ndarray  # (21, 3), pixels; z relative to the wrist
    score: float


def find_body(image: UInt8[np.ndarray, "H W 3"], face: Face, others: Sequence[Face] = ()) -> Body | None:
    """The body that belongs to `face`, or None; the `others` are painted over so that they cannot win."""
    import cv2

    canvas = image.copy() if others else image
    for other in others:
        _paint_over(canvas, other)
    x, y = face.center
    for reach in _POSE_REACHES:
        side = reach * face.height
        # The face lies in the upper part of the crop: there is a body below it, and little above.
        crop, to_image = square_crop(canvas, (x, y + 0.5 * side - 1.8 * face.height), side, size=_POSE_SIZE)
        result = run(
            "pose", crop, static_image_mode=True, model_complexity=1, enable_segmentation=True,
            min_detection_confidence=0.3,
        )  # fmt: skip
        if not result.pose_landmarks:
            continue
        points = np.array([(p.x, p.y, p.z, p.visibility) for p in result.pose_landmarks.landmark], np.float32)
        points[:, :3] *= _POSE_SIZE
        points[:, :2] = cv2.transform(points[None, :, :2], to_image)[0]
        points[:, 2] *= side / _POSE_SIZE
        if np.hypot(*(points[_NOSE, :2] - face.landmarks[1, :2])) > 0.5 * face.height:
            continue
        points[:, 2] += face.landmarks[1, 2] - points[_NOSE, 2]  # one depth for face and body
        matte = cv2.warpAffine(
            result.segmentation_mask,
            _about_centers(to_image),
            image.shape[1::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        return Body(points, matte.astype(np.float32))
    return None


def _about_centers(affine: np.ndarray) -> np.ndarray:
    """An affine map between pixel corners, as one between pixel centres (how OpenCV counts)."""
    moved = affine.copy()
    moved[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5
    return moved


def _paint_over(canvas: UInt8[np.ndarray, "H W 3"], face: Face) -> None:
    import cv2

    x, y = face.center
    axes = (round(0.55 * face.height), round(0.7 * face.height))
    cv2.ellipse(canvas, (round(x), round(y)), axes, face.roll, 0, 360, (128, 128, 128), -1)


def find_hands(
    image: UInt8[np.ndarray, "H W 3"], face: Face, body: Body | None
) -> dict[Side, Float32[np.ndarray, "21 3"]]:
    """The hands that are seen, under the person's own side: 21 points in pixels, z away from the camera.

    Palms are found in crops around the wrists of the body, where they are large enough; each is given to the
    nearest wrist, since the network's own left and right are unreliable on single hands.
    """
    if body is None:
        return {}
    found: list[_Hand] = []
    sides: tuple[Side, Side] = ("left", "right")
    for side in sides:
        for center, width in _hand_squares(body, face, side, image.shape):
            hands = _hands_in(image, center, width)
            found += hands
            if hands:
                break
    hands = _distinct(found)
    wrists = {side: body.landmarks[_WRIST[side]] for side in sides}
    reach = 0.8 * face.height  # the pose network misses a wrist by less than that

    def cost(hand: _Hand, side: Side) -> float:
        return float(np.hypot(*(hand.points[0, :2] - wrists[side][:2])))

    best: dict[Side, _Hand] = {}
    padded = [*hands, None, None]
    options = itertools.permutations(padded, 2)
    choice = min(
        options,
        key=lambda pair: sum(
            reach if hand is None else min(cost(hand, side), 2 * reach)
            for hand, side in zip(pair, sides, strict=True)
        ),
        default=(None, None),
    )
    for hand, side in zip(choice, sides, strict=True):
        if hand is not None and cost(hand, side) <= reach:
            best[side] = hand
    return {side: _at_depth(hand.points, wrists[side][2]) for side, hand in best.items()}


def _at_depth(points: np.ndarray, depth: float) -> Float32[np.ndarray, "21 3"]:
    return (points + np.array([0, 0, depth - points[0, 2]])).astype(np.float32)


def _hand_squares(
    body: Body, face: Face, side: Side, shape: tuple[int, ...]
) -> list[tuple[tuple[float, float], float]]:
    """Where to look for a hand: squares (centre, side) around the palm and around the fingers' end."""
    wrist, elbow = body.landmarks[_WRIST[side]], body.landmarks[_ELBOW[side]]
    if not (0 <= wrist[0] < shape[1] and 0 <= wrist[1] < shape[0]) or wrist[3] < 0.2:
        return []
    palm = body.landmarks[_KNUCKLES[side], :2].mean(axis=0)
    ahead = wrist[:2] + 0.35 * (wrist[:2] - elbow[:2])
    return [
        ((float(x), float(y)), scale * face.height)
        for (x, y), scale in itertools.product((palm, ahead), (1.8, 2.6, 1.3))
    ]


def _hands_in(image: UInt8[np.ndarray, "H W 3"], center: tuple[float, float], side: float) -> list[_Hand]:
    import cv2

    crop, to_image = square_crop(image, center, side, size=_HAND_SIZE)
    result = run(
        "hands",
        crop,
        static_image_mode=True,
        max_num_hands=2,
        model_complexity=1,
        min_detection_confidence=0.4,
    )
    hands = []
    for marks, label in zip(result.multi_hand_landmarks or (), result.multi_handedness or (), strict=False):
        points = np.array([(p.x, p.y, p.z) for p in marks.landmark], np.float32) * _HAND_SIZE
        points[:, :2] = cv2.transform(points[None, :, :2], to_image)[0]
        points[:, 2] *= side / _HAND_SIZE
        hands.append(_Hand(points, label.classification[0].score))
    return hands


def _distinct(hands: list[_Hand]) -> list[_Hand]:
    """One of each group of hands that lie on each other, the surest."""
    kept: list[_Hand] = []
    for hand in sorted(hands, key=lambda h: -h.score):
        size = np.ptp(hand.points[:, :2], axis=0).max()
        if all(np.abs(hand.points - k.points)[:, :2].mean() > 0.3 * size for k in kept):
            kept.append(hand)
    return kept
