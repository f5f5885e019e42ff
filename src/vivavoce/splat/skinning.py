"""Smooth weights: how much each vertex of the sheet follows each joint, and each Gaussian each particle.

Particles are the joints of `skeleton` followed by the sheet's face vertices. A face vertex is a particle of
its own; any other vertex follows joints. A Gaussian inside a triangle takes its corners' weights linearly, so
the deformation is continuous over the whole person and its gradient is known exactly.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int32

from vivavoce.splat.sheet import Sheet, barycentric
from vivavoce.splat.skeleton import JOINT, JOINTS, Skeleton
from vivavoce.types import Binding

STEEPEST = 0.4
"""Largest weight gradient, 1/pixel. Slivers of the mesh have larger ones, and would stretch their skin."""

SLOTS = 6
"""Particles a Gaussian may hang on; smaller weights beyond them are dropped and the rest rescaled."""


def smoothstep(low: float, high: float, x: Float[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    """0 below `low`, 1 above `high`, cubic between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def joint_weights(
    points: Float[np.ndarray, "V 3"], skeleton: Skeleton, face_height: float
) -> Float[np.ndarray, "V J"]:
    """Skinning weights of points on the person; each row sums to one."""
    weights = np.zeros((len(points), len(JOINTS)))
    trunk, head_weight = _trunk_weights(points, skeleton, face_height)
    limb_total = np.zeros(len(points))
    for side in ("left", "right"):
        limbs, total = _limb_weights(points, skeleton, side, face_height)
        total = total * (1.0 - head_weight)
        for name, w in limbs.items():
            weights[:, JOINT[name]] += w * total
        limb_total += total
    scale = np.maximum(limb_total, 1.0)
    for name, w in trunk.items():
        weights[:, JOINT[name]] += w * np.clip(1.0 - limb_total, 0.0, 1.0)
    weights[limb_total > 1.0] /= scale[limb_total > 1.0, None]
    return weights / weights.sum(1, keepdims=True)


def _trunk_weights(
    points: Float[np.ndarray, "V 3"], skeleton: Skeleton, face_height: float
) -> tuple[dict[str, np.ndarray], Float[np.ndarray, " V"]]:
    """Head, neck, spine and collars along the body's axis, and the head's share (neck included)."""
    neck, jaw_to_neck = skeleton["neck"][:2], skeleton["neck"][:2] - skeleton["head"][:2]
    axis = jaw_to_neck / np.linalg.norm(jaw_to_neck)
    along = (points[:, :2] - neck) @ axis / face_height
    above_neck = 1.0 - smoothstep(-0.12, 0.30, along)
    head = 1.0 - smoothstep(-0.42, -0.05, along)
    weights = {"head": head, "neck": np.clip(above_neck - head, 0.0, 1.0)}
    rest = 1.0 - np.maximum(above_neck, head)

    pelvis = skeleton["pelvis"][:2]
    down = pelvis - neck
    q = (points[:, :2] - neck) @ down / (down @ down)
    cuts = [smoothstep(lo, lo + 0.35, q) for lo in (0.15, 0.4, 0.65)]
    spine = {
        "spine3": 1 - cuts[0],
        "spine2": cuts[0] - cuts[1],
        "spine1": cuts[1] - cuts[2],
        "pelvis": cuts[2],
    }
    for side in ("left", "right"):
        shoulder = skeleton[f"{side}_shoulder"][:2]
        reach = np.linalg.norm(points[:, :2] - shoulder, axis=1) / face_height
        inward = np.clip(
            (points[:, :2] - neck) @ (shoulder - neck) / ((shoulder - neck) @ (shoulder - neck)), 0, 1
        )
        collar = (1 - smoothstep(0.25, 1.3, reach)) * smoothstep(0.1, 0.8, inward)
        weights[f"{side}_collar"] = collar * spine["spine3"] * rest
    left = weights["left_collar"] + weights["right_collar"]
    for name, w in spine.items():
        weights[name] = w * rest - (left if name == "spine3" else 0.0)
    return weights, above_neck


def _limb_weights(
    points: Float[np.ndarray, "V 3"], skeleton: Skeleton, side: str, face_height: float
) -> tuple[dict[str, np.ndarray], Float[np.ndarray, " V"]]:
    """Shares of one arm's joints (summing to one), and how much the arm as a whole holds each point."""
    bones = [("shoulder", "elbow", 0.30), ("elbow", "wrist", 0.24), ("wrist", "middle1", 0.26)]
    bones += [
        (f"{f}{k}", f"{f}{k + 1}", 0.07)
        for f in ("index", "middle", "pinky", "ring", "thumb")
        for k in (1, 2)
    ]
    shares, total = {}, np.zeros(len(points))
    for start, end, radius in bones:
        a, b = skeleton[f"{side}_{start}"][:2], skeleton[f"{side}_{end}"][:2]
        if f"{side}_{start}" not in skeleton.seen or f"{side}_{end}" not in skeleton.seen:
            continue
        d = _distance_to_segment(points[:, :2], a, b) / (radius * face_height)
        shares[f"{side}_{start}"] = np.exp(-2.0 * d) + 1e-12
        if start != "shoulder":
            total = np.maximum(total, 1.0 - smoothstep(0.8, 1.7, d))
    if "left_shoulder" in skeleton.seen and f"{side}_shoulder" in shares:
        # The upper arm swings with the shoulder only towards the elbow; at its root it belongs to the collar.
        a, b = skeleton[f"{side}_shoulder"][:2], skeleton[f"{side}_elbow"][:2]
        along = np.clip((points[:, :2] - a) @ (b - a) / ((b - a) @ (b - a) + 1e-9), 0, 1)
        d = _distance_to_segment(points[:, :2], a, b) / (0.30 * face_height)
        total = np.maximum(total, (1.0 - smoothstep(0.8, 1.7, d)) * smoothstep(0.15, 0.7, along))
    summed = sum(shares.values()) if shares else np.ones(len(points))
    return {name: w / summed for name, w in shares.items()}, total if shares else np.zeros(len(points))


