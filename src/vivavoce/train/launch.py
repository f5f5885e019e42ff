"""From a recipe and a folder of clips to a finished run: what each kind of model is trained on, and how it begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vivavoce.corpus.cache import CachedExamples
from vivavoce.corpus.captions import Captions
from vivavoce.corpus.clips import ClipSource
from vivavoce.corpus.metadata import MetadataClips
from vivavoce.corpus.shard_clips import Shards
from vivavoce.corpus.windows import Windows
from vivavoce.errors import InputError
from vivavoce.methods import find
from vivavoce.methods.base import BASES
from vivavoce.methods.load import load, untrained_vae
from vivavoce.methods.miniature import SMALL, SMALL_VAE, SMALL_WAN
from vivavoce.train.autoencoder import AutoencoderTask
from vivavoce.train.gaussian import GAUSSIAN, SpokenMotion
from vivavoce.train.inflation import inflate
from vivavoce.train.language import LanguageTask
from vivavoce.train.machine import Machine
from vivavoce.train.recipe import Recipe
from vivavoce.train.recipes import TEXT_MINIATURE, VAE_MINIATURE
from vivavoce.train.reconstruction import LHM_MINIATURE, Reconstruction, training_sittings
from vivavoce.train.stage import Stage
from vivavoce.train.task import Examples, Task
from vivavoce.train.trainer import train
from vivavoce.train.video_task import VideoTask
from vivavoce.video.config import VideoConfig
from vivavoce.video.text import miniature_text_encoder

TRAIN = "train"
"""The split of a synthetic corpus that is trained on; other sources have none."""
EXAMPLES = "examples"
"""The folder of a run that keeps encoded clips."""


@dataclass(frozen=True)
class Sources:
    """What a run stands on."""

    data: Path | None
    """A folder of shards, or a metadata.json of real clips in VideoX-Fun's form; None for what needs no clips."""
    base: str | Path | None = None
    """The pretrained base in place of the method's own."""
    weights: Path | None = None
    """The method's own parts to begin with."""
    encoder: str | Path | None = None
    """The speech encoder in place of the method's own."""
    split: str = TRAIN
    """Of shards."""


def launch(
    recipe: Recipe, sources: Sources, folder: Path, *, machine: Machine, accept: bool = False
) -> list[Path]:
    """Train by a recipe in `folder`, or go on there; the folders of the stages' results come back.

    Raises InputError for an unknown method and for data that cannot be used, WeightsError for a base that is missing or
    does not fit, and as `train` does.
    """
    kind = _kind(recipe, sources, folder, machine)
    return train(recipe, kind.build, data=kind.data, folder=folder, machine=machine, accept=accept)


def config_of(method: str) -> VideoConfig:
    """A method's config, or that of one of the miniatures' bases. Raises InputError for another name."""
    return BASES[method] if method in BASES else find(method)


def clips(sources: Sources, fps: float) -> ClipSource:
    """The clips that a run is told of, at a method's rate. Raises InputError where there are none."""
    if sources.data is None:
        raise InputError(
            "No clips to train on are given: give a folder of shards or a metadata.json with --data."
        )
    if sources.data.is_file():
        return MetadataClips(sources.data, fps=fps)
    return Shards(sources.data, split=sources.split, fps=fps)


def _kind(recipe: Recipe, sources: Sources, folder: Path, machine: Machine) -> Any:
    """What builds the task of a recipe and its data."""
    if recipe.method == LHM_MINIATURE.method:
        return Reconstruction(recipe, training_sittings())
    if recipe.method in GAUSSIAN:
        return SpokenMotion(recipe, sources.data, sources.split)
    kinds = {VAE_MINIATURE.method: _Autoencoder, TEXT_MINIATURE.method: _Language}
    return kinds.get(recipe.method, _Video)(recipe, sources, folder, machine)


class _Video:
    """A method of the video family, or its base."""

    def __init__(self, recipe: Recipe, sources: Sources, folder: Path, machine: Machine) -> None:
        self._config = config_of(recipe.method)
        self._sources, self._folder, self._seed = sources, folder, recipe.seed
        self._scenes = machine.sample_every is not None
        self._device = "cpu" if machine.cpu else "auto"

    def build(self, stage: Stage, device: torch.device) -> Task:
        method = self._method(device)
        scenes = []
        if self._scenes:
            clip = self._clips()[0]
            count = min(len(clip), self._config.chunk)
            scenes = [clip.scene(self._config, first=0, count=count)]
        method.network.requires_grad_(True)
        return VideoTask(method, stage, scenes=scenes, seed=self._seed)

    def data(self, stage: Stage) -> Examples:
        config = self._config.brief if "phases" in stage.without else self._config
        method = self._method(torch.device("cpu") if self._device == "cpu" else None, config)
        place = self._folder / EXAMPLES
        frames = stage.frames or self._config.chunk
        return CachedExamples(
            self._clips(),
            method.network,
            method.make,
            place,
            frames=frames,
            spans=stage.spans,
            seed=self._seed,
        )

    def _clips(self) -> ClipSource:
        return clips(self._sources, self._config.fps)

    def _method(self, device: torch.device | None, config: VideoConfig | None = None) -> Any:
        s = self._sources
        # Named even where it is the usual one, so that a method's own parts do not come with it.
        base = s.base or self._config.base
        return load(
            config or self._config, base=base, weights=s.weights, encoder=s.encoder, device=device or "auto"
        )


class _Autoencoder:
    """The miniatures' autoencoder."""

    def __init__(self, recipe: Recipe, sources: Sources, folder: Path, machine: Machine) -> None:
        self._sources, self._seed = sources, recipe.seed

    def build(self, stage: Stage, device: torch.device) -> Task:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self._seed)
            vae: Any = untrained_vae(SMALL_VAE)
        inflate(vae)
        return AutoencoderTask(vae.to(device), stage, self.data(stage))

    def data(self, stage: Stage) -> Examples:
        source = clips(self._sources, SMALL["fps"])
        size = (SMALL["width"], SMALL["height"])
        return Windows(source, frames=stage.frames or 1, spans=stage.spans, size=size, seed=self._seed)


class _Language:
    """The miniatures' text encoder, on captions that need no clips."""

    def __init__(self, recipe: Recipe, sources: Sources, folder: Path, machine: Machine) -> None:
        self._seed = recipe.seed

    def build(self, stage: Stage, device: torch.device) -> Task:
        encoder = miniature_text_encoder(SMALL_WAN["text_dim"], seed=self._seed, length=SMALL["text_length"])
        return LanguageTask(encoder.to(device))

    def data(self, stage: Stage) -> Examples:
        return Captions(stage.batch * stage.steps, seed=self._seed)
