"""The plate: what the picture would show with the person taken out.

It is only ever seen in a narrow band around the person, where the head moves over it, so what counts is that
the band carries no trace of the person and no seam, and has the grain of the photo.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

_REACH = 0.008
"""How far beyond the matte's edge its colours are still mistrusted, as a share of the longer side."""


def background_plate(
    image: Float32[np.ndarray, "H W 3"], matte: Float32[np.ndarray, "H W"]
) -> Float32[np.ndarray, "H W 3"]:
    """The image with the person (matte in [0, 1]) filled in from around; untouched where the person is far.

    A smooth fill by push-pull, and over it the fine grain of the surroundings.
    """
    import cv2

    reach = max(2, round(_REACH * max(image.shape)))
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    hidden = cv2.dilate((matte > 0.02).astype(np.float32), ellipse)
    if hidden.min() > 0:
        hidden = (matte > 0.5).astype(np.float32)
    known = 1 - hidden
    fill = push_pull(image, known)
    keep = (
        cv2.GaussianBlur(cv2.erode(known, ellipse[::2, ::2]), (0, 0), reach / 3)[..., None] * known[..., None]
    )
    return keep * image + (1 - keep) * (fill + _grain(image, known, fill))


def push_pull(
    values: Float32[np.ndarray, "H W 3"], weight: Float32[np.ndarray, "H W"]
) -> Float32[np.ndarray, "H W 3"]:
    """Values where the weight is 1, and a smooth continuation of them where it is 0.

    The pyramid of Gortler et al., "The Lumigraph" (1996), section 3.4.
    """
    import cv2

    levels = [(values * weight[..., None], weight)]
    while min(levels[-1][1].shape) > 2 and levels[-1][1].min() < 1:
        total, mass = (cv2.pyrDown(level) for level in levels[-1])
        gain = np.minimum(1, 4 * mass) / np.maximum(
            mass, 1e-6
        )  # a quarter of known pixels speaks for all four
        levels.append((total * gain[..., None], mass * gain))
    total, mass = levels.pop()
    mean = (total.sum(axis=(0, 1)) / max(float(mass.sum()), 1e-6)).astype(np.float32)
    filled = total + (1 - mass[..., None]) * mean
    for total, mass in reversed(levels):
        filled = cv2.resize(filled, mass.shape[::-1], interpolation=cv2.INTER_LINEAR)
        filled = total + (1 - mass[..., None]) * filled
    return filled


def _grain(
    image: Float32[np.ndarray, "H W 3"], known: Float32[np.ndarray, "H W"], fill: Float32[np.ndarray, "H W 3"]
) -> Float32[np.ndarray, "H W 3"]:
    """Noise of the strength that the known pixels show at the scale of one pixel, the same each time."""
    import cv2

    fine = image - cv2.GaussianBlur(image, (0, 0), 1.0)
    inside = known > 0.5
    if not inside.any():
        return np.zeros_like(fill)
    # The median ignores edges and texture; 0.6745 makes it a standard deviation, 0.8 is what the blur leaves.
    strength = np.median(np.abs(fine[inside]), axis=0) / 0.6745 / 0.8
    noise = np.random.default_rng(0).standard_normal(image.shape[:2], dtype=np.float32)
    return noise[..., None] * strength.astype(np.float32)
