"""The fast CPU backend. It is parallel over frames: every kernel is serial and lets go of the interpreter's
lock, so two Python threads, each with its own rasteriser, draw two frames at once on two cores without ever
waiting.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32

from vivavoce.errors import InputError
from vivavoce.splat.rasterize import blend, gradient, place
from vivavoce.splat.rasterize.rules import EPS2D, jacobian_limits
from vivavoce.types import Camera


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
        self._rgb = np.zeros((camera.height, camera.width, 3), np.float32)
        self._transmittance = np.ones((camera.height, camera.width), np.float32)
        self._depths = self._opacities = np.zeros(0, np.float32)
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
        self._depths, self._opacities = means[:, 2], opacities
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
        colors = np.repeat(self._depths[:, None], 3, axis=1)
        blend.blend(self._splats, colors, self._starts, self._lists, weighted, transmittance)
        alpha = 1 - transmittance
        return np.divide(weighted[..., 0], alpha, out=np.zeros_like(alpha), where=alpha > 0)

    def color_gradient(self, image_gradient: Float32[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "N 3"]:
        """The adjoint of the map from colours to picture for the Gaussians placed last: sums of alpha T g."""
        return self._backward(image_gradient, self._transmittance, with_opacity=False)[:, :3]

    def opacity_and_color_gradient(
        self,
        image_gradient: Float32[np.ndarray, "H W 3"],
        background: Float32[np.ndarray, "rgb=3"] | Float32[np.ndarray, "H W 3"],
    ) -> tuple[Float32[np.ndarray, " N"], Float32[np.ndarray, "N 3"]]:
        """Gradients of a loss by opacities and by colours.

        `image_gradient` is the loss's gradient by the picture blended last, laid over `background`.
        """
        picture = self._rgb + self._transmittance[..., None] * background
        along = np.einsum("hwc,hwc->hw", picture, image_gradient)
        by_all = self._backward(image_gradient, along, with_opacity=True)
        opacities = self._opacities
        by_opacity = np.divide(by_all[:, 3], opacities, out=np.zeros_like(opacities), where=opacities > 0)
        return by_opacity, by_all[:, :3]

    def visible_weight(self) -> Float32[np.ndarray, " N"]:
        """How much of the picture each Gaussian placed last makes: the sum of alpha T over all pixels."""
        return self.color_gradient(np.ones_like(self._rgb))[:, 0]

    def _backward(self, image_gradient, rest, *, with_opacity: bool) -> Float32[np.ndarray, "N 4"]:
        by_all = np.zeros((len(self._colors), 4), np.float32)
        gradient.backward(
            self._splats,
            self._colors,
            self._starts,
            self._lists,
            _kernel_array(image_gradient),
            rest,
            with_opacity,
            by_all,
        )
        return by_all


def _kernel_array(array: np.ndarray) -> np.ndarray:
    """float32, contiguous, writable: numba would compile every kernel again for another kind of array."""
    return np.require(array, np.float32, ["C", "W"])
