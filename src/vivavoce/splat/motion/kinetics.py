"""How bodies move: strokes, springs and smooth noise, one step of the clock at a time."""

from __future__ import annotations

import math

import numpy as np

STEP = 0.01
"""Seconds between two steps of the motion's clock: one hop of prosody."""


class MinimumJerk:
    """A position that moves by superposed minimum-jerk strokes, 0 at first.

    One stroke covers its distance as 10 s^3 - 15 s^4 + 6 s^5, s the share of its duration that has passed
    (Flash & Hogan, "The coordination of arm movements", J. Neurosci. 1985); a new one may start while another
    is under way, and they add up (Flash & Henis, "Arm trajectory modifications during reaching towards visual
    targets", J. Cogn. Neurosci. 1991). Velocity and acceleration are continuous.
    """

    def __init__(self) -> None:
        self.goal = 0.0
        """Where it will come to rest."""
        self._base = 0.0
        self._strokes: list[tuple[float, float, float]] = []

    def stroke(self, distance: float, start: float, duration: float) -> None:
        """Move by `distance` from `start` seconds on, which may not lie before the last call of `at`."""
        self.goal += distance
        self._strokes.append((distance, start, duration))

    def move_to(self, goal: float, start: float, duration: float) -> None:
        """Come to rest at `goal` once this and all earlier strokes are over."""
        self.stroke(goal - self.goal, start, duration)

    def pulse(self, height: float, start: float, rise: float, fall: float) -> None:
        """Rise by `height`, reached at start + rise, and fall back."""
        self.stroke(height, start, rise)
        self.stroke(-height, start + rise, fall)

    def at(self, time: float) -> float:
        """The position; `time` may not decrease, since strokes that are over are forgotten."""
        value = self._base
        over = False
        for distance, start, duration in self._strokes:
            s = (time - start) / duration
            if s >= 1:
                value += distance
                over = True
            elif s > 0:
                value += distance * s * s * s * (10 - 15 * s + 6 * s * s)
        if over:
            self._base += sum(d for d, start, duration in self._strokes if time - start >= duration)
            self._strokes = [stroke for stroke in self._strokes if time - stroke[1] < stroke[2]]
        return value


class CriticalSpring:
    """A critically damped spring that follows a goal: x'' = w^2 (goal - x) - 2 w x', solved exactly over each
    step.

    Its answer to a step has no overshoot and reaches 60 % after 2 / w seconds.
    """

    def __init__(self, frequency: float, position: float = 0.0) -> None:
        """`frequency` w in radians a second; at rest at `position`."""
        self._frequency = frequency
        self._decay = math.exp(-frequency * STEP)
        self._position = position
        self._velocity = 0.0

    def follow(self, goal: float) -> float:
        """The position one step later, `goal` being constant in between."""
        error = self._position - goal
        slope = self._velocity + self._frequency * error
        self._position = goal + (error + slope * STEP) * self._decay
        self._velocity = (self._velocity - self._frequency * slope * STEP) * self._decay
        return self._position


class SmoothNoise:
    """Noise of unit variance with a twice differentiable path: an Ornstein-Uhlenbeck process behind a
    critical spring.

    The process has correlation exp(-|t| / memory) (Uhlenbeck & Ornstein, "On the theory of the Brownian
    motion", Phys. Rev. 1930); a spring of frequency w leaves w (2 w + a) / (2 (w + a)^2) of its variance, a =
    1 / memory, which is divided out.
    """

    def __init__(self, rng: np.random.Generator, memory: float, frequency: float) -> None:
        """`memory` in seconds, `frequency` of the spring in radians a second."""
        self._rng = rng
        self._keep = math.exp(-STEP / memory)
        self._kick = math.sqrt(1 - self._keep**2)
        rate = 1 / memory
        left = frequency * (2 * frequency + rate) / (2 * (frequency + rate) ** 2)
        self._gain = 1 / math.sqrt(left)
        self._spring = CriticalSpring(frequency)
        self._state = 0.0

    def step(self) -> float:
        """The next value."""
        self._state = self._keep * self._state + self._kick * self._rng.standard_normal()
        return self._gain * self._spring.follow(self._state)
