"""A soft matte of one person: what share of each pixel belongs to them, and which colour that share has.

Segmentation networks say roughly where the person is; at the picture's own resolution the closed-form
matting Laplacian (Levin, Lischinski & Weiss, 2008) decides in a band around their edge, solved with the
box-filter form of He, Sun & Tang, "Fast matting using large kernel matting Laplacian matrices" (2010).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from vivavoce.features.face import Face
from vivavoce.features.plate import push_pull

_SOLVE_AREA = 300_000  # pixels; about 0.3 s on one core
_DATA_WEIGHT = 0.03  # against a Laplacian that is 1 on its diagonal
_EPSILON = 1e-4  # of the colour covariance, in [0, 1]^2: the noise of a photo


class _Trimap(NamedTuple):
    prior: Float32[np.ndarray, "h w"]
    sure: Bool[np.ndarray, "h w"]  # where the prior is believed
    value: Float32[np.ndarray, "h w"]  # 0 or 1 there
    depth: Float32[
        np.ndarray, "h w"
    ]  # distance from the prior's edge in band widths, inside positive, to 1.4


def refine(
    image: Float32[np.ndarray, "H W 3"], prior: Float32[np.ndarray, "h w"], face: Face
) -> Float32[np.ndarray, "H W"]:
    """The matte in [0, 1] at the picture's resolution, from a rough one (of any size) of this face's person.

    Solved on a grid of bounded size, and carried over to all pixels by its local lines in colour space.
    """
    import cv2

    height, width = image.shape[:2]
    shrink = max(1.0, (height * width / _SOLVE_AREA) ** 0.5)
    size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    trimap = _trimap(cv2.resize(prior, size, interpolation=cv2.INTER_AREA), face, 1 / shrink)
    solved = _solve(small, trimap, *_color_guess(small, trimap))
    if shrink == 1:
        return _sharpened(solved)
    lines = cv2.resize(np.dstack(_local_lines(small, solved, radius=2)), (width, height))
    return _sharpened(np.einsum("hwc,hwc->hw", lines[..., :3], image) + lines[..., 3])


def _sharpened(matte: np.ndarray) -> Float32[np.ndarray, "H W"]:
    """The ends of the range made whole: 0.03 would be a ghost in the air, 0.97 a hole in the coat."""
    return ((matte - 0.04) / 0.92).clip(0, 1).astype(np.float32)


def _trimap(prior: Float32[np.ndarray, "h w"], face: Face, scale: float) -> _Trimap:
    """Certain inside and outside; the band between is wide around the hair and narrow around clothes."""
    import cv2

    size = face.height * scale
    inside, outside = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 3) for side in (prior > 0.5, prior <= 0.5)
    )
    y, x = np.ogrid[: prior.shape[0], : prior.shape[1]]
    cx, cy = (v * scale for v in face.center)
    head = (1.6 - np.hypot(x - cx, y - (cy - 0.1 * size)) / size).clip(0, 1)
    band = size * (0.02 + 0.05 * head) + 1.5
    fore = (inside > band) & (prior > 0.6)
    back = (outside > 1.4 * band) & (prior < 0.4)
    depth = ((inside - outside) / band).clip(-1.4, 1.4).astype(np.float32)
    return _Trimap(prior, fore | back, fore.astype(np.float32), depth)


def _color_guess(
    image: Float32[np.ndarray, "h w 3"], trimap: _Trimap
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """What to expect in the band, and how firmly: colour decides at the edge, the prior away from it.

    By colour a pixel's share is how far it lies from the sure background's colour nearby towards the sure
    foreground's; that tells much where the two differ and the pixel is near the line between them.
    """
    fore = push_pull(image, trimap.value)
    back = push_pull(image, (trimap.sure & (trimap.value == 0)).astype(np.float32))
    line = fore - back
    length = (line**2).sum(axis=-1)
    along = (((image - back) * line).sum(axis=-1) / (length + 1e-4)).clip(0, 1)
    off = ((image - back - along[..., None] * line) ** 2).sum(axis=-1)
    # A highlight in the hair looks like background, so towards the inside colour counts for less sooner.
    reach = np.where(trimap.depth > 0, 0.35, 0.8)
    by_color = length / (length + 0.05) * np.exp(-off / 0.01) * np.exp(-((trimap.depth / reach) ** 2))
    by_prior = 0.05 + trimap.depth**2
    guess = (by_color * along + by_prior * trimap.prior) / (by_color + by_prior)
    return guess.astype(np.float32), (_DATA_WEIGHT * (by_color + by_prior)).astype(np.float32)


def _solve(
    image: Float32[np.ndarray, "h w 3"],
    trimap: _Trimap,
    guess: Float32[np.ndarray, "h w"],
    trust: Float32[np.ndarray, "h w"],
    *,
    steps: int = 30,
) -> Float32[np.ndarray, "h w"]:
    """Minimise a'La + sum trust (a - guess)^2 with the sure pixels held, by conjugate gradients."""
    laplacian = _Laplacian(image, radius=1)
    free = ~trimap.sure
    matte = np.where(free, guess, trimap.value).astype(np.float32)
    residual = free * (trust * (guess - matte) - laplacian(matte))
    direction = residual.copy()
    energy = float((residual**2).sum())
    for _ in range(steps):
        if energy <= 1e-6 * free.sum():
            break
        image_of = free * (laplacian(direction) + trust * direction)
        step = energy / float((direction * image_of).sum())
        matte += step * direction
        residual -= step * image_of
        energy, before = float((residual**2).sum()), energy
        direction = residual + energy / before * direction
    return matte.clip(0, 1)


