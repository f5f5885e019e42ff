"""A soft matte of one person: what share of each pixel belongs to them, and which colour that share has.

Segmentation networks say roughly where the person is; at the picture's own resolution the closed-form
matting Laplacian (Levin, Lischinski & Weiss, 2008) decides in a band around their edge, solved with the
box-filter form of He, Sun & Tang, "Fast matting using large kernel matting Laplacian matrices" (2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from vivavoce.features.body import Body
from vivavoce.features.face import Face, square_crop
from vivavoce.features.plate import push_pull
from vivavoce.features.solutions import run, to_uint8

_SOLVE_AREA = 300_000  # pixels; about 0.3 s on one core
_EPSILON = 1e-4  # of the colour covariance, in [0, 1]^2: the noise of a photo
_SEGMENT_SIZE = 256


def person_matte(
    image: Float32[np.ndarray, "H W 3"], face: Face, body: Body | None, others: Sequence[Face] = ()
) -> Float32[np.ndarray, "H W"]:
    """The matte in [0, 1] of the person with this face; the `others` in the picture are left out."""
    prior = _prior(to_uint8(image), face, body, others)
    return refine(image, prior, face)


def _prior(
    image: UInt8[np.ndarray, "H W 3"], face: Face, body: Body | None, others: Sequence[Face]
) -> Float32[np.ndarray, "H W"]:
    """What the networks say, coarse as they are: on whole picture, person and head, and the body's own."""
    import cv2

    height, width = image.shape[:2]
    x, y = face.center
    whole = (width / 2, height / 2), float(max(width, height))
    person = (x, y + 1.8 * face.height), 7 * face.height
    votes = [_segment(image, *whole, model=0), _segment(image, *whole, model=1)]
    if person[1] < 0.8 * whole[1]:
        near = _inside(image.shape, *person)
        vote = near * _segment(image, *person, model=0) + (1 - near) * votes[0]
        votes.append(vote)
    if body is not None:
        votes += [body.matte, body.matte]
    prior = np.mean(votes, axis=0)
    # The head fills its own crop, so that the hair is seen four times finer.
    head = (x, y - 0.1 * face.height), 3.2 * face.height
    near = _inside(image.shape, *head)
    prior = (1 - near) * prior + near * (_segment(image, *head, model=0) + prior) / 2
    prior = prior.astype(np.float32)
    if others:
        prior *= _territory(image.shape[:2], face, others)
    oval = cv2.convexHull(face.landmarks[:, :2].astype(np.int32))
    cv2.fillConvexPoly(prior, oval, (1.0,))
    return _connected(prior, face)


