"""Colours by linear least squares.

For fixed Gaussians the picture is linear in them: conjugate gradients find the best in a few renderings,
without a step size.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from vivavoce.splat.rasterize.cpu import CpuRasterizer

ITERATIONS = 16
PRIOR = 0.02
"""Pull towards the colour a Gaussian starts with, in squared blending weights: hidden ones keep theirs."""


def fit_colors(
    raster: CpuRasterizer,
    colors: Float32[np.ndarray, "N 3"],
    target: Float32[np.ndarray, "H W 3"],
    *,
    iterations: int = ITERATIONS,
    prior: float = PRIOR,
) -> Float32[np.ndarray, "N 3"]:
    """Minimise |A c - target|^2 + prior |c - colors|^2 over colours c of what `raster` placed last.

    A is the blending of `raster` (premultiplied, over black), `target` the premultiplied picture to give.
    """
    x = colors.copy()
    residual = target - raster.blend(x)[0]
    gradient = raster.color_gradient(residual)
    direction = gradient.copy()
    power = (gradient.astype(np.float64) ** 2).sum(0)
    for _ in range(iterations):
        through = raster.blend(direction)[0].copy()
        curvature = raster.color_gradient(through) + prior * direction
        step = power / np.maximum((direction.astype(np.float64) * curvature).sum(0), 1e-20)
        x += (step * direction).astype(np.float32)
        gradient = gradient - (step * curvature).astype(np.float32)
        last, power = power, (gradient.astype(np.float64) ** 2).sum(0)
        direction = gradient + (power / np.maximum(last, 1e-20) * direction).astype(np.float32)
    return x
