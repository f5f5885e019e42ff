"""A layer: Gaussians of one kind in canvas space, before they are lifted into space and fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from vivavoce.types import Binding

KINDS = ("skin", "eyes", "upper_teeth", "lower_teeth", "tongue", "cavity", "backing")
"""Front to back: a Gaussian of an earlier kind is always drawn over one of a later kind."""


@dataclass(frozen=True)
class Layer:
    """N Gaussians: centres and standard deviations in canvas pixels, RGB and opacity in [0, 1]."""

    kind: str
    points: Float32[np.ndarray, "N 3"]
    sigmas: Float32[np.ndarray, " N"]
    colors: Float32[np.ndarray, "N 3"]
    opacities: Float32[np.ndarray, " N"]
    binding: Binding
    slopes: Float32[np.ndarray, "N 2"]
    """dz/dx and dz/dy of the surface the Gaussian lies in."""


def flat_layer(  # noqa: PLR0917
    kind: str,
    points: Float[np.ndarray, "N 3"],
    sigma: float,
    colors: Float[np.ndarray, "N 3"],
    opacities: Float[np.ndarray, " N"],
    binding: Binding,
) -> Layer:
    """A layer of equal Gaussians that face the camera."""
    n = len(points)
    return Layer(
        kind,
        points.astype(np.float32),
        np.full(n, sigma, np.float32),
        colors.astype(np.float32),
        opacities.astype(np.float32),
        binding,
        np.zeros((n, 2), np.float32),
    )
