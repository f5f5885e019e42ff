"""Fitting an avatar to a few frames at once: gradient descent on its pose, through the rasteriser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from vivavoce.losses.keypoints import charbonnier
from vivavoce.losses.photometric import absolute_error
from vivavoce.losses.rigid import arap, knn_graph
from vivavoce.losses.trajectory import FRAME
from vivavoce.personal.freedoms import EXPRESSIONS, OWN, Freedoms
from vivavoce.personal.guess import Guesser
from vivavoce.personal.posing import mouth_gains, posed
from vivavoce.personal.sightings import EYES, Watcher, rest_points
from vivavoce.personal.sketch import Sketch
from vivavoce.splat import topology
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.skeleton import JOINT, JOINTS
from vivavoce.train.moving import moved

_SCALE = 0.01  # of the face's height, where the pull of a landmark turns from square to linear
_NEIGHBOURS = 6
_BETAS = (0.8, 0.98)
_CARRIERS = [*range(len(JOINTS), len(JOINTS) + topology.N_FACE), *(JOINT[eye] for eye in EYES)]


@dataclass(frozen=True)
class Weights:
    """Of the terms beside the mean absolute error of the pixels. Numbers of `freedoms` count in their own units."""

    landmarks: float = 0.1
    """Of the robust distance to what the detector sees, in heights of the face, by the mean over points."""
    rest: float = 1e-3
    """Of the mean square of joints' and expressions' numbers: what is not seen stays at rest."""
    own: float = 3e-3
    """Of that of the vertices' own offsets."""
    rigid: float = 1e-2
    """Of these offsets' mean squared strain."""
    smooth: float = 2e-3
    """Of the mean square of all second differences in time, per 25th of a second."""


@dataclass(frozen=True)
class FieldConfig:
    """How a field is fitted. Every frame is drawn once for each step, and once at the end."""

    size: int = 128
    """Pixels of the longer side of the pictures that are compared."""
    levels: tuple[tuple[float, int], ...] = ((0.5, 16), (1.0, 24))
    """Shares of that size, coarse to fine, and steps at each."""
    window: int = 8
    """Frames that are fitted at once."""
    rate: float = 0.06
    """Of the first step; the last has a tenth."""
    weights: Weights = Weights()


@dataclass(frozen=True)
class Trace:
    """The numbers of T frames (`freedoms`)."""

    numbers: Float[Tensor, "T D"]
    own: Float[Tensor, "T 468 3"]


@dataclass(frozen=True)
class Drawn:
    """Frames as they were fitted."""

    joints: Float32[np.ndarray, "T 55 3 4"]
    face: Float32[np.ndarray, "T 468 3"]
    psnr: Float32[np.ndarray, " T"]


@dataclass(frozen=True)
class _Wanted:
    """What a window's frames show."""

    pictures: Float[Tensor, "T h w 3"]
    points: Float[Tensor, "T 470 2"]
    """Pixels of the canvas."""
    seen: Float[Tensor, " T"]
    """1 where a face was found, else 0."""


