"""A task that trains in milliseconds: a network of three layers on random vectors, with noise of its own."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import multiprocessing
import os
import resource
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vivavoce.train.machine import Machine, distributed
from vivavoce.train.recipe import Recipe
from vivavoce.train.result import write_result
from vivavoce.train.stage import Stage
from vivavoce.train.state import TrainState
from vivavoce.train.trainer import train
from vivavoce.weights import Base, Header, save_method

CLEAN = multiprocessing.get_context("forkserver")
"""Processes that begin without the threads of this one, which a plain fork may wait for for ever."""
CLEAN.set_forkserver_preload(
    ["torch.utils.tensorboard.writer", "torch.multiprocessing", "vivavoce.train.trainer"]
)
STAGE = Stage(name="all", steps=12, batch=4, rate=1e-2, trains=("*",), ema=0.9, warmup=3, schedule="cosine")
RECIPE = Recipe("toy", (STAGE,), seed=7)
MACHINE = Machine(micro=4, cpu=True, save_every=3)


PATIENCE = 120.0
"""Seconds after which processes that work together are taken for stuck."""


class Block(nn.Module):
    """A layer that FSDP2 shards by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.linear(x))


class Toy(nn.Module):
    _no_split_modules = ("Block",)

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(6, 3)
        self.rare = nn.Linear(6, 3)

    def forward(self, x: Tensor, *, rare: bool) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x) + (self.rare(x) if rare else 0)


@dataclass(frozen=True)
class Item:
    name: str
    x: Tensor
    rare: bool


class Items:
    """Each the same whenever it is asked for; every fifth is of a rare kind."""

    def __init__(
        self, count: int = 10, *, bad: int | None = None, pause: float = 0.0, stops: int | None = None
    ) -> None:
        self.count, self.bad, self.pause, self.stops = count, bad, pause, stops
        self.fingerprint = f"{count} {bad}"
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        time.sleep(self.pause)
        if self.stops is not None and len(self.read) >= self.stops:
            raise KeyboardInterrupt
        self.read.append(index)
        x = torch.from_numpy(np.random.default_rng(index).standard_normal(6).astype(np.float32))
        return Item(f"clip-{index}", x * (float("nan") if index == self.bad else 1), index % 5 == 0)


class ToyTask:
    """Denoise a vector to its first three numbers; "size" is a second term."""

    weights = {"size": 0.1}  # noqa: RUF012

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.module = Toy()
        self.sampled: list[str] = []

    def batch(self, examples: Sequence[Item], generators: Sequence[torch.Generator]) -> list:
        noise = [0.3 * torch.randn(6, generator=generator) for generator in generators]
        return [(item.x, item.x + n, item.rare) for item, n in zip(examples, noise, strict=True)]

    def losses(self, batch: list) -> dict[str, Tensor]:
        drawn = [self.module(noisy[None], rare=rare)[0] for _, noisy, rare in batch]
        wanted = [x[:3] for x, _, _ in batch]
        square = torch.stack([(d - w).square().mean() for d, w in zip(drawn, wanted, strict=True)])
        return {"square": square, "size": torch.stack([d.square().sum() for d in drawn])}

    def load(self, folder: Path) -> None:
        self.module.load_state_dict(load_file(folder / "toy.safetensors"))

    def save(self, folder: Path) -> None:
        save_file(self.module.state_dict(), folder / "toy.safetensors")

    def sample(self, folder: Path | None) -> None:
        drawn = self.module(torch.ones(1, 6), rare=False)[0, 0].item()
        if folder is not None:
            folder.mkdir(parents=True)
            (folder / "drawn.txt").write_text(repr(drawn))


def run(
    folder: Path, *, recipe: Recipe = RECIPE, items: Items | None = None, accept: bool = False, **machine
):
    """Train the toy; its results."""
    AcceleratorState._reset_state(reset_partial_state=True)
    data = Items() if items is None else items
    return train(
        recipe,
        lambda stage, device: ToyTask(),
        data=lambda stage: data,
        folder=folder,
        machine=replace(MACHINE, **machine),
        accept=accept,
    )


def run_with(folder: Path, machine: dict) -> None:
    """The same, for processes."""
    run(folder, **machine)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "toy.safetensors")


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def in_processes(count: int, folder: Path, work: Callable, *args: object) -> None:
    """Call `work(*args)` in processes that know of each other as torchrun would have it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun: Any = torch.multiprocessing.start_processes(
        _joined,
        (count, port, str(folder), (work, *args)),
        nprocs=count,
        join=False,
        start_method="forkserver",
    )
    deadline = time.monotonic() + PATIENCE
    while not begun.join(timeout=1.0):
        if time.monotonic() > deadline:
            for process in begun.processes:
                process.kill()
            raise TimeoutError(f"{count} processes wait for each other for {PATIENCE} seconds")


def _joined(rank: int, count: int, port: int, folder: str, call: tuple) -> None:
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    os.environ |= {name: str(value) for name, value in place.items()}
    faulthandler.dump_traceback_later(PATIENCE - 10)  # where each waits stands in the test's output
    work, *args = call
    work(*args)
    faulthandler.cancel_dump_traceback_later()
    done = [Path(folder) / f"{port}-{other}.done" for other in range(count)]
    done[rank].touch()
    while not all(path.exists() for path in done):  # gloo takes who leaves a barrier first for crashed
        time.sleep(0.01)


def late(folder: Path) -> None:
    """A run in which every process but the first comes to each checkpoint when that is written already."""
    advance = TrainState.advance

    def slowly(state: TrainState) -> float:
        time.sleep(0.2 * int(os.environ["RANK"]))
        return advance(state)

    TrainState.advance = slowly
    run(folder, micro=1)


def broken_off(folder: Path, reads: int, sharded: bool) -> None:
    """A run whose examples come to an end after so many in each process."""
    with contextlib.suppress(KeyboardInterrupt):
        run(folder, items=Items(stops=reads), sharded=sharded)


def sharded(folder: Path) -> None:
    """Write how much of each parameter a process holds."""
    AcceleratorState._reset_state(reset_partial_state=True)
    task = ToyTask()
    accelerator = Machine(cpu=True).accelerator()
    distributed(task.module, accelerator, sharded=True)
    sizes = {name: value.to_local().shape[0] for name, value in task.module.named_parameters()}
    torch.save(sizes, folder / f"{accelerator.process_index}.pt")


def failing(folder: Path, recipe: Recipe, items: Items) -> None:
    """Write what a run fails with in each process."""
    try:
        run(folder, recipe=recipe, items=items)
    except Exception as error:
        folder.mkdir(exist_ok=True)
        (folder / f"{torch.distributed.get_rank()}.txt").write_text(f"{type(error).__name__} {error}")


def on_a_full_disk(queue: object, work: Callable, args: tuple, options: dict) -> None:
    """Call `work` where no file can have more than 6 kB, as if the disk were full; put what it raises."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
    try:
        work(*args, **options)
        queue.put(None)
    except BaseException as error:
        queue.put((type(error).__name__, str(error)))


def big_result(folder: Path) -> None:
    """Write a result of more than that."""
    task = ToyTask()
    task.module.blocks.append(nn.Linear(60, 60))
    kept = TrainState(STAGE, STAGE.freeze(task.module)).kept()
    write_result(task, STAGE, kept, {}, folder)


def big_parts(path: Path) -> None:
    """Write a method's parts of more than that."""
    header = Header("toy", Base("Toy", {}), 25.0, (32, 32), "log-mel", "4x8x8")
    save_method(path, header, {"branch": nn.Linear(60, 60)})
