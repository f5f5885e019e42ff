"""Portraits to test with, made from the public pictures of scikit-image and from nothing: `portrait(kind)`.

The variants of the astronaut are edits of pixels under her face mesh; `rendered.py` draws people who never
were. Each is a float32 picture in [0, 1].
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np
import skimage.data
from jaxtyping import Float32

from vivavoce.features.face import detect, mesh

Image = Float32[np.ndarray, "H W 3"]

INNER_UPPER = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308]
INNER_LOWER = [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
OUTER_UPPER = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291]
OUTER_LOWER = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291]
OVAL = [
    10,
    338,
    297,
    332,
    284,
    251,
    389,
    356,
    454,
    323,
    361,
    288,
    397,
    365,
    379,
    378,
    400,
    377,
    152,
    148,
    176,
]
OVAL += [149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
RIGHT_EYE = [33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7]
LEFT_EYE = [263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249]


def _photo(name: str) -> Image:
    pixels = getattr(skimage.data, name)()
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, axis=-1)
    return pixels[..., :3].astype(np.float32) / 255


@functools.cache
def _astronaut() -> tuple[Image, Float32[np.ndarray, "478 3"]]:
    """Her picture at twice its size, so that drawn details are not blocky, and her face mesh."""
    image = cv2.resize(_photo("astronaut"), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    pixels = (image * 255).astype(np.uint8)
    face = mesh(pixels, detect(pixels)[0])
    assert face is not None
    return image, face.landmarks


def _mask(shape: tuple[int, ...], points: np.ndarray, blur: float = 0.0) -> Float32[np.ndarray, "H W 1"]:
    mask = np.zeros(shape[:2], np.float32)
    cv2.fillPoly(mask, [np.round(points[:, :2] * 8).astype(np.int32)], (1.0,), cv2.LINE_AA, shift=3)
    return (cv2.GaussianBlur(mask, (0, 0), blur) if blur else mask)[..., None]


def _blend(a: Image, b: Image | np.ndarray, mask: np.ndarray) -> Image:
    return (a * (1 - mask) + b * mask).clip(0, 1).astype(np.float32)


def _warp(image: Image, before: np.ndarray, after: np.ndarray) -> Image:
    """Move the mesh points `before` to `after`, linearly between them; the rest of the picture stays."""
    from scipy.interpolate import LinearNDInterpolator

    x0, y0 = np.floor(after.min(axis=0) - 60).astype(int).clip(0)
    x1, y1 = np.ceil(after.max(axis=0) + 60).astype(int)
    ring = [(x, y) for x in np.linspace(x0, x1, 12) for y in (y0, y1)]
    ring += [(x, y) for y in np.linspace(y0, y1, 12)[1:-1] for x in (x0, x1)]
    source = LinearNDInterpolator(np.vstack([after, ring]), np.vstack([before, ring]) - 0.5)
    y, x = np.mgrid[y0:y1, x0:x1] + 0.5
    maps = source(np.stack([x, y], axis=-1)).astype(np.float32)
    out = image.copy()
    out[y0:y1, x0:x1] = cv2.remap(image, maps, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return out.clip(0, 1)


@functools.cache
def _mouth(opening: float) -> Image:
    """The astronaut with another mouth: 0 shut, 1 wide open; her own smile shows about 0.2 of teeth."""
    image, face = _astronaut()
    before = face[:468, :2].astype(np.float64)
    height = before[152, 1] - before[10, 1]
    center = (before[78] + before[308]) / 2
    # The mesh runs through the teeth's edge: what is to vanish starts on the lips.
    before[INNER_UPPER[1:-1]] -= (0.0, 0.02 * height)
    before[INNER_LOWER[1:-1]] += (0.0, 0.02 * height)
    # A relaxed mouth is narrower, and its corners hang lower.
    near = np.exp(-(((before - center) / (0.25 * height)) ** 2).sum(axis=1))[:, None]
    corners = np.abs(before[:, :1] - center[0]) / (0.2 * height)
    relaxed = before + near * ((center - before) * (0.18, 0.0) + corners.clip(0, 1) * (0.0, 0.035 * height))
    moved = relaxed.copy()
    seam = 0.75 * relaxed[INNER_UPPER] + 0.25 * relaxed[INNER_LOWER]
    arch = (1 - np.linspace(-1, 1, 11) ** 2)[:, None] * (0.0, 1.0)
    moved[INNER_UPPER] = seam - 0.3 * arch
    moved[INNER_LOWER] = seam + arch * (0.3 + opening * 0.18 * height)
    moved[OUTER_UPPER] += 0.5 * (moved[INNER_UPPER] - relaxed[INNER_UPPER])
    moved[OUTER_LOWER] += 0.9 * (moved[INNER_LOWER] - relaxed[INNER_LOWER])
    lips = np.isin(np.arange(468), INNER_UPPER + INNER_LOWER + OUTER_UPPER + OUTER_LOWER)
    below = ((before[:, 1] - center[1]) / (0.3 * height)).clip(0, 1) * ~lips
    moved[:, 1] += below * height * (0.14 * opening - 0.02)
    upper = ~np.isin(
        np.arange(468), INNER_LOWER[1:-1] + OUTER_LOWER[1:-1] + [87, 14, 317, 86, 15, 316, 85, 16, 315]
    )
    lower = ~np.isin(np.arange(468), INNER_UPPER[1:-1] + OUTER_UPPER[1:-1] + [38, 12, 268, 82, 13, 312])
    jaw = np.vstack([moved[INNER_LOWER], moved[291], moved[OVAL[8:29]], moved[61]])
    out = _blend(
        _warp(image, before[upper], moved[upper]),
        _warp(image, before[lower], moved[lower]),
        _mask(image.shape, jaw, 0.7),
    )
    line = np.zeros(image.shape[:2], np.float32)
    cv2.polylines(
        line, [np.round(moved[INNER_LOWER] * 8).astype(np.int32)], False, (1.0,), 1, cv2.LINE_AA, shift=3
    )
    out = _blend(out, 0.35 * out, 0.8 * cv2.GaussianBlur(line, (0, 0), 0.6)[..., None])
    if opening > 0:
        inside = np.vstack([moved[INNER_UPPER], moved[INNER_LOWER][::-1]])
        rows = np.arange(out.shape[0])[:, None, None] + 0.5
        dark = ((rows - seam[5, 1] - 0.045 * height) / (0.03 * height)).clip(0, 1)  # below the upper teeth
        out = _blend(out, np.array([0.2, 0.07, 0.06]), _mask(out.shape, inside, 1.0) * dark)
    return out


@functools.cache
def _colored(skin: tuple[float, float, float], hair: float) -> Image:
    """The astronaut with her mouth shut, her skin multiplied by a colour and her hair darkened."""
    image, face = _mouth(0.0), _astronaut()[1]
    y = np.mgrid[: image.shape[0], : image.shape[1]][0][..., None]
    head = _mask(image.shape, _around(face, 1.75, -0.12), 6.0) * (y < face[152, 1] + 24)
    smooth = cv2.GaussianBlur(image, (0, 0), 2.5)
    red, blue = smooth[..., :1], smooth[..., 2:]
    # Against the grey backdrop both skin and hair are what is redder than blue.
    warm = head * ((red - blue - 0.07) / 0.05).clip(0, 1)
    oval = _mask(image.shape, face[OVAL], 3.0)
    low = ((y - face[1, 1] + 20) / 20).clip(0, 1)  # ears and neck, below the fringe
    pink = low * warm * ((red - 0.45) / 0.1).clip(0, 1)
    is_skin = np.maximum(oval * ((red - 0.25) / 0.15).clip(0, 1), pink)
    out = _blend(image, image * hair, warm * (1 - is_skin))
    for eye in (RIGHT_EYE, LEFT_EYE):
        is_skin = is_skin * (1 - _mask(image.shape, face[eye], 1.0))
    return _blend(out, image * np.array(skin), is_skin)


def _around(face: np.ndarray, scale: float, up: float) -> np.ndarray:
    center = face[OVAL, :2].mean(axis=0)
    height = face[152, 1] - face[10, 1]
    return center + (face[OVAL, :2] - center) * scale + (0, up * height)


def _side_light(image: Image) -> Image:
    """Hard light from the picture's left: by the slope of the face mesh, falling off elsewhere."""
    from scipy.interpolate import LinearNDInterpolator

    face = _astronaut()[1]
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    depth = LinearNDInterpolator(face[:468, :2], face[:468, 2], fill_value=np.nan)(x, y)
    inside = np.isfinite(depth)
    depth = cv2.GaussianBlur(np.where(inside, depth, face[OVAL, 2].mean()), (0, 0), 5.0)
    slope = cv2.GaussianBlur(np.gradient(depth, axis=1), (0, 0), 2.0)
    light = 0.25 + 1.3 * (0.55 - 0.8 * slope).clip(0, 1)
    ramp = (1.25 - 1.1 / (1 + np.exp(-(x - face[1, 0]) / 60))).clip(0.15)
    mask = _mask(image.shape, face[OVAL], 10.0)[..., 0]
    shade = mask * light + (1 - mask) * ramp
    return (image * shade[..., None]).clip(0, 1).astype(np.float32)


