"""Frames of a driven avatar: deform, rasterise, and lay over a background; a frame a core at once."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from jaxtyping import Float32, UInt8

from vivavoce.splat.avatar import EPS2D, Avatar
from vivavoce.splat.deform import deform
from vivavoce.splat.layers import KINDS
from vivavoce.splat.rasterize.compose import compose, compose_transparent
from vivavoce.splat.rasterize.cpu import CpuRasterizer
from vivavoce.types import Motion

AHEAD = 4
"""Frames a thread that may be drawn before they are asked for."""


class Renderer:
    """Draws an avatar at one size before one background: motions in, frames in order out.

    `background` is RGB of the frame's size, or None for transparent frames (RGBA, straight alpha).
    """

    def __init__(
        self,
        avatar: Avatar,
        width: int,
        height: int,
        *,
        background: Float32[np.ndarray, "H W 3"] | None,
        threads: int | None = None,
    ) -> None:
        self._avatar = avatar
        self._camera = avatar.lift.camera.scaled(width, height)
        self._background = background
        scale = width / avatar.lift.camera.width
        self._eps2d = EPS2D * max(1.0, scale**2)
        edges = np.searchsorted(avatar.kinds, np.arange(len(KINDS) + 1))
        self._kinds = [(kind, slice(*edges[kind : kind + 2])) for kind in range(len(KINDS))]
        self._local = threading.local()
        self._threads = threads or min(4, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None

    def __call__(self, motion: Motion) -> Iterator[UInt8[np.ndarray, "H W C"]]:
        """The frames of one motion, in order; each is a fresh array."""
        return self.stream([motion])

    def stream(self, motions: Iterable[Motion]) -> Iterator[UInt8[np.ndarray, "H W C"]]:
        """The frames of successive motions, in order; each is a fresh array.

        A few frames are drawn ahead, so that the threads do not wait for the next motion or for the encoder.
        """
        jobs = ((t, g) for motion in motions for t, g in zip(motion.transforms, motion.gains, strict=True))
        if self._pool is None:
            yield from (self._frame(*job) for job in jobs)
            return
        ahead: deque[Future] = deque()
        for job in jobs:
            ahead.append(self._pool.submit(self._frame, *job))
            if len(ahead) > AHEAD * self._threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _frame(
        self, transforms: Float32[np.ndarray, "M 3 4"], gains: Float32[np.ndarray, "G 3"]
    ) -> UInt8[np.ndarray, "H W C"]:
        a, local = self._avatar, self._local
        if not hasattr(local, "raster"):
            local.raster = CpuRasterizer(self._camera, len(a.gaussians), eps2d=self._eps2d)
            local.moved = (np.empty_like(a.gaussians.means), np.empty_like(a.covariances))
            local.colors = a.gaussians.colors.copy()
            local.gains = np.ones((len(KINDS), 3), np.float32)
        means, covariances = deform(a.gaussians.means, a.covariances, a.binding, transforms, out=local.moved)
        for kind, these in self._kinds:
            if (gains[kind] != local.gains[kind]).any():  # skin, most of all Gaussians, keeps its colours
                np.multiply(a.gaussians.colors[these], gains[kind], out=local.colors[these])
        local.gains = gains
        local.raster.place(means, covariances, a.gaussians.opacities, presorted=True)
        rgb, transmittance = local.raster.blend(local.colors)
        channels = 4 if self._background is None else 3
        frame = np.empty((self._camera.height, self._camera.width, channels), np.uint8)
        if self._background is None:
            compose_transparent(rgb, transmittance, frame)
        else:
            compose(rgb, transmittance, self._background, frame)
        return frame

    def close(self) -> None:
        """Stop the threads."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
