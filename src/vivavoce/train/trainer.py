"""Training by a recipe: stage after stage, step after step, in checkpoints that a killed run goes on from.

    RUN/checkpoints/STAGE/   of a stage under way
    RUN/losses.jsonl, RUN/tensorboard/, RUN/samples/STAGE-STEP/
    RUN/1-STAGE/             the result of a finished stage, with stage.json

The gradient of a step is the mean over its global batch of each example's weighted loss, whatever number of processes
and accumulation steps that batch is split over; only the order in which it is summed differs.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import DataLoader

from vivavoce.errors import InputError
from vivavoce.progress import counted
from vivavoce.train.checkpoint import Checkpoints, check_settings
from vivavoce.train.journal import Journal
from vivavoce.train.machine import Machine, accumulating, clipped, distributed, summed
from vivavoce.train.randomness import generator, indices
from vivavoce.train.recipe import Recipe
from vivavoce.train.result import restored, write_result
from vivavoce.train.stage import Stage
from vivavoce.train.state import TrainState
from vivavoce.train.stopping import stoppable
from vivavoce.train.task import Build, Data, Examples, Task


def train(
    recipe: Recipe, build: Build, *, data: Data, folder: Path, machine: Machine, accept: bool = False
) -> list[Path]:
    """Run the recipe's stages, or go on with them, in `folder`; the folders of their results come back.

    Stages that are finished are skipped, one under way goes on from its last checkpoint. `accept` says that settings or
    data have been changed on purpose since then. Every process calls it alike.

    Raises InputError for a recipe that does not fit the task, for changed settings, and for a loss or gradient that is
    not finite (it names the examples); OutputError where something cannot be written; KeyboardInterrupt after SIGINT or
    SIGTERM. In all three cases everything up to the last whole step is kept.
    """
    accelerator = machine.accelerator()
    run = _Run(recipe, build, data, folder, machine, accelerator)
    for index, stage in enumerate(recipe.stages):
        done = run.results[index]
        if not done.is_dir():
            _Training(run, index, accept=accept).run()
        elif not accept:
            before = json.loads((done / "stage.json").read_text(encoding="utf-8"))
            check_settings(before, run.settings(stage, before["data"]), folder)
    return run.results


@dataclass(frozen=True)
class _Run:
    """What all stages share."""

    recipe: Recipe
    build: Build
    data: Data
    folder: Path
    machine: Machine
    accelerator: Accelerator

    @property
    def results(self) -> list[Path]:
        """The folders of the stages' results."""
        return [self.folder / f"{i}-{stage.name}" for i, stage in enumerate(self.recipe.stages, 1)]

    def settings(self, stage: Stage, data: str) -> dict[str, Any]:
        """Everything that decides a stage, as JSON values."""
        own = {"method": self.recipe.method, "seed": self.recipe.seed, "data": data}
        return json.loads(json.dumps(asdict(stage) | own | {"precision": self.machine.precision}))

    def begun(self, index: int, device: torch.device) -> Task:
        """The task as a stage finds it: pretrained, then what the stage before made, then what is restored of it."""
        stage = self.recipe.stages[index]
        task = self.build(stage, device)
        with restored(task.module, stage):
            if index:
                task.load(self.results[index - 1])
        return task


