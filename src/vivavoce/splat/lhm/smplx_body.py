"""SMPL-X (Pavlakos et al. 2019) as the body that LHM was trained on; its files are the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int

from vivavoce.errors import InputError
from vivavoce.splat.lhm.template import HEAD, TemplatePoints, part_of, shared
from vivavoce.splat.skeleton import JOINTS
from vivavoce.splat.skinning import SLOTS
from vivavoce.types import Binding

_SPREAD = np.pi / 9
"""Turn of the hips by which LHM's body stands with its legs apart."""
_FLIP = np.array([1.0, -1.0, -1.0])
"""SMPL-X has y up and z towards the viewer."""
_SEED = 0


class SmplxTemplate:
    """SMPL-X's mean body in LHM's rest pose, in SMPL-X's own place: its origin lies in the chest.

    Raises InputError where the package `smplx` is not installed or `folder` has no model that it reads.
    """

    def __init__(self, folder: Path, gender: str = "neutral") -> None:
        model = _model(folder, gender)
        pose = np.zeros((1, 63), np.float32)
        pose[0, 2], pose[0, 5] = _SPREAD, -_SPREAD
        import torch

        with torch.no_grad():
            posed = model(body_pose=torch.from_numpy(pose))
        self._vertices = posed.vertices[0].numpy().astype(float) * _FLIP
        self._joints = (posed.joints[0, : len(JOINTS)].numpy() * _FLIP).astype(np.float32)
        self._faces = np.asarray(model.faces).astype(np.int64)
        self._weights = model.lbs_weights.numpy().astype(np.float32)

    def sample(self, count: int) -> TemplatePoints:
        """Points at random, evenly by area, a quarter of them on head and neck. Raises InputError for fewer than 4."""
        elsewhere, on_head = shared(count)
        rng = np.random.default_rng(_SEED)
        head = (part_of(self._weights) == HEAD)[self._faces].all(1)
        triangles = np.concatenate([self._drawn(~head, elsewhere, rng), self._drawn(head, on_head, rng)])
        # Uniform in the triangle (Osada et al. 2002).
        root, along = np.sqrt(rng.random(count)), rng.random(count)
        shares = np.stack([1 - root, root * (1 - along), root * along], 1)
        corners = self._faces[triangles]
        skin = np.einsum("nk,nkj->nj", shares, self._weights[corners]).astype(np.float32)
        skin /= skin.sum(1, keepdims=True)
        parts = part_of(skin)
        # A triangle at the edge may hold points of either side: which group it was drawn for decides.
        parts[elsewhere:] = HEAD
        body = parts[:elsewhere]
        body[body == HEAD] = part_of(skin[:elsewhere] * _below_neck())[body == HEAD]
        edges, normals = self._frames(triangles)
        return TemplatePoints(
            points=np.einsum("nk,nka->na", shares, self._vertices[corners]).astype(np.float32),
            normals=normals.astype(np.float32),
            skin=skin,
            parts=parts,
            joints=self._joints,
            binding=_binding(skin, np.einsum("nkj,nka->nja", self._weights[corners], edges)),
        )

    def _drawn(self, among: np.ndarray, count: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
        a, b, c = (self._vertices[self._faces[:, k]] for k in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1) * among
        return rng.choice(len(area), count, p=area / area.sum())

    def _frames(
        self, triangles: Int[np.ndarray, " N"]
    ) -> tuple[Float[np.ndarray, "N 3 3"], Float[np.ndarray, "N 3"]]:
        """Spatial gradients of the three barycentric coordinates (1/metre), and normals."""
        corners = self._vertices[self._faces[triangles]]
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        across = np.cross(b - a, c - a)
        double = np.linalg.norm(across, axis=1, keepdims=True)
        normals = across / double
        opposite = np.stack([c - b, a - c, b - a], 1)
        return np.cross(normals[:, None], opposite) / double[:, None], normals


def _model(folder: Path, gender: str) -> Any:
    try:
        import smplx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            "SMPL-X needs the package smplx, which is not installed: run pip install 'vivavoce[smplx]', "
            "or leave its files out to use the body that comes with Vivavoce."
        ) from error
    try:
        return smplx.create(
            str(folder), model_type="smplx", gender=gender, use_pca=False, flat_hand_mean=True, batch_size=1
        )
    except Exception as error:  # smplx asserts, opens pickles and raises whatever is wrong with them
        raise InputError(
            f"{folder} holds no SMPL-X model for {gender} ({error}): give the folder in which "
            f"smplx/SMPLX_{gender.upper()}.npz lies."
        ) from error


def _below_neck() -> Float32[np.ndarray, " 55"]:
    return (part_of(np.eye(len(JOINTS), dtype=np.float32)) != HEAD).astype(np.float32)


def _binding(skin: Float32[np.ndarray, "N 55"], slopes: Float[np.ndarray, "N 55 3"]) -> Binding:
    """The strongest joints of each point; within a triangle weights change linearly, so gradients are exact."""
    best = np.argsort(-skin, axis=1)[:, :SLOTS]
    weights = np.take_along_axis(skin, best, 1)
    slopes = np.take_along_axis(slopes, best[..., None], 1)
    total = weights.sum(1, keepdims=True)
    slopes = (slopes - weights[..., None] / total[..., None] * slopes.sum(1, keepdims=True)) / total[
        ..., None
    ]
    used = weights > 0
    return Binding(
        np.where(used, best, 0).astype(np.int32),
        (weights / total).astype(np.float32),
        (slopes * used[..., None]).astype(np.float32),
    )
