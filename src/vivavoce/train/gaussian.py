"""Recipes of the Gaussian family, and what each of them is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from vivavoce.corpus.synth.motions import Motions
from vivavoce.errors import InputError
from vivavoce.splat.deformer.config import MINIATURE
from vivavoce.train.audiomotion import AUDIOMOTION_MINIATURE, audiomotion_task
from vivavoce.train.particles import ANGLES, ANGLES_MINIATURE, PARTICLES_MINIATURE, particle_task
from vivavoce.train.recipe import Recipe
from vivavoce.train.reconstruction import LHM_MINIATURE
from vivavoce.train.stage import Stage
from vivavoce.train.task import Task

GAUSSIAN: Mapping[str, Recipe] = {
    recipe.method: recipe
    for recipe in (LHM_MINIATURE, PARTICLES_MINIATURE, ANGLES_MINIATURE, AUDIOMOTION_MINIATURE)
}
_DEFORMERS = {PARTICLES_MINIATURE.method: MINIATURE, ANGLES_MINIATURE.method: ANGLES}


class SpokenMotion:
    """A model of motion on speech and motion of synthetic people: `build` and `data` for `train.trainer.train`."""

    def __init__(self, recipe: Recipe, data: Path | None, split: str) -> None:
        """`data` is a folder of `synthesise_motions`. Raises InputError where it is none."""
        if data is None:
            raise InputError(
                "No motion to train on is given: give a folder of `vivavoce corpus motions` with --data."
            )
        self._recipe, self._clips = recipe, Motions(data, split=split)

    def build(self, stage: Stage, device: torch.device) -> Task:
        """The task as training begins."""
        seed = self._recipe.seed
        if self._recipe.method == AUDIOMOTION_MINIATURE.method:
            return audiomotion_task(stage, self._clips, device=device, seed=seed)
        config = _DEFORMERS[self._recipe.method]
        return particle_task(stage, self._clips, device=device, config=config, seed=seed)

    def data(self, stage: Stage) -> Motions:
        """All clips, in every stage."""
        return self._clips
