"""What a proof is: variants of a method, trained alike from one base, and what is told of the clips that they draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from heldout import Held, held_out
from jaxtyping import UInt8
from report import Table

from vivavoce.evaluation.reader import Reading
from vivavoce.evaluation.speech import mouth_correlation
from vivavoce.train.recipe import Recipe
from vivavoce.video.config import VideoConfig
from vivavoce.video.maker import Scene


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a proof is made from."""

    corpus: Path
    """Shards of synthetic people, some of them held out."""
    base: Path | None = None
    """The folder in which `recipes/miniatures.py` made them; None for the miniatures' bases of this program."""
    runs: Path = Path("build/proofs")
    """Where everything is kept on the way."""
    out: Path = Path("docs/proofs")
    """Where the table goes."""
    seeds: int = 2
    steps: int | None = None
    """Of training, over all stages; None for the proof's own number."""
    frames: int | None = None
    """Of a training example and of a drawn clip; None for the proof's own number."""
    rate: float = 1e-3
    """Learning rate of the first stage."""
    training_clips: int = 300
    """Those to train on, at most; they lie evenly among all."""
    spans: int = 2
    """Training examples of each."""
    clips: int = 24
    """Held-out clips to draw."""
    only: str | None = None
    """One variant alone; the table is then of what is there."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    title: str
    config: VideoConfig
    recipe: Recipe
    told: Mapping[str, VideoConfig] = field(default_factory=dict)
    """By stage: the config whose text its examples have, where not the one that they were encoded for."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """What `Sampling.of` is given beside the seed."""
    weights: str | None = None
    """The variant that was trained for it, where it is another one."""


@dataclass(frozen=True)
class Shown:
    """A held-out clip, drawn or true, and what is read from its frames."""

    held: Held
    other: Held
    """Another one, whose speech this one should not follow."""
    frames: UInt8[np.ndarray, "F H W 3"]
    reading: Reading

    def mouths(self) -> dict[str, float]:
        """How the mouth goes with the phones that are said, and, as a control, with those of the other clip."""
        fps, aperture = self.held.scene.fps, self.reading.aperture
        said = {"mouth": self.held.phones, "mouth_other": self.other.phones}
        return {name: known(mouth_correlation(aperture, p, fps).together) for name, p in said.items()}


def known(value: float) -> float:
    """0 for NaN: what is not seen to move, or not seen at all, goes with nothing."""
    return 0.0 if np.isnan(value) else value


@dataclass(frozen=True, kw_only=True)
class Proof(Table):
    """A table of variants that draw clips, each trained from one base."""

    frames: int
    examples: VideoConfig
    """The config that clips are encoded for."""
    variants: tuple[Variant, ...]
    measured: Callable[[Shown], Mapping[str, Any]]
    """Numbers by name, and lists that only the record keeps."""
    seen: Callable[[Scene], Scene] = lambda scene: scene
    """What of a scene the drawing is told."""
    held: Callable[[Path, VideoConfig, int, int], list[Held]] = lambda *given: held_out(
        *given[:2], frames=given[2], clips=given[3]
    )
    """The clips to draw: of a corpus, for a config, of so many frames, so many."""
