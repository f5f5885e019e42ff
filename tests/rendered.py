"""People who never were: a shaded head on shoulders, with the true matte and the true background beside it.

The shape of the face is the astronaut's mesh, made symmetric and then varied; everything else is drawn.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32
from scipy.interpolate import LinearNDInterpolator

from portraits import INNER_LOWER, INNER_UPPER, LEFT_EYE, OUTER_LOWER, OUTER_UPPER, OVAL, RIGHT_EYE
from portraits import portrait as photo
from vivavoce.features.face import detect, mesh

RIGHT_BROW = [70, 63, 105, 66, 107, 55, 65, 52, 53, 46]
LEFT_BROW = [300, 293, 334, 296, 336, 285, 295, 282, 283, 276]
SIZE = 512
_FINE = 2 * SIZE  # drawn at twice the size, then averaged
_HEIGHT = 300.0  # of the face, forehead to chin, in fine pixels


@dataclass(frozen=True)
class Rendering:
    """A picture, and what no photo comes with: the share of the person in each pixel, and what is behind."""

    image: Float32[np.ndarray, "H W 3"]
    matte: Float32[np.ndarray, "H W"]
    background: Float32[np.ndarray, "H W 3"]
    landmarks: Float32[np.ndarray, "478 3"]


@functools.cache
def _shape() -> np.ndarray:
    """A symmetric face with the mouth shut, (478, 3): one unit high, y down, z away, centred."""
    image = (photo("shut") * 255).astype(np.uint8)
    face = mesh(image, detect(image)[0])
    assert face is not None
    points = face.landmarks.astype(np.float64)
    across = points[[263, 454, 291]].mean(axis=0) - points[[33, 234, 61]].mean(axis=0)
    down = points[152] - points[10]
    across -= (across @ down) / (down @ down) * down
    axes = np.stack([across / np.linalg.norm(across), down / np.linalg.norm(down)])
    axes = np.vstack([axes, np.cross(axes[0], axes[1])])
    points = (points - (points[234] + points[454]) / 2) @ axes.T / face.height
    mirrored = points * (-1, 1, 1)
    partner = np.argmin(((mirrored[:, None] - points[None]) ** 2).sum(axis=-1), axis=1)
    return (mirrored[partner] + points) / 2


def render(seed: int = 0, *, yaw: float = 0.0) -> Rendering:
    """A person of that number; `yaw` in degrees turns the head to the picture's right."""
    rng = np.random.default_rng(seed)
    points = _vary(_shape(), rng)
    angle = np.radians(yaw)
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    pivot = np.array([0, 0, 0.25])
    placed = ((points - pivot) @ turn.T + pivot) * _HEIGHT + (_FINE / 2, 0.43 * _FINE, 0)
    tone = rng.uniform(0, 1)
    skin = (1 - tone) * np.array([0.93, 0.74, 0.63]) + tone * np.array([0.36, 0.22, 0.15])
    hair = np.array([[0.08, 0.06, 0.05], [0.25, 0.15, 0.08], [0.5, 0.38, 0.22], [0.55, 0.53, 0.5]])
    hair = hair[rng.integers(0, 1 + 3 * (tone < 0.5))]
    light = np.array([rng.uniform(-0.7, 0.7), -0.5, -0.7])
    light /= np.linalg.norm(light)
    background = _background(rng)
    canvas, matte = background.copy(), np.zeros((_FINE, _FINE, 1))
    for color, alpha in (
        _hair(placed, hair, rng, front=False),
        _torso(rng),
        _neck(placed, skin, light),
        _face(placed, skin, light, rng),
        _hair(placed, hair, rng, front=True),
    ):
        canvas = canvas * (1 - alpha) + color * alpha
        matte = matte + alpha * (1 - matte)
    canvas = canvas + rng.normal(0, 0.012, canvas.shape)
    image, share, behind = (
        cv2.resize(a.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA).clip(0, 1)
        for a in (canvas, matte, background)
    )
    return Rendering(image, share, behind, (placed / 2).astype(np.float32))


def _vary(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x, y, z = points.T
    low = ((y - 0.1) / 0.4).clip(0, 1)
    x = x * (1 + rng.uniform(-0.06, 0.08)) * (1 + rng.uniform(-0.12, 0.12) * low)
    nose = np.exp(-(x**2) / 0.006 - (y - 0.12) ** 2 / 0.02)
    y = y + nose * rng.uniform(-0.015, 0.02)
    return np.stack([x, y, z * (1 + 0.15 * nose * rng.uniform(-1, 1))], axis=1)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:_FINE, :_FINE] + 0.5
    return x, y


