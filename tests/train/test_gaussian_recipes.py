"""Recipes of the Gaussian family by name: what they ask for."""

import pytest

from vivavoce.config import TrainOptions
from vivavoce.errors import InputError
from vivavoce.train.command import told
from vivavoce.train.gaussian import GAUSSIAN
from vivavoce.train.launch import Sources, launch
from vivavoce.train.machine import Machine
from vivavoce.train.recipes import find_recipe


@pytest.mark.parametrize("name", sorted(set(GAUSSIAN) - {"lhm-miniature"}))
def test_a_model_of_motion_asks_for_motion(name, tmp_path):
    with pytest.raises(InputError, match="vivavoce corpus motions"):
        launch(find_recipe(name), Sources(None), tmp_path / "run", machine=Machine(cpu=True))
    with pytest.raises(InputError, match=str(tmp_path)):
        launch(find_recipe(name), Sources(tmp_path), tmp_path / "run", machine=Machine(cpu=True))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", sorted(GAUSSIAN))
def test_nothing_is_estimated_of_what_takes_minutes(name):
    with pytest.raises(InputError, match="nothing to estimate"):
        told(name, TrainOptions())
