"""What a teacher's frames show of an avatar's photo: the part around the face that has their shape."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8

from vivavoce.splat import topology
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.skeleton import JOINTS
from vivavoce.types import Camera
from vivavoce.video.prepare import EYES_AT

FACE = slice(len(JOINTS), len(JOINTS) + topology.N_FACE)
"""The face's vertices among an avatar's particles."""


@dataclass(frozen=True)
class View:
    """A window of whole pixels in the photo at the scale of the teacher's frames."""

    whole: Camera
    """That sees the whole photo."""
    left: int
    top: int
    width: int
    height: int

    @property
    def camera(self) -> Camera:
        """That sees the window alone."""
        c = self.whole
        moved = replace(c, cx=c.cx - self.left, cy=c.cy - self.top)
        return replace(moved, width=self.width, height=self.height)

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def scaled(self, photo: Float[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """The whole photo, or the plate behind its person, RGB in [0, 1], at this scale."""
        from PIL import Image

        levels = Image.fromarray((photo * 255).round().clip(0, 255).astype(np.uint8))
        return np.array(levels.resize((self.whole.width, self.whole.height), Image.Resampling.LANCZOS))

    def within(
        self, frames: UInt8[np.ndarray, "T h w 3"], photo: UInt8[np.ndarray, "H W 3"]
    ) -> UInt8[np.ndarray, "T H W 3"]:
        """Frames of the window in the whole photo, which stands still around them."""
        around = np.repeat(photo[None], len(frames), axis=0)
        around[:, self.window[0], self.window[1]] = frames
        return around


def view_of(avatar: Avatar, width: int, height: int) -> View:
    """The largest part of the photo of the frames' shape, around the face, at `width` x `height` pixels."""
    camera = avatar.lift.camera
    scale = max(width / camera.width, height / camera.height)
    whole = camera.scaled(max(width, round(camera.width * scale)), max(height, round(camera.height * scale)))
    x, y = scale * (avatar.rest[FACE, :2].mean(axis=0) - avatar.lift.pad)
    left = np.clip(round(x - width / 2), 0, whole.width - width)
    top = np.clip(round(y - EYES_AT * height), 0, whole.height - height)
    return View(whole, int(left), int(top), width, height)
