"""The head of the template: face, skull, ears, hair, throat, eyeballs, glasses, and the inside of the mouth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from vivavoce.splat import topology
from vivavoce.splat.faceframe import FaceFrame
from vivavoce.splat.layers import Layer
from vivavoce.splat.mouth import ACROSS, MouthLook, mouth_layers
from vivavoce.splat.skeleton import JOINT
from vivavoce.splat.skinning import bind_rigidly, smoothstep
from vivavoce.splat.template.binding import bind, trunk_weights
from vivavoce.splat.template.body import Piece
from vivavoce.splat.template.face import face_patch, mean_face
from vivavoce.splat.template.hair import ears, hair, scalp_shade, skull
from vivavoce.splat.template.joints import SIDES, Joints
from vivavoce.splat.template.look import FACE, TONGUE, Look
from vivavoce.splat.template.paint import paint
from vivavoce.splat.template.surface import Patch, Points, ellipsoid, joined, plain, tube
from vivavoce.types import Binding

EYE_RADIUS = 12.0
IRIS_RADIUS, PUPIL_RADIUS = 5.9, 2.3
"""mm."""
_Y, _Z = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Head:
    """A face in its place, and what is built around it."""

    face: Float[np.ndarray, "478 3"]
    """Template space, mm."""
    centre: Float[np.ndarray, " 3"]
    """Between the ears."""
    scale: float
    """Of the mean face, of which skull and hair are told."""
    joints: Joints
    look: Look
    detail: float
    """mm between Gaussians."""

    def pieces(self, rng: np.random.Generator) -> list[Piece]:
        """All of the outside, but for glasses."""
        mean = mean_face()[: topology.N_FACE]
        width = float(np.ptp(self.face[: topology.N_FACE, 0]) / np.ptp(mean[:, 0]) / self.scale)
        skin = self.look.complexion.skin
        front, on_face = face_patch(self.face, min(0.8 * self.detail, 3.5), FACE)
        painted = paint(self.face, self.look.complexion, rng)
        bone = skull(width, self.detail)
        bone = bone.kept(~self._behind_face(self._placed(bone).points))
        cap, hanging = hair(self.look.hair, width, 0.8 * self.detail, rng)
        low = self._placed(hanging)
        return [
            (front.colored(painted.sample(front.points, min(0.15 * self.detail, 0.8))), on_face),
            self._rigid(bone.colored(scalp_shade(bone.points, self.look.hair, skin))),
            self._rigid(ears(width, 0.7 * self.detail).colored(0.93 * np.array(skin))),
            self._rigid(cap),
            (low, bind(low.points, _hanging_weights(self.joints))),
            self._throat(0.8 * self.detail),
            *(self._eye(side) for side in SIDES),
        ]

    def _placed(self, patch: Patch) -> Patch:
        return replace(
            patch, points=patch.points * self.scale + self.centre, sigmas=patch.sigmas * self.scale
        )

    def _rigid(self, patch: Patch) -> Piece:
        return self._placed(patch), bind_rigidly(JOINT["head"], len(patch))

    def _behind_face(self, points: Points) -> Bool[np.ndarray, " N"]:
        """Points that the face covers from the front, well within its outline."""
        import cv2

        outline = self.face[list(topology.OVAL), :2]
        inner = (outline.mean(0) + 0.93 * (outline - outline.mean(0))).astype(np.float32)
        inside = [cv2.pointPolygonTest(inner, (float(x), float(y)), False) > 0 for x, y in points[:, :2]]
        return np.array(inside) & (points[:, 2] < self.face[454, 2])

    def _throat(self, spacing: float) -> Piece:
        """The skin from the jaw's line to the neck, which follows the jaw at one end and the neck at the other."""
        rim = np.array(topology.OVAL[8:29])
        edge, build = self.face[rim], self.look.build
        u = np.clip(edge[:, 0] / np.abs(edge[:, 0]).max(), -1, 1)
        radius = 0.033 * build.stature * (0.5 + 0.5 * build.girth)
        neck = np.c_[radius * u, edge[:, 1] + 22.0, 4.0 - 0.97 * radius * np.sqrt(1 - u**2)]
        down = np.linspace(0, 1, max(3, round(55 / spacing)))[1:]
        along = np.linspace(0, len(rim) - 1, max(len(rim), round(300 / spacing)))
        left = np.minimum(along.astype(int), len(rim) - 2)
        part = along - left

        def at(points: np.ndarray) -> np.ndarray:
            return points[left] * (1 - part)[:, None] + points[left + 1] * part[:, None]

        points = at(edge)[None] * (1 - down)[:, None, None] + at(neck)[None] * down[:, None, None]
        normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        patch = plain(
            points.reshape(-1, 3), np.sign(normals[..., 1].mean()) * normals.reshape(-1, 3), spacing
        )
        # It lies in the chin's shadow whatever the light.
        shade = np.repeat(np.interp(down, (0, 0.3, 1), (0.86, 0.66, 0.6)), len(along))[:, None]
        binding = bind_rigidly(JOINT["neck"], len(patch))
        keep, mix = np.repeat(1 - down, len(along)), np.tile(part, len(down))
        for slot, vertex, weight in ((1, left, keep * (1 - mix)), (2, left + 1, keep * mix)):
            binding.indices[:, slot] = FACE + np.tile(rim[vertex], len(down))
            binding.weights[:, slot] = weight
        binding.weights[:, 0] = 1 - keep
        return patch.colored(np.array(self.look.complexion.skin) * shade), binding

    def _eye(self, side: str) -> Piece:
        centre = self.joints[f"{side}_eye"]
        ball = ellipsoid(centre, np.full(3, EYE_RADIUS), min(1.6, 0.5 * self.detail))
        ball = ball.kept(ball.normals[:, 2] < -0.2)
        x, y, _ = (ball.points - centre).T
        off = np.hypot(x, y)[:, None]
        iris = np.array(self.look.complexion.iris) * (0.75 + 0.05 * off)
        colors = np.where(off < IRIS_RADIUS, iris, (0.90, 0.88, 0.86))
        colors = np.where(np.abs(off - IRIS_RADIUS) < 0.5, 0.5 * colors, colors)
        colors = np.where(off < PUPIL_RADIUS, 0.04, colors)
        glint = np.hypot(x + 2.4, y + 2.4)[:, None] < 1.3
        # The lids shade the ball from above.
        shade = np.interp(y, (-6.0, -2.0, 4.0), (0.62, 0.9, 1.0))[:, None]
        patch = ball.colored(np.where(glint, 0.97, colors) * shade)
        return patch, bind_rigidly(JOINT[f"{side}_eye"], len(patch))

    def glasses(self, color: tuple[float, float, float]) -> Piece:
        """Two rims, the bridge between them, and temples to the ears."""
        spacing, wire, parts, inner = min(2.0, self.detail), 0.9, [], []
        for iris, sign in ((topology.LEFT_IRIS, 1.0), (topology.RIGHT_IRIS, -1.0)):
            angle = np.linspace(0, 2 * np.pi, 25)
            middle = self.face[iris] + np.array([2.0 * sign, 3.0, -16.0])
            rim = middle + np.c_[25 * np.cos(angle), 20 * np.sin(angle), 3 * np.cos(angle) * sign]
            parts.append(tube(rim, np.full((25, 2), wire), _Z, spacing))
            hinge = middle + np.array([25.0 * sign, -5.0, 3.0])
            ear = np.array([sign * np.abs(self.face[454, 0]), hinge[1], self.face[454, 2]])
            parts.append(tube(np.stack([hinge, ear]), np.full((2, 2), wire), _Y, spacing))
            inner.append(middle - (25.0 * sign, 3.0, 0.0))
        parts.append(tube(np.stack(inner), np.full((2, 2), wire), _Y, spacing))
        patch = joined(parts).colored(np.array(color))
        return patch, bind_rigidly(JOINT["head"], len(patch))

    def mouth(self, frame: FaceFrame) -> list[Piece]:
        """Teeth, tongue and the dark behind them."""
        inside = MouthLook(np.array(self.look.tooth), 2.0, 0.6, np.ones(len(ACROSS)), True)
        back = float(self.face[[13, 14], 2].mean()) + 3.0 * frame.millimetre
        particles = {"head": JOINT["head"], "jaw": JOINT["jaw"], "tongue": TONGUE}
        every = max(1, round(self.detail / 2.5))
        layers = mouth_layers(frame, inside, 0.0, back, particles)
        return [_thinned(layer, _within_cheeks(layer, frame), every) for layer in layers]


