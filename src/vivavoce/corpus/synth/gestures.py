"""From a script and a voice to motion: the turns of all joints of the arms, and additions to the controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from vivavoce.corpus.synth.actions import ACTIONS, LEFT, RIGHT, ScriptedAction
from vivavoce.corpus.synth.bodywork import additions
from vivavoce.corpus.synth.clearance import Body, body_of, push
from vivavoce.corpus.synth.coverbal import Habit, SpeechCues, beats, sampled
from vivavoce.corpus.synth.hands import finger_turns
from vivavoce.corpus.synth.poses import HAND, POLE, RESTS, SHAPE, WIDER, WRIST, poses_of, state
from vivavoce.corpus.synth.reach import (
    Arm,
    about,
    arm_of,
    arm_turns,
    bend,
    hand_points,
    mirrored,
    outwards,
    within_reach,
)
from vivavoce.splat.motion.kinetics import STEP, MinimumJerk
from vivavoce.splat.template.joints import Joints

_SIDES = {"left": LEFT, "right": RIGHT}
# Seconds to an action's height and back, shortest and longest; and shares of the action's time.
_STROKE, _RETRACTION = (0.36, 0.65), (0.42, 0.75)
_STROKE_SHARE, _RETRACTION_SHARE = 0.3, 0.34
_FASTEST = 1400.0  # mm a second on average; the wrist's peak is 1.875 times as fast
_SCATTER = 0.03  # arm lengths by which two performances of an action differ
_LIFE = 0.006  # arm lengths by which a still hand moves
_SLOW = 0.35  # seconds, standard deviation of the window that makes that motion slow
_SHAKE = np.array([0.03, 0.03, 0.02, *np.full(5, 0.03), 0.03, 0.02])  # the same of its angles and its shape
_STAY = 0.8  # share of a lean that resting hands do not follow
_QUIET = 0.12  # of its beats that an arm keeps while it acts
_BEAT_FLEXION = np.array([0.0, -0.35, 0.0])  # of the wrist's angles at a beat's extreme
_WAVE_RATE, _WAVE_WIDTH = (1.9, 2.5), (0.125, 0.16)  # Hz, arm lengths to either side
_WAVE_TILT = 0.32  # radians of the hand
_SHRUG = 0.32  # radians that the collars turn up by in a full shrug: the rig's own lift is that of speech


@dataclass(frozen=True)
class Performance:
    """T frames of motion that a body adds to what speech makes it do."""

    rotations: dict[str, Float64[np.ndarray, "T 3 3"]]
    """Turns of collars, shoulders, elbows, wrists and fingers from rest, as `skeleton.chain` takes them."""
    controls: dict[str, Float64[np.ndarray, " T"]]
    """What is added to control channels, by name (head_*, torso_*, shoulders)."""


def perform(
    joints: Joints,
    script: Sequence[ScriptedAction],
    *,
    cues: SpeechCues,
    habit: Habit,
    fps: float,
    frames: int,
    rng: np.random.Generator,
    girth: float = 1.0,
) -> Performance:
    """The motion of a person with these joints who follows a script while speaking.

    Frame k shows the time (k + 0.5) / fps. `girth` is the body's, as in `Build`. Equal arguments and state of `rng`
    give equal motion. Raises ValueError where two actions need one arm at once.
    """
    times = (np.arange(frames) + 0.5) / fps
    of_beats, of_body, of_places, *of_arms = rng.spawn(5)
    controls = additions(script, times, of_body)
    beating = beats(cues, fps, times, of_beats)
    offsets = [_scatter(action, of_places) for action in script]
    rotations: dict[str, np.ndarray] = {}
    for i, (side, stream) in enumerate(zip(_SIDES, of_arms, strict=True)):
        arm = arm_of(joints, side)
        motion = _ArmMotion(arm, habit, girth, times, stream)
        for action, offset in zip(script, offsets, strict=True):
            if _SIDES[side] in ACTIONS[action.name].parts:
                motion.act(action, offset)
        body = body_of(joints, girth, arm.length)
        lean = controls["torso_pitch"]
        rotations |= _posed(arm, motion.states(beating[:, i], lean, body.waist), body, lean, fps)
        rotations |= _shrugged(arm, rotations[f"{side}_shoulder"], _SHRUG * controls["shoulders"])
    return Performance(rotations, controls)


class _ArmMotion:
    """The states of one arm (T, 16, as in `poses.state`): rest, actions on top, beats and life."""

    def __init__(
        self, arm: Arm, habit: Habit, girth: float, times: np.ndarray, rng: np.random.Generator
    ) -> None:
        index = list(_SIDES).index(arm.side)
        self._arm, self._times = arm, times
        self._rng, self._still = rng.spawn(2)  # what an action draws does not change the life of the hand
        rest = habit.rests[index]
        self._rest = state(arm, RESTS[rest], habit.offset[index] + (girth - 1) * WIDER[rest])
        self._beat = habit.size[index] * arm.length * outwards(habit.direction)
        self._acting = np.zeros((len(times), 16))
        self._busy = np.zeros(len(times))

    def act(self, action: ScriptedAction, offset: Float[np.ndarray, " 3"]) -> None:
        """Stroke to the action's pose, `offset` arm lengths away, hold, and retraction."""
        pose = poses_of(action.name)[self._arm.side]
        length = action.end - action.start
        change = state(self._arm, pose, offset) - self._rest
        way = float(np.linalg.norm(change[WRIST]))
        out = max(float(np.clip(_STROKE_SHARE * length, *_STROKE)), way / _FASTEST)
        back = max(float(np.clip(_RETRACTION_SHARE * length, *_RETRACTION)), way / _FASTEST)
        weight = envelope(self._times, action.start, action.end, out=out, back=back)
        if (weight * self._busy).any():
            raise ValueError(f"{action.name} at {action.start:g} s needs an arm that is still busy")
        self._busy += weight
        self._acting += weight[:, None] * change
        swerve = self._arm.length * outwards(np.array(pose.swerve))
        self._acting[:, WRIST] += (4 * weight * (1 - weight))[:, None] * swerve
        if action.name.startswith("wave"):
            self._wave(action.start + 0.6 * out, action.end - 0.8 * back)

    def _wave(self, start: float, end: float) -> None:
        rate, width = float(self._rng.uniform(*_WAVE_RATE)), float(self._rng.uniform(*_WAVE_WIDTH))
        swing = np.sin(2 * np.pi * rate * (self._times - start)) * envelope(
            self._times, start, end, out=0.25, back=0.25
        )
        self._acting[:, WRIST.start] += width * self._arm.length * swing
        self._acting[:, HAND.start + 2] -= _WAVE_TILT * swing

    def states(
        self, beat: Float[np.ndarray, " T"], lean: Float[np.ndarray, " T"], waist: float
    ) -> Float64[np.ndarray, "T 16"]:
        """All together; `beat` as a column of `coverbal.beats`, `lean` the torso's pitch about `waist` (y)."""
        out = self._rest + self._acting
        free = 1 - np.minimum(self._busy, 1)
        # Hands at rest stay where they are while the chest leans over them.
        pivot = np.array([0.0, waist, 0.0])
        kept = pivot + about(np.array([1.0, 0.0, 0.0]), -_STAY * lean) @ (self._rest[WRIST] - pivot)
        out[:, WRIST] += free[:, None] * (kept - self._rest[WRIST])
        beat = beat * (_QUIET + (1 - _QUIET) * free)
        out[:, WRIST] += beat[:, None] * self._beat
        out[:, HAND] += beat[:, None] * _BEAT_FLEXION
        scale = np.concatenate([np.full(3, _LIFE * self._arm.length), _SHAKE])
        out[:, [*range(3), *range(6, 16)]] += scale * self._life(len(scale))
        return out

    def _life(self, count: int) -> Float64[np.ndarray, "T n"]:
        """Slow noise of unit variance."""
        from scipy.ndimage import gaussian_filter1d

        clock = np.arange(0, self._times[-1] + 2 * STEP, STEP)
        width = _SLOW / STEP
        white = self._still.standard_normal((len(clock), count))
        # The squares of a Gaussian window of unit sum add up to 1 / (2 sqrt(pi) width).
        slow = gaussian_filter1d(white, width, axis=0) * np.sqrt(2 * np.sqrt(np.pi) * width)
        return np.stack([np.interp(self._times, clock, column) for column in slow.T], axis=1)


