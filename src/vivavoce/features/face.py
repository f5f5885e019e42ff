"""Faces in a photo: where they are, their 478 landmarks, and whether each is good enough to speak.

The mesh network answers to anything that it is shown, so a candidate of the detector counts as a face only
when its landmarks agree over several crops of different scale and tilt; the mean of those is also less noisy
than any one of them. Pixel coordinates here are continuous: pixel centres lie at half integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from vivavoce.errors import InputError
from vivavoce.features.solutions import run

MIN_FACE_HEIGHT = 64
"""Pixels from the hairline to the chin; below that lips and lids are a few pixels each."""
MAX_YAW = 50.0
"""Degrees; beyond, the far half of the mouth is out of sight."""
MAX_ROLL = 60.0

_FOREHEAD, _CHIN = 10, 152
_RIGHT = [
    33,
    133,
    61,
    234,
    93,
    58,
]  # the person's right eye, mouth corner, ear, cheek, jaw (left in the picture)
_LEFT = [263, 362, 291, 454, 323, 288]
_SMALLEST_SHARE = 0.08  # of a window's side: the smallest face that the full-range detector finds
_CROPS = ((2.0, 0.0), (2.0, -12.0), (2.0, 12.0), (2.6, 6.0), (1.6, -6.0), (1.8, 6.0), (2.3, -6.0), (2.9, 0.0))
"""Side of the crop in face widths, and its tilt in degrees."""
_CROP_SIZE = 320
_SEARCH_SIZE = 2048


class Detection(NamedTuple):
    """A detector's guess: the centre and width of a square box in pixels, the tilt of the eyes in degrees."""

    x: float
    y: float
    width: float
    tilt: float
    score: float


@dataclass(frozen=True)
class Face:
    """A face that was verified. Landmarks are x right, y down, z away from the camera, all in pixels.

    `spread` is the root-mean-square disagreement of the landmarks between crops, in face heights.
    """

    landmarks: Float32[np.ndarray, "478 3"]
    spread: float

    @property
    def height(self) -> float:
        """Pixels from the top of the forehead to the chin, in space (so that a nod does not shorten it)."""
        return float(np.linalg.norm(self.landmarks[_FOREHEAD] - self.landmarks[_CHIN]))

    @property
    def center(self) -> tuple[float, float]:
        x, y = self.landmarks[:, :2].mean(axis=0)
        return float(x), float(y)

    @property
    def yaw(self) -> float:
        """Degrees; positive turns the face to the picture's right."""
        axis = self._across()
        return math.degrees(math.atan2(axis[2], math.hypot(axis[0], axis[1])))

    @property
    def roll(self) -> float:
        """Degrees; positive tilts clockwise in the picture."""
        axis = self._across()
        return math.degrees(math.atan2(axis[1], axis[0]))

    def scaled(self, scale: float) -> Face:
        """The same face on a picture `scale` times as large."""
        return Face(self.landmarks * np.float32(scale), self.spread)

    def _across(self) -> np.ndarray:
        """The head's own axis from its right to its left, from pairs of points that mirror each other."""
        return (self.landmarks[_LEFT] - self.landmarks[_RIGHT]).mean(axis=0)


def find_faces(image: UInt8[np.ndarray, "H W 3"]) -> tuple[Face, ...]:
    """All faces that can speak, from left to right.

    Raises InputError when there is none; it says what comes nearest: a face too small, turned away, or lying.
    """
    meshed = _meshed(image, detect(image))
    largest = max((face.height for face in meshed), default=0.0)
    # A bystander's face, four times smaller than the largest, is not worth a search.
    meshed += _meshed(image, detect_small(image, max(0.6 * MIN_FACE_HEIGHT, largest / 4)), known=meshed)
    faces = [face for face in meshed if _refusal(face) is None]
    if faces:
        return tuple(sorted(faces, key=lambda face: face.center[0]))
    if meshed:
        raise InputError(_refusal(max(meshed, key=lambda face: face.height)))
    upside_down = np.ascontiguousarray(image[::-1, ::-1])
    if _meshed(upside_down, detect(upside_down)):
        raise InputError("The face in the photo is upside down: turn the photo upright.")
    raise InputError(
        "No human face looks out of the photo: use one in which a person faces the camera and is well lit."
    )


