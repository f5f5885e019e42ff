"""How lips move: from the named controls to where every point of the four lip rings goes.

All in the face's axes (faceframe.py), pixels, relative to the middle of the closed mouth. The lips of the
photo may be parted or smile: every pose is built from the person's own closed mouth, so open = 0 shuts any of
them. Proportions follow anthropometry of speech: the upper lip takes about a fifth of the opening, rounding
shortens the mouth by about a third and pushes the lips forward by up to 8 mm (Linker 1982; Abry & Boe 1986,
Speech Communication 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vivavoce.splat import topology
from vivavoce.splat.controls import INDEX
from vivavoce.splat.faceframe import FaceFrame

OPENING = 0.56
"""Gap between the lips at open = 1, in widths of the relaxed mouth."""

KEPT_SMILE = 0.15
"""How much of the photo's smile stays while the person speaks."""

RINGS = 4


@dataclass(frozen=True)
class LipModel:
    """Rest contours (ring, upper/lower, point, axis) and the person's own relaxed mouth."""

    rest: Float[np.ndarray, "4 2 11 3"]
    width: float
    """Inner width of the relaxed mouth, pixels: narrower than the photo's if that smiles."""
    photo_width: float

    @property
    def smile(self) -> float:
        """How much the photo smiles, 0..1: what part of the lift and width above the relaxed mouth's."""
        return float(np.clip((self.photo_width / self.width - 1.0) / 0.22, 0.0, 1.0))


def measure_lips(face: Float[np.ndarray, "478 3"], frame: FaceFrame) -> LipModel:
    """The person's lips from the photo's landmarks (canvas pixels)."""
    rest = np.stack(
        [
            np.stack([frame.local(face[list(half[r])]) for half in (topology.LIP_UPPER, topology.LIP_LOWER)])
            for r in range(RINGS)
        ]
    )
    # The relaxed mouth spans about 0.74 of the distance between the pupils (50 of 63 mm, less skin).
    width = min(frame.mouth_width, 0.74 * 63.0 * frame.millimetre)
    return LipModel(rest, width, frame.mouth_width)


def lip_offsets(lips: LipModel, controls: Float[np.ndarray, "T C"]) -> Float[np.ndarray, "T 4 2 11 3"]:
    """Displacement of every ring point from the photo, for each frame."""
    c = {name: controls[:, i, None] for name, i in INDEX.items()}
    inner = lips.rest[0]
    half_width = (inner[0, -1, 0] - inner[0, 0, 0]) / 2
    u = np.clip((inner[0, :, 0] - inner[0, [0, -1], 0].mean()) / half_width, -1, 1)[None]
    # From the lens of spread lips to the circle of rounded ones.
    arch = np.clip(1 - np.abs(u) ** 2.2, 0, 1) ** (0.75 - 0.25 * c["round"])

    smile = np.clip(KEPT_SMILE * lips.smile + 0.55 * c["smile"], -0.5, 1.0) * (1 - 0.8 * c["round"])
    opened = np.clip(c["open"], 0, 1.2)
    narrow = (
        (1 + 0.22 * np.clip(smile, 0, 1))
        * (1 + 0.13 * c["wide"])
        * (1 - 0.36 * c["round"])
        * (1 - 0.05 * opened)
    )
    scale = lips.width / lips.photo_width * narrow
    middle = inner[0, [0, -1], 0].mean()
    x = middle + (inner[0, :, 0][None] - middle) * scale

    seam = _seam(lips, u, smile, c)
    gap = opened * OPENING * lips.width * (1 - 0.1 * c["round"])
    upper_share = 0.22 + 0.1 * c["round"]
    tuck = c["tuck"] * 0.075 * lips.width * arch
    overlap = (
        0.022 * lips.width * np.clip(1 - gap / (0.05 * lips.width), 0, 1) * (1 + 1.0 * c["press"]) * arch
    )
    # For f and v the upper lip lifts off the teeth and the lower one rises behind their edge.
    upper_y = seam - gap * upper_share * arch + 0.5 * overlap - 0.7 * tuck
    lower_y = seam + gap * (1 - upper_share) * arch - 0.5 * overlap - 0.3 * tuck

    out = np.zeros((len(controls), RINGS, 2, 11, 3))
    out[:, 0, 0, :, 0] = out[:, 0, 1, :, 0] = x - inner[0, :, 0]
    out[:, 0, 0, :, 1], out[:, 0, 1, :, 1] = upper_y - inner[0, :, 1], lower_y - inner[1, :, 1]
    _outer_rings(lips, out, c, scale, arch)
    _protrude(lips, out, c, arch)
    return out


