"""What a network is trained on at once: clips in latents, what it is told of them, their noise and its level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vivavoce.video.wan.sockets import Conditions


@dataclass(frozen=True)
class TrainingBatch:
    """Everything that decides a loss: with the same batch it is the same."""

    latents: Float[Tensor, "B C f h w"]
    """Of the clips, reference pictures before them."""
    conditions: Conditions
    """Each (B, ...), with what is random in training already drawn."""
    sigma: Float[Tensor, " B"]
    """Noise levels in [0, 1]."""
    noise: Float[Tensor, "B C f h w"]

    @classmethod
    def cat(cls, batches: Sequence[TrainingBatch]) -> TrainingBatch:
        """One batch of several of the same `form`. Raises ValueError where they differ."""
        if len({batch.form for batch in batches}) != 1:
            raise ValueError("only batches whose tensors have the same names and shapes can be put together")
        return cls(
            torch.cat([batch.latents for batch in batches]),
            {key: torch.cat([batch.conditions[key] for batch in batches]) for key in batches[0].conditions},
            torch.cat([batch.sigma for batch in batches]),
            torch.cat([batch.noise for batch in batches]),
        )

    @property
    def form(self) -> frozenset[tuple[str, tuple[int, ...]]]:
        """Names and shapes of an example's tensors: examples of one form can share a batch."""
        tensors = {"latents": self.latents, **{f"conditions.{k}": v for k, v in self.conditions.items()}}
        return frozenset((name, tuple(value.shape[1:])) for name, value in tensors.items())

    def to(self, device: torch.device) -> TrainingBatch:
        """The same on a device."""
        conditions = {key: value.to(device) for key, value in self.conditions.items()}
        return TrainingBatch(
            self.latents.to(device), conditions, self.sigma.to(device), self.noise.to(device)
        )