class _Training:
    """One stage under way."""

    def __init__(self, run: _Run, index: int, *, accept: bool) -> None:
        self.machine, self.accelerator = run.machine, run.accelerator
        self.run_, self.index, self.stage = run, index, run.recipe.stages[index]
        with self.accelerator.main_process_first():  # it encodes clips, the others find them encoded
            self.examples: Examples = run.data(self.stage)
        if not len(self.examples):
            raise InputError(f"Stage {self.stage.name!r} has no examples: give data that holds some.")
        if self.stage.batch % self.accelerator.num_processes:
            raise InputError(
                f"The batch of {self.stage.batch} of stage {self.stage.name!r} cannot be shared among "
                f"{self.accelerator.num_processes} processes: give a multiple of that, or fewer processes."
            )
        self.settings = run.settings(self.stage, self.examples.fingerprint)
        place = run.folder / "checkpoints" / self.stage.name
        self.checkpoints = Checkpoints(place, self.settings, keep=self.machine.keep)
        kept = self.checkpoints.latest(accept=accept)
        self.task = run.begun(index, self.accelerator.device)
        trained = list(self.stage.freeze(self.task.module))
        self.task.module.train()
        self.model = distributed(self.task.module, self.accelerator, sharded=self.machine.sharded)
        parameters = dict(self.task.module.named_parameters())
        self.state = TrainState(self.stage, {name: parameters[name] for name in trained})
        if kept is not None:
            self.state.load(kept)
        # Counted, not looked up: one process may write the file before another looks, which then would not wait for it.
        self.saved = None if kept is None else self.state.step

    def run(self) -> None:
        """The steps that are left, and the result."""
        stage, begun = self.stage, self.state.step
        main = self.accelerator.is_main_process
        journal = Journal(self.run_.folder, stage.name, begun=begun) if main else nullcontext()
        left = stage.steps - begun
        bar = counted(f"{stage.name}: training", left) if main else nullcontext(lambda now: None)
        with stoppable() as asked, journal as log, bar as advance:
            for batches in self._batches(begun):
                record, stop = self._step(batches, asked)
                step = self.state.step
                advance(log.write(step, record) if log is not None else None)
                if stop or step == stage.steps or step % self.machine.save_every == 0:
                    self._save()
                if stop:
                    warnings.warn(
                        f"{stage.name} stopped at step {step}: run it again to go on.", stacklevel=1
                    )
                    raise KeyboardInterrupt
                if self.machine.sample_every and step % self.machine.sample_every == 0:
                    self._sample()
        kept = self.state.kept()
        if main:
            write_result(self._task_for_result(), stage, kept, self.settings, self.run_.results[self.index])
            self.checkpoints.clear()
        self.accelerator.wait_for_everyone()
        self.accelerator.free_memory()

    def _batches(self, begun: int) -> Iterator[list[tuple[Sequence[Any], range]]]:
        """The process's share of each step: some examples at once, with their places in the global batch."""
        stage, seed, count = self.stage, self.run_.recipe.seed, len(self.examples)
        share = stage.batch // self.accelerator.num_processes
        first = share * self.accelerator.process_index
        starts = range(first, first + share, self.machine.micro)
        spans = [range(start, min(start + self.machine.micro, first + share)) for start in starts]

        def wanted() -> Iterator[list[int]]:
            for step in range(begun, stage.steps):
                batch = indices(seed, self.index, step, batch=stage.batch, count=count)
                yield from ([batch[place] for place in span] for span in spans)

        data: Any = self.examples
        read = iter(
            DataLoader(data, batch_sampler=wanted(), collate_fn=list, num_workers=self.machine.workers)
        )
        for _ in range(begun, stage.steps):
            yield [(next(read), span) for span in spans]

    def _step(
        self, batches: list[tuple[Sequence[Any], range]], asked: Callable[[], bool]
    ) -> tuple[dict[str, float], bool]:
        """One step of the optimizer: what it was, and whether any process was asked to stop.

        Raises InputError, before anything is changed, where a loss or the gradient is not finite.
        """
        sums: dict[str, float] = {}
        names, bad = [], []
        for examples, places in batches:
            seeds = (self.run_.recipe.seed, self.index, self.state.step)
            batch = self.task.batch(examples, [generator(*seeds, place) for place in places])
            with accumulating(self.model, self.accelerator, last=places == batches[-1][1]):
                with self.accelerator.autocast():
                    terms = self.model(self.task.losses, batch)
                loss = self._weighed(terms)
                self.accelerator.backward(loss.sum() * (self.accelerator.num_processes / self.stage.batch))
            finite = loss.detach().isfinite().tolist()
            names += [example.name for example in examples]
            bad += [example.name for example, well in zip(examples, finite, strict=True) if not well]
            for name, value in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach().sum())
        totals = summed([*sums.values(), float(len(bad)), float(asked())], self.accelerator)
        norm = clipped(self.model, self.stage.clip)
        if totals[-2] or not math.isfinite(norm):
            self._refuse(bad, names)
        rate = self.state.advance()
        means = {name: total / self.stage.batch for name, total in zip(sums, totals, strict=False)}
        return {**means, "rate": rate, "norm": norm}, bool(totals[-1])

    def _weighed(self, terms: dict[str, Tensor]) -> Tensor:
        """Each example's loss, (B,)."""
        unknown = ", ".join(sorted(set(self.stage.losses) - set(terms)))
        if unknown:
            raise InputError(
                f"Stage {self.stage.name!r} weighs {unknown}, but its losses are {', '.join(terms)}."
            )
        weights = {**self.task.weights, **self.stage.losses}
        return torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum(dim=0)

    def _refuse(self, bad: list[str], names: list[str]) -> None:
        """Stop before a step that would spoil the weights; a checkpoint of what they were is left."""
        path = self._save()
        bad, names = gather_object(bad), gather_object(names)
        what = f"The loss of {', '.join(bad)}" if bad else "The gradient"
        raise InputError(
            f"{what} is not finite at step {self.state.step + 1} of stage {self.stage.name!r}, whose batch is "
            f"{', '.join(names)}: look at those examples or lower the rate, then go on from {path}."
        )

    def _save(self) -> Path:
        """A checkpoint of the state as it is, unless there is one."""
        if self.saved != self.state.step:
            kept = self.state.kept()
            if self.accelerator.is_main_process:
                self.checkpoints.save(kept)
            self.accelerator.wait_for_everyone()
            self.saved = self.state.step
        return self.checkpoints.path(self.state.step)

    @torch.no_grad()
    def _sample(self) -> None:
        """What the weights, or their average, can do by now."""
        name = f"{self.stage.name}-{self.state.step:06d}"
        folder = self.run_.folder / "samples" / name if self.accelerator.is_main_process else None
        self.task.module.eval()
        with self.state.averaged(), self.accelerator.autocast():
            self.model(self.task.sample, folder)
        self.task.module.train()

    def _task_for_result(self) -> Task:
        """A task whose module holds whole parameters; a sharded one is built again, on the CPU."""
        if isinstance(self.model, FSDPModule):
            return self.run_.begun(self.index, torch.device("cpu"))
        return self.task
