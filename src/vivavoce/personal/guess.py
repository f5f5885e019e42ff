"""The pose that a face's landmarks alone suggest: a rigid alignment, and the nearest of the face's expressions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from vivavoce.personal.freedoms import GAZE, LIMBS, Freedoms
from vivavoce.personal.sightings import EYES, rest_points
from vivavoce.splat import topology
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.eyes import EYE_DEPTH_MM
from vivavoce.splat.skeleton import JOINT

_STEADY = 0.003  # metres: vertices that no expression moves farther tell how the head is turned
_NOISE = 0.0015  # metres: of landmarks; expressions that move the face less are not believed
_ROUNDS = 3


@dataclass(frozen=True)
class Guesser:
    """From landmarks on the canvas to the numbers of a frame."""

    freedoms: Freedoms
    rest: Float64[np.ndarray, "470 3"]
    """Landmarks of the avatar at rest, pixels of the canvas."""
    steady: Int64[np.ndarray, " S"]
    effects: Float64[np.ndarray, "B 936"]
    """On x and y of the face, in pixels, of the jaw and of every expression."""
    reach: float
    """Pixels from an eye's middle to the point that it turns about."""
    focal: float
    middle: Float64[np.ndarray, " 2"]
    """Of the picture, pixels of the canvas."""

    @classmethod
    def of(cls, avatar: Avatar, freedoms: Freedoms) -> Guesser:
        numbers = torch.zeros(1 + len(freedoms.expressions), freedoms.size)
        parts = freedoms.split(numbers)
        parts["jaw"][0] = 1
        parts["face"][1:] = torch.eye(len(freedoms.expressions))
        _, face = freedoms.decode(numbers, torch.zeros(len(numbers), topology.N_FACE, 3))
        effects = face.double().numpy()
        moving = np.linalg.norm(effects, axis=-1).max(axis=0)
        head = avatar.rig.skin[: topology.N_FACE, JOINT["head"]]
        steady = np.flatnonzero((moving < _STEADY) & (head > 0.9))
        effects = effects[..., :2].reshape(len(effects), -1) / avatar.lift.metre
        reach = EYE_DEPTH_MM * avatar.rig.frame.millimetre
        camera, rest = avatar.lift.camera, rest_points(avatar).astype(np.float64)
        middle = np.array([camera.cx, camera.cy]) + avatar.lift.pad
        return cls(freedoms, rest, steady, effects, reach, camera.focal, middle)

    def __call__(self, points: Float32[np.ndarray, "470 3"], before: Tensor) -> Tensor:
        """The numbers of a frame: those of the frame before with another head, jaw, gaze and face."""
        from scipy.spatial.transform import Rotation

        steady, rest = self.steady, self.rest - self.rest[self.steady].mean(axis=0)
        turn, seen = Rotation.identity(), points
        for _ in range(_ROUNDS):
            # What has come nearer looks larger, and farther from the middle of the picture.
            nearer = 1 + (turn.apply(rest) - rest)[:, 2:] / self.focal
            seen = np.column_stack([self.middle + (points[:, :2] - self.middle) * nearer, points[:, 2:]])
            seen -= seen[steady].mean(axis=0)
            turn = Rotation.align_vectors(seen[steady], rest[steady])[0]
        offsets = turn.inv().apply(seen) - rest
        face = offsets[: topology.N_FACE, :2].ravel()
        noise = len(face) * (_NOISE / self.freedoms.anatomy.metre) ** 2
        effects = self.effects
        found = np.linalg.solve(effects @ effects.T + noise * np.eye(len(effects)), effects @ face)
        gaze = np.arcsin(np.clip(offsets[-len(EYES) :, :2].mean(axis=0) / self.reach, -0.5, 0.5))
        numbers = before.clone()
        parts = self.freedoms.split(numbers[None])
        head = self.freedoms.limbs.index("head")
        parts["turns"][0, 3 * head : 3 * head + 3] = torch.from_numpy(turn.as_rotvec() / LIMBS["head"][1])
        parts["gaze"][0] = torch.from_numpy(gaze / GAZE)
        parts["jaw"][0] = float(found[0])
        parts["face"][0] = torch.from_numpy(found[1:])
        return numbers