def _background(rng: np.random.Generator) -> np.ndarray:
    """A wall with a gradient of light and a few blurred shapes."""
    x, y = _grid()
    wall = _muted(rng) + 0.1 * rng.standard_normal() * ((x + y) / _FINE - 1)[..., None]
    for _ in range(4):
        corner = rng.integers(0, _FINE, 2)
        far = corner + rng.integers(80, 400, 2)
        cv2.rectangle(wall, corner.tolist(), far.tolist(), _muted(rng).tolist(), -1)
    return cv2.resize(cv2.GaussianBlur(wall[::4, ::4], (0, 0), 4), (_FINE, _FINE)).clip(0, 1)


def _muted(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0.25, 0.75) + rng.uniform(-0.15, 0.15, 3)


def _near(at: np.ndarray, radius: float) -> np.ndarray:
    """1 at a point, falling off like a bell."""
    x, y = _grid()
    return np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / radius**2)[..., None]


def _fill(points: np.ndarray, blur: float = 0.0) -> np.ndarray:
    mask = np.zeros((_FINE, _FINE), np.float32)
    cv2.fillPoly(mask, [np.round(points[:, :2] * 8).astype(np.int32)], (1.0,), cv2.LINE_AA, shift=3)
    return (cv2.GaussianBlur(mask, (0, 0), blur) if blur else mask)[..., None]