def _segment(
    image: UInt8[np.ndarray, "H W 3"], center: tuple[float, float], side: float, *, model: int
) -> Float32[np.ndarray, "H W"]:
    import cv2

    crop, to_image = square_crop(image, center, side, size=_SEGMENT_SIZE)
    mask = run("selfie_segmentation", crop, model_selection=model).segmentation_mask
    to_image[:, 2] += to_image[:, :2] @ (0.5, 0.5) - 0.5
    return cv2.warpAffine(
        mask.astype(np.float32),
        to_image,
        image.shape[1::-1],
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _inside(shape: tuple[int, ...], center: tuple[float, float], side: float) -> Float32[np.ndarray, "H W"]:
    """1 well inside a square, falling to 0 at its edge."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    far = np.maximum(np.abs(x + 0.5 - center[0]), np.abs(y + 0.5 - center[1])) / (side / 2)
    return ((1 - far) / 0.2).clip(0, 1).astype(np.float32)


def _territory(shape: tuple[int, ...], face: Face, others: Sequence[Face]) -> Float32[np.ndarray, "H W"]:
    """Around 1 where this person is nearer than the others, from head and trunk, in head sizes."""
    y, x = np.ogrid[: shape[0], : shape[1]]

    def distance(person: Face) -> np.ndarray:
        cx, cy = person.center
        size = person.height
        below = ((y - cy) / size).clip(0, 5)
        across = np.abs(x - cx) / (0.8 * size * (1 + 0.6 * below.clip(0, 1.5)))
        return np.hypot(across, ((y - cy) / size - below) / 0.9)

    rival = np.min([distance(other) for other in others], axis=0)
    return (0.5 + 4 * (rival - distance(face))).clip(0, 1).astype(np.float32)


def _connected(prior: Float32[np.ndarray, "H W"], face: Face) -> Float32[np.ndarray, "H W"]:
    """The prior of the pieces that hang together with the face, and of others of some size."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats((prior > 0.5).astype(np.uint8))
    column, row = (int(np.clip(v, 0, n - 1)) for v, n in zip(face.center, prior.shape[::-1], strict=True))
    main = labels[row, column]
    keep = [i for i in range(1, count) if i == main or stats[i, cv2.CC_STAT_AREA] > 0.3 * face.height**2]
    wide = round(0.06 * face.height) | 1
    near = cv2.dilate(np.isin(labels, keep).astype(np.uint8), np.ones((wide, wide), np.uint8))
    return prior * near


class _Trimap(NamedTuple):
    sure: Bool[np.ndarray, "h w"]  # where the prior is believed
    value: Float32[np.ndarray, "h w"]  # 0 or 1 there


def refine(
    image: Float32[np.ndarray, "H W 3"], prior: Float32[np.ndarray, "H W"], face: Face
) -> Float32[np.ndarray, "H W"]:
    """The matte at the picture's resolution: solved on a smaller grid, carried over by local lines."""
    import cv2

    shrink = max(1.0, (prior.size / _SOLVE_AREA) ** 0.5)
    size = (max(1, round(prior.shape[1] / shrink)), max(1, round(prior.shape[0] / shrink)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    guess = cv2.resize(prior, size, interpolation=cv2.INTER_AREA)
    trimap = _trimap(guess, face, 1 / shrink)
    solved = _solve(small, trimap, *_color_guess(small, trimap, guess))
    if shrink == 1:
        return _sharpened(solved)
    slope, offset = _local_lines(small, solved, radius=2)
    slope = cv2.resize(slope, prior.shape[::-1], interpolation=cv2.INTER_LINEAR)
    offset = cv2.resize(offset, prior.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return _sharpened((slope * image).sum(axis=-1) + offset)


def _sharpened(matte: np.ndarray) -> Float32[np.ndarray, "H W"]:
    """The ends of the range made whole: 0.03 would be a ghost in the air, 0.97 a hole in the coat."""
    return ((matte - 0.04) / 0.92).clip(0, 1).astype(np.float32)


def _trimap(prior: Float32[np.ndarray, "h w"], face: Face, scale: float) -> _Trimap:
    """Certain inside and outside; the band between is wide around the hair and narrow around clothes."""
    import cv2

    size = face.height * scale
    distance = cv2.distanceTransform
    inside = distance((prior > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    outside = distance((prior <= 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    y, x = np.ogrid[: prior.shape[0], : prior.shape[1]]
    cx, cy = (v * scale for v in face.center)
    head = (1.6 - np.hypot(x - cx, y - (cy - 0.1 * size)) / size).clip(0, 1)
    band = size * (0.03 + 0.07 * head) + 1.5
    fore = (inside > band) & (prior > 0.8)
    back = (outside > 1.3 * band) & (prior < 0.2)
    return _Trimap(fore | back, fore.astype(np.float32))


def _color_guess(
    image: Float32[np.ndarray, "h w 3"], trimap: _Trimap, prior: Float32[np.ndarray, "h w"]
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """In the band: where the colour lies between the sure colours nearby, and how much that tells."""
    fore = push_pull(image, trimap.value)
    back = push_pull(image, (trimap.sure & (trimap.value == 0)).astype(np.float32))
    line = fore - back
    length = (line**2).sum(axis=-1)
    along = (((image - back) * line).sum(axis=-1) / (length + 1e-4)).clip(0, 1)
    off = ((image - back - along[..., None] * line) ** 2).sum(axis=-1)
    trust = length / (length + 0.05) * np.exp(-off / 0.01)
    guess = trust * along + (1 - trust) * prior
    return guess.astype(np.float32), (0.002 + 0.02 * trust).astype(np.float32)


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
        if energy < 1e-6 * free.sum():
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


def _lines(image, mean, inverse, p, radius):
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

    Blurred fusion of Forte, "Approximate fast foreground colour estimation" (2021), in two passes.
    """
    fore = image
    back = image
    for radius in (0.05, 0.004):
        fore, back = _blur_fusion(image, matte, fore, back, max(1, round(radius * max(matte.shape))))
    return fore


def _blur_fusion(image, matte, fore, back, radius):
    alpha = matte[..., None]
    weight = _box(matte, radius)[..., None]
    fore_mean = _box(fore * alpha, radius) / (weight + 1e-5)
    back_mean = _box(back * (1 - alpha), radius) / (1 - weight + 1e-5)
    gap = image - alpha * fore_mean - (1 - alpha) * back_mean
    return (fore_mean + alpha * gap).clip(0, 1), back_mean
