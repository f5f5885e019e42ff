"""Trunk, neck, arms, hands and legs of the template, in skin and clothes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from vivavoce.splat.skeleton import JOINT
from vivavoce.splat.skinning import bind_rigidly
from vivavoce.splat.template.binding import bind, chain_weights, trunk_weights
from vivavoce.splat.template.clothes import Color
from vivavoce.splat.template.joints import FINGERS, SIDES, Joints
from vivavoce.splat.template.look import Look
from vivavoce.splat.template.surface import Patch, ellipsoid, joined, tube
from vivavoce.types import Binding

Piece = tuple[Patch, Binding]

X, Z = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])


# Height from the pelvis, half width and half depth of the trunk, as shares of stature.
_TRUNK = np.array(
    [
        (0.085, 0.100, 0.064), (0.030, 0.098, 0.066), (-0.060, 0.082, 0.056), (-0.130, 0.086, 0.060),
        (-0.190, 0.097, 0.064), (-0.228, 0.108, 0.060), (-0.252, 0.112, 0.050), (-0.270, 0.107, 0.041),
        (-0.282, 0.094, 0.037), (-0.295, 0.072, 0.034), (-0.308, 0.051, 0.034), (-0.320, 0.038, 0.033),
    ]
)  # fmt: skip
_ARM = (0.0285, 0.0225, 0.0155)  # radii at shoulder, elbow and wrist
_LEG = (0.048, 0.033, 0.022)
_FINGER = {"thumb": 9.5, "index": 8.0, "middle": 8.3, "ring": 7.8, "pinky": 6.8}  # radii, mm


def body(joints: Joints, look: Look, spacing: float) -> list[Piece]:
    """All but the head, tiled at `spacing` mm, the hands more finely."""
    pieces = [_trunk(joints, look, spacing), _neck(joints, look, 0.75 * spacing)]
    for side in SIDES:
        pieces += _arm(joints, look, side, 0.85 * spacing)
        pieces += hand(joints, look, side, 0.6 * spacing)
        pieces += _leg(joints, look, side, 1.5 * spacing)
    return pieces


def _trunk(joints: Joints, look: Look, spacing: float) -> Piece:
    build, s = look.build, look.build.stature
    y, wide, deep = (_TRUNK * s).T
    upper = np.clip(-y / (0.2 * s), 0, 1)
    wide = wide * (1 + upper * (build.shoulders - 1)) * (1 + (build.girth - 1) * (1 - 0.5 * upper))
    deep = deep * build.girth
    axis = np.c_[np.zeros_like(y), y, np.full_like(y, 4.0)]
    patch = tube(axis, np.c_[wide, deep], X, spacing, squareness=2.6)
    return patch.colored(_fabric(patch, joints, look)), bind(patch.points, trunk_weights(joints))


def _fabric(patch: Patch, joints: Joints, look: Look) -> Float[np.ndarray, "N 3"]:
    clothes, stature, skin = look.clothes, look.build.stature, look.complexion.skin
    x, y, z = patch.points.T
    colors = np.broadcast_to(clothes.top, patch.points.shape).copy()
    if clothes.pattern == "stripes":
        colors[np.sin(2 * np.pi * y / 52.0) > 0.2] = clothes.second
    front = z < 0
    if clothes.pattern == "open":
        colors[front & (np.abs(x) < 0.03 * stature + 0.06 * (y - joints["neck"][1]))] = clothes.second
    neck = joints["neck"][1]
    if clothes.pattern == "buttons":
        colors[front & (np.abs(x) < 8.0)] = clothes.second
    if clothes.pattern == "cords":
        colors[front & (np.abs(np.abs(x) - 32.0) < 8.0) & (y < neck + 150.0)] = clothes.second
    depth = {"crew": 22.0, "collar": 14.0, "v": 22.0 + np.clip(105.0 - 2.1 * np.abs(x), 0, None) * front}
    colors[(y < neck + depth[clothes.neckline]) & (np.abs(x) < 0.045 * stature)] = skin
    colors[y > 0.015 * stature] = clothes.trousers
    return colors


def _neck(joints: Joints, look: Look, spacing: float) -> Piece:
    s, thick = look.build.stature, 0.5 + 0.5 * look.build.girth
    top, bottom = joints["head"][1] - 6.0, joints["neck"][1] + 24.0
    axis = np.array([(0.0, bottom, 10.0), (0.0, (top + bottom) / 2, 6.0), (0.0, top, 0.0)])
    radii = np.array([(0.037, 0.036), (0.0325, 0.033), (0.0325, 0.033)]) * s * thick
    patch = tube(axis, radii, X, spacing)
    # The chin's shadow lies on the throat whatever the light.
    shade = np.interp(patch.points[:, 1], (top + 20, (top + bottom) / 2, bottom), (0.62, 0.8, 1.0))
    shade = np.where(patch.normals[:, 2] < 0, shade, 1.0)[:, None]
    return patch.colored(np.array(look.complexion.skin) * shade), bind(patch.points, trunk_weights(joints))


def _arm(joints: Joints, look: Look, side: str, spacing: float) -> Iterator[Piece]:
    build, clothes, skin = look.build, look.clothes, look.complexion.skin
    radii = np.array(_ARM) * build.stature * (0.35 + 0.65 * build.girth)
    at = [joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist")]
    names = [f"{side}_{name}" for name in ("collar", "shoulder", "elbow", "wrist")]
    tubes = [tube(np.stack(at), np.c_[radii, radii], Z, spacing)]
    weights = [bind(tubes[0].points, chain_weights(joints, names, (18.0, 14.0, 8.0)))]
    # Balls at the joints keep bent arms round where the tube folds.
    for where, radius, particle in zip(at[:2], (1.02 * radii[0], 0.97 * radii[1]), names[:2], strict=True):
        ball = ellipsoid(where, np.full(3, radius), spacing)
        tubes.append(ball)
        weights.append(bind_rigidly(JOINT[particle], len(ball)))
    length = np.linalg.norm(at[2] - at[0])
    along = (at[2] - at[0]) / length
    covered = {"none": -0.12, "short": 0.34, "long": 0.93}[clothes.sleeves]
    for patch, binding in zip(tubes, weights, strict=True):
        t = (patch.points - at[0]) @ along / length
        colors = np.where((t < covered)[:, None], clothes.top, skin)
        if clothes.pattern == "stripes":
            band = (np.sin(2 * np.pi * t * length / 52.0) > 0.2) & (t < covered)
            colors = np.where(band[:, None], clothes.second, colors)
        yield patch.colored(colors), binding


def hand(joints: Joints, look: Look, side: str, spacing: float) -> Iterator[Piece]:
    """Palm and fingers of one hand, each finger on its three joints."""
    skin = look.complexion.skin
    scale = 0.108 * look.build.stature / 184.0
    wrist = joints[f"{side}_wrist"]
    roots = np.stack([joints[f"{side}_{f}1"] for f in ("index", "middle", "ring", "pinky")])
    palm = tube(
        np.stack([wrist - 0.1 * (roots[1] - wrist), wrist, 0.5 * (wrist + roots.mean(0)), roots.mean(0)]),
        np.array([(24, 17), (27, 17), (42, 15), (40, 12)]) * scale,
        Z,
        spacing,
        squareness=2.5,
    )
    palm = palm.colored(_palm_color(palm, skin, joints, side))
    yield palm, bind_rigidly(JOINT[f"{side}_wrist"], len(palm))
    for finger in FINGERS:
        chain = [joints[f"{side}_{finger}{k}"] for k in (1, 2, 3)] + [joints.tips[f"{side}_{finger}"]]
        radius = _FINGER[finger] * scale
        taper = np.array([1.1, 1.0, 0.92, 0.8]) * radius
        start = chain[0] + 0.25 * (wrist - chain[0]) if finger == "thumb" else chain[0]
        axis = np.stack([start, *chain[1:3], chain[3] - radius * _unit(chain[3] - chain[2])])
        segments = tube(axis, np.c_[taper, taper], Z, spacing)
        tip = ellipsoid(axis[-1], np.full(3, taper[-1]), spacing)
        patch = joined([segments, tip])
        names = [f"{side}_wrist", *(f"{side}_{finger}{k}" for k in (1, 2, 3))]
        weights = chain_weights(joints, names, (6.0 * scale, 4.0 * scale, 3.0 * scale))
        yield patch.colored(_palm_color(patch, skin, joints, side)), bind(patch.points, weights)
    knuckles = ellipsoid(roots.mean(0), scale * np.array([9.0, 13.0, 40.0]), spacing)
    knuckles = knuckles.colored(_palm_color(knuckles, skin, joints, side))
    yield knuckles, bind_rigidly(JOINT[f"{side}_wrist"], len(knuckles))


def _palm_color(patch: Patch, skin: Color, joints: Joints, side: str) -> Float[np.ndarray, "N 3"]:
    """Palms are lighter and redder than the back of the hand."""
    inwards = np.cross(joints[f"{side}_middle1"] - joints[f"{side}_wrist"], Z) * SIDES[side]
    facing = np.clip(patch.normals @ _unit(inwards), 0, 1)[:, None]
    dark = np.array(skin)
    light = 0.72 * dark + 0.28 * np.array([0.95, 0.68, 0.6])
    return dark + facing * (light - dark)


def _leg(joints: Joints, look: Look, side: str, spacing: float) -> Iterator[Piece]:
    radii = np.array(_LEG) * look.build.stature * look.build.girth
    at = [joints[f"{side}_{name}"] for name in ("hip", "knee", "ankle")]
    names = ["pelvis", *(f"{side}_{name}" for name in ("hip", "knee", "ankle"))]
    patch = tube(np.stack(at), np.c_[radii, radii], X, spacing).colored(np.array(look.clothes.trousers))
    yield patch, bind(patch.points, chain_weights(joints, names, (40.0, 30.0, 20.0)))


def _unit(v: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    return v / np.linalg.norm(v)
