"""A camera, a light and a background before which a person of the template is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from vivavoce.splat.animate import mouth_light
from vivavoce.splat.deform import deform
from vivavoce.splat.rasterize.cpu import CpuRasterizer
from vivavoce.splat.template.person import Person
from vivavoce.types import Binding, Camera

SAMPLED = 240
"""Rows of samples that a picture has at least, nearly."""


@dataclass(frozen=True)
class Light:
    """A lamp far away and the light of the room; what faces away still gets some, as under a large window."""

    direction: tuple[float, float, float] = (-0.4, -0.6, -0.7)
    """Towards the lamp."""
    ambient: float = 0.45
    warmth: float = 0.0
    """-1 bluish to 1 reddish."""


class Stage:
    """Draws one person, frame by frame, at one size."""

    def __init__(
        self,
        person: Person,
        camera: Camera,
        *,
        centre: Float[np.ndarray, " 3"],
        distance: float,
        light: Light,
        background: Float32[np.ndarray, "H W 3"],
    ) -> None:
        """`centre` (template mm) is what the camera looks at, from `distance` metres before it."""
        self.person, self.camera, self.background = person, camera, background
        self._to_camera = np.array([0.0, 0.0, distance]) - np.asarray(centre) / 1000
        self._means = (person.means / 1000 + self._to_camera).astype(np.float32)
        self._covariances = person.covariances * np.float32(1e-6)
        b = person.binding
        self._binding = Binding(b.indices, b.weights, b.gradients * np.float32(1000))
        # A pixel takes the mean of several samples where rims and lids would otherwise spread over whole pixels.
        self._samples = max(1, round(SAMPLED / camera.height))
        finer = camera.scaled(self._samples * camera.width, self._samples * camera.height)
        self._raster = CpuRasterizer(finer, len(person.means))
        towards = np.array(light.direction)
        self._towards = (towards / np.linalg.norm(towards)).astype(np.float32)
        self._light = light
        self._strongest = person.binding.weights.argmax(1)
        self._lead = person.binding.indices[np.arange(len(person.means)), self._strongest]
        self._room = np.empty_like(self._means), np.empty_like(self._covariances)

    def transforms(self, template: Float32[np.ndarray, "T M 3 4"]) -> Float32[np.ndarray, "T M 3 4"]:
        """Rigid motions in template space (mm) as motions before the camera (metres)."""
        R, t = template[..., :3].astype(float), template[..., 3].astype(float)
        c = self._to_camera
        moved = t / 1000 + c - R @ c
        return np.concatenate([R, moved[..., None]], -1).astype(np.float32)

    def before_camera(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Points in template space (mm) as the camera has them (metres)."""
        return points / 1000 + self._to_camera

    def project(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 2"]:
        """Pixels of points in template space (mm)."""
        at, k = self.before_camera(points), self.camera
        return at[..., :2] / at[..., 2:] * k.focal + (k.cx, k.cy)

    def draw(
        self, transforms: Float32[np.ndarray, "M 3 4"], controls: Float32[np.ndarray, " C"]
    ) -> tuple[Float32[np.ndarray, "H W 3"], Float32[np.ndarray, "H W"]]:
        """One frame over the background, and the person's alpha; `transforms` as `self.transforms` gives them."""
        import cv2

        means, covariances = deform(self._means, self._covariances, self._binding, transforms, out=self._room)
        R = transforms[self._lead, :, :3]
        normals = np.einsum("nab,nb->na", R, self.person.normals)
        # A closed surface never shows its back; what lies in the mouth has no back.
        front = np.flatnonzero((np.einsum("na,na->n", normals, means) < 0) | self.person.inside)
        colors = self.person.albedo[front] * self._shade(normals[front])
        inner = self.person.inside[front]
        colors[inner] = self.person.albedo[front][inner] * mouth_light(controls[None])[0]
        image, transmittance = self._raster(
            means[front], covariances[front], self.person.opacities[front], np.clip(colors, 0, 1)
        )
        if self._samples > 1:
            size = (self.camera.width, self.camera.height)
            image, transmittance = (
                cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (image, transmittance)
            )
        return image + transmittance[..., None] * self.background, 1 - transmittance

    def picture(
        self, transforms: Float32[np.ndarray, "M 3 4"], controls: Float32[np.ndarray, " C"]
    ) -> UInt8[np.ndarray, "H W 3"]:
        """One frame as it is stored."""
        image, _ = self.draw(transforms, controls)
        return (image.clip(0, 1) * 255).round().astype(np.uint8)

    def _shade(self, normals: Float32[np.ndarray, "N 3"]) -> Float32[np.ndarray, "N 3"]:
        """Wrapped diffuse light (Valve's half Lambert), tinted."""
        lit = (0.5 + 0.5 * normals @ self._towards) ** 1.5
        level = self._light.ambient + (1.12 - self._light.ambient) * lit
        tint = np.array([1 + 0.06 * self._light.warmth, 1.0, 1 - 0.08 * self._light.warmth], np.float32)
        return level[:, None] * tint
