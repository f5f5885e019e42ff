"""The nouns of the project. Shapes: H W pixels, N Gaussians, M particles, K bindings, T frames, C channels.

Images are float32 RGB in [0, 1] (uint8 only at the edges of the program), sound is float32 in [-1, 1].
Space is the camera's at rest, as in OpenCV: x right, y down, z away from the camera, in metres; pixel centres
lie at half integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

SPEECH_RATE = 16_000
"""Hz; every feature of speech is computed from mono sound at this rate."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that stands at the origin and looks along +z; lengths in pixels."""

    width: int
    height: int
    focal: float
    cx: float
    cy: float

    def scaled(self, width: int, height: int) -> Camera:
        """The same view on another pixel grid of the same aspect ratio (to within rounding)."""
        sx, sy = width / self.width, height / self.height
        return Camera(width, height, self.focal * (sx * sy) ** 0.5, self.cx * sx, self.cy * sy)


@dataclass(frozen=True)
class Gaussians:
    """N three-dimensional Gaussians with view-independent colour.

    `quats` are (w, x, y, z), unit length; `scales` are standard deviations in metres; `opacities` lie in [0, 1];
    `colors` are RGB around [0, 1] (a fit may overshoot a little).
    """

    means: Float32[np.ndarray, "N 3"]
    quats: Float32[np.ndarray, "N 4"]
    scales: Float32[np.ndarray, "N 3"]
    opacities: Float32[np.ndarray, " N"]
    colors: Float32[np.ndarray, "N 3"]

    def __len__(self) -> int:
        return len(self.means)


@dataclass(frozen=True)
class Binding:
    """How N Gaussians hang on M particles: up to K particles each, with weights that sum to one.

    `gradients[n, k]` is the spatial gradient of weight k at the rest position of Gaussian n (1/metre), from which
    the deformer has the exact local stretch. Unused slots have weight and gradient 0 and index 0.
    """

    indices: Int32[np.ndarray, "N K"]
    weights: Float32[np.ndarray, "N K"]
    gradients: Float32[np.ndarray, "N K 3"]


@dataclass(frozen=True)
class Motion:
    """T frames of motion: a rigid transform [R | t] of each particle from rest, in metres, and residuals of colour.

    `gains` multiply the RGB of each kind of Gaussian (splat/layers.py KINDS): what the lips shade goes dark.
    """

    fps: float
    transforms: Float32[np.ndarray, "T M 3 4"]
    gains: Float32[np.ndarray, "T G 3"]
