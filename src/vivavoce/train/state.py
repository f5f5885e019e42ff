"""All that training changes: weights, the optimizer's moments, their average, the number of steps done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from vivavoce.train.stage import Stage

Kept = Mapping[str, Any]
"""What a checkpoint holds: "step", and tensors by the names of parameters."""


class TrainState:
    """Of one stage, over `parameters` that are trained, by name; those may be sharded."""

    def __init__(self, stage: Stage, parameters: Mapping[str, nn.Parameter]) -> None:
        self.stage = stage
        self.parameters = dict(parameters)
        values = list(self.parameters.values())
        self.optimizer = torch.optim.AdamW(values, stage.rate, stage.betas, weight_decay=stage.decay)
        self.ema = None if stage.ema is None else EMAModel(values, stage.ema)
        self.step = 0

    def advance(self) -> float:
        """A step along the gradients, which are then gone; the learning rate that it took."""
        rate = self.stage.rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.step(self.parameters.values())
        self.step += 1
        return rate

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The average in the place of the weights, where one is kept, which are exactly back afterwards."""
        if self.ema is None:
            yield
            return
        values = list(self.parameters.values())
        self.ema.store(values)
        self.ema.copy_to(values)
        try:
            yield
        finally:
            self.ema.restore(values)

    def kept(self) -> Kept:
        """Everything, whole and on the CPU. Every process must call it, since each may hold a share."""
        moments = self.optimizer.state
        kept: dict[str, Any] = {
            "step": self.step,
            "parameters": {name: _whole(value) for name, value in self.parameters.items()},
            "moments": {
                name: {key: _whole(moment) for key, moment in moments[value].items()}
                for name, value in self.parameters.items()
                if value in moments
            },
        }
        if self.ema is not None:
            kept["ema"] = dict(zip(self.parameters, map(_whole, self.ema.shadow_params), strict=True))
        return kept

    @torch.no_grad()
    def load(self, kept: Kept) -> None:
        """Go on from what `kept` gave, bit for bit."""
        for name, value in self.parameters.items():
            value.copy_(_like(kept["parameters"][name], value))
        whole = self.optimizer.state_dict()
        moments = {
            place: {key: _moment(moment, value) for key, moment in kept["moments"][name].items()}
            for place, (name, value) in enumerate(self.parameters.items())
            if name in kept["moments"]
        }
        self.optimizer.load_state_dict({"state": moments, "param_groups": whole["param_groups"]})
        if self.ema is not None:
            for name, average in zip(self.parameters, self.ema.shadow_params, strict=True):
                average.copy_(_like(kept["ema"][name], average))
            self.ema.optimization_step = kept["step"]
        self.step = kept["step"]


def result(kept: Kept) -> dict[str, Shaped[Tensor, "..."]]:
    """The trained weights of a checkpoint: their average where there is one."""
    return kept.get("ema") or kept["parameters"]


def _whole(value: Tensor) -> Tensor:
    value = value.detach()
    return (value.full_tensor() if isinstance(value, DTensor) else value).to("cpu", copy=True)


def _like(value: Tensor, other: Tensor) -> Tensor:
    """The value where the other lies, and shared out as it is."""
    value = value.to(other.device)
    if isinstance(other, DTensor):
        return distribute_tensor(value, other.device_mesh, other.placements)
    return value


def _moment(moment: Tensor, parameter: Tensor) -> Tensor:
    """AdamW's number of steps is one number on the CPU; its moments are as the parameter is."""
    return _like(moment, parameter) if moment.ndim or not parameter.ndim else moment
