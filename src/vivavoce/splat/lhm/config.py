"""Sizes of the reconstruction network: LHM's three published ones, and a miniature that a CPU can train."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

HEAD_SHARE = 4
"""One point in four lies on the head."""


@dataclass(frozen=True)
class PyramidConfig:
    """DINOv2 with four registers, and the layers whose outputs are fused (LHM's head feature pyramid)."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    patch: int = 14
    trained: int = 518
    """Side of the pictures that the table of positions was made for, px."""
    side: int = 448
    """Of the square that a picture is fitted into, px."""
    taps: tuple[int, ...] = (4, 11, 17, 23)
    """Layers, counted from 0."""
    out: int = 1024
    """Width of the fused tokens."""


@dataclass(frozen=True)
class HandsConfig:
    """The ViT that sees a hand's crop; by default HaMeR's (Pavlakos et al. 2024), ViT-H/16."""

    width: int = 1280
    layers: int = 32
    heads: int = 16
    patch: int = 16
    crop: tuple[int, int] = (256, 192)
    """Height and width, px."""

    @property
    def tokens(self) -> int:
        """Of each hand."""
        return self.crop[0] // self.patch * (self.crop[1] // self.patch)


@dataclass(frozen=True)
class DecoderConfig:
    """From a point's features to its Gaussian; lengths in metres."""

    hidden: int = 512
    reach: float = 1.0
    """Width of the range of each coordinate's offset: it lies within half of it to either side."""
    largest: float = 0.05
    """Standard deviation that no Gaussian exceeds."""
    largest_above: float = 0.02
    """The same above the hips and below the neck, hands included."""
    initial_scale: float = -5.0
    """Natural logarithm of the standard deviation."""
    initial_opacity: float = 0.1


@dataclass(frozen=True)
class LhmConfig:
    """A reconstruction network."""

    layers: int
    points: int
    """That the template is sampled at, when nothing else is asked for."""
    width: int = 1024
    heads: int = 16
    condition: int = 1536
    """Width of image tokens before they are projected: that of the body's; the head's are padded to it."""
    frequencies: int = 8
    """Octaves of the sines that a point is embedded by."""
    head: PyramidConfig = field(default_factory=PyramidConfig)
    body: PyramidConfig | None = None
    """The encoder of the whole picture; None where Sapiens-1B does it, which comes as a program of its own."""
    hands: HandsConfig | None = None
    """Hand++ (paper 003, section 3.1); None for LHM as published."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)


LHM_MINI = LhmConfig(layers=2, points=20_000)
LHM_500M = replace(LHM_MINI, layers=5, points=40_000)
LHM_1B = replace(LHM_500M, layers=15)

_SMALL = PyramidConfig(width=96, layers=4, heads=4, patch=8, trained=96, side=96, taps=(0, 1, 2, 3), out=96)
MINIATURE = replace(
    LHM_MINI,
    layers=3,
    points=2048,
    width=128,
    heads=4,
    condition=96,
    head=_SMALL,
    body=_SMALL,
    hands=HandsConfig(width=96, layers=3, heads=4, patch=8, crop=(64, 48)),
    decoder=DecoderConfig(
        hidden=128, largest=0.08, largest_above=0.05, initial_scale=-4.0, initial_opacity=0.5
    ),
)
"""For pictures of 96 px: its Gaussians are larger, since they are fewer."""
