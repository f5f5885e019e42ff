"""Query tokens from points in space."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PointEmbedding(nn.Module):
    """Sines and cosines of a point's coordinates over some octaves, and the coordinates, projected and normalised.

    The longest period is 2 m. The basis is a buffer since LHM publishes it with its weights.
    """

    basis: Tensor

    def __init__(self, width: int, octaves: int = 8) -> None:
        super().__init__()
        frequencies = math.pi * 2.0 ** torch.arange(octaves)
        self.register_buffer("basis", torch.block_diag(*[frequencies[None]] * 3))
        self.linear = nn.Linear(6 * octaves + 3, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, points: Float[Tensor, "*B N 3"]) -> Float[Tensor, "*B N D"]:
        """Of points in metres."""
        phases = points @ self.basis
        return self.norm(self.linear(torch.cat([phases.sin(), phases.cos(), points], dim=-1)))
