"""The face of the template: the mesh of 468 vertices, its shape varied, tiled and hung on its own vertices."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from vivavoce.splat import topology
from vivavoce.splat.skinning import SLOTS
from vivavoce.splat.template.surface import COVER, Patch
from vivavoce.types import Binding

FINE = (
    *(v for half in (topology.LIP_UPPER, topology.LIP_LOWER) for ring in half for v in ring),
    *topology.RIGHT_LID_UPPER, *topology.RIGHT_LID_LOWER, *topology.LEFT_LID_UPPER, *topology.LEFT_LID_LOWER,
    *topology.RIGHT_BROW, *topology.LEFT_BROW,
)  # fmt: skip
"""Vertices around which the surface is tiled twice as finely."""


@dataclass(frozen=True)
class Features:
    """How a face departs from the mean one: 0 is the mean, 1 about a standard deviation among adults."""

    width: float = 0.0
    jaw: float = 0.0
    """Width of the lower third."""
    length: float = 0.0
    """Of the lower third."""
    nose_width: float = 0.0
    nose_length: float = 0.0
    lips: float = 0.0
    """Thickness."""
    mouth: float = 0.0
    """Width."""
    eyes: float = 0.0
    """Size."""
    eye_distance: float = 0.0
    brows: float = 0.0
    """Height above the eyes."""


@functools.cache
def mean_face() -> Float[np.ndarray, "478 3"]:
    """The mean face in mm, its mouth shut: x right, y down, z away, from between the ears.

    Made by recipes/template.py; the ten last points are the irises'.
    """
    return np.load(Path(__file__).with_name("face.npy")).astype(float)


def shaped(features: Features) -> Float[np.ndarray, "478 3"]:
    """A face with these features."""
    mean = mean_face()
    x, y, z = mean.T.copy()
    lower = _rise(y, 15.0, 80.0)
    x = x * (1 + 0.035 * features.width) * (1 + 0.05 * features.jaw * lower)
    y = y + 3.0 * features.length * _rise(y, 45.0, 82.0)

    def near(point: tuple[float, float], wide: float, high: float) -> np.ndarray:
        """1 at a place of the mean face and at its mirror image, falling off like a bell."""
        return np.exp(
            -(((np.abs(mean[:, 0]) - point[0]) / wide) ** 2) - ((mean[:, 1] - point[1]) / high) ** 2
        )

    nose = near((0.0, 5.0), 20.0, 14.0) * _rise(-z, 60.0, 85.0)
    x = x * (1 + 0.12 * features.nose_width * nose)
    y = y + 2.0 * features.nose_length * nose
    seam = mean[topology.LIP_UPPER[0][5], 1]
    y = y + 0.22 * features.lips * (mean[:, 1] - seam) * near((0.0, seam), 26.0, 11.0)
    x = x * (1 + 0.06 * features.mouth * near((20.0, seam), 24.0, 12.0))
    eye = mean[topology.LEFT_IRIS]
    at_eye = near((eye[0], eye[1]), 18.0, 9.0)
    y = y + 0.12 * features.eyes * (mean[:, 1] - eye[1]) * at_eye
    x = x + np.sign(x) * 1.4 * features.eye_distance * near((eye[0], eye[1]), 22.0, 16.0)
    y = y - 1.6 * features.brows * near((eye[0], eye[1] - 18.0), 24.0, 9.0)
    return np.stack([x, y, z], 1)


def face_patch(face: Float[np.ndarray, "478 3"], spacing: float, first: int) -> tuple[Patch, Binding]:
    """The face's triangles, tiled with points at most `spacing` mm apart, black.

    Each hangs on its triangle's corners, which are the particles from `first` on.
    """
    triangles = topology.face_triangles()
    normals = vertex_normals(face[: topology.N_FACE], triangles)
    fine = np.isin(triangles, FINE).any(1)
    corners = face[triangles]
    edges = corners[:, [1, 2]] - corners[:, :1]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) / 2
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
    size = np.maximum(np.sqrt(area), longest / 3)
    cuts = np.maximum(1, np.ceil(size / np.where(fine, spacing / 2, spacing))).astype(int)
    where, shares = [], []
    for k in np.unique(cuts):
        lattice = _lattice(int(k))
        mine = np.flatnonzero(cuts == k)
        where.append(np.repeat(mine, len(lattice)))
        shares.append(np.tile(lattice, (len(mine), 1)))
    triangle, share = np.concatenate(where), np.concatenate(shares)
    at = np.einsum("nk,nkd->nd", share, corners[triangle])
    normal = np.einsum("nk,nkd->nd", share, normals[triangles[triangle]])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    sigmas = COVER * (size / cuts)[triangle]
    patch = Patch(at, normal, sigmas, np.zeros_like(at))
    return patch, _on_triangles(corners, triangles, triangle, share, first)


def vertex_normals(
    vertices: Float[np.ndarray, "V 3"], triangles: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "V 3"]:
    """Unit normals of a mesh, weighted by area, towards the camera's side."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, triangles[:, k], flat)
    if out[topology.NOSE_TIP, 2] > 0:
        out = -out
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def _rise(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _lattice(k: int) -> Float[np.ndarray, "m 3"]:
    """Barycentric coordinates of the centres of the k^2 equal triangles in a triangle."""
    out = []
    for i in range(k):
        for j in range(k - i):
            out.append((i + 1 / 3, j + 1 / 3))
            if i + j < k - 1:
                out.append((i + 2 / 3, j + 2 / 3))
    ij = np.array(out) / k
    return np.c_[ij, 1 - ij.sum(1)]


def _on_triangles(corners, triangles, triangle, share, first: int) -> Binding:
    """Weights linear in each triangle; their gradients lie in its plane and turn from one edge to its corner."""
    n = len(triangle)
    indices = np.zeros((n, SLOTS), np.int32)
    weights = np.zeros((n, SLOTS), np.float32)
    gradients = np.zeros((n, SLOTS, 3), np.float32)
    a, b, c = (corners[:, k] for k in range(3))
    normal = np.cross(b - a, c - a)
    double = (normal**2).sum(1, keepdims=True)
    slopes = np.stack([np.cross(normal, q - p) / double for p, q in ((b, c), (c, a), (a, b))], 1)
    indices[:, :3], weights[:, :3], gradients[:, :3] = first + triangles[triangle], share, slopes[triangle]
    return Binding(indices, weights, gradients)
