"""Does this face wear spectacles? Their frames are drawn on the skin and must not bend with it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from vivavoce.splat.faceframe import FaceFrame

BRIDGE, RIM = 0.10, 0.12
"""Departure of a line from the skin around it, in shares of the skin's brightness, that a frame exceeds.

Bare faces stay below 0.03 at the bridge of the nose and below 0.09 under the eyes.
"""
_STEP, _SKIN = 0.25, 9.0  # mm: between samples, and the span whose median is the skin

_INNER_CORNERS, _UNDER_EYES = (133, 362), (145, 374)


def wears_spectacles(
    image: Float32[np.ndarray, "H W 3"], face: Float[np.ndarray, "478 3"], frame: FaceFrame
) -> bool:
    """Whether a line crosses the bridge of the nose and another lies under an eye, as a frame's rim does.

    Frames without rims, or of the skin's own brightness, are not found: they show little when they bend.
    """
    bridge = _line(image, face[list(_INNER_CORNERS)].mean(0), frame, (-12.0, 12.0))
    rims = [_line(image, face[point], frame, (3.0, 26.0)) for point in _UNDER_EYES]
    return bridge > BRIDGE and max(rims) > RIM


def _line(
    image: Float32[np.ndarray, "H W 3"],
    at: Float[np.ndarray, " 3"],
    frame: FaceFrame,
    span: tuple[float, float],
) -> float:
    """Strength of the strongest line across the face, `span` millimetres below `at`."""
    import cv2
    from scipy.ndimage import median_filter

    y, x = np.meshgrid(np.arange(*span, _STEP), np.linspace(-3.0, 3.0, 9), indexing="ij")
    local = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3) * frame.millimetre
    where = (at + frame.canvas(local))[:, :2].astype(np.float32) - 0.5
    seen = cv2.remap(
        image, where[None, :, 0], where[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    profile = seen[0].mean(1).reshape(x.shape).mean(1)
    skin = median_filter(profile, round(_SKIN / _STEP), mode="nearest")
    return float(np.abs(profile - skin).max() / max(skin.mean(), 0.05))