def _seam(
    lips: LipModel, u: Float[np.ndarray, "1 11"], smile: Float[np.ndarray, "T 1"], c: dict[str, np.ndarray]
) -> Float[np.ndarray, "T 11"]:
    """Height of the closed lips' line: the photo's own shape, relaxed where it smiles."""
    upper, lower = lips.rest[0, 0, :, 1], lips.rest[0, 1, :, 1]
    own = upper + 0.34 * (lower - upper)
    tilt = (own[-1] - own[0]) / 2 * u[0]
    straight = own - tilt
    # Bow of the photo's line between its corners and its middle; a smile bends it more than rest does.
    corners, centre = straight[[0, -1]].mean(), straight[5]
    bow = corners - centre
    # Cheeks and folds of a smile stay in the skin: corners a little below the middle make up for them.
    relaxed = np.clip(bow, -0.005 * lips.width, 0.03 * lips.width) + 0.04 * lips.width * lips.smile
    keep = lips.smile
    target = relaxed * (1 - keep) + keep * (
        relaxed + np.clip(smile / max(keep, 0.2), -0.5, 1) * (bow - relaxed)
    )
    target = target - 0.05 * lips.width * np.clip(c["smile"], -1, 1)
    shape = np.abs(u) ** 2
    detail = straight - centre - bow * shape[0]
    line = centre + target * shape + detail * (1 - np.abs(u[0]) ** 4) + tilt
    # Rounded lips meet a little lower and further forward.
    return line + 0.05 * lips.width * c["round"] * (1 - shape)


def _outer_rings(
    lips: LipModel,
    out: Float[np.ndarray, "T 4 2 11 3"],
    c: dict[str, np.ndarray],
    scale: Float[np.ndarray, "T 1"],
    arch: Float[np.ndarray, "T 11"],
) -> None:
    """The lips' outer edge follows the seam in part, thicker when rounded, thinner when pressed."""
    outer = lips.rest[3]
    middle = lips.rest[0, 0, [0, -1], 0].mean()
    for half, sign, at_rest in ((0, -1.0, 0.42), (1, 1.0, 0.8)):
        follow = at_rest + (0.25 if half == 0 else 0.1) * c["round"]
        x = middle + (outer[half, :, 0] - middle) * (0.88 * scale + 0.12)
        out[:, 3, half, :, 0] = x - outer[half, :, 0]
        thicker = sign * lips.width * arch * (0.035 * c["round"] - 0.03 * c["press"])
        out[:, 3, half, :, 1] = follow * out[:, 0, half, :, 1] + thicker
        out[:, 3, half, [0, -1]] = out[:, 0, half, [0, -1]] * [0.92, 0.92, 1.0]
        for ring, share in ((1, 1 / 3), (2, 2 / 3)):
            out[:, ring, half] = (1 - share) * out[:, 0, half] + share * out[:, 3, half]


def _protrude(
    lips: LipModel,
    out: Float[np.ndarray, "T 4 2 11 3"],
    c: dict[str, np.ndarray],
    arch: Float[np.ndarray, "T 11"],
) -> None:
    """Rounding pushes the lips out, tucking and pressing pull them in, most at the seam."""
    depth = lips.width * arch * (-0.14 * c["round"] + 0.03 * c["press"])
    for ring, share in enumerate((0.8, 1.0, 0.9, 0.35)):
        out[:, ring, :, :, 2] += share * depth[:, None]
        out[:, ring, 1, :, 2] += share * 0.06 * lips.width * arch * c["tuck"]
