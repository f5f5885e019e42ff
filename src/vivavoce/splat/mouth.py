"""The inside of the mouth: upper teeth on the skull, lower teeth and tongue on the jaw, the dark behind.

Built in the face's axes in millimetres with mean adult tooth sizes (Ash & Nelson, Wheeler's Dental Anatomy),
so the teeth of a person whose lips are shut are there when they part. Where the photo shows teeth, their
edge, colour and light are the photo's; the colour fit then makes the visible ones the person's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32

from vivavoce.splat import topology
from vivavoce.splat.faceframe import FaceFrame
from vivavoce.splat.layers import Layer, flat_layer
from vivavoce.splat.skinning import bind_rigidly, smoothstep

UPPER_WIDTHS = (8.5, 6.6, 7.6, 7.1, 6.6, 9.0)
LOWER_WIDTHS = (5.2, 5.9, 6.9, 7.0, 7.1, 10.0)
"""Mesiodistal crown widths from the midline outwards, mm."""

CROWN_UPPER, CROWN_LOWER = 10.0, 9.0
"""Crown heights of the incisors, mm."""

ARCH = 0.026
"""Depth of the dental arch behind its front, mm per squared mm from the midline."""

ACROSS = np.arange(-21.0, 22.0, 7.0)
"""Where beside the midline the light on the mouth is measured, mm."""

COLOURLESS = 0.012
"""Mean spread of the channels below which a photo is black and white, and so is the mouth behind its lips."""

CAVITY = np.array([0.16, 0.065, 0.06])
TONGUE = np.array([0.60, 0.30, 0.29])
GUM = np.array([0.66, 0.38, 0.37])


@dataclass(frozen=True)
class MouthLook:
    """What the photo says of the inside of the mouth."""

    tooth: Float[np.ndarray, " 3"]
    """Colour of a lit front tooth."""
    edge: float
    """Where the upper incisors end below the middle of the mouth, mm along the face."""
    bow: float
    """How far that edge rises from the middle to 20 mm beside it, mm."""
    light: Float[np.ndarray, " 7"]
    """Light at `ACROSS`, relative to the brightest place: teeth under a lamp at one side are lit from there."""
    colored: bool
    """Whether the photo has colours."""


def look_into_mouth(
    image: Float32[np.ndarray, "H W 3"],
    mouth: Bool[np.ndarray, "H W"],
    eyes: Bool[np.ndarray, "H W"],
    frame: FaceFrame,
    rest: Float[np.ndarray, "2 11 3"],
) -> MouthLook:
    """Read tooth colour and edge from the parted lips; without them, the white of the eyes tells the light.

    `rest` is the inner lip contour in the face's axes (upper and lower half).
    """
    white = _eye_white(image, eyes)
    below = rest[0, 5, 1] / frame.millimetre
    smile = (rest[0, 5, 1] - rest[0, [0, -1], 1].mean()) / frame.millimetre
    light = _light_across(image, frame)
    edge, bow = below + (2.0 if frame.gap == 0 else 3.5), float(np.clip(0.5 * smile, 0.3, 4.0))
    shut = MouthLook(white, edge, bow, light, is_colored(image))
    if mouth.sum() < 12 or frame.gap < 1.5 * frame.millimetre:
        return shut
    y, x = np.nonzero(mouth)
    pixels = image[y, x]
    value, spread = pixels.max(1), np.ptp(pixels, axis=1)
    tooth = (value > 0.6 * np.percentile(value, 95)) & (spread < 0.42 * value) & (value > 0.3)
    if tooth.mean() < 0.2:
        return shut
    local = frame.local(np.c_[x + 0.5, y + 0.5, np.full(len(x), frame.mouth[2])]) / frame.millimetre
    middle = tooth & (np.abs(local[:, 0]) < 8)
    edge = np.percentile(local[middle, 1], 97) + 0.4 if middle.any() else shut.edge
    color = np.percentile(pixels[tooth], 75, axis=0)
    return replace(shut, tooth=color, edge=float(edge))


def is_colored(colors: Float32[np.ndarray, "*n 3"]) -> bool:
    """Whether these are the colours of a colour picture."""
    return float(np.ptp(colors, axis=-1).mean()) > COLOURLESS


def _light_across(image: Float32[np.ndarray, "H W 3"], frame: FaceFrame) -> Float[np.ndarray, " 7"]:
    """How the skin between nose and chin is lit from side to side (medians, so that a beard or mole is not light)."""
    import cv2

    x, y = np.meshgrid(ACROSS, np.r_[-10.0:-5.0, 12.0:20.0])
    # Half a step to either side belongs to a place.
    x = x[..., None] + np.linspace(-3.0, 3.0, 5)
    y = np.broadcast_to(y[..., None], x.shape)
    local = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3) * frame.millimetre
    at = (frame.mouth + frame.canvas(local))[:, :2].astype(np.float32) - 0.5
    seen = cv2.remap(
        image, at[None, :, 0], at[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )[0].mean(1)
    level = np.median(seen.reshape(x.shape).transpose(1, 0, 2).reshape(len(ACROSS), -1), axis=1)
    return np.clip(level / max(level.max(), 1e-3), 0.15, 1.0)


def _eye_white(image: Float32[np.ndarray, "H W 3"], eyes: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, " 3"]:
    pixels = image[eyes]
    if len(pixels) < 8:
        return np.array([0.72, 0.68, 0.62])
    bright = pixels[pixels.mean(1) >= np.percentile(pixels.mean(1), 85)].mean(0)
    # Lids shade the eyes more than parted lips the front teeth.
    level = float(np.clip(1.25 * bright.mean(), 0.4, 0.95))
    return level * np.array([1.0, 0.93, 0.83])


def mouth_layers(
    frame: FaceFrame, look: MouthLook, jaw_drop: float, lip_depth: float, particles: dict[str, int]
) -> list[Layer]:
    """All layers behind the lips. `jaw_drop`: how far the photo's jaw is lowered at the incisors, mm;
    `lip_depth`: canvas depth of the closed lips' back."""
    step = (
        max(0.7, 1.0 / max(frame.millimetre, 1e-3) * 0.45)
        if frame.millimetre < 0.6
        else 1.0 / frame.millimetre
    )
    build = _Builder(frame, lip_depth, step, look.colored)
    low_edge = look.edge - 2.0 + jaw_drop
    return [
        build.upper_teeth(look, particles["head"]),
        build.lower_teeth(look, low_edge, particles["jaw"]),
        build.tongue(low_edge, particles["tongue"]),
        build.cavity(particles["head"]),
    ]


