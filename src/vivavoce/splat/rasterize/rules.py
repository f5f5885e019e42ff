"""The rules every backend keeps, in one place.

A Gaussian with mean m = (x, y, z) and covariance V (both in camera space, z away from the camera) becomes
the two-dimensional Gaussian with mean (f x / z + cx, f y / z + cy) and covariance S = J V J^T + eps2d I,
where J is the Jacobian of the projection at m: the local affine approximation of Zwicker et al., "EWA Volume
Splatting" (2001). At a pixel centre d pixels away from its mean it covers

    alpha = min(ALPHA_MAX, opacity * exp(-d^T S^-1 d / 2)), or 0 where that is below ALPHA_MIN,

and pixels are composited front to back in the order of z, equal z in the order of the arrays (Kerbl et al.,
"3D Gaussian Splatting for Real-Time Radiance Field Rendering", 2023, section 4 and appendix C):

    image = sum_i color_i alpha_i T_i + background T_end,    T_i = prod_{j < i} (1 - alpha_j).

Gaussians nearer than NEAR, and those whose S is not positive definite, are not drawn. Far outside of the
picture the affine approximation would smear a Gaussian over everything, so x / z and y / z are held within
the picture and JACOBIAN_MARGIN around it before J is formed, as in gsplat (Ye et al., "gsplat", 2024).

Numba knows a cached kernel by its own file alone: after a change here, touch `place.py`, `blend.py` and
`gradient.py`.
"""

from __future__ import annotations

from vivavoce.types import Camera

EPS2D = 0.3
"""px^2 added to both axes of the projected covariance: a pixel is not a point (Kerbl et al., 2023)."""

NEAR = 0.01
"""Metres; nothing nearer is drawn."""

ALPHA_MIN = 1 / 255
"""Contributions that one step of an 8-bit picture could not show are not drawn."""

ALPHA_MAX = 0.99
"""Keeps 1 / (1 - alpha) finite in the gradient."""

JACOBIAN_MARGIN = 0.3
"""How far outside the picture the Jacobian follows the mean, in half widths (heights) of the picture."""


def jacobian_limits(camera: Camera) -> tuple[float, float, float, float]:
    """The least and greatest x / z, then y / z, at which the Jacobian of the projection is formed."""
    margin_x = JACOBIAN_MARGIN * 0.5 * camera.width
    margin_y = JACOBIAN_MARGIN * 0.5 * camera.height
    return (
        -(camera.cx + margin_x) / camera.focal,
        (camera.width - camera.cx + margin_x) / camera.focal,
        -(camera.cy + margin_y) / camera.focal,
        (camera.height - camera.cy + margin_y) / camera.focal,
    )
