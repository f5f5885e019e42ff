"""The face's own axes and measures, from its mesh: everything about mouths and lids is told in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

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


def shut_lips(face: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 3"]:
    """The landmarks with the two inner lip contours made one where the mouth is shut, else as they are."""
    frame = measure_face(face)
    if frame.gap > SHUT * frame.mouth_width:
        return face
    face = face.copy()
    upper, lower = list(topology.LIP_UPPER[0]), list(topology.LIP_LOWER[0])
    face[upper] = face[lower] = (face[upper] + face[lower]) / 2
    return face