@dataclass(frozen=True)
class _Builder:
    frame: FaceFrame
    depth: float
    step: float
    colored: bool

    def _grid(
        self, x: float, top: float, bottom: float
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        gx, gy = np.meshgrid(np.arange(-x, x, self.step), np.arange(top, bottom, self.step))
        return gx.ravel(), gy.ravel()

    def _layer(
        self,
        kind: str,
        where: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
        colors: Float[np.ndarray, "n 3"],
        opacities: Float[np.ndarray, " n"],
        particle: int,
    ) -> Layer:
        """Millimetres in the face's axes to canvas pixels; the depth is measured from behind the lips."""
        keep = opacities > 0.02
        local = np.stack(where, 1)[keep] * self.frame.millimetre
        points = self.frame.mouth + self.frame.canvas(local)
        points[:, 2] += self.depth - self.frame.mouth[2]
        sigma = 0.62 * self.step * self.frame.millimetre
        binding = bind_rigidly(particle, int(keep.sum()))
        colors = np.clip(colors[keep], 0, 1)
        if not self.colored:
            colors = np.broadcast_to(colors.mean(1, keepdims=True), colors.shape)
        return flat_layer(kind, points, sigma, colors, opacities[keep], binding)

    def upper_teeth(self, look: MouthLook, particle: int) -> Layer:
        x, y = self._grid(26.0, look.edge - CROWN_UPPER - 5, look.edge + 0.8)
        edge = look.edge - look.bow * (x / 20) ** 2
        shade, inset = _teeth(np.abs(x), UPPER_WIDTHS)
        up = edge - 0.9 * inset - y
        gum = smoothstep(-0.6, 0.6, up - CROWN_UPPER + 1.5 * (np.abs(x) / 12) ** 2 + 1.2 * inset)
        shade = (
            shade * (0.86 + 0.14 * smoothstep(0.0, 1.6, up)) * (1 - 0.25 * smoothstep(3.0, CROWN_UPPER, up))
        )
        color = look.tooth * (shade * _side_light(x) * np.interp(x, ACROSS, look.light))[:, None]
        color = color * (1 - gum[:, None]) + GUM * look.tooth.mean() * 0.8 * gum[:, None]
        opacity = 0.97 * smoothstep(-0.35, 0.35, up) * (1 - smoothstep(23.0, 26.0, np.abs(x)))
        return self._layer("upper_teeth", (x, y, ARCH * x**2 + 1.0), color, opacity, particle)

    def lower_teeth(self, look: MouthLook, top: float, particle: int) -> Layer:
        x, y = self._grid(23.0, top - 0.8, top + CROWN_LOWER + 4)
        shade, inset = _teeth(np.abs(x), LOWER_WIDTHS)
        down = y - (top + 0.6 * inset + 0.4 * (x / 15) ** 2)
        gum = smoothstep(-0.6, 0.6, down - CROWN_LOWER + 1.5 * inset)
        shade = (
            0.82
            * shade
            * (0.9 + 0.1 * smoothstep(0.0, 1.2, down))
            * (1 - 0.4 * smoothstep(2.0, CROWN_LOWER, down))
        )
        color = look.tooth * (shade * _side_light(x * 1.15) * np.interp(x, ACROSS, look.light))[:, None]
        color = color * (1 - gum[:, None]) + GUM * look.tooth.mean() * 0.65 * gum[:, None]
        opacity = 0.97 * smoothstep(-0.35, 0.35, down) * (1 - smoothstep(19.0, 22.0, np.abs(x)))
        return self._layer("lower_teeth", (x, y, ARCH * 1.15 * x**2 + 3.5), color, opacity, particle)

    def tongue(self, low_edge: float, particle: int) -> Layer:
        x, y = self._grid(19.0, low_edge - 6.0, low_edge + 12)
        q = (x / 18) ** 2 + ((y - low_edge - 3) / 8) ** 2
        groove = 1 - 0.14 * np.exp(-((x / 2.2) ** 2))
        light = groove * np.clip(1.02 - 0.5 * q, 0.3, 1) * 0.8
        opacity = 0.96 * (1 - smoothstep(0.82, 1.0, q))
        return self._layer(
            "tongue", (x, y, 9.0 + 0.2 * np.abs(x)), TONGUE * light[:, None], opacity, particle
        )

    def cavity(self, particle: int) -> Layer:
        coarse = replace(self, step=2.2 * self.step)
        x, y = coarse._grid(34.0, -16.0, 32.0)
        light = 1 - 0.5 * np.clip(np.abs(x) / 30, 0, 1) - 0.25 * smoothstep(0.0, 18.0, y)
        return coarse._layer(
            "cavity", (x, y, np.full_like(x, 22.0)), CAVITY * light[:, None], np.full_like(x, 0.98), particle
        )


def _teeth(
    x: Float[np.ndarray, " n"], widths: tuple[float, ...]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Shade (dark between teeth and at their sides) and how rounded the edge is there (0 middle, 1 side).

    Widths foreshorten along the arch: a tooth at x is seen at the slope of the arch there.
    """
    edges = [0.0]
    for w in widths:
        edges.append(edges[-1] + w / np.sqrt(1 + (2 * ARCH * (edges[-1] + w / 2)) ** 2))
    edges = np.array(edges)
    k = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(widths) - 1)
    left, right = x - edges[k], edges[k + 1] - x
    centred = np.abs(left - right) / (left + right)
    seam = np.exp(-((np.minimum(left, right) / 0.42) ** 2))
    return (1 - 0.3 * seam) * (1 - 0.1 * centred**3), centred**4


def _side_light(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The cheeks' shadow on the side teeth."""
    return 1 - 0.62 * smoothstep(7.0, 24.0, np.abs(x))


def inner_contour(face: Float[np.ndarray, "478 3"], frame: FaceFrame) -> Float[np.ndarray, "2 11 3"]:
    """The lips' inner line in the face's axes, upper and lower."""
    return np.stack([frame.local(face[list(half[0])]) for half in (topology.LIP_UPPER, topology.LIP_LOWER)])