def _distance_to_segment(
    points: Float[np.ndarray, "n 2"], a: Float[np.ndarray, " 2"], b: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, " n"]:
    t = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a) + 1e-9), 0, 1)
    return np.linalg.norm(points - a - t[:, None] * (b - a), axis=1)


def bind_to_sheet(
    sheet: Sheet,
    grid_weights: Float[np.ndarray, "G J"],
    points: Float[np.ndarray, "N 2"],
    triangles: Int32[np.ndarray, " N"],
) -> Binding:
    """Bind points of the canvas to particles through the triangles they lie in; gradients are per pixel, z is
    0."""
    n_joints = grid_weights.shape[1]
    bary, gradient = barycentric(sheet, points, triangles)
    corners = sheet.triangles[triangles]
    n, m = len(points), n_joints + sheet.n_face
    rows = np.arange(n)
    weights = np.zeros((n, 3 * SLOTS))
    ids = np.zeros((n, 3 * SLOTS), np.int32)
    slopes = np.zeros((n, 3 * SLOTS, 2))
    vertex_ids, vertex_weights = _vertex_slots(sheet, grid_weights)
    for k in range(3):
        part = slice(k * SLOTS, (k + 1) * SLOTS)
        ids[:, part] = vertex_ids[corners[:, k]]
        weights[:, part] = vertex_weights[corners[:, k]] * bary[:, k, None]
        slopes[:, part] = vertex_weights[corners[:, k], :, None] * gradient[:, k, None, :]
    # Corners share joints: add equal ones up by sorting each row by particle.
    order = np.argsort(ids, axis=1, kind="stable")
    ids, weights = np.take_along_axis(ids, order, 1), np.take_along_axis(weights, order, 1)
    slopes = np.take_along_axis(slopes, order[..., None], 1)
    for k in range(3 * SLOTS - 1, 0, -1):
        same = ids[:, k] == ids[:, k - 1]
        weights[same, k - 1] += weights[same, k]
        slopes[same, k - 1] += slopes[same, k]
        weights[same, k], slopes[same, k] = 0.0, 0.0
    best = np.argsort(-(np.abs(weights) + 0.1 * np.abs(slopes).sum(2)), axis=1)[:, :SLOTS]
    ids, weights = ids[rows[:, None], best], weights[rows[:, None], best]
    slopes = slopes[rows[:, None], best]
    total = weights.sum(1, keepdims=True)
    slopes = (
        slopes / total[..., None] - weights[..., None] * slopes.sum(1, keepdims=True) / total[..., None] ** 2
    )
    weights = weights / total
    slopes *= np.minimum(1.0, STEEPEST / (np.linalg.norm(slopes, axis=2).max(1) + 1e-9))[:, None, None]
    empty = (weights == 0) & (np.abs(slopes).sum(2) == 0)
    ids = np.where(empty, 0, ids)
    assert ids.max(initial=0) < m
    return Binding(
        ids.astype(np.int32),
        weights.astype(np.float32),
        np.concatenate([slopes, np.zeros((n, SLOTS, 1))], 2).astype(np.float32),
    )


def _vertex_slots(
    sheet: Sheet, grid_weights: Float[np.ndarray, "G J"]
) -> tuple[Int32[np.ndarray, "V K"], Float[np.ndarray, "V K"]]:
    """Particles of each vertex: itself for the face's, its strongest joints for the others."""
    n_joints = grid_weights.shape[1]
    v, nf = len(sheet.vertices), sheet.n_face
    ids, weights = np.zeros((v, SLOTS), np.int32), np.zeros((v, SLOTS))
    ids[:nf, 0], weights[:nf, 0] = n_joints + np.arange(nf), 1.0
    strongest = np.argsort(-grid_weights, axis=1)[:, :SLOTS]
    kept = np.take_along_axis(grid_weights, strongest, 1)
    ids[nf:], weights[nf:] = strongest, kept / kept.sum(1, keepdims=True)
    return ids, weights


def bind_rigidly(particle: int, count: int) -> Binding:
    """Bind `count` Gaussians to one particle."""
    ids = np.zeros((count, SLOTS), np.int32)
    weights = np.zeros((count, SLOTS), np.float32)
    ids[:, 0], weights[:, 0] = particle, 1.0
    return Binding(ids, weights, np.zeros((count, SLOTS, 3), np.float32))


def join(bindings: list[Binding]) -> Binding:
    """One binding for the Gaussians of several, in order."""
    return Binding(
        *(np.concatenate([getattr(b, f) for b in bindings]) for f in ("indices", "weights", "gradients"))
    )


def particle_names(sheet: Sheet) -> list[str]:
    """The joints' SMPL-X names, then face_000..face_467 and rim_00.. in the sheet's order."""
    face = [f"face_{i:03d}" for i in range(sheet.n_face - sheet.n_rim)]
    return [*JOINTS, *face, *(f"rim_{i:02d}" for i in range(sheet.n_rim))]


def rest_positions(sheet: Sheet, skeleton: Skeleton) -> Float32[np.ndarray, "M 3"]:
    """Rest positions of all particles in canvas space."""
    return np.concatenate([skeleton.positions, sheet.vertices[: sheet.n_face]]).astype(np.float32)