def _noise(rng: np.random.Generator, x: float, y: float) -> np.ndarray:
    coarse_x, coarse_y = max(1, int(x / 2)), max(1, int(y / 2))
    field = rng.standard_normal((_FINE // coarse_y + 1, _FINE // coarse_x + 1)).astype(np.float32)
    field = cv2.GaussianBlur(field, (0, 0), sigmaX=x / coarse_x, sigmaY=y / coarse_y)
    field = cv2.resize(field, (_FINE, _FINE), interpolation=cv2.INTER_CUBIC)
    return (field / field.std())[..., None]


def _torso(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    t = np.linspace(0, 1, 40)
    base = 0.43 * _FINE + 0.83 * _HEIGHT
    side = np.stack([0.24 + 0.82 * t**0.8, 0.32 * t**2.2 + 2 * (t > 0.97)], axis=1) * _HEIGHT
    outline = np.vstack([side * (-1, 1), side[::-1]]) + np.array([_FINE / 2, base])
    x, _ = _grid()
    fold = 0.06 * _noise(rng, 12, 50) + 0.02 * _noise(rng, 1, 1)
    round_off = 1 - 0.35 * (((x - _FINE / 2) / (1.1 * _HEIGHT)) ** 2)[..., None]
    return (0.8 * _muted(rng) * round_off * (1 + fold)).clip(0, 1), _fill(outline, 0.8)


def _neck(points: np.ndarray, skin: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = _grid()
    center, half = _FINE / 2 + 0.3 * (points[152, 0] - _FINE / 2), 0.27 * _HEIGHT
    across = ((x - center) / half).clip(-1, 1)
    shade = 0.5 + 0.5 * (across * light[0] - np.sqrt(1 - across**2) * light[2]).clip(0, 1)
    shade *= 0.62 + 0.38 * ((y - points[152, 1]) / (0.3 * _HEIGHT)).clip(0, 1)  # in the chin's shadow
    top, bottom = points[152, 1] - 0.25 * _HEIGHT, points[152, 1] + 0.5 * _HEIGHT
    collar = bottom - 60
    outline = np.array([(-1, top), (1, top), (1.05, collar), (0.3, bottom), (-0.3, bottom), (-1.05, collar)])
    outline[:, 0] = center + half * outline[:, 0]
    return skin * shade[..., None], _fill(outline, 0.8)


def _face(points, skin, light, rng) -> tuple[np.ndarray, np.ndarray]:
    """The front of the head as a height field under one light, and the ears."""
    x, y = _grid()
    height = np.ptp(points[OVAL, 1])
    center = points[OVAL, :2].mean(axis=0)
    rim = center + (points[OVAL, :2] - center) * (1.06, 1.0)
    corners = np.vstack([points[:468, :2], rim])
    depth = LinearNDInterpolator(corners, np.append(points[:468, 2], points[OVAL, 2] + 30))(x, y)
    depth = cv2.GaussianBlur(np.where(np.isfinite(depth), depth, np.nanmax(depth)), (0, 0), 5)
    gy, gx = np.gradient(depth)
    normal = np.stack([gx, gy, -np.ones_like(gx)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    shade = (normal * light).sum(axis=-1, keepdims=True).clip(0, 1)
    color = skin * (0.42 + 0.66 * shade) * (1 + 0.02 * _noise(rng, 2, 2) + 0.02 * _noise(rng, 12, 12))
    half = light + np.array([0, 0, -1])
    color = color + 0.1 * (normal * half / np.linalg.norm(half)).sum(axis=-1, keepdims=True).clip(0, 1) ** 30
    for at in (50, 280):
        color = color * (1 - 0.12 * _near(points[at], 0.12 * height) * (0.0, 1.0, 1.0))
    color = _mouth(color, points, skin, shade)
    for eye, brow, iris in ((RIGHT_EYE, RIGHT_BROW, 468), (LEFT_EYE, LEFT_BROW, 473)):
        color = _eye(color, points, eye, points[iris], height)
        strokes = 0.75 + 0.12 * _noise(rng, 3, 1)
        dark = skin * 0.25
        mask = _fill(points[brow], 1.5) * strokes.clip(0, 1)
        color = color * (1 - mask) + dark * mask
    for at, sign in ((98, 1), (327, -1)):
        hole = ((x - points[at, 0] - sign * 0.012 * height) / 0.022 / height) ** 2
        hole = np.exp(-hole - ((y - points[at, 1]) / 0.013 / height) ** 2)[..., None]
        color = color * (1 - 0.7 * hole)
    alpha = _fill(rim, 0.8)
    for at, sign in ((234, -1), (454, 1)):
        ear = np.zeros((_FINE, _FINE), np.float32)
        middle = points[at, :2] + (sign * 0.02 * height, 0.06 * height)
        axes = (round(0.055 * height), round(0.13 * height))
        cv2.ellipse(ear, [round(v) for v in middle], axes, -8 * sign, 0, 360, 1.0, -1, cv2.LINE_AA)
        alpha = np.maximum(alpha, ear[..., None])
    return color.clip(0, 1), alpha


def _mouth(color, points, skin, shade) -> np.ndarray:
    tint = skin * (0.85, 0.55, 0.55) * (0.5 + 0.6 * shade)
    for outer, inner, light in ((OUTER_UPPER, INNER_UPPER, 0.9), (OUTER_LOWER, INNER_LOWER, 1.1)):
        mask = 0.8 * _fill(np.vstack([points[outer], points[inner][::-1]]), 2.0)
        color = color * (1 - mask) + tint * light * mask
    line = np.zeros((_FINE, _FINE), np.float32)
    seam = (points[INNER_UPPER, :2] + points[INNER_LOWER, :2]) / 2
    cv2.polylines(line, [np.round(seam * 8).astype(np.int32)], False, 1.0, 3, cv2.LINE_AA, 3)
    return color * (1 - 0.65 * cv2.GaussianBlur(line, (0, 0), 1.2)[..., None])


def _eye(color, points, eye, iris, height) -> np.ndarray:
    x, y = _grid()
    socket = _fill(points[eye], 0.02 * height)
    color = color * (1 - 0.25 * socket)
    far = np.hypot(x - iris[0], y - iris[1])[..., None] / (0.036 * height)
    ball = np.array([0.88, 0.86, 0.84]) * np.ones_like(color)
    disc = ((1.08 - far) / 0.16).clip(0, 1)
    ball = ball * (1 - disc) + np.array([0.2, 0.12, 0.07]) * (0.7 + 0.6 * far) * disc
    pupil = ((0.5 - far) / 0.16).clip(0, 1)
    ball = ball * (1 - pupil) + 0.03 * pupil
    ball = ball + 0.8 * _near(iris[:2] - 0.012 * height, 0.006 * height)
    lid = _fill(points[eye] + (0, 0.012 * height, 0)) * 0.35 + 0.65  # the upper lid's shadow
    mask = _fill(points[eye], 0.7)
    color = color * (1 - mask) + ball * lid * mask
    lash = np.zeros((_FINE, _FINE), np.float32)
    cv2.polylines(lash, [np.round(points[eye[:9], :2] * 8).astype(np.int32)], False, 1.0, 4, cv2.LINE_AA, 3)
    return color * (1 - 0.8 * cv2.GaussianBlur(lash, (0, 0), 1.0)[..., None])


def _hair(points, color, rng, *, front: bool) -> tuple[np.ndarray, np.ndarray]:
    """A cap of strands behind the head, or the fringe before it; thin at the edge."""
    x, y = _grid()
    height = np.ptp(points[OVAL, 1])
    cx, top = points[[234, 454], 0].mean(), points[10, 1]
    strand = _noise(rng, 1.2, 14)
    streak = color * (1 + 0.22 * strand + 0.12 * _noise(rng, 5, 40))
    wide = 0.56 * height
    if front:
        line = points[OVAL[-6:] + OVAL[:7], :2] + np.array([0, 0.06 * height])
        angle = np.linspace(0, np.pi, 30)  # from the picture's right over the top
        crown = np.stack([0.98 * wide * np.cos(angle), (0.35 - 0.62 * np.sin(angle)) * height], axis=1)
        return streak.clip(0, 1), _fill(np.vstack([line, crown + np.array([cx, top])]), 3.0)
    long = rng.uniform(0.1, 1.0)
    low = top + (0.7 + 0.8 * long) * height
    far = np.hypot((x - cx) / wide, (np.minimum(y - top - 0.35 * height, 0)) / (0.62 * height))[..., None]
    rough = 0.02 * strand + 0.02 * _noise(rng, 8, 20)
    alpha = ((1.0 + rough - far) / 0.05).clip(0, 1) * ((low - y)[..., None] / 80 + 0.5 * strand).clip(0, 1)
    return streak.clip(0, 1), alpha


# The joints of each finger of a spread hand, in hand lengths from the wrist, thumb to the picture's right.
_FINGERS = {
    "thumb": [(0.18, -0.1), (0.33, -0.28), (0.42, -0.42), (0.5, -0.53)],
    "index": [(0.14, -0.5), (0.18, -0.69), (0.2, -0.81), (0.22, -0.92)],
    "middle": [(0.02, -0.53), (0.03, -0.74), (0.04, -0.88), (0.04, -1.0)],
    "ring": [(-0.09, -0.5), (-0.12, -0.7), (-0.14, -0.83), (-0.15, -0.94)],
    "pinky": [(-0.19, -0.44), (-0.26, -0.58), (-0.3, -0.67), (-0.33, -0.76)],
}


def draw_hand(
    image: np.ndarray, wrist: tuple[float, float], length: float, *, mirrored: bool = False
) -> np.ndarray:
    """Paint a raised open hand over the image; returns its 21 points in pixels, in mediapipe's order."""
    chains = np.array([[(0.0, 0.0), *chain] for chain in _FINGERS.values()]) * (-1 if mirrored else 1, 1)
    chains = chains * length + wrist
    depth = np.zeros(image.shape[:2], np.float32)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    bones = [(c[i], c[i + 1], r) for c in chains for i, r in ((1, 0.062), (2, 0.055), (3, 0.05))]
    bones += [(chains[i, 0] + (0, 0.1 * length), chains[i, 1], 0.1) for i in range(5)]
    bones += [(np.array(wrist), np.array(wrist) + np.array([0, length]), 0.13)]
    for a, b, radius in bones:
        t = (((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / ((b - a) ** 2).sum()).clip(0, 1)
        far = np.hypot(x - a[0] - t * (b - a)[0], y - a[1] - t * (b - a)[1]) / (radius * length)
        depth = np.maximum(depth, radius * length * np.sqrt((1 - far**2).clip(0)))
    soft = cv2.GaussianBlur(depth, (0, 0), 0.012 * length)
    gy, gx = np.gradient(soft)
    shade = ((-0.3 * gx - 0.5 * gy + 0.8) / np.sqrt(1 + gx**2 + gy**2)).clip(0.15, 1)[..., None]
    mask = cv2.GaussianBlur((depth > 0).astype(np.float32), (0, 0), 0.8)[..., None]
    image[:] = image * (1 - mask) + np.array([0.87, 0.66, 0.55]) * (0.35 + 0.65 * shade) * mask
    return np.vstack([[wrist], *(chain[1:] for chain in chains)])
