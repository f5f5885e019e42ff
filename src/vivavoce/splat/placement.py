"""Where Gaussians go: a quadtree over the person, fine where the eye looks and the picture has detail.

Cells of 4, 2, 1 and half a canvas pixel; a cell splits where it must (lips, lids, fingers, silhouette) or
where a Gaussian of its size could not follow the picture.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Int8

CELLS = (4, 2, 1)
"""Cell sides in canvas pixels, coarse to fine; one of 1 may still be cut in four."""

DETAIL = 0.008
"""Root mean square of what a cell of this side would blur away (RGB in [0, 1]) above which it splits."""

HARD = 0.1
"""The same for a single pixel: the edge of a spectacle frame, which colours alone follow only by ringing."""

SIGMA = 0.62
"""Standard deviation of a Gaussian, as a share of its cell's side."""


def place(
    image: Float32[np.ndarray, "H W 3"],
    wanted: Bool[np.ndarray, "H W"],
    finest: Int8[np.ndarray, "H W"],
    *,
    detail: float = DETAIL,
) -> tuple[Float32[np.ndarray, "N 2"], Float32[np.ndarray, " N"]]:
    """Centres (pixels) and cell sides (pixels) of the Gaussians that cover `wanted`.

    `finest` holds, per pixel, the largest cell side allowed there (4, 2 or 1).
    """
    import cv2

    h, w = wanted.shape
    pad = [(0, -h % 4), (0, -w % 4)]
    image = np.pad(image, [*pad, (0, 0)], mode="edge")
    wanted = np.pad(wanted, pad)
    finest = np.pad(finest, pad, mode="edge")
    centres, sides = [], []
    open_cells = np.ones((wanted.shape[0] // 4, wanted.shape[1] // 4), bool)
    for side in CELLS:
        rows, cols = wanted.shape[0] // side, wanted.shape[1] // side
        blocks = wanted.reshape(rows, side, cols, side)
        live = open_cells & blocks.any((1, 3))
        blurred = cv2.GaussianBlur(image, (0, 0), SIGMA * side)
        lost = ((image - blurred) ** 2).mean(2).reshape(rows, side, cols, side)
        rough = np.sqrt(lost.mean((1, 3))) > (detail if side > 1 else HARD)
        bound = finest.reshape(rows, side, cols, side).min((1, 3)) < side
        split = live & (rough | bound | ~blocks.all((1, 3)))
        y, x = np.nonzero(live & ~split)
        centres.append(np.c_[(x + 0.5) * side, (y + 0.5) * side])
        sides.append(np.full(len(x), side))
        open_cells = split.repeat(2, 0).repeat(2, 1)
    y, x = np.nonzero(open_cells)
    centres.append(np.c_[x + 0.5, y + 0.5] / 2)
    sides.append(np.full(len(x), 0.5))
    return np.concatenate(centres).astype(np.float32), np.concatenate(sides).astype(np.float32)
