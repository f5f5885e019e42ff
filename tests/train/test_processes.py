"""Two processes that train together, by copies (DDP) and by shares (FSDP2), against one."""

from dataclasses import replace

import pytest
import torch
import toys
from toys import (
    RECIPE,
    STAGE,
    Items,
    ToyTask,
    broken_off,
    failing,
    in_processes,
    lines,
    run,
    run_with,
    weights,
)

from vivavoce.train.machine import Called


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    run(folder)
    return folder


@pytest.mark.parametrize(
    "machine", [{}, {"sharded": True}, {"micro": 1}, {"sharded": True, "micro": 1}], ids=str
)
def test_two_processes_with_half_the_batch_each_are_one(tmp_path, alone, machine):
    in_processes(2, tmp_path, run_with, tmp_path, {"sample_every": 5, **machine})
    one, two = weights(alone / "1-all"), weights(tmp_path / "1-all")
    assert set(one) == set(two)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=name)
    for before, after in zip(lines(alone), lines(tmp_path), strict=True):
        assert before.pop("stage") == after.pop("stage")
        assert after == pytest.approx(before, rel=1e-5)
    assert len(list((tmp_path / "samples").iterdir())) == 2


def test_a_process_that_comes_late_to_a_checkpoint_waits_as_well(tmp_path):
    in_processes(2, tmp_path, toys.late, tmp_path)
    assert len(lines(tmp_path)) == 12


@pytest.mark.parametrize("sharded", [False, True])
def test_what_two_processes_began_another_number_may_end(tmp_path, alone, sharded):
    """Their checkpoints are whole, whoever wrote them: two begin, one goes on, two end."""

    in_processes(2, tmp_path, broken_off, tmp_path, 8, sharded)  # each of two reads half of a batch of 4
    assert [path.stem for path in (tmp_path / "checkpoints/all").iterdir()] == ["00000003"]
    broken_off(tmp_path, 20, sharded)
    assert "00000006" in [path.stem for path in (tmp_path / "checkpoints/all").iterdir()]
    in_processes(2, tmp_path, run_with, tmp_path, {"sharded": sharded})
    for name, value in weights(alone / "1-all").items():
        torch.testing.assert_close(weights(tmp_path / "1-all")[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, 13))


def test_sharded_weights_lie_in_halves(tmp_path):
    in_processes(2, tmp_path, toys.sharded, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first["blocks.0.linear.weight"] == second["blocks.0.linear.weight"] == 3
    assert (first["head.weight"], second["head.weight"]) == (2, 1)


def test_a_batch_that_cannot_be_shared_and_a_bad_clip_are_told_by_every_process(tmp_path):
    odd = replace(RECIPE, stages=(replace(STAGE, batch=3),))
    for kind, recipe, items in (("odd", odd, Items()), ("bad", RECIPE, Items(bad=6))):
        in_processes(2, tmp_path, failing, tmp_path / kind, recipe, items)
    told = {f"{path.parent.name}-{path.stem}": path.read_text() for path in tmp_path.glob("*/?.txt")}
    assert told["odd-0"] == told["odd-1"]
    assert "InputError The batch of 3 of stage 'all' cannot be shared among 2 processes" in told["odd-0"]
    assert told["bad-0"] == told["bad-1"]
    assert "The loss of clip-6 is not finite" in told["bad-0"]
    assert told["bad-0"].count("clip-") == 5  # of both processes' halves


def test_losses_give_every_parameter_a_gradient_be_it_zero():
    task = ToyTask()
    called = Called(task.module)
    batch = [(torch.ones(6), torch.ones(6), False)]
    terms = called(task.losses, batch)
    assert torch.equal(terms["square"], task.losses(batch)["square"])
    terms["square"].sum().backward()
    assert torch.equal(task.module.rare.weight.grad, torch.zeros(3, 6))
    assert task.module.head.weight.grad.any()
    with torch.no_grad():
        assert called(lambda: 3) == 3
