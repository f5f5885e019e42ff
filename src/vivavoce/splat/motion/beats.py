"""What moves on accents beside the head: hands, brows and shoulders."""

from __future__ import annotations

import math

import numpy as np

from vivavoce.splat.motion.cue import BREAK, Cue
from vivavoce.splat.motion.kinetics import CriticalSpring, MinimumJerk, SmoothNoise

_STRONG = 0.5  # accents from here on may carry a beat of the hands
_READY = (0.25, 0.45)  # where hands wait between beats
_PREPARATION = (0.22, 0.3)  # seconds from rest to the top of a beat
_STROKE, _RECOIL = (0.12, 0.16), (0.2, 0.35)  # seconds from where hands wait to the top, and back
_PATIENCE = (1.0, 2.2)  # seconds after the last beat until the hands go down
_RETRACTION = (0.6, 1.0)
_DRIFT = 0.2  # of its height, by which a raised hand drifts


class Hands:
    """Beat gestures, 0 at rest .. 1 at the top, of one hand or both.

    Gesture phrases run through preparation, strokes, hold and retraction (Kendon, "Gesture: visible action as
    utterance", 2004; McNeill, "Hand and mind", 1992). The extreme of a beat lies close to the accent (Leonard
    & Cummins, "The temporal relation between beat gestures and speech", Lang. Cogn. Process. 2011), yet not
    every beat falls on a stressed syllable (McClave, "Gestural beats: the rhythm hypothesis", J.
    Psycholinguist. Res. 1994). A preparation takes longer than the sound is known ahead, so the first beat of
    a gesture tops 0.2 s after its accent; from then on the hands wait raised, and strike within 0.1 s of the
    following ones.
    """

    def __init__(self, rng: np.random.Generator, expressiveness: float) -> None:
        self._rng = rng
        self._scale = expressiveness
        self._hands = (MinimumJerk(), MinimumJerk())
        self._habit = 0 if rng.random() < 0.3 else 1  # seven in ten lead with the right
        self._active: tuple[int, ...] = ()
        self._drift = (SmoothNoise(rng, 1.0, 5.0), SmoothNoise(rng, 1.0, 5.0))
        self._busy = self._down = 0.0

    def step(self, cue: Cue) -> tuple[float, float]:
        """Left and right, 0 .. 1."""
        if self._active and (cue.time >= self._down or cue.pause > 2 * BREAK):
            self._retract(cue.time)
        strong = cue.accent >= _STRONG and cue.time >= self._busy
        if strong and self._rng.random() < 0.25 + 0.6 * cue.accent:
            self._beat(cue)
        left, right = (self._height(hand, cue.time) for hand in (0, 1))
        return left, right

    def _height(self, hand: int, time: float) -> float:
        """A raised hand is never quite still."""
        unsteady = 1 + _DRIFT * math.tanh(self._drift[hand].step())
        return max(0.0, math.tanh(self._scale * unsteady * self._hands[hand].at(time)))

    def _beat(self, cue: Cue) -> None:
        fresh = not self._active
        if fresh:
            self._active = self._choose()
        height = min(1.0, (0.35 + 0.5 * cue.accent) * float(np.exp(0.2 * self._rng.standard_normal())))
        wait = float(self._rng.uniform(*_READY)) * height
        rise = float(self._rng.uniform(*(_PREPARATION if fresh else _STROKE)))
        fall = float(self._rng.uniform(*_RECOIL))
        for order, hand in enumerate(self._active):
            share = 1.0 if order == 0 else 0.8
            top = max(share * height, self._hands[hand].goal + 0.1)
            self._hands[hand].move_to(top, cue.time, rise)
            self._hands[hand].move_to(share * wait, cue.time + rise, fall)
        self._busy = cue.time + rise + 0.6 * fall
        self._down = cue.time + rise + fall + float(self._rng.uniform(*_PATIENCE))

    def _choose(self) -> tuple[int, ...]:
        """The hand of habit, mostly; sometimes the other, or both."""
        draw = self._rng.random()
        if draw < 0.25:
            return (self._habit, 1 - self._habit)
        return (self._habit,) if draw < 0.75 else (1 - self._habit,)

    def _retract(self, time: float) -> None:
        duration = float(self._rng.uniform(*_RETRACTION))
        for hand in self._active:
            self._hands[hand].move_to(0.0, max(time, self._busy), duration)
        self._active = ()
        self._busy = max(time, self._busy) + 0.7 * duration


class Brows:
    """Raised at some accents and with the voice, -1 .. 1.

    71 % of the rapid raises of the brows go with a rise of F0, but far from every accent has one (Cavé et
    al., "About the relationship between eyebrow movements and F0 variations", ICSLP 1996); their height
    follows the voice's (Huron & Shanahan, "Eyebrow movements and vocal pitch height", JASA 2013). They peak
    on the accented word (Kim, Cvejic & Davis 2014).
    """

    def __init__(self, rng: np.random.Generator, expressiveness: float) -> None:
        self._rng = rng
        self._scale = expressiveness
        self._raise = MinimumJerk()
        self._pitch = CriticalSpring(9.0)
        self._frown = SmoothNoise(rng, 4.0, 2.5)
        self._free = 0.0

    def step(self, cue: Cue) -> float:
        """-1 lowered .. 1 raised."""
        likely = 0.08 + 0.32 * cue.accent + 0.1 * max(0.0, cue.pitch)
        if cue.accent and cue.time >= self._free and self._rng.random() < likely:
            rise, fall = float(self._rng.uniform(0.12, 0.18)), float(self._rng.uniform(0.3, 0.7))
            self._raise.pulse(0.25 + 0.5 * cue.accent, cue.time, rise, fall)
            self._free = cue.time + rise + fall
        value = self._raise.at(cue.time) + 0.07 * self._pitch.follow(cue.pitch) + 0.06 * self._frown.step()
        return math.tanh(self._scale * value)


class Shoulders:
    """Raised a little by each breath in and by some strong accents, 0 .. 1."""

    def __init__(self, rng: np.random.Generator, expressiveness: float) -> None:
        self._rng = rng
        self._scale = expressiveness
        self._shrug = MinimumJerk()
        self._free = 0.0

    def step(self, cue: Cue, breath: float) -> float:
        """0 rest .. 1 a full shrug; `breath` is that channel now."""
        if cue.accent > 0.55 and cue.time >= self._free and self._rng.random() < 0.3:
            self._shrug.pulse(0.2 * cue.accent, cue.time, 0.18, 0.6)
            self._free = cue.time + 1.0
        lift = 0.04 * (1 + breath) + self._scale * self._shrug.at(cue.time)
        return min(1.0, max(0.0, lift))