def _scatter(action: ScriptedAction, rng: np.random.Generator) -> Float64[np.ndarray, " 3"]:
    """How far (out, up, forward) from its place an action's hands are this time, arm lengths."""
    offset = _SCATTER * np.clip(rng.standard_normal(3), -1.5, 1.5)
    if ACTIONS[action.name].parts >= {LEFT, RIGHT}:
        offset[0] = 0.0  # hands that meet keep their distance
    return offset


def _posed(
    arm: Arm, states: Float[np.ndarray, "T 16"], body: Body, lean: Float[np.ndarray, " T"], fps: float
) -> dict[str, Float64[np.ndarray, "T 3 3"]]:
    """The turns of one arm, its hand kept out of the body."""
    wrist, pole, hand = within_reach(arm, states[:, WRIST]), states[:, POLE], states[:, HAND]
    for _ in range(2):
        ahead = push(body, hand_points(arm, wrist, bend(arm, wrist, pole), hand), lean, fps)
        wrist = within_reach(arm, wrist - ahead[:, None] * [0.0, 0.0, 1.0])
    return arm_turns(arm, bend(arm, wrist, pole), hand) | finger_turns(arm, states[:, SHAPE])


def _shrugged(
    arm: Arm, shoulder: Float[np.ndarray, "T 3 3"], angle: Float[np.ndarray, " T"]
) -> dict[str, Float64[np.ndarray, "T 3 3"]]:
    """The collar turned up, and the shoulder turned back by as much, so that the arm only goes up with it."""
    collar = mirrored(arm, about(np.array([0.0, 0.0, 1.0]), -angle))
    return {
        f"{arm.side}_collar": collar,
        f"{arm.side}_shoulder": collar.swapaxes(1, 2) @ shoulder,
    }


def envelope(
    times: Float[np.ndarray, " T"], start: float, end: float, *, out: float, back: float
) -> Float64[np.ndarray, " T"]:
    """0 before `start`, 1 from start + out to end - back, 0 after `end`, by minimum-jerk strokes."""
    weight = MinimumJerk()
    weight.stroke(1.0, start, out)
    weight.stroke(-1.0, end - back, back)
    return sampled(weight, times)
