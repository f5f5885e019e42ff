"""How far a clip's colour, sharpness and face drift from its reference, second by second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8

from vivavoce.errors import InputError
from vivavoce.media.files import check_target, replacing
from vivavoce.timing import frame_rate

DEFINITIONS: Mapping[str, str] = {
    "lab": "mean CIELAB colour (D65) over all pixels of the second's middle frame",
    "delta_e": "CIE76 difference of that mean to the reference's: their Euclidean distance",
    "sharpness": (
        "variance of the Laplacian of the grey picture over the reference's; null where the reference is flat"
    ),
    "identity": (
        "RMS distance of 23 landmarks that speech moves little (eye corners, bridge and base of the nose, brow "
        "ends, temples and cheeks) to the reference's after the best similarity transform, over the distance of "
        "the outer eye corners; null without a face here or in the reference. It measures the shape of a face "
        "mesh, not looks: it is not the cosine similarity of a face recognition network (CSIM), and a turn of the "
        "head by 10 to 20 degrees alone can give what another person gives, about 0.02"
    ),
    "yaw": "degrees by which the head is turned; positive to the picture's right",
}
"""What each number of a report means; part of the report."""

# Of mediapipe's mesh: eye corners; bridge and base of the nose; brow ends; temples and cheeks.
_RIGID = (
    *(33, 133, 362, 263),
    *(168, 6, 197, 195, 5, 4, 98, 2, 327),
    *(70, 107, 336, 300),
    *(127, 234, 93, 356, 454, 323),
)
_EYES = (33, 263)  # outer corners
_SRGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
"""IEC 61966-2-1, D65."""
_DIGITS = 4


class _Look(NamedTuple):
    lab: np.ndarray
    sharpness: float
    face: np.ndarray | None  # (478, 3)
    yaw: float | None


class DriftMeter:
    """Watches a clip frame by frame and keeps a few numbers a second.

    Second s is judged by the frame that is shown at s + 0.5; the others cost nothing. A last second that ends
    before its middle has no numbers. The reference is the photo, scaled and cut about its middle to the frames'
    size, or, without one, the first second itself.

    The identity measure is a proxy: the shape of the face's rigid landmarks, not a recognition network's cosine
    (CSIM). It is about 0.001 under shifts, scalings and turns in the plane and 0.008 under an opening mouth; on
    drawn people 0.005 to 0.007 under a turn of the head by 5 degrees, 0.014 by 10 and 0.024 by 20, against 0.008
    to 0.024 between two of them. So compare seconds of like `yaw`, and look for trends.
    """

    def __init__(self, reference: UInt8[np.ndarray, "H W 3"] | None, fps: float) -> None:
        """`reference` is a photo (RGB); raises ValueError for less than a frame a second."""
        if fps < 1:
            raise ValueError(f"drift is measured from 1 frame a second on, not {fps}")
        self._photo = reference
        self._source = "first second" if reference is None else "photo"
        self._rate = frame_rate(fps)
        self._frames = 0
        self._reference: _Look | None = None
        self._rows: list[dict[str, Any]] = []

    def add(self, frame: UInt8[np.ndarray, "H W 3"]) -> None:
        """The next frame (RGB), in order; the array may be reused."""
        middle = int((len(self._rows) + Fraction(1, 2)) * self._rate)
        if self._frames == middle:
            self._judge(frame)
        self._frames += 1

    def report(self) -> dict[str, Any]:
        """Numbers for JSON: `seconds`, a row for each, what they mean, and the reference's colour.

        A row has `second`, `frame`, `lab` [L*, a*, b*], `delta_e`, `sharpness`, `identity` and `yaw`, as told in
        `DEFINITIONS`.
        """
        return {
            "definitions": dict(DEFINITIONS),
            "reference": self._source,
            "reference_lab": None if self._reference is None else _rounded(self._reference.lab),
            "fps": float(self._rate),
            "seconds": [dict(row) for row in self._rows],
        }

    def write(self, path: Path) -> None:
        """Write the report as a .json file. Raises OutputError where it cannot be written."""
        check_target(path, (".json",))
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.report(), indent=1) + "\n", encoding="utf-8")

    def _judge(self, frame: np.ndarray) -> None:
        look = _look(frame)
        if self._reference is None:
            self._reference = look if self._photo is None else _look(_fitted(self._photo, frame.shape))
            self._photo = None
        first = self._reference
        identity = None
        if look.face is not None and first.face is not None:
            identity = round(face_distance(look.face, first.face), _DIGITS)
        self._rows.append(
            {
                "second": len(self._rows),
                "frame": self._frames,
                "lab": _rounded(look.lab),
                "delta_e": round(float(np.linalg.norm(look.lab - first.lab)), _DIGITS),
                "sharpness": round(look.sharpness / first.sharpness, _DIGITS) if first.sharpness else None,
                "identity": identity,
                "yaw": None if look.yaw is None else round(look.yaw, 1),
            }
        )


def face_distance(face: Float32[np.ndarray, "478 3"], reference: Float32[np.ndarray, "478 3"]) -> float:
    """RMS distance of the rigid landmarks of two faces over the reference's distance of outer eye corners.

    The face is brought to the reference by the rotation, scale and shift in space that fit best in the least
    squares sense (Umeyama 1991), without mirroring.
    """
    moving, fixed = (points[list(_RIGID)].astype(np.float64) for points in (face, reference))
    moving, fixed = moving - moving.mean(axis=0), fixed - fixed.mean(axis=0)
    left, singular, right = np.linalg.svd(moving.T @ fixed)
    signs = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    scale = (singular * signs).sum() / (moving**2).sum()
    gap = scale * moving @ (left * signs) @ right - fixed
    eyes = np.linalg.norm(np.subtract(*reference[list(_EYES)].astype(np.float64)))
    return float(np.sqrt((gap**2).sum(axis=1).mean()) / eyes)


def mean_lab(picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "3"]:
    """The mean over all pixels of a picture's CIELAB colour: sRGB, white D65, L* from 0 to 100."""
    linear = np.arange(256) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    ratio = linear.astype(np.float32)[picture] @ (_SRGB_TO_XYZ.T / _SRGB_TO_XYZ.sum(axis=1)).astype(
        np.float32
    )
    knee = 6 / 29
    bent = np.where(ratio > knee**3, np.cbrt(ratio), ratio / (3 * knee**2) + 4 / 29)
    x, y, z = bent.mean(axis=(0, 1), dtype=np.float64)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _look(picture: np.ndarray) -> _Look:
    import cv2

    from vivavoce.features.face import find_faces, mesh_again

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).var())
    try:
        face = mesh_again(picture, max(find_faces(picture), key=lambda found: found.height))
    except InputError:  # no face fit to compare
        return _Look(mean_lab(picture), sharpness, None, None)
    return _Look(mean_lab(picture), sharpness, face.landmarks, face.yaw)


def _fitted(photo: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The middle of a photo at the frames' size, so that its sharpness and colour compare with theirs."""
    import cv2

    height, width = shape[:2]
    scale = max(height / photo.shape[0], width / photo.shape[1])
    if scale != 1:
        size = max(width, round(photo.shape[1] * scale)), max(height, round(photo.shape[0] * scale))
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    return np.ascontiguousarray(photo[top : top + height, left : left + width])


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]
