"""The rule-based half of the motion model: speech to head, brows, gaze, blinks, breath, shoulders, torso,
hands.

Synthetic speech comes with no labels for these, so nothing here is learned: each part is a stochastic process
with the statistics of published studies, driven by loudness, pitch, accents and pauses. docs/rhythm.md lists
them.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float32

from vivavoce.errors import InputError
from vivavoce.features.prosody import HOP, LOOK_AHEAD, ProsodyFrames, ProsodyStream
from vivavoce.splat.controls import RHYTHM
from vivavoce.splat.motion.beats import Brows, Hands, Shoulders
from vivavoce.splat.motion.blinks import Blinks
from vivavoce.splat.motion.breath import Breath
from vivavoce.splat.motion.cue import Cue, CueReader
from vivavoce.splat.motion.gaze import Gaze
from vivavoce.splat.motion.head import Head, Torso
from vivavoce.splat.motion.kinetics import STEP, SmoothNoise
from vivavoce.types import SPEECH_RATE

DELAY = 0.16
"""Seconds of speech beyond a frame's time that are needed to make the frame."""
_LEAD = DELAY - LOOK_AHEAD - STEP  # what prosody and the interpolation of frames leave of it
_SMILE = 0.07


class Body:
    """All rhythm channels, one step of the clock at a time."""

    def __init__(self, fps: float, seed: int, expressiveness: float) -> None:
        # One generator each: what one part draws does not change the others.
        streams = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(9))
        self._scale = expressiveness
        self._head, self._torso = Head(next(streams), expressiveness), Torso(next(streams), expressiveness)
        self._gaze, self._blinks = Gaze(next(streams), expressiveness), Blinks(next(streams), fps)
        self._brows, self._hands = Brows(next(streams), expressiveness), Hands(next(streams), expressiveness)
        self._shoulders, self._breath = Shoulders(next(streams), expressiveness), Breath(next(streams))
        self._smile = SmoothNoise(next(streams), 6.0, 1.5)

    def step(self, cue: Cue) -> tuple[float, ...]:
        """The channels in the order of RHYTHM."""
        head = self._head.step(cue)
        torso = self._torso.step(cue, head)
        gaze_x, gaze_y, shift = self._gaze.step(cue, head[0] + torso[0], head[1] + torso[1])
        breath = self._breath.step(cue)
        return (
            *map(math.radians, head),
            self._brows.step(cue),
            math.radians(gaze_x),
            math.radians(gaze_y),
            self._blinks.step(cue, shift),
            math.tanh(self._scale * _SMILE * (0.5 + self._smile.step())),
            breath,
            self._shoulders.step(cue, breath),
            *map(math.radians, torso),
            *self._hands.step(cue),
        )


class RhythmModel:
    """Turns blocks of speech into frames of the RHYTHM channels, of any length and in constant memory.

    Equal speech, seed, fps and expressiveness give equal motion, however the speech is cut into blocks.
    """

    def __init__(self, fps: float, seed: int = 0, expressiveness: float = 1.0) -> None:
        """`expressiveness` from 0 (blinks, breath, a trace of sway) over 1 (calm talk) to 2 (lively).

        Raises InputError for frame rates outside 1 .. 240, expressiveness outside 0 .. 2, and negative seeds.
        """
        if not 1 <= fps <= 240:
            raise InputError(f"Motion cannot be made at {fps:g} frames a second: choose from 1 to 240.")
        if not 0 <= expressiveness <= 2:
            raise InputError(f"Expressiveness {expressiveness:g} is out of range: choose from 0 to 2.")
        if seed < 0:
            raise InputError(f"The seed {seed} is negative: choose 0 or above.")
        self._fps = fps
        self._prosody = ProsodyStream()
        self._cues = CueReader(_LEAD)
        self._body = Body(fps, seed, expressiveness)
        self._samples = 0
        self._frames = 0
        self._time, self._row = -math.inf, np.zeros(len(RHYTHM))

    def push(self, samples: Float[np.ndarray, " n"]) -> Float32[np.ndarray, "T C"]:
        """The frames up to DELAY before the end of `samples` (mono, 16 kHz, finite)."""
        self._samples += len(samples)
        return self._advance(self._prosody.push(samples), None)

    def finish(self) -> Float32[np.ndarray, "T C"]:
        """The remaining frames, up to the one in which the speech ends."""
        total = math.ceil(self._samples * self._fps / SPEECH_RATE - 1e-6)
        silence = np.zeros(math.ceil(SPEECH_RATE * (DELAY + 1 / self._fps)) + HOP)
        return self._advance(self._prosody.push(silence), total)

    def _advance(self, frames: ProsodyFrames, total: int | None) -> Float32[np.ndarray, "T C"]:
        made = []
        for cue in self._cues.read(frames):
            before, earlier = self._row, self._time
            self._row, self._time = np.array(self._body.step(cue)), cue.time
            while (due := (self._frames + 0.5) / self._fps) <= self._time:
                if total is not None and self._frames >= total:
                    break
                share = (due - earlier) / STEP
                made.append(before + share * (self._row - before))
                self._frames += 1
        return np.array(made, np.float32).reshape(len(made), len(RHYTHM))


def rhythm(
    samples: Float[np.ndarray, " n"], fps: float, *, seed: int = 0, expressiveness: float = 1.0
) -> Float32[np.ndarray, "T C"]:
    """The rhythm channels of a whole recording at 16 kHz."""
    model = RhythmModel(fps, seed, expressiveness)
    return np.concatenate([model.push(samples), model.finish()])
