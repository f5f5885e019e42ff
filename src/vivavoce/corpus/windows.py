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
    from vivavoce.corpus.clips import ClipSource, TrainingClip


@dataclass(frozen=True)
class Stretch:
    """A stretch of video, and where in it one looks first."""

    name: str
    frames: UInt8[np.ndarray, "F H W 3"]
    focus: Float32[np.ndarray, "F H W"]
    """Weight of each pixel, 1 on the background and more on face and hands."""


class Windows:
    """`spans` stretches of `frames` frames from each clip (`train.task.Examples`), read when one of them is asked for.

    They are kept in memory from then on, since opening a clip takes longer than a step of training.
    """

    def __init__(
        self, source: ClipSource, *, frames: int, spans: int, size: tuple[int, int], seed: int = 0
    ) -> None:
        """`size` is the pictures' width and height in pixels."""
        self._source, self._size = source, size
        self._cutter = Cutter(frames, spans, seed, begins=True)
        self._frames, self._spans = frames, spans
        self._read: dict[int, list[_Kept]] = {}

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
        clip, span = divmod(index, self._spans)
        if clip not in self._read:
            self._read[clip] = self._stretches(self._source[clip])
        stretches = self._read[clip]
        return stretches[span % len(stretches)].stretch()

    def _stretches(self, clip: TrainingClip) -> list[_Kept]:
        points, pictures = clip.keypoints(self._size), clip.frames(size=self._size)
        spans = [
            slice(cut.first, cut.first + self._frames) for cut in self._cutter.cuts(clip.name, len(clip))
        ]
        return [
            _Kept(
                f"{clip.name}@{span.start}",
                pictures[span].copy(),
                None if points is None else points[span].copy(),
            )
            for span in spans
        ]


@dataclass(frozen=True)
class _Kept:
    """A stretch with what its weights are made of, which is a hundredth of them."""

    name: str
    frames: UInt8[np.ndarray, "F H W 3"]
    points: Float32[np.ndarray, "F 127 3"] | None

    def stretch(self) -> Stretch:
        height, width = self.frames.shape[1:3]
        focus = (
            np.ones(self.frames.shape[:3], np.float32)
            if self.points is None
            else focus_of(self.points, width, height)
        )
        return Stretch(self.name, self.frames, focus)
