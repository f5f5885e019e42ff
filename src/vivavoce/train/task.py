"""What the trainer asks of a thing to train and of its data: small, so that anything can be trained with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vivavoce.train.stage import Stage


@runtime_checkable
class Named(Protocol):
    """An example: whatever its task reads, and a name by which errors tell it."""

    @property
    def name(self) -> str: ...


@runtime_checkable
class Examples(Protocol):
    """Data by number; the same number gives the same example."""

    @property
    def fingerprint(self) -> str:
        """A digest of all of it: a run does not go on with other data unnoticed."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any:
        """A `Named` example. Raises InputError, with its name, for one that cannot be read."""
        ...


@runtime_checkable
class Task(Protocol):
    """A module and how it is trained, for one stage."""

    @property
    def module(self) -> nn.Module:
        """What is trained; its parameters' names are those of `Stage.trains`."""
        ...

    @property
    def weights(self) -> Mapping[str, float]:
        """Of the loss terms; 1 for a term that is not named."""
        ...

    def batch(self, examples: Sequence[Any], generators: Sequence[torch.Generator]) -> Any:
        """A batch on the module's device; whatever is random in an example comes from its own generator."""
        ...

    def losses(self, batch: Any) -> dict[str, Float[Tensor, " B"]]:
        """The loss terms of each example, in the order of `batch`: they depend on nothing random."""
        ...

    def load(self, folder: Path) -> None:
        """Take over the result of an earlier stage. Raises WeightsError where it does not fit."""
        ...

    def save(self, folder: Path) -> None:
        """Write the stage's result into an empty folder. Raises OutputError where that cannot be."""
        ...

    def sample(self, folder: Path | None) -> None:
        """Show into a folder, which is to be made, what the module can do by now; with None, only go along.

        Every process calls it, since each may hold a share of the weights; one writes.
        """
        ...


Build = Callable[[Stage, torch.device], Task]
"""A task with the pretrained weights, the same every time, on a device. Parameters that are not trained may have any
precision."""
Data = Callable[[Stage], Examples]
"""The examples of a stage."""
