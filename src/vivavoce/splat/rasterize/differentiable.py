"""Pictures of Gaussians with gradients, for training: one function, the same backends as `rasterize`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from vivavoce.errors import InputError
from vivavoce.splat.rasterize.cpu import CpuRasterizer
from vivavoce.splat.rasterize.cuda import rasterize_cuda
from vivavoce.splat.rasterize.reference import rasterize_reference
from vivavoce.splat.rasterize.rules import EPS2D
from vivavoce.types import Camera


def rasterize_differentiable(
    means: Float[Tensor, "*b N 3"],
    covariances: Float[Tensor, "*b N 6"],
    opacities: Float[Tensor, "*b N"],
    colors: Float[Tensor, "*b N 3"],
    camera: Camera,
    *,
    background: Float[Tensor, "rgb=3"] | Float[Tensor, "H W 3"] | Float[Tensor, "*b H W 3"] | None = None,
    backend: str = "auto",
    eps2d: float = EPS2D,
    with_depth: bool = False,
) -> tuple[Float[Tensor, "*b H W 3"], Float[Tensor, "*b H W"], Float[Tensor, "*b H W"] | None]:
    """Draw every frame of a batch over a background (black if none), differentiable once in every tensor.

    Units are those of `rasterize`. Returns the image, alpha in [0, 1], and with `with_depth` the expected
    depth in metres, 0 where alpha is 0. The backend is "cpu", "cuda", "reference" or "auto": gsplat for
    tensors on a CUDA device, else the CPU's kernels. "reference" keeps the dtype, the others are float32.

    On the CPU `torch.get_num_threads()` threads share the frames, or the tiles of one frame on the way back.
    A drawing keeps nothing for its gradient but what went in and came out: on the way back Gaussians are
    placed again, so memory grows with the batch as pictures do. Gradients do not depend on the threads. What
    is drawn behind a transmittance of 1e-4 is left out of picture and gradient alike, other than in the
    reference.

    Raises InputError for an unknown backend, for "cpu" with tensors elsewhere, and for "cuda" where gsplat
    or a CUDA device is missing.
    """
    if backend == "auto":
        backend = "cuda" if means.device.type == "cuda" else "cpu"
    if backend not in ("cpu", "cuda", "reference"):
        raise InputError(f"There is no backend {backend!r}: choose auto, cpu, cuda or reference.")
    if backend == "cpu" and means.device.type != "cpu":
        raise InputError(
            f"The backend 'cpu' needs tensors on the CPU, but the Gaussians are on {means.device.type!r}: "
            "move them, or choose the backend 'auto'."
        )
    batch, count, size = means.shape[:-2], means.shape[-2], (camera.height, camera.width)
    inputs = (means, covariances, opacities, colors, means.new_zeros(3) if background is None else background)
    if backend != "reference":
        inputs = tuple(t.float() for t in inputs)
    *gaussians, behind = inputs
    frames = math.prod(batch)
    flat = [t.reshape(frames, count, *t.shape[len(batch) + 1 :]) for t in gaussians]
    flat.append(behind.expand(*batch, *size, 3).reshape(frames, *size, 3))
    if backend == "cpu":
        drawn = _OnCpu.apply(*flat, camera, eps2d, with_depth)
    else:
        drawn = _frame_by_frame(
            rasterize_cuda if backend == "cuda" else rasterize_reference, flat, camera, eps2d
        )
    image, alpha, depth = drawn
    return (
        image.reshape(*batch, *size, 3),
        alpha.reshape(*batch, *size),
        depth.reshape(*batch, *size) if with_depth else None,
    )


def _frame_by_frame(
    draw: Callable[..., tuple[Tensor, Tensor, Tensor]], flat: list[Tensor], camera: Camera, eps2d: float
) -> list[Tensor]:
    """Image, alpha and depth of T frames by a function that takes one, from what `_OnCpu` takes."""
    drawn = [
        draw(*gaussians, camera, background=background, eps2d=eps2d)
        for *gaussians, background in zip(*flat, strict=True)
    ]
    empty = [flat[4], flat[4][..., 0], flat[4][..., 0]]
    return [torch.stack(outputs) for outputs in zip(*drawn, strict=True)] if drawn else empty


class _OnCpu(torch.autograd.Function):
    """T frames by `CpuRasterizer`: means, covariances, opacities, colours and background are (T, ...)."""

    @staticmethod
    def forward(ctx, *args):
        *inputs, camera, eps2d, with_depth = args
        *gaussians, background = _arrays(inputs)
        shape = len(background), camera.height, camera.width
        image, alpha = np.empty((*shape, 3), np.float32), np.empty(shape, np.float32)
        depth = np.empty(shape, np.float32) if with_depth else None

        def draw(raster: CpuRasterizer, t: int, _: int) -> None:
            rgb, transmittance = raster(*(array[t] for array in gaussians))
            np.multiply(transmittance[..., None], background[t], out=image[t])
            image[t] += rgb
            np.subtract(1, transmittance, out=alpha[t])
            if depth is not None:
                depth[t] = raster.depth()

        _each_frame(draw, inputs[0].shape[:2], camera, eps2d)
        drawn = _tensors((image, alpha, depth))
        ctx.save_for_backward(*inputs[:4], *drawn)
        ctx.camera, ctx.eps2d = camera, eps2d
        return drawn

    @staticmethod
    @once_differentiable
    def backward(ctx, *by_drawn):  # pyright: ignore[reportIncompatibleMethodOverride]
        *asked, by_background = ctx.needs_input_grad[:5]
        saved, by_drawn = _arrays(ctx.saved_tensors), _arrays(by_drawn)
        gaussians, drawn = saved[:4], saved[4:]
        by = [np.empty(a.shape, np.float32) if one else None for a, one in zip(gaussians, asked, strict=True)]

        def back(raster: CpuRasterizer, t: int, threads: int) -> None:
            means, covariances, opacities, colors = _frame(gaussians, t)
            raster.place(means, covariances, opacities)
            if any(asked[:3]):
                own = raster.gradients(colors, _frame(drawn, t), _frame(by_drawn, t), threads=threads)
                found = own.means, own.covariances, own.opacities, own.colors
            else:
                found = None, None, None, raster.color_gradient(by_drawn[0][t], threads=threads)
            for array, gradient in zip(by, found, strict=True):
                if array is not None:
                    array[t] = gradient

        if any(asked):
            _each_frame(back, gaussians[0].shape[:2], ctx.camera, ctx.eps2d)
        by.append((1 - drawn[1][..., None]) * by_drawn[0] if by_background else None)
        return (*_tensors(by), None, None, None)


def _arrays(tensors: Sequence[Tensor | None]) -> tuple[Any, ...]:
    return tuple(None if tensor is None else tensor.detach().numpy() for tensor in tensors)


def _tensors(arrays: Sequence[np.ndarray | None]) -> tuple[Tensor | None, ...]:
    return tuple(None if array is None else torch.from_numpy(array) for array in arrays)


def _frame(arrays: Sequence[Any], t: int) -> tuple[Any, ...]:
    return tuple(None if array is None else array[t] for array in arrays)


def _each_frame(
    work: Callable[[CpuRasterizer, int, int], None], shape: tuple[int, int], camera: Camera, eps2d: float
) -> None:
    """Call `work(rasterizer, t, threads)` for (T, N) = `shape`, each thread of torch's with a rasteriser of its own.

    `threads` is how many are left to each frame where there are fewer frames than threads.
    """
    frames, count = shape
    workers = max(1, min(torch.get_num_threads(), frames))
    # a list's pop and append are one step each to other threads
    idle = [CpuRasterizer(camera, count, eps2d=eps2d) for _ in range(workers)]

    def one(t: int) -> None:
        raster = idle.pop()
        try:
            work(raster, t, threads)
        finally:
            idle.append(raster)

    threads = torch.get_num_threads() // workers
    if workers == 1:
        for t in range(frames):
            one(t)
    else:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(one, range(frames)))
