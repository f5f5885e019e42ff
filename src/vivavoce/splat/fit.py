"""Colours by linear least squares: for fixed Gaussians a picture is linear in them.

So conjugate gradients find the best ones in a few renderings, without a step size.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from vivavoce.splat.rasterize.cpu import CpuRasterizer

ITERATIONS = 20
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
