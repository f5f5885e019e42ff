"""What a detector sees of an avatar's person in a film's frames, and the pose that this alone suggests."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from vivavoce.features.face import detect, mesh
from vivavoce.personal.posing import particle_motion
from vivavoce.splat import topology
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.backgrounds import resolve_background
from vivavoce.splat.eyes import EYE_DEPTH_MM
from vivavoce.splat.render import Renderer
from vivavoce.splat.skeleton import JOINT, JOINTS

POINTS = (*range(topology.N_FACE), topology.RIGHT_IRIS, topology.LEFT_IRIS)
"""Of the landmarks: the face's vertices, and the right and the left eye's middle."""
EYES = ("right_eye", "left_eye")
_SHORTEST = 256  # pixels of the shorter side that smaller frames are enlarged to
_CROPS = 4


def rest_points(avatar: Avatar) -> Float32[np.ndarray, "470 3"]:
    """Where an avatar has `POINTS` at rest, pixels of the canvas."""
    frame = avatar.rig.frame
    out = EYE_DEPTH_MM * frame.millimetre * frame.axes[2]
    irises = np.stack([avatar.rest[JOINT[eye]] - out for eye in EYES])
    face = avatar.rest[len(JOINTS) : len(JOINTS) + topology.N_FACE]
    return np.concatenate([face, irises]).astype(np.float32)


@dataclass(frozen=True)
class Watcher:
    """Finds `POINTS` in frames of one size. What it misses in a drawing of the avatar at rest is taken off."""

    scale: Float64[np.ndarray, " 3"]
    """Pixels of the canvas in one of a frame."""
    pad: int
    middle: tuple[float, float]
    """Of the face at rest, in pixels of the canvas."""
    height: float
    """Of the face, in the same."""
    bias: Float32[np.ndarray, "470 3"] | float = 0.0

    @classmethod
    def of(cls, avatar: Avatar, width: int, height: int) -> Watcher:
        camera = avatar.lift.camera
        x, y = camera.width / width, camera.height / height
        rest = rest_points(avatar)
        middle = rest[:, :2].mean(axis=0)
        scale = np.array([x, y, (x * y) ** 0.5])
        watcher = cls(scale, avatar.lift.pad, (float(middle[0]), float(middle[1])), avatar.rig.frame.height)
        still = np.eye(3, 4, dtype=np.float32) * np.ones((1, len(JOINTS), 1, 1), np.float32)
        motion = particle_motion(avatar, still, np.zeros((1, topology.N_FACE, 3), np.float32))
        plate = resolve_background("photo", avatar, width, height)
        renderer = Renderer(avatar, width, height, background=plate, threads=1)
        seen = watcher(next(renderer(motion)))
        return watcher if seen is None else replace(watcher, bias=seen - rest)

    def __call__(self, frame: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "470 3"] | None:
        """Pixels of the canvas, z from the face's plane; None where no face is found near that of the photo."""
        import cv2

        larger = max(1.0, _SHORTEST / min(frame.shape[:2]))
        if larger > 1:
            size = tuple(round(larger * side) for side in frame.shape[1::-1])
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
        scale = self.scale / larger

        def away(x: float, y: float) -> float:
            return math.dist((x * scale[0] + self.pad, y * scale[1] + self.pad), self.middle)

        for candidate in sorted(detect(frame), key=lambda found: away(found.x, found.y)):
            if away(candidate.x, candidate.y) > self.height:
                return None
            face = mesh(frame, candidate, crops=_CROPS)
            if face is not None:
                points = face.landmarks[list(POINTS)] * scale + (self.pad, self.pad, 0)
                return (points - self.bias).astype(np.float32)
        return None
