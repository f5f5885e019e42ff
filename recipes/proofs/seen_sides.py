"""People who were reconstructed from a photo, as the views from other sides judge them, and the lift among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from vivavoce.corpus.synth.views import Sitting
from vivavoce.errors import InputError
from vivavoce.evaluation.quality import psnr, ssim
from vivavoce.evaluation.reader import load, pictures_of
from vivavoce.evaluation.reader_network import BODY_POINTS
from vivavoce.features.physical_state import PARTS
from vivavoce.features.portrait import analyze
from vivavoce.splat.avatar import EPS2D, Avatar
from vivavoce.splat.create import build_avatar
from vivavoce.splat.rasterize.cpu import CpuRasterizer
from vivavoce.splat.skeleton import rotation

VIEWS = ("front", "right", "left")
"""As `views.sides` has them: 0, +20 (turned to the picture's right) and -20 degrees."""
PIVOTS = np.linspace(0.0, 0.24, 13)  # metres behind the face, at which a lift may be turned
_FIRST = PARTS["body"] + PARTS["face"]  # of the hands' points
_HAND_POINTS = [point for point in BODY_POINTS if point >= _FIRST]
_GROWN = 3  # px around a hand's outline

Views = UInt8[np.ndarray, "K H W 3"]
Eye = Callable[[UInt8[np.ndarray, "F H W 3"]], Float[np.ndarray, "F P"]]
"""Probabilities that the points of both hands (without wrists) are seen."""


def lifted(sitting: Sitting) -> Views | None:
    """The lift from the photo, turned as the views are; None where no face is found in the photo."""
    photo = sitting.photo
    try:
        portrait = analyze(photo.image.astype(np.float32) / 255, photo.alpha.astype(np.float32) / 255)
    except InputError:
        return None
    avatar, truth = build_avatar(portrait), truth_of(sitting)
    size = truth.shape[1]
    tried = [
        np.stack([turned(avatar, yaw, pivot, size) for yaw in (20.0, -20.0)]) for pivot in PIVOTS.tolist()
    ]
    best = max(tried, key=lambda views: psnr(views, truth[1:]).mean())
    return np.stack([turned(avatar, 0.0, 0.0, size), *best])


def turned(avatar: Avatar, yaw: float, pivot: float, size: int) -> UInt8[np.ndarray, "n n 3"]:
    """An avatar as in its photo, but turned to the picture's right by `yaw` degrees, on white.

    The axis stands upright `pivot` metres behind the face. Kinds of Gaussians stay in their order.
    """
    import cv2

    camera = avatar.lift.camera
    R = rotation(np.radians([yaw]), np.zeros(1), np.zeros(1))[0]
    centre = np.array([0.0, 0.0, avatar.lift.distance + pivot])
    means = (avatar.gaussians.means - centre) @ R.T + centre
    full = avatar.covariances[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    rows, columns = np.triu_indices(3)
    covariances = (R @ full @ R.T)[:, rows, columns]
    order = np.lexsort((means[:, 2], avatar.kinds))
    raster = CpuRasterizer(camera, len(means), eps2d=EPS2D)
    placed = (means[order], covariances[order], avatar.gaussians.opacities[order])
    raster.place(*(part.astype(np.float32) for part in placed), presorted=True)
    image, transmittance = raster.blend(avatar.gaussians.colors[order])
    small = cv2.resize(image + transmittance[..., None], (size, size), interpolation=cv2.INTER_AREA)
    return (small.clip(0, 1) * 255).round().astype(np.uint8)


def measured(sitting: Sitting, views: Views | None, eye: Eye) -> dict[str, float]:
    """All numbers of one person; none where there are no views."""
    if views is None:
        return {}
    truth = truth_of(sitting)
    found = {
        f"{kind}_{view}": float(value)
        for kind, values in (("psnr", psnr(views, truth)), ("ssim", ssim(views, truth)))
        for view, value in zip(VIEWS, values, strict=True)
    }
    error = (views.astype(np.float64) - truth)[hand_masks(sitting)]
    hand = float(10 * np.log10(255**2 / (error**2).mean())) if error.size else float("nan")
    return found | {"hand": hand, "hkc": hkc(sitting, views, eye)}


def hkc(sitting: Sitting, views: Views, eye: Eye) -> float:
    """Mean probability that those points of both hands are seen that lie within the views; NaN where none does."""
    within = np.stack([view.keypoints[_HAND_POINTS, 2] for view in sitting.views]) > 0
    return float(eye(views)[within].mean()) if within.any() else float("nan")


def seen_hands(views: Views) -> Float[np.ndarray, "K P"]:
    """The reader's eye (`Eye`)."""
    with torch.inference_mode():
        seen = load()(pictures_of(views)).body.seen.sigmoid().numpy()
    return seen[:, [BODY_POINTS.index(point) for point in _HAND_POINTS]]


def hand_masks(sitting: Sitting) -> Bool[np.ndarray, "K H W"]:
    """Where the hands are in each view, and a little around them."""
    import cv2

    size = (sitting.camera.width, sitting.camera.height)
    masks = []
    for view in sitting.views:
        mask = np.zeros(size[::-1], np.uint8)
        for hand in np.split(view.keypoints[_FIRST:], 2):
            points = (hand[hand[:, 2] > 0, :2] + 1) / 2 * size - 0.5
            if len(points) > 2:
                cv2.fillConvexPoly(mask, cv2.convexHull(points.round().astype(np.int32)), (1,))
        masks.append(cv2.dilate(mask, np.ones((2 * _GROWN + 1, 2 * _GROWN + 1), np.uint8)) > 0)
    return np.stack(masks)


def truth_of(sitting: Sitting) -> Views:
    """The true views."""
    return np.stack([view.image for view in sitting.views])


def sheet(held: Sequence[Sitting], rows: Sequence[Mapping[str, Views]]) -> UInt8[np.ndarray, "H W 3"]:
    """People side by side: the true views, and those of each row below; white where a row has none."""
    columns = []
    for sitting in held:
        truth = truth_of(sitting)
        blank = np.full_like(truth, 255)
        shown = [truth, *(row.get(sitting.name, blank) for row in rows)]
        columns.append(np.concatenate([np.concatenate(list(views), axis=1) for views in shown]))
    return np.concatenate(columns, axis=1)
