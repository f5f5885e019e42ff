"""Eyeballs behind the lids: the photo's own iris and white, continued under the lids to let them turn."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32

from vivavoce.splat import topology
from vivavoce.splat.faceframe import FaceFrame
from vivavoce.splat.layers import Layer, flat_layer
from vivavoce.splat.skinning import bind_rigidly

EYE_DEPTH_MM = 11.0
"""From the front of the lids to the point an eyeball turns about (radius 12 mm)."""


def eyeball_centres(face: Float[np.ndarray, "478 3"], frame: FaceFrame) -> dict[str, Float[np.ndarray, " 3"]]:
    """The points the left and right eye turn about, canvas pixels."""
    inward = EYE_DEPTH_MM * frame.millimetre * frame.axes[2]
    centres = {}
    for name, iris, lids in (
        ("left_eye", topology.LEFT_IRIS, topology.LEFT_LID_LOWER),
        ("right_eye", topology.RIGHT_IRIS, topology.RIGHT_LID_LOWER),
    ):
        at = face[iris].astype(np.float64).copy()
        at[2] = face[list(lids), 2].mean()
        centres[name] = at + inward
    return centres


def eye_layer(
    image: Float32[np.ndarray, "H W 3"],
    open_eyes: Bool[np.ndarray, "H W"],
    face: Float[np.ndarray, "478 3"],
    frame: FaceFrame,
    particles: dict[str, int],
) -> list[Layer]:
    """One layer an eye, a Gaussian a pixel, wider than the opening by what the gaze may uncover."""
    import cv2

    reach = max(2, int(np.ceil(2.2 * frame.millimetre)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    core = cv2.erode(open_eyes.astype(np.uint8), np.ones((3, 3), np.uint8))
    if core.sum() < 0.3 * open_eyes.sum():
        core = open_eyes.astype(np.uint8)
    wide = cv2.dilate(open_eyes.astype(np.uint8), kernel)
    filled = (
        cv2.inpaint((image * 255).astype(np.uint8), cv2.subtract(wide, core), 3, cv2.INPAINT_TELEA) / 255.0
    )
    layers = []
    for name, lids in (
        ("left_eye", topology.LEFT_LID_UPPER + topology.LEFT_LID_LOWER),
        ("right_eye", topology.RIGHT_LID_UPPER + topology.RIGHT_LID_LOWER),
    ):
        y, x = np.nonzero(wide)
        middle = face[list(lids)].mean(0)
        other = np.linalg.norm(np.c_[x, y] - middle[:2], axis=1) > 26 * frame.millimetre
        y, x = y[~other], x[~other]
        depth = np.full(len(x), middle[2] + 1.5 * frame.millimetre)
        points = np.c_[x + 0.5, y + 0.5, depth]
        binding = bind_rigidly(particles[name], len(x))
        layers.append(flat_layer("eyes", points, 0.62, filled[y, x], np.full(len(x), 0.97), binding))
    return layers
