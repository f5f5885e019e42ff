"""Scripted motion of head, torso and shoulders, as additions to the control channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64

from vivavoce.corpus.synth.actions import ScriptedAction
from vivavoce.corpus.synth.coverbal import sampled
from vivavoce.splat.motion.kinetics import MinimumJerk

ADDED = ("head_yaw", "head_pitch", "head_roll", "torso_yaw", "torso_pitch", "torso_roll", "shoulders")

# The channels of actions that are held, and how far they go (radians; shoulders 0 .. 1).
_HELD = {
    "tilt_head_left": {"head_roll": 0.3},
    "tilt_head_right": {"head_roll": -0.3},
    "lean_forward": {"torso_pitch": 0.4, "head_pitch": -0.2},  # the eyes stay on the camera, mostly
    "lean_left": {"torso_roll": 0.2, "head_roll": -0.05},
    "lean_right": {"torso_roll": -0.2, "head_roll": 0.05},
    "shrug": {"shoulders": 1.0},
}
_NOD, _NOD_PERIOD = 0.37, 0.52  # radians down, seconds
_SHAKE, _SHAKE_PERIOD = 0.32, 0.62  # radians to either side, seconds
_SPREAD = 0.1  # of its size, by which an action differs from time to time
_OUT, _BACK = 0.32, 0.36  # shares of an action's time for the ways out and back
_SLOWEST = 0.7  # seconds


def additions(
    script: Sequence[ScriptedAction], times: Float[np.ndarray, " T"], rng: np.random.Generator
) -> dict[str, Float64[np.ndarray, " T"]]:
    """What the script adds to each of the ADDED channels at `times`."""
    movers = {name: MinimumJerk() for name in ADDED}
    for action in script:
        size = 1 + _SPREAD * float(np.clip(rng.standard_normal(), -1.5, 1.5))
        if action.name == "nod":
            _nod(movers["head_pitch"], action, _NOD * size)
        elif action.name == "shake_head":
            _shake(movers["head_yaw"], action, _SHAKE * size * float(rng.choice([-1.0, 1.0])))
        for name, height in _HELD.get(action.name, {}).items():
            length = action.end - action.start
            out, back = min(_OUT * length, _SLOWEST), min(_BACK * length, _SLOWEST)
            movers[name].stroke(height * size, action.start, out)
            movers[name].stroke(-height * size, action.end - back, back)
    return {name: sampled(mover, times) for name, mover in movers.items()}


def _nod(pitch: MinimumJerk, action: ScriptedAction, size: float) -> None:
    """Twice or more down and up, the later ones smaller."""
    count = max(2, round((action.end - action.start) / _NOD_PERIOD))
    period = (action.end - action.start) / count
    for k in range(count):
        height = size * (1 - 0.15 * k / (count - 1))
        pitch.pulse(height, action.start + k * period, 0.46 * period, 0.54 * period)


def _shake(yaw: MinimumJerk, action: ScriptedAction, size: float) -> None:
    """From side to side, twice or more, and back to the middle."""
    turns = 2 * max(2, round((action.end - action.start) / _SHAKE_PERIOD))
    # The first and the last turn go half the way, and take two thirds of the time.
    step = (action.end - action.start) / (turns - 1 + 4 / 3)
    yaw.stroke(size, action.start, 2 / 3 * step)
    for k in range(turns - 1):
        sign = -1 if k % 2 == 0 else 1
        yaw.stroke(2 * sign * size, action.start + (2 / 3 + k) * step, step)
    yaw.move_to(0.0, action.end - 2 / 3 * step, 2 / 3 * step)
