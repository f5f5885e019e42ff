"""What `vivavoce train` does: a recipe by name or file, what it would cost, and the run."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from vivavoce.config import TrainOptions
from vivavoce.errors import InputError
from vivavoce.train.estimate import CARDS, card_here, table
from vivavoce.train.gaussian import GAUSSIAN
from vivavoce.train.launch import Sources, config_of, launch
from vivavoce.train.machine import Machine
from vivavoce.train.recipe import Recipe, read_recipe
from vivavoce.train.recipes import RECIPES, TEXT_MINIATURE, VAE_MINIATURE, find_recipe

_SUFFIXES = (".yaml", ".yml")


def run(recipe: str, data: Path | None, out: Path, options: TrainOptions) -> list[Path]:
    """Train by a recipe in the folder `out`; the folders of its stages' results come back. Raises as `launch` does."""
    sources = Sources(data, options.base, options.weights, options.encoder, options.split)
    machine = machine_of(options)
    return launch(named(recipe), sources, out, machine=machine, accept=options.accept)


def told(recipe: str, options: TrainOptions) -> str:
    """Parameters trained and frozen, memory and time of each stage, on this card or on common ones."""
    chosen = named(recipe)
    if chosen.method in (VAE_MINIATURE.method, TEXT_MINIATURE.method, *GAUSSIAN):
        raise InputError(
            f"{chosen.method} takes minutes on any machine: there is nothing to estimate, run it."
        )
    here = card_here()
    return table(chosen, config_of(chosen.method), machine_of(options), [here] if here else CARDS)


def named(recipe: str) -> Recipe:
    """A recipe by its name, or out of a YAML file. Raises InputError where there is none."""
    if Path(recipe).suffix in _SUFFIXES:
        return read_recipe(Path(recipe), dict(RECIPES))
    return find_recipe(recipe)


def machine_of(options: TrainOptions) -> Machine:
    """How the user's machine trains. Raises InputError for what it cannot do."""
    if options.precision not in ("no", "bf16"):
        raise InputError(f"There is no precision {options.precision!r}: choose no (float32) or bf16.")
    names = ("micro", "precision", "sharded", "cpu", "workers", "save_every", "sample_every")
    return Machine(**{name: cast("object", getattr(options, name)) for name in names})  # pyright: ignore[reportArgumentType]
