"""Stages as data: what is frozen, what a learning rate is when, and what is refused."""

from dataclasses import replace

import pytest
import torch
from diffusers.optimization import get_scheduler
from toys import STAGE, Toy

from vivavoce.errors import InputError
from vivavoce.train.result import restored
from vivavoce.train.stage import matching


def test_only_what_a_pattern_names_is_trained_and_that_in_float32():
    toy = Toy().to(torch.bfloat16)
    trained = replace(STAGE, trains=("blocks.1.*", "head.bias")).freeze(toy)
    assert set(trained) == {"blocks.1.linear.weight", "blocks.1.linear.bias", "head.bias"}
    for name, parameter in toy.named_parameters():
        assert parameter.requires_grad == (name in trained)
        assert parameter.dtype == (torch.float32 if name in trained else torch.bfloat16)
    assert trained["head.bias"] is toy.head.bias


def test_a_pattern_that_matches_nothing_is_told_with_what_there_is():
    with pytest.raises(
        InputError, match=r"Stage 'all' trains 'blocks.7.\*', which is the name of no parameter"
    ):
        replace(STAGE, trains=("head.*", "blocks.7.*")).freeze(Toy())
    with (
        pytest.raises(
            InputError, match=r"Stage 'all' restores 'Head.*there are blocks.0.\*, blocks.1.\*, head"
        ),
        restored(Toy(), replace(STAGE, restores=("Head.*",))),
    ):
        pass
    assert matching(["b", "a", "ab"], ["a*"], "x") == ["a", "ab"]


def test_what_is_restored_is_bit_for_bit_what_it_was():
    toy = Toy()
    before = {name: value.detach().clone() for name, value in toy.named_parameters()}
    with restored(toy, replace(STAGE, restores=("blocks.*",))), torch.no_grad():
        for value in toy.parameters():
            value.mul_(1.37)
    for name, value in toy.named_parameters():
        assert torch.equal(value, before[name]) == name.startswith("blocks.")


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_learning_rate_is_that_of_diffusers_schedulers(schedule):
    stage = replace(STAGE, steps=50, warmup=8, schedule=schedule, rate=0.3)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.3)
    name = {"constant": "constant_with_warmup", "cosine": "cosine"}[schedule]
    theirs = get_scheduler(name, optimizer, num_warmup_steps=8, num_training_steps=50)
    rates = []
    for _ in range(51):
        rates.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    ours = [stage.rate_at(step) for step in range(50)]
    assert ours[:8] == pytest.approx(rates[1:9])  # theirs wastes a step on a rate of 0
    assert ours[8:] == pytest.approx(rates[8:50])
    assert replace(stage, warmup=0).rate_at(0) == 0.3


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("steps", 0, "steps 0: give a positive number"),
        ("rate", float("inf"), "rate inf"),
        ("dropout", 1.5, "dropout 1.5: give a number from 0 to 1"),
        ("given", {"before": 0.7, "between": 0.7}, "given 1.4"),
        ("given", {"before": -0.2, "between": 0.7}, "given before -0.2"),
        ("given", {"after": 0.2}, "given after: give shares of before and between"),
        ("betas", (0.9, 1.0), "betas"),
        ("warmup", 12, "warmup 12: give fewer steps than the stage has"),
        ("trains", (), "at least one pattern"),
        ("name", "a/b", "letters, digits and hyphens"),
        ("clip", 0.0, "clip 0.0"),
    ],
)
def test_numbers_that_make_no_training_are_refused(field, value, told):
    with pytest.raises(InputError, match=told.replace("(", r"\(")):
        replace(STAGE, **{field: value})