def _hanging_weights(joints: Joints) -> Callable[[Points], Float[np.ndarray, "N J"]]:
    """Hair below the skull follows the head less the lower it hangs."""
    trunk = trunk_weights(joints)
    top, bottom = joints["head"][1] + 10, joints["neck"][1] + 90

    def weights(points: Points) -> Float[np.ndarray, "N J"]:
        low = 0.7 * smoothstep(top, bottom, points[:, 1])[:, None]
        out = trunk(points * (0.0, 1.0, 1.0)) * low  # the trunk's middle: hair does not follow the shoulders
        out[:, JOINT["head"]] += 1 - low[:, 0]
        return out

    return weights


def _within_cheeks(layer: Layer, frame: FaceFrame) -> Bool[np.ndarray, " N"]:
    """False for what would look out of a narrow jaw."""
    x, y, _ = (frame.local(layer.points.astype(float)) / frame.millimetre).T
    return (x / 25.0) ** 2 + (y / 19.0) ** 2 < 1


def _thinned(layer: Layer, keep: Bool[np.ndarray, " N"], every: int) -> Piece:
    """What is kept of a layer; in a small picture one Gaussian of every few, wider, will do."""
    kept = np.flatnonzero(keep)[::every]
    points = layer.points[kept].astype(float)
    normals = np.tile([0.0, 0.0, -1.0], (len(points), 1))
    sigmas = layer.sigmas[kept].astype(float) * every**0.5
    binding = Binding(*(getattr(layer.binding, f)[kept] for f in ("indices", "weights", "gradients")))
    return Patch(points, normals, sigmas, layer.colors[kept].astype(float)), binding
