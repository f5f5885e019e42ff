"""Body and hands of the person whose face was chosen."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from vivavoce.features.face import Face, square_crop
from vivavoce.features.solutions import run

Side = Literal["left", "right"]
_SIDES: tuple[Side, Side] = ("left", "right")

_NOSE, _SHOULDERS, _HIPS = 0, [11, 12], [23, 24]
_MESH_NOSE, _MESH_EARS, _MESH_FOREHEAD, _MESH_CHIN = 1, [234, 454], 10, 152
_POSE_SIZE, _HAND_SIZE = 768, 320
_POSE_REACHES = (8.0, 14.0, 5.0)  # side of the crop in face heights, tried in turn
_WRIST: dict[Side, int] = {"left": 15, "right": 16}
_ELBOW: dict[Side, int] = {"left": 13, "right": 14}
_KNUCKLES: dict[Side, list[int]] = {"left": [15, 17, 19, 21], "right": [16, 18, 20, 22]}


@dataclass(frozen=True)
class Body:
    """BlazePose: 33 points (x, y, z, visibility; pixels, z away from the camera) and its matte."""

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
        points = np.array([(p.x, p.y, 0.0, p.visibility) for p in result.pose_landmarks.landmark], np.float32)
        points[:, :2] = cv2.transform(points[None, :, :2] * _POSE_SIZE, to_image)[0]
        if not _belongs(points, face):
            continue
        points[:, 2] = _depths(points, result.pose_world_landmarks.landmark, face)
        matte = cv2.warpAffine(
            result.segmentation_mask,
            _about_centers(to_image),
            image.shape[1::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        return Body(points, matte.astype(np.float32))
    return None


def _belongs(points: np.ndarray, face: Face) -> bool:
    """Whether a pose is this face's: the noses agree, and the shoulders are below the eyes and of some width."""
    down = (face.landmarks[_MESH_CHIN] - face.landmarks[_MESH_FOREHEAD])[:2] / face.height
    left, right = (points[i, :2] - face.landmarks[_MESH_NOSE, :2] for i in _SHOULDERS)
    off = np.hypot(*(points[_NOSE, :2] - face.landmarks[_MESH_NOSE, :2])) / face.height
    below = min(left @ down, right @ down) / face.height
    across = np.hypot(*(left - right)) / face.height
    return bool(off < 0.5 and below > 0.1 and 0.5 < across < 5)


def _depths(points: np.ndarray, world: Sequence[Any], face: Face) -> np.ndarray:
    """Depths in pixels of the 33 points, from the same plane as the face's.

    The network's metres are good within the arms and within the hips, but it sees most people lean to the
    camera: so shoulders and hips are put below the ears, which is where they are in someone upright.
    """
    metres = np.array([(p.x, p.y, p.z) for p in world])
    a, b = _SHOULDERS
    pixels = np.linalg.norm(points[a, :2] - points[b, :2]) / np.linalg.norm(metres[a, :2] - metres[b, :2])
    depths = metres[:, 2] * pixels
    ears = face.landmarks[_MESH_EARS, 2].mean()
    for group, anchors, depth in (
        (slice(0, 11), [_NOSE], face.landmarks[_MESH_NOSE, 2]),
        (slice(11, 23), _SHOULDERS, ears),
        (slice(23, 33), _HIPS, ears),
    ):
        depths[group] += depth - depths[anchors].mean()
    return depths


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
    from scipy.optimize import linear_sum_assignment

    if body is None:
        return {}
    found: list[_Hand] = []
    for side in _SIDES:
        tries = (_hands_in(image, *square) for square in _hand_squares(body, face, side, image.shape))
        found += next((hands for hands in tries if hands), [])
    hands = _distinct(found)
    wrists = body.landmarks[[_WRIST[side] for side in _SIDES]]
    reach = 0.8 * face.height  # the pose network misses a wrist by less than that
    costs = np.full((2, len(hands) + 2), reach)  # two columns for "not seen"
    for column, hand in enumerate(hands):
        costs[:, column] = np.linalg.norm(wrists[:, :2] - hand.points[0, :2], axis=1)
    return {
        _SIDES[row]: _at_depth(hands[column].points, float(wrists[row, 2]))
        for row, column in zip(*linear_sum_assignment(costs), strict=True)
        if column < len(hands) and costs[row, column] < reach
    }


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
    for marks, label in zip(result.multi_hand_landmarks or [], result.multi_handedness or [], strict=True):
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
