"""One stage of a recipe as data: which parameters are trained, which restored, on what, how fast and how long."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import ClassVar, Literal

from torch import nn

from vivavoce.errors import InputError

GIVEN = ("before", "between")
"""How a later chunk of a long video may begin, and so a training clip: with frames of the chunk before it, or with
those and frames of the chunk behind it."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Raises InputError for numbers that make no training."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    steps: int
    batch: int
    """Examples a step, over all processes and accumulation steps."""
    rate: float
    """Learning rate of AdamW, after warming up."""
    trains: tuple[str, ...]
    """Patterns of parameter names, as in "branches.audio.*" or "*lora*"; all others are frozen."""
    restores: tuple[str, ...] = ()
    """Patterns of what gets its pretrained values back before the stage begins."""
    frames: int | None = None
    """Of each example; the length of the method's chunks where None."""
    crop: int | None = None
    """Side in pixels of the square that an autoencoder is shown of each example; all of it where None."""
    spans: int = 1
    """Examples that are taken of each clip, where it is long enough."""
    without: tuple[str, ...] = ()
    """Conditions that are left out, as "image" for a base that draws from text alone."""
    dropout: float | None = None
    """Of each link of the guidance chain, where it is not the method's own."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Weights of loss terms, where they are not the method's own."""
    given: Mapping[str, float] = field(default_factory=dict)
    """Share of the examples that are trained with given frames, by the kind in `GIVEN`."""
    warmup: int = 0
    """Steps in which the learning rate grows to `rate`."""
    schedule: Literal["constant", "cosine"] = "constant"
    """After that: the same to the end, or down to 0 along half a cosine."""
    decay: float = 0.01
    """AdamW's weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's."""
    clip: float | None = 1.0
    """Largest norm of the gradient; None for any."""
    ema: float | None = None
    """Decay of the moving average of the weights, which then is the stage's result; None for the weights themselves."""
    lora: bool = False
    """Whether the backbone gets the method's low-rank adapter."""
    checkpointing: bool = False
    """Whether activations are computed again in the backward pass: about half the memory, a third more time."""

    def __post_init__(self) -> None:
        positive = {"steps": self.steps, "batch": self.batch, "rate": self.rate, "spans": self.spans}
        if self.frames is not None:
            positive["frames"] = self.frames
        if self.crop is not None:
            positive["crop"] = self.crop
        if self.clip is not None:
            positive["clip"] = self.clip
        for name, value in positive.items():
            self._check(name, value, 0 < value < math.inf, "a positive number")
        shares = {
            "dropout": self.dropout,
            "ema": self.ema,
            "given": sum(self.given.values()),
            "decay": self.decay,
        }
        shares |= {f"given {kind}": share for kind, share in self.given.items()}
        for name, value in shares.items():
            self._check(name, value, value is None or 0 <= value <= 1, "a number from 0 to 1")
        self._check(
            "betas", self.betas, all(0 <= beta < 1 for beta in self.betas), "two numbers from 0 to below 1"
        )
        self._check("warmup", self.warmup, 0 <= self.warmup < self.steps, "fewer steps than the stage has")
        self._check("trains", self.trains, bool(self.trains), "at least one pattern of parameter names")
        fit = self.name and all(c.isalnum() or c in "-_" for c in self.name)
        self._check("name", self.name, bool(fit), "letters, digits and hyphens: folders are named by it")
        strangers = sorted(set(self.given) - set(GIVEN))
        self._check("given", ", ".join(strangers), not strangers, f"shares of {' and '.join(GIVEN)}")

    def _check(self, field: str, value: object, right: bool, wanted: str) -> None:
        if not right:
            raise InputError(f"Stage {self.name!r} has {field} {value}: give {wanted}.")

    def rate_at(self, step: int) -> float:
        """The learning rate of step 0, 1, ..., which no state is needed for."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        if self.schedule == "constant":
            return self.rate
        done = (step - self.warmup) / (self.steps - self.warmup)
        return self.rate * 0.5 * (1 + math.cos(math.pi * done))

    def freeze(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """Let the module train what the stage trains, and nothing else; those parameters by name, in float32.

        Raises InputError for a pattern that matches no parameter.
        """
        parameters = dict(module.named_parameters())
        trained = matching(parameters, self.trains, f"Stage {self.name!r} trains")
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in trained)
            if name in trained:
                parameter.data = parameter.data.float()
        return {name: parameters[name] for name in trained}


def matching(names: Collection[str], patterns: Iterable[str], what: str) -> list[str]:
    """The names, in their order, that any pattern matches; case counts.

    Raises InputError that begins with `what` for a pattern that matches none.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            heads = sorted({".".join(name.split(".")[:2]) for name in names})
            shown = ", ".join(f"{head}.*" for head in heads[:8])
            raise InputError(f"{what} {pattern!r}, which is the name of no parameter: there are {shown}.")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
