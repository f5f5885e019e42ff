"""The recipes of the papers' methods by name, and the miniatures that are made from them.

Where a paper is silent, what was chosen is said beside it. None of them tells of warming up, of a schedule, of a moving
average, or how often a clip is trained as a later chunk of a long video.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vivavoce.errors import InputError
from vivavoce.train.gaussian import GAUSSIAN
from vivavoce.train.recipe import Recipe
from vivavoce.train.stage import Stage

PHYSAVATAR = Recipe(
    "physavatar",
    (
        Stage(
            name="lora",
            steps=20_000,
            batch=32,
            rate=2e-5,
            trains=("branches.*", "extras.*", "*lora_*"),
            lora=True,
            given={"before": 0.1, "between": 0.4},
            warmup=500,
            checkpointing=True,
        ),
    ),
)
"""Section 4.1: projectors, audio and planner attention and the state head in full, LoRA on the rest, AdamW 2e-5.

Chosen: a clip on each of the paper's 32 cards, 20 000 steps. Half the clips are given frames, most of them at both
ends, as every second chunk is (figure 3); the others for videos in one direction.
"""

ACTAVATAR = Recipe(
    "actavatar",
    (
        Stage(
            name="adapter",
            steps=20_000,
            batch=40,
            rate=5e-6,
            trains=("branches.audio.*",),
            without=("image", "phases"),
            checkpointing=True,
        ),
        Stage(
            name="actions",
            steps=14_000,
            batch=40,
            rate=5e-6,
            trains=("*",),
            given={"before": 0.3},
            checkpointing=True,
        ),
    ),
)
"""Section 3.4 and 4.1: the audio adapter alone on a frozen text-to-video base, then everything from image to video.

The base draws from text alone where the picture is left out. The clips of the first stage have brief captions, those of
the second plans with phases. Chosen: in the second, 30 % of the clips continue one before them.
"""

APOAVATAR = Recipe(
    "apoavatar",
    (
        Stage(
            name="branches",
            steps=20_000,
            batch=256,
            rate=1e-4,
            trains=("*",),
            given={"before": 0.3},
            warmup=1000,
            checkpointing=True,
        ),
        Stage(
            name="refocusing",
            steps=10_000,
            batch=256,
            rate=3e-5,
            trains=("*",),
            restores=("backbone.*",),
            given={"before": 0.3},
            warmup=500,
            checkpointing=True,
        ),
    ),
)
"""Section 4.1: all four branches at 1e-4, batch 256; then text and video branches as they were pretrained, audio and
pose kept, and all trained at 3e-5.

Chosen: 20 000 and 10 000 steps; 30 % of the clips continue one before them.
"""


def miniature(recipe: Recipe, *, steps: int, rate: float = 1e-3) -> Recipe:
    """The recipe for the miniature of its method: the same stages, `steps` each, batches of 4 that fit a processor.

    A moving average stands in for the many steps that it has not.
    """
    small: dict[str, Any] = {"batch": 4, "ema": 0.99, "checkpointing": False, "warmup": steps // 20}
    stages = tuple(
        replace(stage, steps=steps, rate=rate * stage.rate / recipe.stages[0].rate, **small)
        for stage in recipe.stages
    )
    return replace(recipe, method=f"{recipe.method}-miniature", stages=stages)


VAE_MINIATURE = Recipe(
    "vae-miniature",
    (
        Stage(
            name="pictures",
            steps=3000,
            batch=32,
            rate=4e-3,
            trains=("*",),
            frames=1,
            crop=48,
            spans=20,
            warmup=100,
            schedule="cosine",
            decay=0.0,
        ),
        Stage(
            name="video",
            steps=700,
            batch=2,
            rate=8e-4,
            trains=("*",),
            frames=33,
            crop=48,
            spans=3,
            warmup=50,
            schedule="cosine",
            decay=0.0,
        ),
    ),
)
"""The miniatures' autoencoder: single pictures first, as Wan's own was trained, then video.

It sees squares around what is looked at, which train mouths and hands at a quarter of the cost.
"""

TEXT_MINIATURE = Recipe(
    "text-miniature",
    (
        Stage(
            name="language",
            steps=1500,
            batch=32,
            rate=2e-3,
            trains=("*",),
            warmup=100,
            schedule="cosine",
        ),
    ),
)
"""The miniatures' text encoder, on captions of people that nobody has seen."""

WAN_MINIATURE = Recipe(
    "wan-miniature",
    (
        Stage(
            name="short",
            steps=2000,
            batch=8,
            rate=1.5e-3,
            trains=("backbone.*",),
            frames=33,
            spans=2,
            warmup=200,
            given={"before": 0.2},
            ema=0.998,
        ),
        Stage(
            name="long",
            steps=800,
            batch=4,
            rate=8e-4,
            trains=("backbone.*",),
            given={"before": 0.3},
            warmup=50,
            schedule="cosine",
            ema=0.998,
        ),
    ),
)
"""The miniatures' backbone: from text, or text and a picture, to video; short clips first."""

VACE_MINIATURE = Recipe(
    "vace-miniature",
    (
        Stage(
            name="branch",
            steps=500,
            batch=4,
            rate=1e-3,
            trains=("backbone.vace_*",),
            given={"before": 0.2, "between": 0.4},
            warmup=50,
            schedule="cosine",
            ema=0.998,
        ),
    ),
)
"""The branch that reads a reference picture and given frames, on the backbone as it is (VACE, section 3.3)."""

RECIPES: Mapping[str, Recipe] = {
    recipe.method: recipe
    for recipe in (
        VAE_MINIATURE,
        TEXT_MINIATURE,
        WAN_MINIATURE,
        VACE_MINIATURE,
        PHYSAVATAR,
        miniature(PHYSAVATAR, steps=450),
        ACTAVATAR,
        miniature(ACTAVATAR, steps=350),
        APOAVATAR,
        miniature(APOAVATAR, steps=300),
        *GAUSSIAN.values(),
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises InputError for another."""
    if name not in RECIPES:
        raise InputError(f"There is no recipe {name!r}: choose one of {', '.join(sorted(RECIPES))}.")
    return RECIPES[name]