class _Laplacian:
    """The matting Laplacian of an image as an operator, eq. 8-11 of He et al., over the window's area."""

    def __init__(self, image: Float32[np.ndarray, "h w 3"], radius: int) -> None:
        self.image, self.radius = image, radius
        self.mean = _box(image, radius)
        self.inverse = _inverse_covariance(image, self.mean, radius)

    def __call__(self, p: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
        slope, offset = _lines(self.image, self.mean, self.inverse, p, self.radius)
        return p - (_box(slope, self.radius) * self.image).sum(axis=-1) - _box(offset, self.radius)


def _box(values: np.ndarray, radius: int) -> np.ndarray:
    import cv2

    return cv2.boxFilter(values, -1, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)


def _inverse_covariance(
    image: Float32[np.ndarray, "h w 3"], mean: Float32[np.ndarray, "h w 3"], radius: int
) -> Float32[np.ndarray, "h w 3 3"]:
    """Of the colours in each window, regularised; by cofactors, which is far faster than `numpy.linalg`."""
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    moments = [_box(image[..., i] * image[..., j], radius) - mean[..., i] * mean[..., j] for i, j in pairs]
    a, b, c, d, e, f = (m + _EPSILON * (i == j) for m, (i, j) in zip(moments, pairs, strict=True))
    rows = [[d * f - e * e, c * e - b * f, b * e - c * d],
            [c * e - b * f, a * f - c * c, b * c - a * e],
            [b * e - c * d, b * c - a * e, a * d - b * b]]  # fmt: skip
    determinant = a * rows[0][0] + b * rows[0][1] + c * rows[0][2]
    stacked = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
    return stacked / determinant[..., None, None]


def _lines(
    image: Float32[np.ndarray, "h w 3"],
    mean: Float32[np.ndarray, "h w 3"],
    inverse: Float32[np.ndarray, "h w 3 3"],
    p: Float32[np.ndarray, "h w"],
    radius: int,
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """The line slope . I + offset that fits p best in each window (the guided filter's, He et al. 2013)."""
    average = _box(p, radius)
    covariance = _box(image * p[..., None], radius) - mean * average[..., None]
    slope = np.einsum("hwij,hwj->hwi", inverse, covariance)
    return slope, average - (slope * mean).sum(axis=-1)


def _local_lines(
    image: Float32[np.ndarray, "h w 3"], matte: Float32[np.ndarray, "h w"], radius: int
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    mean = _box(image, radius)
    slope, offset = _lines(image, mean, _inverse_covariance(image, mean, radius), matte, radius)
    return _box(slope, radius), _box(offset, radius)


def foreground_colors(
    image: Float32[np.ndarray, "H W 3"], matte: Float32[np.ndarray, "H W"]
) -> Float32[np.ndarray, "H W 3"]:
    """The person's own colour at every pixel, free of the background that shows through the soft edge.

    Both colours are continued from where either is alone, then changed by as little as makes them mix to the
    image: with a = matte, F moves by a (I - a F - (1 - a) B) / (a^2 + (1 - a)^2). What is nearly all person
    keeps the image's colour.
    """
    fore = push_pull(image, (matte > 0.95).astype(np.float32))
    back = push_pull(image, (matte < 0.05).astype(np.float32))
    alpha = matte[..., None]
    gap = image - alpha * fore - (1 - alpha) * back
    return (fore + alpha * gap / (alpha**2 + (1 - alpha) ** 2)).clip(0, 1)
