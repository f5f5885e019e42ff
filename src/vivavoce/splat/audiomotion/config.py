"""What a motion model is, as data. Variants are made by `dataclasses.replace`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from vivavoce.features.encoders import LogMelEncoder
from vivavoce.splat.audiomotion.windows import Layout
from vivavoce.splat.skeleton import JOINTS

CHANNELS = 9
"""Of a particle: three of displacement, six of rotation."""


@dataclass(frozen=True, kw_only=True)
class PerceiverConfig:
    """An encoder of the shared embedding: a Perceiver and a perceptron of two layers (AudioAvatar, appendix B)."""

    patch: int = 25
    """Frames that one embedding stands for."""
    latents: int = 32
    width: int = 512
    layers: int = 6
    """Of self-attention, after the one of cross-attention."""
    heads: int = 8
    size: int = 256
    """Values of an embedding."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")


@dataclass(frozen=True, kw_only=True)
class MotionDiffusionConfig:
    """Everything about a motion model but its weights and the motion's statistics.

    Windows of 125 frames, 200 steps of noise and patches of 25 frames are the paper's. It does not tell the
    transformer's size: the defaults are those of a DiT-S (Peebles & Xie 2023), wider for 55 particles. Raises
    ValueError for sizes that do not fit together.
    """

    encoder: str
    """The speech encoder's `name` (`features.encoders`)."""
    audio: int
    """Values a frame of its features, A."""
    fps: float = 25.0
    particles: int = len(JOINTS)
    """M."""
    code: int = 0
    """Coefficients K of the residuals of single Gaussians; 0 where motion is the particles' alone."""
    identity: int = 0
    """Values S of a vector that tells people or styles apart; 0 for a model of one person."""
    width: int = 512
    layers: int = 12
    heads: int = 8
    perceiver: PerceiverConfig = field(default_factory=PerceiverConfig)
    layout: Layout = field(default_factory=Layout)
    noise_steps: int = 200
    dropout: float = 0.1
    """Probability, in training, that a clip's speech is replaced by the learned null."""
    given: float = 0.5
    """Probability, in training, that a clip's first `layout.held` frames are given, as the window before gives them."""
    steps: int = 10
    """Evaluations in which a window is drawn, unless others are asked for."""
    guidance: float = 1.5
    """Scale of the speech's guidance, unless another is asked for."""

    @property
    def channels(self) -> int:
        """Values D of a frame's motion."""
        return CHANNELS * self.particles + self.code

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width} into even parts")
        if self.layout.length % self.perceiver.patch or self.layout.hop % self.perceiver.patch:
            raise ValueError(
                f"windows of {self.layout.length} frames every {self.layout.hop} are no whole patches of "
                f"{self.perceiver.patch}"
            )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> MotionDiffusionConfig:
        """The config that `to_json` told. Raises KeyError, TypeError or ValueError for anything else."""
        nested = {
            "perceiver": PerceiverConfig(**fields["perceiver"]),
            "layout": Layout(**fields["layout"]),
        }
        return cls(**fields | nested)


AUDIOAVATAR = MotionDiffusionConfig(encoder="wav2vec2 768x12", audio=768)
"""Real size."""

MINIATURE = replace(
    AUDIOAVATAR,
    encoder=LogMelEncoder.name,
    audio=LogMelEncoder.width,
    width=160,
    layers=4,
    heads=4,
    perceiver=PerceiverConfig(latents=8, width=96, layers=1, heads=4, size=64),
)
"""The same, small, on features that need no weights."""
