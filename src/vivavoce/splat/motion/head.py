"""How the head and the torso move with speech: posture, sway, the melody's pull, and nods."""

from __future__ import annotations

import math

import numpy as np

from vivavoce.splat.motion.cue import Cue
from vivavoce.splat.motion.kinetics import CriticalSpring, MinimumJerk, SmoothNoise

LIMIT = 9.5
"""Degrees on each axis of the head against the torso, approached softly; the torso adds TORSO_LIMIT."""
TORSO_LIMIT = 2.5

_POSTURE = (3.0, 1.5, 1.4)  # standard deviations of the postures a speaker takes, degrees of yaw, pitch, roll
_SWAY = (1.0, 0.7, 0.6)  # of the noise on top
_IDLE = 0.4  # share of posture and sway that stays in silence
_PULL = 0.8  # degrees per standard deviation of pitch and loudness
_POSTURE_TIME = (3.0, 7.0)  # seconds between shifts of posture without a phrase boundary
_NODS = {  # chance, and degrees of yaw, pitch and roll per degree of size; yaw and roll to either side
    "down": (0.74, (0.15, 1.0, 0.15)),
    "up": (0.14, (0.15, -0.6, 0.1)),
    "turn": (0.12, (0.7, 0.3, -0.4)),
}
_RISE, _RISE_PER_DEGREE = (0.085, 0.105), 0.011  # seconds of the way out: larger nods take longer
_FALL = (2.2, 3.0)  # of the way back, in those of the way out
_STAY = 0.25  # spread of the share of a nod that the head does not come back, or comes back too far


class Head:
    """Yaw, pitch and roll of the head against the torso.

    The sum of four motions:
    - nods at accents: rapid movements of the head mark stress (Hadar et al., "Head movement correlates of
      juncture and stress at sentence level", Lang. Speech 1983), most of them in pitch, reaching their
      extreme shortly after the accent (Kim, Cvejic & Davis, "Tracking eyebrows and head gestures associated
      with spoken prosody", Speech Commun. 2014);
    - the pull of loudness and F0, with which the head's rotation correlates strongly (Yehia, Kuratate &
      Vatikiotis-Bateson, "Linking facial animation, head motion and speech acoustics", J. Phonetics 2002;
      Munhall et al., "Visual prosody and speech intelligibility", Psychol. Sci. 2004). Signs differ between
      people and are drawn again for every phrase;
    - shifts of posture at the boundaries of phrases (Hadar et al. 1983, 1984);
    - sway, an Ornstein-Uhlenbeck process.
    """

    def __init__(self, rng: np.random.Generator, expressiveness: float) -> None:
        self._rng = rng
        self._scale = expressiveness
        self._sway = [SmoothNoise(rng, 1.6, 5.0) for _ in range(3)]
        self._posture = [MinimumJerk() for _ in range(3)]
        self._nod = [MinimumJerk() for _ in range(3)]
        self._gain = [MinimumJerk() for _ in range(3)]
        self._loudness, self._pitch = CriticalSpring(14.0), CriticalSpring(14.0)
        self._talking = CriticalSpring(2.5)
        self._next_posture = 0.0
        self._nod_free = 0.0

    def step(self, cue: Cue) -> tuple[float, float, float]:
        """Degrees of yaw, pitch and roll."""
        talking = self._talking.follow(float(cue.speech))
        if cue.onset or cue.time >= self._next_posture:
            self._shift(cue)
        if cue.accent and cue.time >= self._nod_free and self._rng.random() < 0.3 + 0.6 * cue.accent:
            self._strike(cue)
        loudness, pitch = self._loudness.follow(cue.loudness), self._pitch.follow(cue.pitch)
        pulls = (loudness, pitch, pitch)
        idle = 0.3 + 0.7 * self._scale
        angles = []
        for axis in range(3):
            sway = _SWAY[axis] * (_IDLE + (1 - _IDLE) * talking) * idle * self._sway[axis].step()
            pull = self._gain[axis].at(cue.time) * talking * pulls[axis]
            angle = sway + pull + self._posture[axis].at(cue.time) + self._nod[axis].at(cue.time)
            angles.append(LIMIT * math.tanh(angle / LIMIT))
        return angles[0], angles[1], angles[2]

    def _shift(self, cue: Cue) -> None:
        """Take a new posture, and another way of following the voice."""
        share = 1.0 if cue.speech else _IDLE
        duration = float(self._rng.uniform(0.6, 1.2))
        for axis in range(3):
            goal = self._scale * share * _POSTURE[axis] * float(np.clip(self._rng.standard_normal(), -2, 2))
            self._posture[axis].move_to(goal, cue.time, duration)
            gain = float(np.clip(self._rng.standard_normal(), -2, 2))
            if axis == 1:
                gain = -abs(gain)  # the chin goes up with the voice
            self._gain[axis].move_to(self._scale * _PULL * gain, cue.time, duration)
        self._next_posture = cue.time + float(self._rng.uniform(*_POSTURE_TIME))

    def _strike(self, cue: Cue) -> None:
        """One nod, up-nod or turn, from now on, with traces of the other axes."""
        size = self._scale * (1.2 + 3.6 * cue.accent) * float(np.exp(0.25 * self._rng.standard_normal()))
        odds, shares = zip(*_NODS.values(), strict=True)
        yaw, pitch, roll = shares[int(self._rng.choice(len(odds), p=np.array(odds)))]
        side = 1.0 if self._rng.random() < 0.5 else -1.0
        rise = float(self._rng.uniform(*_RISE)) + _RISE_PER_DEGREE * size
        fall = rise * float(self._rng.uniform(*_FALL))
        stay = _STAY * float(np.clip(self._rng.standard_normal(), -2, 2))
        for axis, share in enumerate((side * yaw, pitch, side * roll)):
            self._nod[axis].pulse(size * share, cue.time, rise, fall)
            self._posture[axis].stroke(stay * size * share, cue.time + rise, fall)
        self._nod_free = cue.time + rise + 0.5 * fall


class Torso:
    """Yaw, pitch and roll of the torso, which follows the head in part, sways, and leans in at accents."""

    def __init__(self, rng: np.random.Generator, expressiveness: float) -> None:
        self._rng = rng
        self._scale = expressiveness
        self._sway = [SmoothNoise(rng, 3.0, 3.0) for _ in range(3)]
        self._follow = [CriticalSpring(4.0) for _ in range(3)]
        self._lean = MinimumJerk()
        self._talking = CriticalSpring(2.5)

    def step(self, cue: Cue, head: tuple[float, float, float]) -> tuple[float, float, float]:
        """Degrees; `head` is the head's angles now."""
        talking = self._talking.follow(float(cue.speech))
        if cue.accent > 0.4 and self._rng.random() < cue.accent:
            self._lean.pulse(0.9 * cue.accent, cue.time, 0.16, 0.5)
        sway = 0.3 * (_IDLE + (1 - _IDLE) * talking) * (0.4 + 0.6 * self._scale)
        angles = []
        for axis, share in enumerate((0.22, 0.12, 0.3)):
            angle = share * self._follow[axis].follow(head[axis]) + sway * self._sway[axis].step()
            if axis == 1:
                angle += self._scale * self._lean.at(cue.time)
            angles.append(TORSO_LIMIT * math.tanh(angle / TORSO_LIMIT))
        return angles[0], angles[1], angles[2]
