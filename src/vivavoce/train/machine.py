"""How a machine trains: none of it changes what is trained but by rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from vivavoce.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Raises InputError for numbers that have no meaning."""

    micro: int = 1
    """Examples that a process works on at once; the rest of its share of a batch is accumulated."""
    precision: Literal["no", "bf16"] = "no"
    """Of activations: float32, or bfloat16 where torch's autocast finds it safe. Trained weights stay float32."""
    sharded: bool = False
    """Shard weights, gradients and optimizer over the processes (FSDP2), where all of them do not fit on one card."""
    cpu: bool = False
    """Train on the processor though there is a graphics card."""
    workers: int = 0
    """Processes that read examples ahead."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints that are kept."""
    sample_every: int | None = None
    """Steps between samples; None for none."""

    def __post_init__(self) -> None:
        numbers = {"micro": self.micro, "save_every": self.save_every, "keep": self.keep}
        if self.sample_every is not None:
            numbers["sample_every"] = self.sample_every
        for name, value in numbers.items():
            if value < 1:
                raise InputError(f"{name} is {value}: give a whole number from 1 up.")

    def accelerator(self) -> Accelerator:
        """This process among its kind, as torchrun or `accelerate launch` started it; alone without them."""
        return Accelerator(mixed_precision=self.precision, cpu=self.cpu)


class Called(nn.Module):
    """A module inside another whose forward calls any function of it.

    Data parallelism and sharding act on `forward` alone; a loss and a sample both go through the module many times.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function gives; losses so that every trained parameter has a gradient, be it zero.

        A clip without a pose leaves the pose adapter unused, and other processes would wait for its gradient.
        """
        found = function(*args)
        if not (torch.is_grad_enabled() and isinstance(found, dict)):
            return found
        # Parameters of sharded blocks are not whole here, but every clip goes through the blocks.
        whole = (p for p in self.module.parameters() if p.requires_grad and not isinstance(p, DTensor))
        nothing = sum(parameter.flatten()[:0].sum() for parameter in whole)
        return {name: term + nothing for name, term in found.items()}


def distributed(module: nn.Module, accelerator: Accelerator, *, sharded: bool) -> nn.Module:
    """The module, `Called`, over all processes: the same in each (DDP), or a share of it in each (FSDP2).

    Sharded are the blocks that its parts name in `_no_split_modules`, and all that is left as one. torch's own
    `fully_shard`, since accelerate's takes no processors.
    """
    called = Called(module)
    if not sharded or accelerator.num_processes == 1:
        return accelerator.prepare(called)
    called = called.to(accelerator.device).float()  # FSDP2 shards parameters of one precision together
    blocks = {name for part in module.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    for part in list(module.modules()):
        if type(part).__name__ in blocks:
            fully_shard(part)
    # The root too lets go of its whole weights after each forward: after a sample they are the average.
    fully_shard(called, reshard_after_forward=True)
    return called


@contextmanager
def accumulating(model: nn.Module, accelerator: Accelerator, *, last: bool) -> Iterator[None]:
    """Backward passes of a step; gradients go between the processes in the last of them only."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
        yield
    else:
        with nullcontext() if last else accelerator.no_sync(model):
            yield


def clipped(model: nn.Module, largest: float | None) -> float:
    """The norm of the whole gradient, which is then no longer than `largest`."""
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm: Any = nn.utils.clip_grad_norm_(parameters, largest or float("inf"))
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def summed(values: Sequence[float], accelerator: Accelerator) -> list[float]:
    """Numbers, each summed over all processes."""
    total = torch.tensor(values, dtype=torch.float64, device=accelerator.device)
    return accelerator.reduce(total, "sum").tolist()  # pyright: ignore[reportAttributeAccessIssue]