def _beard(image: Image) -> Image:
    face = _astronaut()[1]
    height = face[152, 1] - face[10, 1]
    rim = [*range(132, 133), *(58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361)]
    inner = [323, 436, 391, 393, 164, 167, 165, 216, 93]
    outline = np.vstack([face[rim, :2] + (0, 0.05 * height), face[inner, :2]])
    mask = _mask(image.shape, outline, 4.0)
    mask *= 1 - _mask(image.shape, face[OUTER_UPPER + OUTER_LOWER[::-1]], 1.5)
    noise = np.random.default_rng(1).standard_normal(image.shape[:2]).astype(np.float32)
    strands = cv2.GaussianBlur(noise, (0, 0), sigmaX=0.7, sigmaY=3.0)
    strands = (0.5 + 0.6 * strands / strands.std()).clip(0, 1)[..., None]
    hair = np.array([0.23, 0.16, 0.1]) * (0.5 + strands)
    return _blend(image, hair * (0.5 + image.mean(axis=-1, keepdims=True)), mask * (0.65 + 0.35 * strands))


_OUTWARDS = np.array([0.78, -0.1])  # from the middle of a lens to its hinge, in eye widths


def _glasses(image: Image) -> Image:
    face = _astronaut()[1]
    canvas = image.copy()
    frame, rims = (0.06, 0.05, 0.05), []
    for eye in (RIGHT_EYE, LEFT_EYE):
        center, width = face[eye, :2].mean(axis=0), np.ptp(face[eye, 0])
        rims.append((center + np.array([0, 0.15 * width]), width))
        axes = (int(0.78 * width * 8), int(0.62 * width * 8))
        at = tuple(int(v * 8) for v in rims[-1][0])
        lens = np.zeros(image.shape[:2], np.float32)
        cv2.ellipse(lens, at, axes, 0, 0, 360, (1.0,), -1, cv2.LINE_AA, 3)
        canvas = _blend(canvas, 0.9 * canvas + 0.07, lens[..., None])
        cv2.ellipse(canvas, at, axes, 0, 0, 360, frame, 4, cv2.LINE_AA, 3)
    (right, width), (left, _) = rims
    for start, end in (
        (right + width * _OUTWARDS, left + width * _OUTWARDS * (-1, 1)),
        (right + width * _OUTWARDS * (-1, 1), face[127, :2]),
        (left + width * _OUTWARDS, face[356, :2]),
    ):
        points = [tuple(int(v * 8) for v in point) for point in (start, end)]
        cv2.line(canvas, *points, frame, 4, cv2.LINE_AA, 3)
    return canvas