class Tracer:
    """Fits one avatar to frames of one size."""

    def __init__(self, avatar: Avatar, width: int, height: int, config: FieldConfig, *, fps: float) -> None:
        self.avatar, self.config, self.fps = avatar, config, fps
        self.freedoms = Freedoms.of(avatar)
        self.watcher = Watcher.of(avatar, width, height)
        self.guess = Guesser.of(avatar, self.freedoms)
        camera = avatar.lift.camera
        longer = min(config.size, max(width, height), max(camera.width, camera.height))
        self.sketches = [
            (Sketch.of(avatar, *_shrunk(camera.width, camera.height, round(share * longer))), steps)
            for share, steps in config.levels
        ]
        anchors = avatar.lift.points(rest_points(avatar).astype(np.float64))
        self._anchors = torch.from_numpy(anchors.astype(np.float32))
        vertices = self._anchors[: topology.N_FACE]
        # Lips and lids that touch at rest are no neighbours.
        parted = vertices + self.freedoms.expressions[EXPRESSIONS.index("open")]
        self._neighbours = knn_graph(parted, _NEIGHBOURS)
        edges = vertices[self._neighbours] - vertices[:, None]
        self._stiffness = 1 / edges.square().sum(-1).clamp(min=1e-6)

    @property
    def still(self) -> Trace:
        """One frame at rest."""
        return Trace(torch.zeros(1, self.freedoms.size), torch.zeros(1, topology.N_FACE, 3))

    def fit(self, frames: UInt8[np.ndarray, "T H W 3"], before: Trace | None) -> Trace:
        """The numbers of frames that follow those of `before`, of which the last two count."""
        sightings = [self.watcher(frame) for frame in frames]
        found = self._begin(sightings, before or self.still)
        found.numbers.requires_grad_()
        found.own.requires_grad_()
        steps = sum(steps for _, steps in self.sketches)
        adam = torch.optim.Adam([found.numbers, found.own], lr=self.config.rate, betas=_BETAS)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps, eta_min=self.config.rate / 10)
        for sketch, count in self.sketches:
            wanted = self._wanted(frames, sightings, sketch)
            for _ in range(count):
                adam.zero_grad()
                self._loss(found, wanted, sketch, before).backward()
                adam.step()
                falling.step()
        return Trace(found.numbers.detach(), found.own.detach())

    def draw(self, trace: Trace, frames: UInt8[np.ndarray, "T H W 3"]) -> Drawn:
        """What numbers say, and how near to the frames that comes in the largest pictures compared."""
        sketch = self.sketches[-1][0]
        with torch.no_grad():
            joints, face = self.freedoms.decode(trace.numbers, trace.own)
            pictures = self._picture(sketch, posed(self.freedoms.anatomy, joints, face), face)
        error = (pictures.clamp(0, 1) - _small(frames, sketch)).square().mean(dim=(1, 2, 3))
        return Drawn(joints.numpy(), face.numpy(), (-10 * error.clamp(min=1e-10).log10()).numpy())

    def _begin(self, sightings: Sequence[Float32[np.ndarray, "470 3"] | None], before: Trace) -> Trace:
        """Where the descent begins: at what the landmarks suggest, without any at the frame before."""
        numbers = [before.numbers[-1]]
        for points in sightings:
            numbers.append(numbers[-1] if points is None else self.guess(points, numbers[-1]))
        own = before.own[-1:].repeat(len(sightings), 1, 1)
        return Trace(torch.stack(numbers[1:]), own)

    def _wanted(
        self,
        frames: UInt8[np.ndarray, "T H W 3"],
        sightings: Sequence[Float32[np.ndarray, "470 3"] | None],
        sketch: Sketch,
    ) -> _Wanted:
        nothing = np.zeros((len(self._anchors), 3), np.float32)
        points = np.stack([nothing if found is None else found for found in sightings])
        seen = torch.tensor([float(found is not None) for found in sightings])
        return _Wanted(_small(frames, sketch), torch.from_numpy(points[..., :2]), seen)

    def _loss(self, trace: Trace, wanted: _Wanted, sketch: Sketch, before: Trace | None) -> Tensor:
        weights, frames = self.config.weights, len(trace.numbers)
        joints, face = self.freedoms.decode(trace.numbers, trace.own)
        transforms = posed(self.freedoms.anatomy, joints, face)
        pictures = self._picture(sketch, transforms, face)
        color = absolute_error(pictures[None], wanted.pictures[None])[0] / frames
        away = (self._projected(transforms) - wanted.points) / self.avatar.rig.frame.height
        marks = charbonnier(away.square().sum(-1), _SCALE).mean(-1)
        vertices = self._anchors[: topology.N_FACE]
        rigid = arap(
            vertices,
            vertices + OWN * trace.own,
            self._neighbours,
            rotations=torch.eye(3).expand(*trace.own.shape, 3),
            weights=self._stiffness,
        )
        return (
            color
            + weights.landmarks * (wanted.seen * marks).mean()
            + weights.rest * trace.numbers.square().mean()
            + weights.own * trace.own.square().mean()
            + weights.rigid * rigid.mean()
            + weights.smooth * self._jerks(trace, before)
        )

    def _jerks(self, trace: Trace, before: Trace | None) -> Tensor:
        """Mean square of second differences, those with the frames before among them."""
        total = trace.numbers.new_zeros(())
        for part in ("numbers", "own"):
            run = getattr(trace, part)
            if before is not None:
                run = torch.cat([getattr(before, part)[-2:], run])
            if len(run) > 2:
                total = total + (run.diff(n=2, dim=0) * (self.fps * FRAME) ** 2).square().mean()
        return total

    def _picture(self, sketch: Sketch, transforms: Tensor, face: Tensor) -> Float[Tensor, "T h w 3"]:
        gains = mouth_gains(self.avatar, face.detach().numpy())
        return sketch.draw(transforms, torch.from_numpy(gains))

    def _projected(self, transforms: Float[Tensor, "T M 3 4"]) -> Float[Tensor, "T 470 2"]:
        """Where the landmarks are seen, pixels of the canvas."""
        lift = self.avatar.lift
        places = moved(transforms[:, _CARRIERS], self._anchors)
        middle = places.new_tensor([lift.camera.cx, lift.camera.cy]) + lift.pad
        return lift.camera.focal * places[..., :2] / places[..., 2:] + middle


def _shrunk(width: int, height: int, longer: int) -> tuple[int, int]:
    """The size of that shape whose longer side has so many pixels."""
    scale = longer / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _small(frames: UInt8[np.ndarray, "T H W 3"], sketch: Sketch) -> Float[Tensor, "T h w 3"]:
    """Frames at the size of a sketch's pictures."""
    import cv2

    size = (sketch.camera.width, sketch.camera.height)
    shrunk = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]
    return torch.from_numpy(np.stack(shrunk).astype(np.float32) / 255)