def _refusal(face: Face) -> str | None:
    """Why this face cannot speak, or None when it can."""
    if abs(face.yaw) > MAX_YAW:
        return (
            f"The face is turned away from the camera by about {abs(face.yaw):.0f} degrees, "
            f"and at most {MAX_YAW:.0f} can be animated: use a photo seen more from the front."
        )
    if face.height < MIN_FACE_HEIGHT:
        return (
            f"The face is only {face.height:.0f} pixels high, "
            f"and at least {MIN_FACE_HEIGHT} are needed: use a larger or closer photo."
        )
    if abs(face.roll) > MAX_ROLL:
        return f"The face lies on its side (tilted by {abs(face.roll):.0f} degrees): turn the photo upright."
    return None


def _meshed(
    image: UInt8[np.ndarray, "H W 3"], candidates: list[Detection], known: Sequence[Face] = ()
) -> list[Face]:
    """The candidates that are faces, and none of those known already."""
    new = [c for c in candidates if all(math.dist(c[:2], face.center) > 0.5 * face.height for face in known)]
    return [face for face in (mesh(image, candidate, crops=4) for candidate in new) if face]


def detect(image: UInt8[np.ndarray, "H W 3"]) -> list[Detection]:
    """Candidates for faces larger than a tenth of the picture, the best first."""
    import cv2

    small, shrink = _reduced(image)
    margin = max(small.shape) // 3  # a face that touches the edge is found when there is something beyond
    padded = cv2.copyMakeBorder(small, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    found: list[Detection] = []
    for model in (0, 1):
        found += _detect_window(small, model)
        found += [d._replace(x=d.x - margin, y=d.y - margin) for d in _detect_window(padded, model)]
    return _distinct(found, shrink)


def detect_small(image: UInt8[np.ndarray, "H W 3"], smallest: float) -> list[Detection]:
    """Candidates for faces down to `smallest` pixels, found in windows of the picture, the best first."""
    small, shrink = _reduced(image)
    found: list[Detection] = []
    for x, y, side in _windows(small.shape[1], small.shape[0], smallest / shrink):
        window = small[y : y + side, x : x + side]
        found += [d._replace(x=d.x + x, y=d.y + y) for d in _detect_window(window, 1)]
    return _distinct(found, shrink)


def _reduced(image: UInt8[np.ndarray, "H W 3"]) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    import cv2

    shrink = max(1.0, max(image.shape) / _SEARCH_SIZE)
    if shrink == 1:
        return image, shrink
    size = (max(1, round(image.shape[1] / shrink)), max(1, round(image.shape[0] / shrink)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), shrink


def _distinct(found: list[Detection], scale: float) -> list[Detection]:
    """The best of each group of detections that lie on each other, in pixels `scale` times smaller."""
    kept: list[Detection] = []
    for d in sorted(found, key=lambda detection: -detection.score):
        if all(math.hypot(d.x - k.x, d.y - k.y) > 0.5 * max(d.width, k.width) for k in kept):
            kept.append(d)
    return [d._replace(x=d.x * scale, y=d.y * scale, width=d.width * scale) for d in kept]


def _windows(width: int, height: int, smallest: float) -> Iterator[tuple[int, int, int]]:
    """Square windows (x, y, side), half overlapping, down to those that show a face of `smallest` pixels."""
    sides = [math.ceil(smallest / _SMALLEST_SHARE)]
    while 2 * sides[-1] < max(width, height):
        sides.append(2 * sides[-1])
    for side in sides:
        for y in _starts(height, side):
            for x in _starts(width, side):
                yield x, y, side


def _starts(length: int, side: int) -> list[int]:
    count = max(1, math.ceil(2 * length / side) - 1)
    return [round(i * max(length - side, 0) / max(count - 1, 1)) for i in range(count)]


def _detect_window(window: UInt8[np.ndarray, "h w 3"], model: int) -> list[Detection]:
    import cv2

    height, width = window.shape[:2]
    shrink = (
        max(height, width) / 256
    )  # the networks see 128 or 192 pixels; area averaging also takes noise out
    small = window
    if shrink > 1:
        size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        small = cv2.resize(window, size, interpolation=cv2.INTER_AREA)
    result = run("face_detection", small, model_selection=model, min_detection_confidence=0.5)
    found = []
    for detection in result.detections or ():
        box, keys = detection.location_data.relative_bounding_box, detection.location_data.relative_keypoints
        tilt = math.atan2((keys[1].y - keys[0].y) * height, (keys[1].x - keys[0].x) * width)
        x, y = (box.xmin + box.width / 2) * width, (box.ymin + box.height / 2) * height
        found.append(Detection(x, y, box.width * width, math.degrees(tilt), detection.score[0]))
    return found


def mesh(image: UInt8[np.ndarray, "H W 3"], where: Detection, *, crops: int = len(_CROPS)) -> Face | None:
    """The face at `where` from the mean of several crops, or None when they do not agree on a face.

    On photos of faces seen from the front the crops differ by 0.2-0.5 % of the face's height, on profiles by
    1-2 %, on a cat's face by more than 3 % where they find anything at all.
    """
    seen = [_mesh_crop(image, where, scale, tilt) for scale, tilt in _CROPS[:crops]]
    good = [points for points in seen if points is not None]
    if len(good) < len(seen) - crops // 4:
        return None
    points = np.mean(good, axis=0)
    height = float(np.linalg.norm(points[_FOREHEAD] - points[_CHIN]))
    spread = float(np.sqrt(np.mean([(p - points)[:, :2] ** 2 for p in good]) * 2)) / height
    face = Face(points.astype(np.float32), spread)
    if spread > (0.03 if abs(face.yaw) > MAX_YAW else 0.015):
        return None
    off = math.hypot(face.center[0] - where.x, face.center[1] - where.y)
    return face if off < 0.5 * where.width else None


def mesh_again(image: UInt8[np.ndarray, "H W 3"], face: Face) -> Face:
    """The same face with the least noise: the mean over all crops."""
    width = 0.95 * face.height
    return mesh(image, Detection(*face.center, width, face.roll, 1.0)) or face


def _mesh_crop(
    image: UInt8[np.ndarray, "H W 3"], where: Detection, scale: float, tilt: float
) -> Float64[np.ndarray, "478 3"] | None:
    import cv2

    side = scale * where.width
    crop, to_image = square_crop(image, (where.x, where.y), side, where.tilt + tilt, size=_CROP_SIZE)
    result = run(
        "face_mesh",
        crop,
        static_image_mode=True,
        max_num_faces=1,
        refine_landmarks=True,
        min_detection_confidence=0.3,
    )
    if not result.multi_face_landmarks:
        return None
    points = np.array([(p.x, p.y, p.z) for p in result.multi_face_landmarks[0].landmark]) * _CROP_SIZE
    points[:, 2] *= side / _CROP_SIZE
    points[:, :2] = cv2.transform(points[None, :, :2], to_image)[0]
    return points


def square_crop(
    image: UInt8[np.ndarray, "H W 3"],
    center: tuple[float, float],
    side: float,
    tilt: float = 0.0,
    *,
    size: int,
) -> tuple[UInt8[np.ndarray, "size size 3"], Float64[np.ndarray, "2 3"]]:
    """A square of `side` pixels around `center`, turned by `tilt` degrees, resampled to `size`.

    Aliasing is kept out, and beyond the picture's edge its border is repeated. Also returns the affine map
    from the crop to the image.
    """
    import cv2

    c, s = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    linear = side / size * np.array([[c, -s], [s, c]])
    to_image = np.column_stack([linear, np.array(center) - linear @ (size / 2, size / 2)])
    reach = side * (abs(c) + abs(s)) / 2 + 2
    x0, y0 = (max(0, math.floor(v - reach)) for v in center)
    x1, y1 = (max(low + 1, math.ceil(v + reach)) for v, low in zip(center, (x0, y0), strict=True))
    region = image[min(y0, image.shape[0] - 1) : y1, min(x0, image.shape[1] - 1) : x1]
    shrink = max(1.0, side / size)
    small = region
    if shrink > 1:
        goal = tuple(max(1, round(length / shrink)) for length in region.shape[1::-1])
        small = cv2.resize(region, goal, interpolation=cv2.INTER_AREA)
    ratio = np.array(small.shape[1::-1]) / region.shape[1::-1]
    # warpAffine counts from pixel centres, the maps here from pixel corners.
    source = to_image.copy()
    source[:, 2] = (to_image[:, :2] @ (0.5, 0.5) + to_image[:, 2] - (x0, y0)) * ratio - 0.5
    source[:, :2] *= ratio[:, None]
    crop = cv2.warpAffine(
        small,
        source,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return crop, to_image
