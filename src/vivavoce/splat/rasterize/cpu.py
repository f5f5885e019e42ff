"""The fast CPU backend. It is parallel over frames: every kernel is serial and lets go of the interpreter's
lock, so two Python threads, each with its own rasteriser, draw two frames at once on two cores without ever
waiting. Only on the way back can threads also share the tiles of one frame.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from vivavoce.errors import InputError
from vivavoce.splat.rasterize import blend, gradient, place, place_gradient
from vivavoce.splat.rasterize.rules import EPS2D, jacobian_limits
from vivavoce.types import Camera

_BANDS = 4
"""Shares of the tiles a thread: where splats crowd, a share takes longer."""


Drawn = tuple[Float32[np.ndarray, "H W 3"], Float32[np.ndarray, "H W"], Float32[np.ndarray, "H W"] | None]
"""Image over its background, alpha and, where it counts, expected depth; or a loss's gradients by them."""


@dataclass(frozen=True)
class Gradients:
    """Of a loss by means, per metre, by covariances, per square metre, by opacities and by colours."""

    means: Float32[np.ndarray, "N 3"]
    covariances: Float32[np.ndarray, "N 6"]
    opacities: Float32[np.ndarray, " N"]
    colors: Float32[np.ndarray, "N 3"]


class CpuRasterizer:
    """Draws up to `capacity` Gaussians by the rules of `rules`; one object a thread.

    The arrays a call returns belong to the object and are overwritten by its next call.
    """

    def __init__(self, camera: Camera, capacity: int, *, eps2d: float = EPS2D) -> None:
        self.camera = camera
        self.capacity = capacity
        view = (
            camera.focal,
            camera.cx,
            camera.cy,
            *jacobian_limits(camera),
            eps2d,
            camera.width,
            camera.height,
        )
        self._view = tuple(float(v) for v in view)
        self._columns = math.ceil(camera.width / place.TILE)
        self._rows = math.ceil(camera.height / place.TILE)
        self._splats = np.zeros((capacity, place.SPLAT), np.float32)
        self._boxes = np.zeros(capacity, np.int64)
        self._pairs = np.zeros(capacity, np.uint64)
        self._spare = np.zeros(capacity, np.uint64)
        self._starts = np.zeros(self._columns * self._rows + 1, np.int64)
        self._lists = np.zeros(4 * capacity, np.int32)
        self._by_entry = np.empty(0, np.float32)
        self._rgb = np.zeros((camera.height, camera.width, 3), np.float32)
        self._transmittance = np.ones((camera.height, camera.width), np.float32)
        self._means, self._covariances = np.zeros((0, 3), np.float32), np.zeros((0, 6), np.float32)
        self._opacities = np.zeros(0, np.float32)
        self._black = np.zeros((capacity, 3), np.float32)
        self._colors = self._black[:0]

    def __call__(
        self,
        means: Float32[np.ndarray, "N 3"],
        covariances: Float32[np.ndarray, "N 6"],
        opacities: Float32[np.ndarray, " N"],
        colors: Float32[np.ndarray, "N 3"],
    ) -> tuple[Float32[np.ndarray, "H W 3"], Float32[np.ndarray, "H W"]]:
        """Premultiplied RGB and transmittance of N Gaussians; covariances are xx, xy, xz, yy, yz, zz in m^2.

        Raises InputError if there are more than `capacity`.
        """
        self.place(means, covariances, opacities)
        return self.blend(colors)

    def place(
        self,
        means: Float32[np.ndarray, "N 3"],
        covariances: Float32[np.ndarray, "N 6"],
        opacities: Float32[np.ndarray, " N"],
        *,
        presorted: bool = False,
    ) -> None:
        """Project, sort by depth and list by tile: all of a call that does not depend on colour.

        With `presorted`, Gaussians are drawn front to back as given: an avatar's order is that of its rest
        pose, so that neighbours do not change places, and shimmer, when the head turns.
        """
        count = len(means)
        if count > self.capacity:
            raise InputError(f"{count} Gaussians do not fit this rasteriser: make one with capacity={count}.")
        means, covariances, opacities = map(_kernel_array, (means, covariances, opacities))
        self._means, self._covariances, self._opacities = means, covariances, opacities
        self._colors = self._black[:count]
        boxes = self._boxes[:count]
        place.project(means, covariances, opacities, self._view, self._splats, boxes)
        if presorted:
            pairs = place.keep_order(boxes, self._pairs)
        else:
            pairs = place.sort_by_depth(means, boxes, self._pairs, self._spare)
        length = place.count_tiles(boxes, self._starts, self._columns, self._rows)
        if length > len(self._lists):
            self._lists = np.zeros(length + length // 4, np.int32)
        place.fill_tiles(pairs, boxes, self._starts, self._columns, self._lists)

    def blend(
        self, colors: Float32[np.ndarray, "N 3"]
    ) -> tuple[Float32[np.ndarray, "H W 3"], Float32[np.ndarray, "H W"]]:
        """Premultiplied RGB and transmittance of the Gaussians placed last, in these colours."""
        self._colors = colors = _kernel_array(colors)
        blend.blend(self._splats, colors, self._starts, self._lists, self._rgb, self._transmittance)
        return self._rgb, self._transmittance

    def depth(self) -> Float32[np.ndarray, "H W"]:
        """Expected depth sum(w z) / sum(w) in metres of the Gaussians placed last, 0 where alpha is 0."""
        weighted = np.empty_like(self._rgb)
        transmittance = np.empty_like(self._transmittance)
        colors = np.repeat(self._means[:, 2:], 3, axis=1)
        blend.blend(self._splats, colors, self._starts, self._lists, weighted, transmittance)
        alpha = 1 - transmittance
        return np.divide(weighted[..., 0], alpha, out=np.zeros_like(alpha), where=alpha > 0)

    def color_gradient(
        self, image_gradient: Float32[np.ndarray, "H W 3"], *, threads: int = 1
    ) -> Float32[np.ndarray, "N 3"]:
        """The adjoint of the map from colours to picture for the Gaussians placed last: sums of alpha T g."""
        return self._sums(self._black, image_gradient, gradient.COLOR_SUMS, threads=threads)[:, :3]

    def gradients(
        self, colors: Float32[np.ndarray, "N 3"], drawn: Drawn, by_drawn: Drawn, *, threads: int = 1
    ) -> Gradients:
        """Gradients of a loss by the Gaussians placed last, in these colours, the same from any number of threads.

        `drawn` is what they gave, over any background, `by_drawn` the loss's gradients by that.
        """
        sums = self._sums(_kernel_array(colors), _pixels(drawn, by_drawn), gradient.SUMS, threads=threads)
        means, covariances, opacities = self._means, self._covariances, self._opacities
        by = [np.empty_like(array) for array in (means, covariances, opacities)]
        boxes = self._boxes[: len(means)]
        place_gradient.project_backward(
            means, covariances, opacities, self._view, self._splats, boxes, sums, *by
        )
        return Gradients(*by, colors=sums[:, :3])

    def visible_weight(self) -> Float32[np.ndarray, " N"]:
        """How much of the picture each Gaussian placed last makes: the sum of alpha T over all pixels."""
        return self.color_gradient(np.ones_like(self._rgb))[:, 0]

    def _sums(
        self, colors: np.ndarray, pixels: np.ndarray, floats: int, *, threads: int
    ) -> Float32[np.ndarray, "N S"]:
        """What each Gaussian sums up over the pixels, by bands of tiles with about as many entries each."""
        pixels = _kernel_array(pixels)
        starts, depths = self._starts, np.ascontiguousarray(self._means[:, 2])
        if floats * starts[-1] > len(self._by_entry):
            self._by_entry = np.empty(floats * len(self._lists), np.float32)
        bands = _BANDS * threads if threads > 1 else 1
        edges = np.searchsorted(starts, np.linspace(0, starts[-1], bands + 1)[1:-1])
        edges = [0, *edges.tolist(), len(starts) - 1]

        def sum_up(first: int, last: int) -> None:
            gradient.backward(
                self._splats, colors, depths, starts, self._lists, pixels, first, last, self._by_entry
            )

        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(sum_up, edges[:-1], edges[1:]))
        else:
            sum_up(edges[0], edges[-1])
        sums = np.zeros((len(depths), floats), np.float32)
        gradient.gather(self._lists, starts[-1], self._by_entry, sums)
        return sums


def _pixels(drawn: Drawn, by_drawn: Drawn) -> Float32[np.ndarray, "H W 6"]:
    """The channels of `gradient`."""
    (image, alpha, depth), (by_image, by_alpha, by_depth) = drawn, by_drawn
    pixels = np.zeros((*alpha.shape, gradient.CHANNELS), np.float32)
    pixels[..., :3] = by_image
    pixels[..., 3] = (1 - alpha) * by_alpha - np.einsum("hwc,hwc->hw", image, by_image)
    if depth is not None and by_depth is not None:
        np.divide(by_depth, alpha, out=pixels[..., 4], where=alpha > 0)
        pixels[..., 5] = depth
    return pixels


def _kernel_array(array: np.ndarray) -> np.ndarray:
    """float32, contiguous, writable: numba would compile every kernel again for another kind of array."""
    return np.require(array, np.float32, ["C", "W"])