def _painting(image: Image) -> Image:
    """Flat strokes and the weave of a canvas."""
    pixels = (image * 255).astype(np.uint8)
    strokes = cv2.xphoto.oilPainting(cv2.pyrMeanShiftFiltering(pixels, 4, 12), 4, 1)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weave = 1 + 0.025 * (np.sin(2.1 * x) + np.sin(2.1 * y))
    return (strokes / 255 * weave[..., None] * (1.0, 0.95, 0.8)).clip(0, 1).astype(np.float32)


def _half(image: Image) -> Image:
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _from_behind() -> Image:
    """The back of a head: the face covered with hair."""
    image, face = _astronaut()
    center = face[OVAL, :2].mean(axis=0)
    x0, y0 = (center - (60, 190)).astype(int)
    patch = cv2.resize(image[y0 : y0 + 70, x0 : x0 + 130], (300, 340), interpolation=cv2.INTER_CUBIC)
    x0, y0 = (center - (150, 150)).astype(int)
    hair = image.copy()
    hair[y0 : y0 + 340, x0 : x0 + 300] = patch
    return _blend(image, hair, _mask(image.shape, _around(face, 1.25, 0.0), 8.0))


def _five() -> Image:
    """A row of five; the second from the left is the largest."""
    image = np.full((420, 1500, 3), 0.6, np.float32)
    people = [_half(_colored((1, 1, 1), 1)), _photo("astronaut"), _half(_glasses(_mouth(0.0)))]
    people += [_half(_colored((0.45, 0.3, 0.22), 0.2)), _half(_beard(_mouth(0.0)))]
    for i, (person, scale) in enumerate(zip(people, (0.8, 1.05, 0.85, 0.9, 0.8), strict=True)):
        crop = cv2.resize(person[:400, 90:360], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image[-len(crop) :, 300 * i + 8 : 300 * i + 8 + crop.shape[1]] = crop[: len(image)]
    return image


def _far(height: int) -> Image:
    """Her face `height` pixels high in a landscape."""
    scale = height / 109
    person = cv2.resize(_photo("astronaut"), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    scene = cv2.resize(_photo("coffee"), (900, 600), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    scene[-len(person) :, 500 : 500 + person.shape[1]] = person
    return scene


def _strip() -> Image:
    person = cv2.resize(_photo("astronaut")[40:260, 60:400], (309, 200), interpolation=cv2.INTER_AREA)
    strip = cv2.resize(_photo("gravel"), (3000, 3000))[:200]
    strip[:, 1900:2209] = person
    return strip


_MAKERS: dict[str, Callable[[], Image]] = {
    "smile": lambda: _photo("astronaut"),
    "shut": lambda: _half(_mouth(0.0)),
    "open": lambda: _half(_mouth(0.7)),
    "brown": lambda: _half(_colored((0.72, 0.56, 0.45), 0.25)),
    "dark": lambda: _half(_colored((0.42, 0.29, 0.22), 0.15)),
    "side_light": lambda: _half(_side_light(_mouth(0.0))),
    "dark_side_light": lambda: _half(_side_light(_colored((0.5, 0.34, 0.25), 0.15))),
    "beard": lambda: _half(_beard(_mouth(0.0))),
    "glasses": lambda: _half(_glasses(_mouth(0.0))),
    "grey": lambda: np.repeat(_photo("astronaut").mean(axis=-1, keepdims=True), 3, axis=-1),
    "painting": lambda: _half(_painting(_mouth(0.0))),
    "close_up": lambda: np.ascontiguousarray(_astronaut()[0][165:380, 325:560]),
    "edge": lambda: np.ascontiguousarray(_photo("astronaut")[:, 190:]),
    "five": _five,
    "strip": _strip,
    "far": lambda: _far(72),
    "too_far": lambda: _far(40),
    "profile": lambda: cv2.resize(_photo("camera"), None, fx=2, fy=2),
    "from_behind": lambda: _half(_from_behind()),
    "cat": lambda: _photo("cat"),
    "landscape": lambda: _photo("rocket"),
}
KINDS = tuple(_MAKERS)
SPEAKING = KINDS[: KINDS.index("too_far")]
"""The kinds that show a face fit to speak; the others must be refused."""


def portrait(kind: str) -> Image:
    """The portrait of that kind, the same each time."""
    return _MAKERS[kind]()
