"""The trainer against a loop written anew, its stages, and what it leaves of them."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from toys import RECIPE, STAGE, Items, ToyTask, lines, run, weights

from vivavoce.errors import InputError
from vivavoce.train.randomness import generator, indices
from vivavoce.train.recipe import Recipe
from vivavoce.train.trainer import train


def by_hand(steps: int, *, items: Items) -> tuple[dict, dict, list[float]]:
    """What the recipe does, in float64 and without the trainer: weights, their average and losses."""
    task = ToyTask()
    module, count = task.module.double(), len(items)
    parameters = dict(module.named_parameters())
    moments = {name: [torch.zeros_like(p), torch.zeros_like(p)] for name, p in parameters.items()}
    average, losses = {name: p.detach().clone() for name, p in parameters.items()}, []
    for step in range(steps):
        total = torch.zeros((), dtype=torch.float64)
        for place, index in enumerate(indices(7, 0, step, batch=4, count=count)):
            item = items[index]
            noise = 0.3 * torch.randn(6, generator=generator(7, 0, step, place))
            drawn = module((item.x + noise).double()[None], rare=item.rare)[0]
            total = total + (drawn - item.x[:3].double()).square().mean() + 0.1 * drawn.square().sum()
        (total / 4).backward()
        losses.append(total.item() / 4)
        gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in parameters.items()}
        norm = math.sqrt(sum(g.square().sum().item() for g in gradients.values()))
        rate = 1e-2 * ((step + 1) / 3 if step < 3 else 0.5 * (1 + math.cos(math.pi * (step - 3) / 9)))
        decay = min(0.9, (1 + step) / (10 + step)) if step else 0.0  # diffusers' average warms up
        with torch.no_grad():
            for name, p in parameters.items():
                g = gradients[name] * min(1.0, 1 / (norm + 1e-6))
                m, v = moments[name]
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.999).add_(0.001 * g**2)
                p.mul_(1 - rate * 0.01)
                p.sub_(rate * (m / (1 - 0.9 ** (step + 1))) / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8))
                average[name].mul_(decay).add_((1 - decay) * p)
                p.grad = None
    return {n: p.detach() for n, p in parameters.items()}, average, losses


@pytest.mark.parametrize("micro", [4, 3, 1])
def test_a_run_is_adamw_with_clipping_warmup_cosine_and_average_by_the_formulas(tmp_path, micro):
    (folder,) = run(tmp_path, micro=micro)
    _, average, losses = by_hand(12, items=Items())
    assert [line["loss"] for line in lines(tmp_path)] == pytest.approx(losses, rel=1e-4)
    for name, value in weights(folder).items():
        np.testing.assert_allclose(value, average[name], rtol=2e-3, atol=1e-5, err_msg=name)


def test_without_an_average_the_result_is_the_weights_themselves(tmp_path):
    (folder,) = run(tmp_path, recipe=replace(RECIPE, stages=(replace(STAGE, ema=None),)))
    plain, average, _ = by_hand(12, items=Items())
    for name, value in weights(folder).items():
        np.testing.assert_allclose(value, plain[name], rtol=2e-3, atol=1e-5, err_msg=name)
    assert not np.allclose(plain["head.weight"], average["head.weight"], rtol=2e-3)


def test_frozen_parameters_are_bit_identical_and_restored_ones_the_pretrained(tmp_path):
    """Stage 1 trains one block, stage 2 all but the head; what stage 2 restores it must not find as stage 1 left it."""
    first = replace(STAGE, name="first", steps=3, warmup=0, trains=("blocks.0.*", "head.*"), ema=None)
    second = replace(first, name="second", trains=("blocks.1.*",), restores=("head.*",))
    folders = run(tmp_path, recipe=Recipe("toy", (first, second), seed=7))
    pretrained = ToyTask().module.state_dict()
    one, two = (weights(folder) for folder in folders)
    for name, value in pretrained.items():
        assert torch.equal(one[name], value) != name.startswith(("blocks.0.", "head.")), name
        assert torch.equal(two[name], one[name]) != name.startswith(("blocks.1.", "head.")), name
        if name.startswith("head."):
            assert torch.equal(two[name], value), name


def test_terms_are_weighed_by_the_stage_and_else_by_the_task(tmp_path):
    run(tmp_path / "a")
    for line in lines(tmp_path / "a"):
        assert line["loss"] == pytest.approx(line["square"] + 0.1 * line["size"], rel=1e-5)
    run(tmp_path / "b", recipe=replace(RECIPE, stages=(replace(STAGE, losses={"size": 0.0, "square": 2.0}),)))
    for line in lines(tmp_path / "b"):
        assert line["loss"] == pytest.approx(2 * line["square"], rel=1e-5)
    with pytest.raises(InputError, match="Stage 'all' weighs state, but its losses are square, size"):
        run(tmp_path / "c", recipe=replace(RECIPE, stages=(replace(STAGE, losses={"state": 1.0}),)))


def test_a_finished_run_is_not_run_again_and_a_changed_one_is_refused(tmp_path):
    items = Items()
    (folder,) = run(tmp_path, items=items)
    count, before = len(items.read), weights(folder)
    assert count == 12 * 4
    run(tmp_path, items=items)
    assert len(items.read) == count
    longer = replace(RECIPE, stages=(replace(STAGE, steps=13),))
    with pytest.raises(InputError, match=r"other settings: steps \(12, now 13\)"):
        run(tmp_path, recipe=longer)
    run(tmp_path, recipe=longer, accept=True)
    assert all(torch.equal(value, before[name]) for name, value in weights(folder).items())
    assert json.loads((folder / "stage.json").read_text())["steps"] == 12
    assert not list(tmp_path.rglob("*.pt"))


def test_losses_go_to_a_file_and_to_tensorboard(tmp_path):
    run(tmp_path)
    found = lines(tmp_path)
    assert [line["step"] for line in found] == list(range(1, 13))
    assert {line["stage"] for line in found} == {"all"}
    board = EventAccumulator(str(tmp_path / "tensorboard" / "all")).Reload()
    for name in ("loss", "square", "size", "rate", "norm"):
        values = [(event.step, event.value) for event in board.Scalars(name)]
        assert values == [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in found]


def test_samples_are_made_with_the_average_and_leave_no_trace_in_the_weights(tmp_path):
    run(tmp_path / "a")
    (folder,) = run(tmp_path / "b", sample_every=4)
    assert (tmp_path / "a/losses.jsonl").read_bytes() == (tmp_path / "b/losses.jsonl").read_bytes()
    made = sorted(path.parent.name for path in (tmp_path / "b" / "samples").rglob("drawn.txt"))
    assert made == ["all-000004", "all-000008", "all-000012"]
    last = weights(folder)  # the result is the average as well
    module = ToyTask().module
    module.load_state_dict(last)
    shown = float((tmp_path / "b/samples/all-000012/drawn.txt").read_text())
    assert shown == module(torch.ones(1, 6), rare=False)[0, 0].item()


def test_a_long_batch_reads_examples_ahead_in_other_processes(tmp_path):
    run(tmp_path / "a")
    run(tmp_path / "b", workers=2, micro=2)
    a, b = ([line["loss"] for line in lines(tmp_path / name)] for name in "ab")
    assert b == pytest.approx(a, rel=1e-5)


def test_bfloat16_is_near_float32_and_keeps_its_weights_in_float32(tmp_path):
    run(tmp_path / "a")
    (folder,) = run(tmp_path / "b", precision="bf16")
    a, b = ([line["loss"] for line in lines(tmp_path / name)] for name in "ab")
    assert b == pytest.approx(a, rel=0.03)
    assert b != pytest.approx(a, rel=1e-5)
    assert all(value.dtype == torch.float32 for value in weights(folder).values())


def test_what_cannot_be_trained_is_told(tmp_path):
    with pytest.raises(InputError, match="Stage 'all' has no examples"):
        run(tmp_path, items=Items(0))
    with pytest.raises(InputError, match="micro is 0: give a whole number from 1 up"):
        run(tmp_path, micro=0)


def test_anything_is_a_task(tmp_path):
    """A bare layer, which knows nothing of videos."""

    class Fit:
        def __init__(self):
            self.module, self.weights, self.kept = nn.Linear(6, 6), {}, None

        def batch(self, examples, generators):
            return torch.stack([example.x for example in examples])

        def losses(self, batch):
            return {"square": (self.module(batch) - batch).square().mean(dim=1)}

        def save(self, folder):
            torch.save(self.module.state_dict(), folder / "fit.pt")

        def load(self, folder):
            raise AssertionError("there is one stage")

        def sample(self, folder):
            raise AssertionError("nobody asked for samples")

    from toys import MACHINE

    stage = replace(STAGE, steps=200, schedule="constant", ema=None)
    data = Items(40)
    train(
        Recipe("fit", (stage,)),
        lambda stage, device: Fit(),
        data=lambda stage: data,
        folder=tmp_path,
        machine=replace(MACHINE, precision="no"),
    )
    losses = [line["loss"] for line in lines(tmp_path)]
    assert np.mean(losses[-10:]) < 0.05 * np.mean(losses[:5])
