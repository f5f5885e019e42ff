"""Drawing 3D Gaussians: one function, three backends that keep the rules of `rules`.

`reference` (plain torch) defines values and gradients, `cpu` is fast on any processor, `cuda` is gsplat. For
training, `differentiable` draws tensors by the same three.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from vivavoce.errors import InputError
from vivavoce.splat.rasterize.rules import EPS2D
from vivavoce.types import Camera


@dataclass(frozen=True)
class Rendering:
    """A picture over its background, alpha in [0, 1], the expected depth in metres (0 where alpha is 0)."""

    image: Float32[np.ndarray, "H W 3"]
    alpha: Float32[np.ndarray, "H W"]
    depth: Float32[np.ndarray, "H W"]


def rasterize(
    means: Float32[np.ndarray, "N 3"],
    covariances: Float32[np.ndarray, "N 6"],
    opacities: Float32[np.ndarray, " N"],
    colors: Float32[np.ndarray, "N 3"],
    camera: Camera,
    *,
    background: Float32[np.ndarray, "rgb=3"] | Float32[np.ndarray, "H W 3"] | None = None,
    backend: str = "auto",
    eps2d: float = EPS2D,
) -> Rendering:
    """Draw N Gaussians over a background (black if none) by the rules of `rules`.

    Means are metres in camera space, covariances square metres as xx, xy, xz, yy, yz, zz, opacities lie in
    [0, 1]. The backend is "cpu", "cuda", "reference" or "auto": the CUDA device if there is one and gsplat
    is installed, else the CPU. To draw many frames on the CPU, keep a `cpu.CpuRasterizer`.

    Raises InputError for an unknown backend, or for "cuda" where gsplat or a CUDA device is missing.
    """
    if backend not in ("auto", "cpu", "cuda", "reference"):
        raise InputError(f"There is no backend {backend!r}: choose auto, cpu, cuda or reference.")
    if backend == "cpu" or (backend == "auto" and not _has_cuda()):
        from vivavoce.splat.rasterize.cpu import CpuRasterizer

        rasterizer = CpuRasterizer(camera, len(means), eps2d=eps2d)
        image, transmittance = rasterizer(means, covariances, opacities, colors)
        if background is not None:
            image = image + transmittance[..., None] * background
        return Rendering(image, 1 - transmittance, rasterizer.depth())

    import torch

    if backend == "reference":
        from vivavoce.splat.rasterize.reference import rasterize_reference as draw

        device = "cpu"
    else:
        from vivavoce.splat.rasterize.cuda import rasterize_cuda as draw

        device = "cuda" if torch.cuda.is_available() else "cpu"

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, device=device)

    behind = None if background is None else tensor(background)
    with torch.no_grad():
        drawn = draw(
            tensor(means),
            tensor(covariances),
            tensor(opacities),
            tensor(colors),
            camera,
            background=behind,
            eps2d=eps2d,
        )
    return Rendering(*(t.cpu().numpy() for t in drawn))


def covariance_from_quats_scales(
    quats: Float[np.ndarray, "N 4"], scales: Float[np.ndarray, "N 3"]
) -> Float[np.ndarray, "N 6"]:
    """R diag(scales)^2 R^T as xx, xy, xz, yy, yz, zz, in the scales' unit squared (Kerbl et al., 2023).

    Quaternions are (w, x, y, z) of any length but zero; the result has the dtype of the scales.
    """
    w, x, y, z = (quats / np.linalg.norm(quats, axis=1, keepdims=True)).T
    rotation = np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        1,
    )
    root = rotation * scales[:, None, :]
    rows, columns = np.triu_indices(3)
    return (root[:, rows] * root[:, columns]).sum(2).astype(scales.dtype, copy=False)


def _has_cuda() -> bool:
    """Whether gsplat and a CUDA device are there; torch is imported only if gsplat is."""
    if importlib.util.find_spec("gsplat") is None:
        return False
    import torch

    return torch.cuda.is_available()
