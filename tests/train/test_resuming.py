"""A run that is killed, asked to stop, or fails, and what it goes on from."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toys import (
    CLEAN,
    RECIPE,
    STAGE,
    Items,
    ToyTask,
    big_parts,
    big_result,
    lines,
    on_a_full_disk,
    run,
    weights,
)

from vivavoce.errors import InputError, OutputError
from vivavoce.train.checkpoint import Checkpoints
from vivavoce.train.recipe import Recipe
from vivavoce.train.state import TrainState

TWO = Recipe("toy", (STAGE, replace(STAGE, name="more", steps=5, trains=("head.*",), ema=None)), seed=7)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of two stages that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, recipe=TWO)
    return folder


def same(folder: Path, whole: Path) -> None:
    """Every result, and every line of the losses, is the same to the last bit."""
    assert (folder / "losses.jsonl").read_bytes() == (whole / "losses.jsonl").read_bytes()
    for stage in ("1-all", "2-more"):
        one, other = weights(folder / stage), weights(whole / stage)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), stage


def killed(folder: Path, *, at: int, number: int = signal.SIGKILL) -> int | None:
    """A process that trains until it has told of `at` steps, and then gets a signal; how it ended."""
    process = CLEAN.Process(target=run, args=(folder,), kwargs={"recipe": TWO, "items": Items(pause=0.01)})
    process.start()
    losses = folder / "losses.jsonl"
    while not losses.exists() or losses.read_bytes().count(b"\n") < at:
        assert process.is_alive()
        time.sleep(0.002)
    os.kill(process.pid, number)
    process.join()
    return process.exitcode


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_never_was(tmp_path, whole):
    for at in (2, 5, 10, 14):  # before the first checkpoint, between two, in the second stage
        assert killed(tmp_path, at=at) == -signal.SIGKILL
    run(tmp_path, recipe=TWO)
    same(tmp_path, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_stop_does_so_with_a_checkpoint_of_its_last_step(tmp_path, whole, number):
    assert killed(tmp_path, at=5, number=number) == 1  # Python's own, for a KeyboardInterrupt
    told = lines(tmp_path)[-1]["step"]
    assert 5 <= told < 12
    steps = Checkpoints(tmp_path / "checkpoints" / "all", {}, keep=9).steps()
    assert steps[-1] == told
    run(tmp_path, recipe=TWO)
    same(tmp_path, whole)


def test_a_half_written_or_damaged_checkpoint_is_passed_over(tmp_path, whole):
    killed(tmp_path, at=10)
    folder = tmp_path / "checkpoints" / "all"
    *_, before, last = sorted(folder.glob("0*.pt"))
    last.write_bytes(last.read_bytes()[:500])
    (folder / ".vivavoce-123.pt").write_bytes(b"left by a killed process")
    with pytest.warns(UserWarning, match=f"{last.name} is damaged: the one before it is taken"):
        run(tmp_path, recipe=TWO)
    assert before.stem != last.stem
    same(tmp_path, whole)
    assert not list(tmp_path.rglob(".vivavoce*"))


def test_the_last_few_checkpoints_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c", {"a": 1}, keep=2)
    assert checkpoints.latest() is None
    for step in (3, 6, 9):
        checkpoints.save({"step": step})
    assert checkpoints.steps() == [6, 9]
    again = Checkpoints(tmp_path / "c", {"a": 1}, keep=2)
    assert again.latest() == {"step": 9, "settings": {"a": 1}}
    with pytest.raises(InputError, match=r"begun with other settings: a \(1, now 2\), b \(None, now \[3\]\)"):
        Checkpoints(tmp_path / "c", {"a": 2, "b": (3,)}, keep=2).latest()
    accepted = Checkpoints(tmp_path / "c", {"a": 2}, keep=2).latest(accept=True)
    assert accepted is not None
    assert accepted["step"] == 9


def test_what_is_kept_is_everything_bit_for_bit():
    states = []
    for _ in range(2):
        task = ToyTask()
        state = TrainState(STAGE, STAGE.freeze(task.module))
        states.append((task, state))
    (task, state), (other_task, other) = states

    def advance(task, state, seed):
        torch.manual_seed(seed)
        task.module(torch.randn(3, 6), rare=bool(seed % 2)).square().sum().backward()
        state.advance()

    for seed in range(5):
        advance(task, state, seed)
    other.load(state.kept())
    assert other.step == 5
    for seed in range(5, 9):
        advance(task, state, seed)
        advance(other_task, other, seed)
    one, two = state.kept(), other.kept()
    for part in ("parameters", "ema"):
        assert all(torch.equal(one[part][name], two[part][name]) for name in one["parameters"])
    assert set(one["moments"]) == set(one["parameters"])
    for name, moments in one["moments"].items():
        assert set(moments) == {"step", "exp_avg", "exp_avg_sq"}
        assert all(torch.equal(value, two["moments"][name][key]) for key, value in moments.items())


def full_disk(work, *args, **options):
    """Call `work` in a process that finds the disk full; what it raised."""
    queue = CLEAN.SimpleQueue()
    process = CLEAN.Process(target=on_a_full_disk, args=(queue, work, args, options))
    process.start()
    told = queue.get()
    process.join()
    return told


def test_a_full_disk_is_told_and_the_checkpoint_before_stays(tmp_path, whole):
    killed(tmp_path, at=7)
    folder = tmp_path / "checkpoints" / "all"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
    assert before
    assert min(len(content) for content in before.values()) > 6000
    kind, told = full_disk(run, tmp_path, recipe=TWO, keep=9)
    assert kind == "OutputError"
    assert "could not be written (the disk is full): make room, or choose another place" in told
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    run(tmp_path, recipe=TWO)
    same(tmp_path, whole)


def test_a_disk_that_is_full_when_a_stage_ends_leaves_no_half_result(tmp_path, whole, monkeypatch):
    def fail(self, folder):
        (folder / "toy.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ToyTask, "save", fail)
        with pytest.raises(OutputError, match=r"1-all could not be written \(the disk is full\)"):
            run(tmp_path, recipe=TWO)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "losses.jsonl", "tensorboard"]
    items = Items()
    run(tmp_path, recipe=TWO, items=items)
    assert len(items.read) == 5 * 4  # of the second stage alone
    same(tmp_path, whole)


@pytest.mark.parametrize(("work", "name"), [(big_result, "1-all"), (big_parts, "parts.safetensors")])
def test_safetensors_own_word_for_a_full_disk_is_understood(tmp_path, work, name):
    kind, told = full_disk(work, tmp_path / name)
    assert kind == "OutputError"
    assert f"{name} could not be written (the disk is full)" in told
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_stops_with_the_examples_and_a_checkpoint_before_it(tmp_path):
    bad = Items(bad=6)
    with pytest.raises(InputError) as error:
        run(tmp_path, items=bad, save_every=100)
    told = lines(tmp_path)
    step = len(told) + 1
    assert str(error.value).startswith(
        f"The loss of clip-6 is not finite at step {step} of stage 'all', whose batch is "
    )
    batch = [f"clip-{i}" for i in bad.read[-4:]]
    assert ", ".join(batch) in str(error.value)
    assert Checkpoints(tmp_path / "checkpoints/all", {}, keep=2).steps() == [step - 1]
    assert str(tmp_path / "checkpoints/all") in str(error.value)

    with pytest.raises(InputError, match=r"other settings: data \('10 6', now '10 None'\)"):
        run(tmp_path)
    run(tmp_path, accept=True)  # the clip was mended
    run(tmp_path / "well")
    one, other = weights(tmp_path / "1-all"), weights(tmp_path / "well" / "1-all")
    assert all(torch.equal(one[name], other[name]) for name in one)  # nothing of the bad step was left


def test_a_gradient_that_is_no_number_stops_too(tmp_path, monkeypatch):
    plain = ToyTask.losses

    def steep(self, batch):
        terms = plain(self, batch)
        return terms | {"size": terms["size"] + (self.module.head.bias.sum() * 0).abs().sqrt()}

    monkeypatch.setattr(ToyTask, "losses", steep)
    with pytest.raises(InputError, match=r"The gradient is not finite at step 1 .*clip-\d+, clip-\d+, clip"):
        run(tmp_path, recipe=replace(RECIPE))
