"""Speech becomes motion: samples are pushed in, motion of the avatar comes out with a bounded look-ahead."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32

from vivavoce.splat.animate import motion_of
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.controls import ARTICULATION, RHYTHM
from vivavoce.splat.motion.articulation import RATE, ArticulationModel, at_frames, frame_reach
from vivavoce.splat.motion.rhythm import RhythmModel
from vivavoce.types import SPEECH_RATE, Motion

OPENING_SPEED = 5.0
"""Fastest opening of the lips, in full gaps a second: a syllable opens over two frames of 25 a second, not in one."""

OPENING_TIME = 0.033
"""Seconds in which parting lips cover two thirds of what is left: however small an opening, no frame does it all."""

_OPEN = ARTICULATION.index("open")


def eased(gap: float, wanted: float, fps: float) -> float:
    """The lips' gap one frame after `gap`, on its way to `wanted`; both in full gaps.

    It shuts at once, and opens no faster than OPENING_SPEED and OPENING_TIME allow.
    """
    ahead = wanted - gap
    if ahead <= 0:
        return wanted
    return gap + min((1 - math.exp(-1 / (OPENING_TIME * fps))) * ahead, OPENING_SPEED / fps)


class Driver:
    """One avatar, one recording: `push` samples at 16 kHz and get the frames they settle, then `finish`.

    The articulation (learned) and the rhythm (rules) run side by side, each at most 160 ms behind the
    sound; frame k shows the time (k + 0.5) / fps. `script` is the whole recording's articulation where the
    words are known (8 rows of controls at 50 Hz), and takes the network's place. The same samples, seed and
    settings give the same motion, however the samples are cut into blocks.
    """

    def __init__(
        self,
        avatar: Avatar,
        *,
        fps: float,
        seed: int = 0,
        expressiveness: float = 1.0,
        script: Float32[np.ndarray, "t 8"] | None = None,
    ) -> None:
        self._avatar, self._fps = avatar, fps
        self._rhythm = RhythmModel(fps, seed, expressiveness=expressiveness)
        self._heard = None if script is not None else ArticulationModel.load().stream()
        self._track = np.zeros((0, len(ARTICULATION)), np.float32) if script is None else script
        self._start = 0  # row of the whole track that self._track begins with
        self._spoken = 0  # frames of articulation handed out
        self._samples = 0
        self._gap = 0.0  # between the lips, in the last frame handed out
        self._waiting = (np.zeros((0, len(ARTICULATION)), np.float32), np.zeros((0, len(RHYTHM)), np.float32))

    def push(self, samples: Float32[np.ndarray, " n"]) -> Motion:
        """Motion of the frames that these samples settle, possibly none."""
        self._samples += len(samples)
        if self._heard is not None:
            self._track = np.concatenate([self._track, self._heard.push(samples)])
        # A frame needs rows up to the last that lies within its time, and none beyond.
        known = (self._start + len(self._track) - 0.5) / RATE - frame_reach(self._fps)
        settled = math.floor(known * self._fps + 0.5 + 1e-6)
        return self._join(self._speak(settled), self._rhythm.push(samples))

    def finish(self) -> Motion:
        """Motion of the remaining frames: ceil(duration fps) in all."""
        if self._heard is not None:
            self._track = np.concatenate([self._track, self._heard.finish()])
        total = math.ceil(self._samples * self._fps / SPEECH_RATE - 1e-6)
        return self._join(self._speak(total), self._rhythm.finish())

    def _speak(self, until: int) -> Float32[np.ndarray, "f 8"]:
        """Articulation of the frames up to `until`; rows that no later frame needs are dropped."""
        count = max(0, until - self._spoken)
        frames = at_frames(self._track, self._fps, count, first=self._spoken, start=self._start / RATE)
        self._spoken += count
        for frame in frames:
            self._gap = frame[_OPEN] = eased(self._gap, float(frame[_OPEN]), self._fps)
        if self._heard is not None:
            spent = max(
                0, min(math.floor(self._spoken / self._fps * RATE) - 3 - self._start, len(self._track) - 3)
            )
            self._track, self._start = self._track[spent:], self._start + spent
        return frames

    def _join(self, speech: Float32[np.ndarray, "a 8"], rhythm: Float32[np.ndarray, "b R"]) -> Motion:
        """Motion of the frames for which both halves are there; the rest waits."""
        parts = [np.concatenate(pair) for pair in zip(self._waiting, (speech, rhythm), strict=True)]
        ready = min(map(len, parts))
        self._waiting = (parts[0][ready:], parts[1][ready:])
        return motion_of(self._avatar, np.concatenate([p[:ready] for p in parts], axis=1), self._fps)
