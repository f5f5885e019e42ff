"""How large a deformer is, at the size of the paper and in miniature."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from vivavoce.splat.skeleton import JOINTS

LEAST_LEAK = 0.05
"""A frame; at 25 frames a second a pose is forgotten with a time constant of at most 0.8 s."""


@dataclass(frozen=True, kw_only=True)
class DeformerConfig:
    """Widths, reaches and limits of a `ParticleDeformer`; the defaults are paper 003's where it gives them.

    Raises ValueError for numbers that do not fit each other.
    """

    motion: Literal["particles", "joint angles"] = "particles"
    """What speech moves: free particles (the paper), or the angles of a kinematic chain alone (its baseline)."""
    audio_width: int = 768
    """A, of the speech features at video rate: wav2vec 2.0."""
    transcript_width: int = 768
    """Of the transcript's tokens."""
    width: int = 1024
    """d, of the driving tokens and of the avatar's and the template's query tokens: LHM's."""
    hidden: int = 512
    """d_h, of motion and Gaussian features."""
    heads: int = 8
    particles: int = len(JOINTS)
    fps: float = 25.0
    past: int = 8
    """Frames of speech before its own that a driving token hears."""
    ahead: int = 4
    """Frames of speech after its own that it hears: the look-ahead of a stream."""
    period: int = 125
    """Frames after which the positional encoding comes round: the length of a training clip."""
    harmonics: int = 16
    """Sines and cosines of the positional encoding, from one turn a period upwards."""
    history: int = 8
    """Driving tokens, its own frame's the last, that a frame's Gaussian residuals are read from."""
    turn: float = 2.5
    """Radians; no particle ever turns further from rest."""
    shift: float = 1.0
    """Metres; no particle ever moves further from rest."""
    leak: float = 0.3
    """Share of its pose that a particle forgets in a frame, before training; then it learns its own."""

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.hidden}")
        if 2 * self.harmonics >= self.period:
            raise ValueError(f"{self.harmonics} harmonics cannot be told apart in {self.period} frames")
        if not 0 < self.turn < 3.14:
            raise ValueError(f"a particle may turn by less than pi, not by {self.turn:g} rad")
        if not LEAST_LEAK < self.leak < 1:
            raise ValueError(f"a leak lies between {LEAST_LEAK:g} and 1, not at {self.leak:g}")
        if min(self.past, self.ahead, self.history - 1) < 0:
            raise ValueError("past and ahead are at least 0, history at least 1")
        if self.motion == "joint angles" and self.particles != len(JOINTS):
            raise ValueError(f"the kinematic chain has {len(JOINTS)} joints, not {self.particles} particles")

    @property
    def look_ahead(self) -> float:
        """Seconds of features after a frame that must be there before it comes out of a stream."""
        return self.ahead / self.fps


PAPER = DeformerConfig()
"""Paper 003: wav2vec 2.0 base, the tokens of LHM, one particle a joint of SMPL-X; 160 ms of look-ahead."""

MINIATURE = replace(
    PAPER, audio_width=320, transcript_width=64, width=64, hidden=64, heads=4, harmonics=4, history=4
)
"""The same on log-mel features (features/encoders.py), for a CPU."""
