"""From a portrait on a canvas to layers of bound Gaussians: sheet, rig, eyes, mouth, backing of the skin."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8

from vivavoce.splat import topology
from vivavoce.splat.eyes import eye_layer, eyeball_centres
from vivavoce.splat.faceframe import FaceFrame, measure_face, shut_lips
from vivavoce.splat.layers import Layer
from vivavoce.splat.lips import measure_lips
from vivavoce.splat.mouth import inner_contour, look_into_mouth, mouth_layers
from vivavoce.splat.placement import DETAIL, SIGMA, place
from vivavoce.splat.rig import Rig, build_rig
from vivavoce.splat.sheet import Sheet, build_sheet, hole_masks, triangle_map
from vivavoce.splat.skeleton import JOINTS, Skeleton, place_joints
from vivavoce.splat.skinning import bind_to_sheet, joint_weights, particle_names
from vivavoce.splat.spectacles import wears_spectacles

BUDGET = 68_000
"""Gaussians on the sheet: what two cores draw, with the rest of the work, at three times the speed of speech."""

OVERLAP = 2.0 * np.pi * SIGMA**2
"""Sum of the Gaussians of a unit lattice at any point: what turns a matte into opacities."""


@dataclass(frozen=True)
class Canvas:
    """The portrait at working resolution, padded so that what the frame cuts off can move into view."""

    image: Float32[np.ndarray, "H W 3"]
    """The person's own colours, without the background's share at soft edges."""
    matte: Float32[np.ndarray, "H W"]
    plate: Float32[np.ndarray, "H W 3"]
    face: Float[np.ndarray, "478 3"]
    hands: tuple[Float[np.ndarray, "21 3"], ...]
    joints: dict[str, Float[np.ndarray, " 3"]]
    """Body joints that the photo shows, by SMPL-X name."""
    pad: int


@dataclass(frozen=True)
class Reconstruction:
    sheet: Sheet
    rig: Rig
    layers: list[Layer]
    particles: list[str]


def reconstruct(canvas: Canvas) -> Reconstruction:
    """Build the person of a canvas; all results in canvas space."""
    canvas = replace(canvas, face=shut_lips(canvas.face, canvas.image))
    frame = measure_face(canvas.face)
    lips = measure_lips(canvas.face, frame)
    sheet = build_sheet(canvas.face, canvas.matte)
    skeleton = _skeleton(canvas, sheet, frame)
    skin = joint_weights(sheet.vertices.astype(np.float64), skeleton, frame.height)
    skin[: topology.N_FACE] = np.eye(len(JOINTS))[JOINTS.index("head")]
    spectacles = wears_spectacles(canvas.image, canvas.face, frame)
    rig = build_rig(sheet, skeleton, frame, lips, skin[: sheet.n_face], spectacles=spectacles)
    names = [*particle_names(sheet), "tongue"]
    index = {name: i for i, name in enumerate(names)}

    height, width = canvas.matte.shape
    mouth, eyes = hole_masks(sheet, (height, width))
    if frame.gap == 0:
        mouth[:] = False
    look = look_into_mouth(canvas.image, mouth, eyes, frame, inner_contour(canvas.face, frame))
    back_of_lips = float(canvas.face[[13, 14], 2].mean()) + 3.0 * frame.millimetre
    drop = 0.55 * frame.gap / frame.millimetre
    grid_weights = skin[sheet.n_face :]
    layers = [
        *_skin_layers(canvas, sheet, grid_weights, eyes | mouth),
        *eye_layer(canvas.image, eyes, canvas.face, frame, index),
        *mouth_layers(frame, look, drop, back_of_lips, index),
    ]
    return Reconstruction(sheet, rig, layers, names)


def _skeleton(canvas: Canvas, sheet: Sheet, frame: FaceFrame) -> Skeleton:
    """Joints from the photo where it shows them, else from the proportions of the head."""
    h, face, down = frame.height, canvas.face, frame.axes[1]
    ears = face[[93, 323]].mean(0).astype(np.float64)
    back = np.array([0.0, 0.0, 0.12 * h])
    found = {k: np.asarray(v, np.float64) for k, v in canvas.joints.items()}
    chin = face[topology.CHIN].astype(np.float64)
    found["head"] = ears + back + 0.12 * h * down
    found["jaw"] = ears
    found.update(eyeball_centres(face, frame))
    found["neck"] = chin + 0.42 * h * down
    found["neck"][2] = ears[2] + 0.3 * h
    for side, sign in (("left", 1.0), ("right", -1.0)):
        found.setdefault(f"{side}_shoulder", found["neck"] + np.array([sign * 0.95 * h, 0.25 * h, 0.0]))
    middle = (found["left_shoulder"] + found["right_shoulder"]) / 2
    pelvis = found.get("pelvis", middle + np.array([0.0, 2.4 * h, 0.0]))
    pelvis[:2] = np.where(pelvis[1] > middle[1] + h, pelvis[:2], middle[:2] + np.array([0.0, 2.4 * h]))
    found["pelvis"] = pelvis
    for k, name in enumerate(("spine3", "spine2", "spine1")):
        found[name] = middle + (pelvis - middle) * (0.2 + 0.27 * k)
    for side in ("left", "right"):
        found[f"{side}_collar"] = 0.7 * found["neck"] + 0.3 * found[f"{side}_shoulder"]
    depth = found["neck"][2]
    for name, at in found.items():
        if name not in ("head", "jaw", "left_eye", "right_eye"):
            at[2] = depth
    return place_joints(found)


def _finest_cells(canvas: Canvas, sheet: Sheet) -> Int8[np.ndarray, "H W"]:
    """The largest cell allowed at each pixel: 1 on the face, fingers and silhouette, 4 elsewhere."""
    import cv2

    shape = canvas.matte.shape
    finest = np.full(shape, 4, np.int8)

    def inside(points: np.ndarray, grow: int) -> Bool[np.ndarray, "H W"]:
        mask = np.zeros(shape, np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(np.round(points[:, :2]).astype(np.int32)), (1,))
        return cv2.dilate(mask, np.ones((2 * grow + 1, 2 * grow + 1), np.uint8)) > 0

    finest[inside(sheet.outline(), 2)] = 1
    for hand in canvas.hands:
        finest[inside(hand, 6)] = 1
    kernel = np.ones((5, 5), np.uint8)
    edge = cv2.dilate(canvas.matte, kernel) - cv2.erode(canvas.matte, kernel) > 0.25
    finest[edge] = 1
    return finest


def _skin_layers(
    canvas: Canvas, sheet: Sheet, grid_weights: Float[np.ndarray, "G J"], holes: Bool[np.ndarray, "H W"]
) -> list[Layer]:
    """The skin, clothes and hair of the sheet, and a coarse backing that shows where they stretch apart."""
    import cv2

    height, width = canvas.matte.shape
    under = triangle_map(sheet, (height, width))
    under[holes] = -1
    wanted = (canvas.matte > 0.02) & (under >= 0)
    finest = _finest_cells(canvas, sheet)
    centres, sides = place(canvas.image, wanted, finest)
    for detail in DETAIL * 1.15 ** np.arange(1, 19):
        if len(centres) <= BUDGET:
            break
        centres, sides = place(canvas.image, wanted, finest, detail=float(detail))
    skin = _on_sheet(canvas, sheet, grid_weights, under, centres, sides)

    solid = cv2.erode((canvas.matte > 0.9).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    solid &= ~(cv2.dilate(holes.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0)
    y, x = np.nonzero(solid[2::4, 2::4])
    coarse = np.c_[x * 4 + 2.0, y * 4 + 2.0].astype(np.float32)
    backing = _on_sheet(canvas, sheet, grid_weights, under, coarse, np.full(len(coarse), 4.0, np.float32))
    behind = backing.points + np.array([0.0, 0.0, 0.06 * sheet.face_height], np.float32)
    return [skin, replace(backing, kind="backing", points=behind)]


def _on_sheet(  # noqa: PLR0917
    canvas: Canvas,
    sheet: Sheet,
    grid_weights: Float[np.ndarray, "G J"],
    under: np.ndarray,
    centres: Float32[np.ndarray, "N 2"],
    sides: Float32[np.ndarray, " N"],
) -> Layer:
    """Gaussians at given places of the sheet, in its surface, with the canvas's colour and opacity."""
    h, w = canvas.matte.shape
    xi = np.clip(centres[:, 0].astype(int), 0, w - 1)
    yi = np.clip(centres[:, 1].astype(int), 0, h - 1)
    triangle = under[yi, xi]
    known = triangle >= 0
    centres, sides, triangle, xi, yi = (a[known] for a in (centres, sides, triangle, xi, yi))
    binding = bind_to_sheet(sheet, grid_weights, centres.astype(np.float64), triangle)
    a, b, c = (sheet.vertices[sheet.triangles[triangle, k]].astype(np.float64) for k in range(3))
    normal = np.cross(b - a, c - a)
    normal[:, 2] = np.where(np.abs(normal[:, 2]) < 1e-3, 1e-3, normal[:, 2])
    slopes = np.clip(-normal[:, :2] / normal[:, 2:], -2.0, 2.0)
    depth = a[:, 2] + ((centres - a[:, :2]) * slopes).sum(1)
    matte = canvas.matte[yi, xi]
    opacities = np.clip(-np.log(1.0 - 0.985 * matte) / OVERLAP, 0.0, 0.97)
    return Layer(
        "skin",
        np.c_[centres, depth].astype(np.float32),
        (SIGMA * sides).astype(np.float32),
        canvas.image[yi, xi].astype(np.float32),
        opacities.astype(np.float32),
        binding,
        slopes.astype(np.float32),
    )
