"""The CUDA backend: gsplat (Ye et al., "gsplat: An Open-Source Library for Gaussian Splatting", 2024)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from vivavoce.errors import InputError
from vivavoce.splat.rasterize.rules import ALPHA_MAX, EPS2D, NEAR
from vivavoce.types import Camera

_SYMMETRIC = (0, 1, 2, 1, 3, 4, 2, 4, 5)
"""Where the nine entries of a symmetric matrix stand among xx, xy, xz, yy, yz, zz."""


def rasterize_cuda(
    means: Float[Tensor, "N 3"],
    covariances: Float[Tensor, "N 6"],
    opacities: Float[Tensor, " N"],
    colors: Float[Tensor, "N 3"],
    camera: Camera,
    *,
    background: Float[Tensor, "rgb=3"] | Float[Tensor, "H W 3"] | None = None,
    eps2d: float = EPS2D,
) -> tuple[Float[Tensor, "H W 3"], Float[Tensor, "H W"], Float[Tensor, "H W"]]:
    """As `reference.rasterize_reference`, on float32 tensors that lie on a CUDA device; differentiable.

    gsplat holds alpha at 0.999 and leaves out what would bring the transmittance to 1e-4 or less. Opacities
    are held at ALPHA_MAX here, so where all are below it, pictures differ from the reference by 0.01 at
    most.

    Raises InputError if gsplat is not installed or the tensors are not on a CUDA device.
    """
    try:
        from gsplat import rasterization  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            "The backend 'cuda' needs gsplat: pip install 'vivavoce[cuda]', or choose the backend 'cpu'."
        ) from error
    if means.device.type != "cuda":
        raise InputError(
            f"The backend 'cuda' needs a CUDA device, but the Gaussians are on {means.device.type!r}: "
            "choose the backend 'cpu'."
        )
    # held, but with the gradient of what is not: an opacity of 1 must be able to fall
    held = opacities + (opacities.clamp(max=ALPHA_MAX) - opacities).detach()
    intrinsics = means.new_tensor([[camera.focal, 0, camera.cx], [0, camera.focal, camera.cy], [0, 0, 1]])
    drawn, alpha, _ = rasterization(
        means=means,
        quats=None,
        scales=None,
        opacities=held,
        colors=colors,
        viewmats=torch.eye(4, dtype=means.dtype, device=means.device)[None],
        Ks=intrinsics[None],
        width=camera.width,
        height=camera.height,
        near_plane=NEAR,
        eps2d=eps2d,
        packed=False,
        render_mode="RGB+ED",
        covars=covariances[:, _SYMMETRIC].reshape(-1, 3, 3),
    )
    image, alpha, depth = drawn[0, ..., :3], alpha[0, ..., 0], drawn[0, ..., 3]
    if background is not None:
        image = image + (1 - alpha)[..., None] * background
    return image, alpha, depth
