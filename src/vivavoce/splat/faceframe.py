"""The face's own axes and measures, from its mesh: everything about mouths and lids is told in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from vivavoce.splat import topology

INTERPUPILLARY_MM = 63.0
"""Mean distance between adult pupils (Dodgson 2004, SPIE 5291): the ruler for everything in the mouth."""


@dataclass(frozen=True)
class FaceFrame:
    """Axes as rows: to the picture's right along the eyes, down the face, inwards (away from the camera)."""

    axes: Float[np.ndarray, "3 3"]
    height: float
    """Forehead to chin, pixels."""
    millimetre: float
    """Pixels a millimetre on this face."""
    mouth: Float[np.ndarray, " 3"]
    """Where the lips meet in the middle, canvas pixels."""
    mouth_width: float
    gap: float
    """How far the lips are apart in the photo, pixels (0 when shut)."""

    def local(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Canvas points in the face's axes, from the middle of the mouth."""
        return (points - self.mouth) @ self.axes.T

    def canvas(self, offsets: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Displacements along the face's axes as displacements on the canvas."""
        return offsets @ self.axes


def measure_face(face: Float[np.ndarray, "478 3"]) -> FaceFrame:
    """Axes and measures of a face from its 478 landmarks (canvas pixels)."""
    right = face[topology.LEFT_LID_LOWER[-1]] - face[topology.RIGHT_LID_LOWER[0]]
    right = right / np.linalg.norm(right)
    down = face[topology.CHIN] - face[topology.FOREHEAD]
    height = float(np.linalg.norm(down))
    down = down - (down @ right) * right
    down = down / np.linalg.norm(down)
    axes = np.stack([right, down, np.cross(right, down)])
    pupils = np.linalg.norm(face[topology.LEFT_IRIS] - face[topology.RIGHT_IRIS])
    upper, lower = face[list(topology.LIP_UPPER[0])], face[list(topology.LIP_LOWER[0])]
    middle = (upper[5] + lower[5]) / 2
    return FaceFrame(
        axes=axes,
        height=height,
        millimetre=float(pupils / INTERPUPILLARY_MM),
        mouth=middle,
        mouth_width=float(np.linalg.norm(upper[-1] - upper[0])),
        gap=float(max(0.0, (lower[5] - upper[5]) @ down)),
    )


SHUT = 0.05
"""Lips nearer than this share of the mouth's width are shut: landmarks never meet exactly."""

FLESH = 0.13
"""Mean departure from the lips' own brightness below which what lies between the contours is lip as well."""


def shut_lips(
    face: Float[np.ndarray, "478 3"], image: Float32[np.ndarray, "H W 3"]
) -> Float[np.ndarray, "478 3"]:
    """The landmarks with the two inner lip contours made one where the mouth is shut, else as they are.

    On a shut mouth that smiles the landmarks part all the same, for they were learnt from smiles with teeth:
    then the picture decides, and the contours meet on the dark line between the lips.
    """
    frame = measure_face(face)
    upper, lower = (face[list(half[0])] for half in (topology.LIP_UPPER, topology.LIP_LOWER))
    if frame.gap <= SHUT * frame.mouth_width:
        seam = (upper + lower) / 2
    elif _shows_lips_only(face, image):
        share = _dark_line(image, upper, lower, reach=SHUT * frame.mouth_width / frame.gap)
        seam = upper + share[:, None] * (lower - upper)
    else:
        return face
    face = face.copy()
    for half, inner in ((topology.LIP_UPPER, upper), (topology.LIP_LOWER, lower)):
        for ring in range(3):
            face[list(half[ring])] += (1 - ring / 3) * (seam - inner)
        face[list(half[0])] = seam
    return face


def _shows_lips_only(face: Float[np.ndarray, "478 3"], image: Float32[np.ndarray, "H W 3"]) -> bool:
    """Whether the picture has the lips' brightness and colour between the inner contours: no teeth, no dark."""
    (upper, above), (lower, below) = (
        (face[list(half[0])], face[list(half[3])]) for half in (topology.LIP_UPPER, topology.LIP_LOWER)
    )
    middle, flesh = slice(2, 9), np.linspace(0.3, 0.7, 5)
    inside = _between(image, upper, lower, np.linspace(0.2, 0.8, 9))[middle]
    lips = np.concatenate(
        [_between(image, upper, above, flesh), _between(image, lower, below, flesh)], axis=1
    )[middle]
    # Each column is compared with the lips above and below it, so that light from the side does not matter.
    relative = inside.mean(2) / (np.median(lips.mean(2), axis=1, keepdims=True) + 1e-3)
    inside_saturation, lip_saturation = (
        float(np.median(np.ptp(pixels, axis=2) / (pixels.max(2) + 1e-3))) for pixels in (inside, lips)
    )
    return bool(np.abs(relative - 1).mean() < FLESH and inside_saturation >= 0.8 * lip_saturation)


def _dark_line(
    image: Float32[np.ndarray, "H W 3"],
    upper: Float[np.ndarray, "11 3"],
    lower: Float[np.ndarray, "11 3"],
    *,
    reach: float,
) -> Float[np.ndarray, " 11"]:
    """Where between the contours the lips meet, as shares of their distance; `reach` is half the line's width.

    Of all parabolas along the mouth the one that lies deepest in the dark: a line by columns would jump where the
    picture shows none.
    """
    shares = np.linspace(-0.2, 1.2, 29)
    above, on, below = (_between(image, upper, lower, shares + k * reach).mean(2) for k in (-1, 0, 1))
    darker = above + below - 2 * on
    u = np.linspace(-1, 1, len(upper))
    level, bow, tilt = (
        grid.reshape(-1, 1)
        for grid in np.meshgrid(shares, np.linspace(-0.5, 0.5, 11), np.linspace(-0.3, 0.3, 7))
    )
    lines = np.clip(level + bow * u**2 + tilt * u, shares[0], shares[-1])
    index = np.rint((lines - shares[0]) / (shares[1] - shares[0])).astype(int)
    return lines[np.argmax(darker[np.arange(len(upper)), index].sum(1))]


def _between(
    image: Float32[np.ndarray, "H W 3"],
    start: Float[np.ndarray, "n 3"],
    end: Float[np.ndarray, "n 3"],
    shares: Float[np.ndarray, " k"],
) -> Float[np.ndarray, "n k 3"]:
    """Colours of the picture at the given shares of the ways from `start` to `end`."""
    import cv2

    at = (start[:, None, :2] + (end - start)[:, None, :2] * shares[:, None] - 0.5).astype(np.float32)
    colors = cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return colors.astype(np.float64)
