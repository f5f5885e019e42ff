"""Recipes: those of the papers, their miniatures, and what a YAML file may change."""

from dataclasses import replace

import pytest
import torch
from toys import STAGE

from vivavoce.errors import InputError
from vivavoce.methods import METHODS
from vivavoce.methods.base import BASES
from vivavoce.methods.load import add_lora
from vivavoce.train.gaussian import GAUSSIAN
from vivavoce.train.launch import config_of
from vivavoce.train.recipe import Recipe, read_recipe
from vivavoce.train.recipes import RECIPES, find_recipe
from vivavoce.train.stage import matching


@pytest.fixture
def yaml(tmp_path):
    def read(text: str) -> Recipe:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return read_recipe(path, dict(RECIPES))

    return read


def trained(name: str, stage: int) -> set[str]:
    """Which parts of a method a stage of its recipe trains, by the first two words of their names."""
    with torch.device("meta"):
        network = config_of(name).build()
        if RECIPES[name].stages[stage].lora:
            add_lora(network)
    names = RECIPES[name].stages[stage].freeze(network)
    return {("lora" if "lora_" in key else ".".join(key.split(".")[:2])) for key in names}


def test_every_method_has_its_recipe_and_every_pattern_names_parameters():
    small = {"vae-miniature", "text-miniature", *GAUSSIAN}
    assert set(RECIPES) == {*METHODS, *BASES, *small}
    for name, recipe in RECIPES.items():
        assert recipe.method == name
        for i, stage in enumerate(recipe.stages if name not in small else ()):
            assert trained(name, i)
            with torch.device("meta"):
                names = dict(config_of(name).build().named_parameters())
            matching(names, stage.restores, name)


def test_the_recipes_are_those_of_the_papers():
    (lora,) = RECIPES["physavatar"].stages
    assert (lora.rate, lora.lora) == (2e-5, True)
    assert trained("physavatar", 0) == {"branches.audio", "branches.planner", "extras.state", "lora"}

    adapter, actions = RECIPES["actavatar"].stages
    assert [(s.steps, s.batch, s.rate) for s in (adapter, actions)] == [
        (20_000, 40, 5e-6),
        (14_000, 40, 5e-6),
    ]
    assert trained("actavatar", 0) == {"branches.audio"}
    assert "image" in adapter.without
    assert actions.without == ()
    assert {"branches.audio", "extras.phases", "backbone.blocks"} <= trained("actavatar", 1)

    first, second = RECIPES["apoavatar"].stages
    assert [(s.batch, s.rate) for s in (first, second)] == [(256, 1e-4), (256, 3e-5)]
    assert second.restores == ("backbone.*",)
    assert trained("apoavatar", 0) == trained("apoavatar", 1) >= {"branches.pose", "backbone.blocks"}


def test_a_miniature_is_its_recipe_but_for_numbers():
    for name in ("physavatar", "actavatar", "apoavatar"):
        full, small = RECIPES[name], RECIPES[f"{name}-miniature"]
        for one, other in zip(full.stages, small.stages, strict=True):
            for field in ("name", "trains", "restores", "without", "lora", "given", "losses"):
                assert getattr(one, field) == getattr(other, field)
            assert other.batch == 4
            assert other.steps < 1000
    rates = [stage.rate for stage in RECIPES["apoavatar-miniature"].stages]
    assert rates == pytest.approx([1e-3, 3e-4])


def test_a_file_changes_what_it_names_and_nothing_else(yaml):
    recipe = yaml(
        "extends: actavatar\nseed: 3\nstages:\n  adapter: {steps: 100, rate: 1e-4, betas: [0.8, 0.9]}\n"
    )
    before = RECIPES["actavatar"]
    changed = replace(before.stages[0], steps=100, rate=1e-4, betas=(0.8, 0.9))
    assert recipe == replace(before, seed=3, stages=(changed, before.stages[1]))
    assert yaml("extends: physavatar\nmethod: physavatar-miniature").method == "physavatar-miniature"
    given = yaml("extends: physavatar\nstages: {lora: {given: {before: 0.5}}}")
    assert given.stages[0].given == {"before": 0.5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("extends: dreamavatar", "extends 'dreamavatar', which is no recipe: choose one of actavatar, "),
        ("seed: 1", "`extends` is missing"),
        (
            "extends: actavatar\nspeed: 9",
            "`speed` is no field here: the fields are extends, method, seed, stages",
        ),
        ("extends: actavatar\nseed: -1", "`seed` is -1: input should be greater than or equal to 0"),
        ("extends: actavatar\nstages: {last: {steps: 1}}", "no stage 'last': it has adapter, actions"),
        (
            "extends: actavatar\nstages: {adapter: {lr: 1}}",
            "stage 'adapter': `lr` is no field here: the fields are name",
        ),
        (
            "extends: actavatar\nstages: {adapter: {steps: many}}",
            "stage 'adapter': `steps` is 'many': input should be",
        ),
        (
            "extends: actavatar\nstages: {adapter: {schedule: linear}}",
            "`schedule` is 'linear': input should be 'const",
        ),
        (
            "extends: actavatar\nstages: {adapter: {steps: -4}}",
            "Stage 'adapter' has steps -4: give a positive number",
        ),
        ("extends: [", "is no YAML"),
        ("hello", "input should be a valid dictionary"),
    ],
)
def test_what_a_file_cannot_say_is_told_in_a_sentence(yaml, text, told):
    with pytest.raises(InputError) as error:
        yaml(text)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_recipes_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="no recipe 'x': choose one of actavatar, "):
        find_recipe("x")
    with pytest.raises(InputError, match="stages all, all: give each its own name"):
        Recipe("toy", (STAGE, STAGE))
    with pytest.raises(InputError, match=r"\(none\)"):
        Recipe("toy", ())
    with pytest.raises(InputError, match="Some stages of toy have lora"):
        Recipe("toy", (STAGE, replace(STAGE, name="b", lora=True)))
    with pytest.raises(InputError, match="seed -1 is negative"):
        Recipe("toy", (STAGE,), seed=-1)
