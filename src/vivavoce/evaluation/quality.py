"""Quality of frames: against the same clip's true ones, and without them, against what true clips are like."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, UInt8


def psnr(
    frames: UInt8[np.ndarray, "F H W 3"], truth: UInt8[np.ndarray, "F H W 3"]
) -> Float64[np.ndarray, " F"]:
    """Peak signal to noise ratio of every frame, decibels; infinite for an equal one."""
    error = frames.astype(np.float64) - truth
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / (error**2).mean(axis=(1, 2, 3)))


def ssim(
    frames: UInt8[np.ndarray, "F H W 3"], truth: UInt8[np.ndarray, "F H W 3"]
) -> Float64[np.ndarray, " F"]:
    """Structural similarity of every frame, up to 1: Wang et al. 2004, with their Gaussian window of 1.5 pixels."""
    from skimage.metrics import structural_similarity

    options = {"channel_axis": 2, "data_range": 255, "gaussian_weights": True, "use_sample_covariance": False}
    return np.array([structural_similarity(a, b, **options) for a, b in zip(frames, truth, strict=True)])


def sharpness(frames: UInt8[np.ndarray, "F H W 3"]) -> Float64[np.ndarray, " F"]:
    """Logarithm of the variance of the grey picture's Laplacian: lower for a blurred one, higher for a noisy one."""
    import cv2

    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    return np.array([np.log(cv2.Laplacian(grey, cv2.CV_64F).var() + 1e-6) for grey in greys])


def rank(value: float, values: Float[np.ndarray, " n"]) -> float:
    """The share of `values` that lie below a value, 0 .. 1, equal ones counted half: 0.5 for what is as most are.

    Raises ValueError for no values.
    """
    if not len(values):
        raise ValueError("there are no values to rank among")
    return float((values < value).mean() + 0.5 * (values == value).mean())
