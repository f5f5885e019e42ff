"""The colours of a face without light: skin, lips, brows, lids, beard and lines, painted from the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from vivavoce.splat import topology

SCALE = 4.0
"""Pixels a millimetre."""
_MARGIN = 12.0  # mm around the mesh

_LIPS = tuple(
    [*upper, *lower[-2:0:-1]] for upper, lower in zip(topology.LIP_UPPER, topology.LIP_LOWER, strict=True)
)
_BEARD_LINE = (
    *(93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323),
    *(436, 391, 393, 164, 167, 165, 216),
)
_MOUSTACHE = (*topology.LIP_UPPER[3][1:-1], 410, 322, 391, 393, 164, 167, 165, 92, 186)
_FOLDS = ((129, 203, 206, 216), (358, 423, 426, 436))
_CROWS = ((33, -1.0), (263, 1.0))


@dataclass(frozen=True)
class Complexion:
    """What a face is painted with; colours are RGB in [0, 1]."""

    skin: tuple[float, float, float]
    lips: tuple[float, float, float]
    brows: tuple[float, float, float]
    iris: tuple[float, float, float]
    blush: float = 0.3
    lines: float = 0.0
    """Wrinkles, 0 to 1."""
    beard: float = 0.0
    """0 shaven, 0.4 stubble, 1 full."""
    moustache: float = 0.0
    freckles: float = 0.0
    lashes: float = 0.5


class FaceCanvas:
    """A picture of the face from the front, in template millimetres."""

    def __init__(self, face: Float[np.ndarray, "478 3"], color: Sequence[float]) -> None:
        self._face = face
        self._low = face[:, :2].min(0) - _MARGIN
        width, height = np.ceil((np.ptp(face[:, :2], axis=0) + 2 * _MARGIN) * SCALE).astype(int)
        self.image = np.full((height, width, 3), color, np.float32)

    def pixels(self, points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
        """Where points of the template lie in the image; pixel centres at half integers."""
        return (points - self._low) * SCALE

    def at(self, vertices: Sequence[int]) -> Float[np.ndarray, "N 2"]:
        """The same of vertices of the mesh."""
        return self.pixels(self._face[list(vertices), :2])

    def region(self, outline: Float[np.ndarray, "N 2"], blur: float) -> Float32[np.ndarray, "H W 1"]:
        """1 within an outline, softened by `blur` mm."""
        import cv2

        mask = np.zeros(self.image.shape[:2], np.float32)
        cv2.fillPoly(mask, [_fixed(outline)], (1.0,), cv2.LINE_AA, shift=4)
        return cv2.GaussianBlur(mask, (0, 0), blur * SCALE)[..., None]

    def stroke(
        self, line: Float[np.ndarray, "N 2"], width: float, blur: float
    ) -> Float32[np.ndarray, "H W 1"]:
        """1 on a line `width` mm wide, softened by `blur` mm."""
        import cv2

        mask = np.zeros(self.image.shape[:2], np.float32)
        thick = max(1, round(width * SCALE))
        cv2.polylines(mask, [_fixed(line)], False, (1.0,), thick, cv2.LINE_AA, shift=4)
        return cv2.GaussianBlur(mask, (0, 0), blur * SCALE)[..., None]

    def bell(self, at: Float[np.ndarray, " 2"], radius: float) -> Float32[np.ndarray, "H W 1"]:
        """1 at a pixel, falling off over `radius` mm."""
        y, x = np.mgrid[: self.image.shape[0], : self.image.shape[1]] + 0.5
        far = ((x - at[0]) ** 2 + (y - at[1]) ** 2) / (radius * SCALE) ** 2
        return np.exp(-far)[..., None].astype(np.float32)

    def mix(self, color: np.ndarray | Sequence[float], share: np.ndarray) -> None:
        """Lay a colour over the image."""
        self.image += share * (np.asarray(color, np.float32) - self.image)

    def sample(self, points: Float[np.ndarray, "N 3"], blur: float) -> Float[np.ndarray, "N 3"]:
        """Colours at points of the template, averaged over `blur` mm."""
        import cv2

        soft = cv2.GaussianBlur(self.image, (0, 0), max(0.3, blur * SCALE))
        x, y = self.pixels(points[:, :2]).astype(int).T
        return soft[y, x].astype(float)


def paint(face: Float[np.ndarray, "478 3"], look: Complexion, rng: np.random.Generator) -> FaceCanvas:
    """A face of this complexion; blemishes are random."""
    canvas = FaceCanvas(face, look.skin)
    skin = np.array(look.skin)
    _mottle(canvas, look, rng)
    for cheek in (50, 280):
        canvas.mix(skin * (1.0, 0.78, 0.76), look.blush * canvas.bell(canvas.at([cheek])[0], 17.0))
    canvas.mix(skin * (1.0, 0.82, 0.8), 0.5 * look.blush * canvas.bell(canvas.at([4])[0], 10.0))
    for eye in (topology.RIGHT_LID_UPPER + topology.RIGHT_LID_LOWER[::-1],
                topology.LEFT_LID_UPPER + topology.LEFT_LID_LOWER[::-1]):  # fmt: skip
        canvas.mix(0.8 * skin, 0.8 * canvas.region(canvas.at(eye), 4.0))
    if look.beard > 0:
        _grow(canvas, look, look.beard, canvas.region(canvas.at(_BEARD_LINE), 4.0), rng)
    if look.moustache > 0:
        _grow(canvas, look, look.moustache, canvas.region(canvas.at(_MOUSTACHE), 1.2), rng)
    _nose(canvas, skin)
    _lips(canvas, look)
    _brows(canvas, look, rng)
    _lashes(canvas, look)
    if look.lines > 0:
        _lines(canvas, skin, look.lines)
    np.clip(canvas.image, 0, 1, out=canvas.image)
    return canvas


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round((points - 0.5) * 16).astype(np.int32)


def _noise(canvas: FaceCanvas, size: float, rng: np.random.Generator) -> Float32[np.ndarray, "H W 1"]:
    """Smooth noise of standard deviation 1 with grains of `size` mm."""
    import cv2

    shape = canvas.image.shape[:2]
    coarse = tuple(max(4, round(n / (size * SCALE))) for n in shape)
    field = rng.standard_normal(coarse).astype(np.float32)
    field = cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return ((field - field.mean()) / field.std())[..., None]


def _mottle(canvas: FaceCanvas, look: Complexion, rng: np.random.Generator) -> None:
    canvas.image *= 1 + 0.02 * _noise(canvas, 9.0, rng) + 0.015 * _noise(canvas, 1.5, rng)
    if look.freckles > 0:
        spots = (_noise(canvas, 1.2, rng) > 2.2).astype(np.float32)
        canvas.mix(
            np.array(look.skin) * (0.72, 0.58, 0.5),
            look.freckles * spots * canvas.bell(canvas.at([5])[0], 40),
        )


def _nose(canvas: FaceCanvas, skin: np.ndarray) -> None:
    for nostril in (98, 327):
        at = canvas.at([nostril])[0] + np.sign(canvas.at([4])[0] - canvas.at([nostril])[0]) * (3.5 * SCALE, 0)
        at[1] = canvas.at([nostril])[0][1]
        canvas.mix(0.3 * skin, 0.8 * canvas.bell(at, 2.6))
    for wing in ((48, 64, 98), (278, 294, 327)):
        canvas.mix(0.68 * skin, 0.55 * canvas.stroke(canvas.at(wing), 1.2, 0.9))


def _lips(canvas: FaceCanvas, look: Complexion) -> None:
    lips = np.array(look.lips)
    canvas.mix(lips, 0.85 * canvas.region(canvas.at(_LIPS[3]), 0.6))
    upper = canvas.at([*topology.LIP_UPPER[3], *topology.LIP_UPPER[0][::-1]])
    canvas.mix(0.82 * lips, 0.8 * canvas.region(upper, 0.7))
    middle = canvas.at([17])[0] * 0.6 + canvas.at([14])[0] * 0.4
    canvas.mix(np.minimum(1.15 * lips, 1), 0.5 * canvas.bell(middle, 7.0))
    canvas.mix(0.28 * lips, 0.9 * canvas.stroke(canvas.at(topology.LIP_LOWER[0]), 1.0, 0.45))
    below = canvas.at([18])[0]
    canvas.mix(0.84 * np.array(look.skin), 0.5 * canvas.bell(below, 7.0))


def _brows(canvas: FaceCanvas, look: Complexion, rng: np.random.Generator) -> None:
    strands = 0.75 + 0.2 * _noise(canvas, 0.8, rng)
    for brow in (topology.RIGHT_BROW, topology.LEFT_BROW):
        outline = canvas.at([*brow[:5], *brow[:4:-1]])
        canvas.mix(look.brows, 0.85 * canvas.region(outline, 0.9) * np.clip(strands, 0, 1))


def _lashes(canvas: FaceCanvas, look: Complexion) -> None:
    dark = 0.22 * np.array(look.skin)
    for upper, lower in ((topology.RIGHT_LID_UPPER, topology.RIGHT_LID_LOWER),
                         (topology.LEFT_LID_UPPER, topology.LEFT_LID_LOWER)):  # fmt: skip
        canvas.mix(dark, (0.5 + 0.5 * look.lashes) * canvas.stroke(canvas.at(upper), 1.1, 0.4))
        canvas.mix(dark, (0.15 + 0.3 * look.lashes) * canvas.stroke(canvas.at(lower), 0.6, 0.4))
        crease = canvas.at(upper) - (0, 4.5 * SCALE)
        canvas.mix(0.68 * np.array(look.skin), 0.45 * canvas.stroke(crease, 0.8, 0.7))


def _grow(
    canvas: FaceCanvas, look: Complexion, thick: float, mask: np.ndarray, rng: np.random.Generator
) -> None:
    """Hair on a part of the face, beside the lips."""
    mask = mask * (1 - canvas.region(canvas.at(_LIPS[3]), 0.6))
    strands = np.clip(0.75 + 0.25 * _noise(canvas, 0.7, rng), 0, 1)
    canvas.mix(0.9 * np.array(look.brows), 0.92 * thick * mask * strands)


def _lines(canvas: FaceCanvas, skin: np.ndarray, depth: float) -> None:
    """Folds beside the mouth, lines of the forehead, crow's feet."""
    dark = 0.62 * skin
    for fold in _FOLDS:
        canvas.mix(dark, 0.55 * depth * canvas.stroke(canvas.at(fold), 1.0, 0.9))
    top, eyes = canvas.at([10])[0], canvas.at([6])[0]
    for share in (0.35, 0.52, 0.69):
        y = (1 - share) * top[1] + share * eyes[1]
        x = np.linspace(-26, 26, 9) * SCALE
        line = np.c_[top[0] + x, y + 1.5 * SCALE * np.cos(x / (9 * SCALE))]
        canvas.mix(dark, 0.4 * depth * canvas.stroke(line, 0.7, 0.8))
    for corner, side in _CROWS:
        start = canvas.at([corner])[0] + (3 * SCALE * side, 0)
        for slope in (-0.5, 0.0, 0.5):
            end = start + np.array([9 * side, 9 * slope]) * SCALE
            canvas.mix(dark, 0.4 * depth * canvas.stroke(np.stack([start, end]), 0.6, 0.5))
