"""Stretches of clips as an autoencoder is trained on them: pictures, and where one looks first in them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from vivavoce.corpus.cuts import Cutter
from vivavoce.features.focus import focus_of

if TYPE_CHECKING:
    from vivavoce.corpus.clips import ClipSource


@dataclass(frozen=True)
class Stretch:
    """A stretch of video, and where in it one looks first."""

    name: str
    frames: UInt8[np.ndarray, "F H W 3"]
    focus: Float32[np.ndarray, "F H W"]
    """Weight of each pixel, 1 on the background and more on face and hands."""


class Windows:
    """`spans` stretches of `frames` frames from each clip (`train.task.Examples`), read when they are asked for."""

    def __init__(
        self, source: ClipSource, *, frames: int, spans: int, size: tuple[int, int], seed: int = 0
    ) -> None:
        """`size` is the pictures' width and height in pixels."""
        self._source, self._size = source, size
        self._cutter = Cutter(frames, spans, seed, begins=True)
        self._frames, self._spans = frames, spans

    @property
    def fingerprint(self) -> str:
        """A digest of all clips and of how they are cut."""
        digest = hashlib.sha256(f"{self._cutter} {self._size}".encode())
        for index in range(len(self._source)):
            digest.update(self._source[index].digest.encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._source) * self._spans

    def __getitem__(self, index: int) -> Stretch:
        clip = self._source[index // self._spans]
        cuts = self._cutter.cuts(clip.name, len(clip))
        first = cuts[index % self._spans % len(cuts)].first
        points = clip.keypoints(self._size)
        width, height = self._size
        focus = (
            np.ones((self._frames, height, width), np.float32)
            if points is None
            else focus_of(points[first : first + self._frames], width, height)
        )
        return Stretch(f"{clip.name}@{first}", clip.frames(first, self._frames, size=self._size), focus)
