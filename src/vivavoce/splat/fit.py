"""Colours by linear least squares: for fixed Gaussians a picture is linear in them.

So conjugate gradients find the best ones in a few renderings, without a step size.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from vivavoce.splat.rasterize.cpu import CpuRasterizer

ITERATIONS = 32
PRIOR = 0.02
"""Pull towards the colours a Gaussian starts with, in squared weights: hidden Gaussians keep theirs."""

View = tuple[CpuRasterizer, Float32[np.ndarray, "H W 3"], float]
"""A rasteriser with the Gaussians placed, the premultiplied picture that it should give, and its weight."""


def fit_colors(
    views: list[View],
    colors: Float32[np.ndarray, "N 3"],
    *,
    iterations: int = ITERATIONS,
    prior: float = PRIOR,
) -> Float32[np.ndarray, "N 3"]:
    """Minimise sum weight |A c - target|^2 + prior |c - colors|^2 over the colours c, summed over views.

    A is the blending of a view's rasteriser (premultiplied, over black).
    """
    x = colors.copy()
    gradient = np.zeros_like(x)
    for raster, target, weight in views:
        gradient += weight * raster.color_gradient(target - raster.blend(x)[0])
    direction = gradient.copy()
    power = (gradient.astype(np.float64) ** 2).sum(0)
    for _ in range(iterations):
        curvature = prior * direction
        for raster, _, weight in views:
            curvature += weight * raster.color_gradient(raster.blend(direction)[0].copy())
        step = power / np.maximum((direction.astype(np.float64) * curvature).sum(0), 1e-20)
        x += (step * direction).astype(np.float32)
        gradient = gradient - (step * curvature).astype(np.float32)
        last, power = power, (gradient.astype(np.float64) ** 2).sum(0)
        direction = gradient + (power / np.maximum(last, 1e-20) * direction).astype(np.float32)
    return x


def fit_opacities(
    raster: CpuRasterizer,
    means: Float32[np.ndarray, "N 3"],
    covariances: Float32[np.ndarray, "N 6"],
    opacities: Float32[np.ndarray, " N"],
    matte: Float32[np.ndarray, "H W"],
    *,
    rounds: int = 4,
) -> Float32[np.ndarray, " N"]:
    """Opacities with which the Gaussians' alpha follows a soft matte of the raster's size.

    Transmittance is the exponential of minus the summed optical depths, so each Gaussian's own depth is
    scaled by the ratio of wanted to drawn depth at its centre; where the matte is full the opacity stays.
    """
    camera = raster.camera
    x = np.clip((camera.focal * means[:, 0] / means[:, 2] + camera.cx).astype(int), 0, camera.width - 1)
    y = np.clip((camera.focal * means[:, 1] / means[:, 2] + camera.cy).astype(int), 0, camera.height - 1)
    wanted = -np.log(np.clip(1.0 - matte[y, x], 0.005, 1.0))
    soft = (wanted < 3.5) & (opacities > 0)
    colors = np.zeros_like(means)
    fitted = opacities.copy()
    for _ in range(rounds):
        raster.place(means, covariances, fitted, presorted=True)
        drawn = -np.log(np.maximum(raster.blend(colors)[1][y, x], 0.005))
        ratio = np.clip((wanted + 0.02) / (drawn + 0.02), 0.6, 1.6)
        depth = -np.log(np.maximum(1.0 - fitted, 0.03)) * ratio
        fitted[soft] = np.clip(1.0 - np.exp(-depth), 0.0, 0.97)[soft]
    return fitted
