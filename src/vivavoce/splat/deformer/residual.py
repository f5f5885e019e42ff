"""The Gaussian head: small changes of each Gaussian that no motion of particles makes (paper 003, eq. 3-7).

A person has 100 000 Gaussians and far fewer query tokens, so the head works on the tokens, and each Gaussian reads
the residuals of a few of them with weights that the avatar gives (`Reading`). Where every Gaussian was decoded from a
token of its own, as in LHM, it reads that one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vivavoce.splat.deformer.blocks import attend, perceptron
from vivavoce.splat.deformer.config import DeformerConfig

UNITS = {"offsets": 0.01, "scales": 0.1, "opacities": 0.1, "colors": 0.1}
"""What one unit of the network's output stands for: a centimetre, and tenths of the others."""


@dataclass(frozen=True)
class Reading:
    """The tokens that each of N Gaussians reads, and with which weights, which sum to one."""

    tokens: Int64[Tensor, "N K"]
    weights: Float[Tensor, "N K"]


@dataclass(frozen=True)
class Residuals:
    """Changes of Q tokens, or of Gaussians: of means in metres, of the logarithms of scales, of opacities and RGB."""

    offsets: Float[Tensor, "*b Q 3"]
    scales: Float[Tensor, "*b Q 3"]
    opacities: Float[Tensor, "*b Q"]
    colors: Float[Tensor, "*b Q 3"]

    def read(self, reading: Reading) -> Residuals:
        """The residuals of Gaussians, from those of tokens."""

        def mixed(values: Tensor) -> Tensor:
            return (values[..., reading.tokens, :] * reading.weights.unsqueeze(-1)).sum(-2)

        return Residuals(
            mixed(self.offsets),
            mixed(self.scales),
            mixed(self.opacities.unsqueeze(-1)).squeeze(-1),
            mixed(self.colors),
        )


class GaussianHead(nn.Module):
    """Residuals from the avatar's query tokens and the driving tokens: nothing before training.

    H_t = Q + CrossAttn(Q, D) (eq. 3): each query token looks at the last `history` driving tokens, its own frame's
    included. Over D_t alone, as eq. 3 has it, a softmax would be 1 whatever the query. A learned key tells
    how long ago a driving token was. Four perceptrons read mean, scale, opacity and colour from H_t (eq. 4, 5).
    """

    def __init__(self, config: DeformerConfig) -> None:
        super().__init__()
        self.heads, self.history = config.heads, config.history
        self.norm = nn.LayerNorm(config.width)
        self.to_q = nn.Linear(config.width, config.hidden)
        self.to_k = nn.Linear(config.width, config.hidden)
        self.to_v = nn.Linear(config.width, config.hidden)
        self.ages = nn.Parameter(torch.empty(config.history, config.hidden).normal_(std=0.02))
        sizes = {"offsets": 3, "scales": 3, "opacities": 1, "colors": 3}
        self.to_residuals = nn.ModuleDict({k: perceptron(config.hidden, n) for k, n in sizes.items()})

    def queries(self, avatar: Float[Tensor, "B Q D"]) -> Float[Tensor, "B Q h"]:
        """Proj_Q of the avatar's query tokens, once for an avatar."""
        return self.to_q(self.norm(avatar))

    def forward(self, queries: Float[Tensor, "B Q h"], driving: Float[Tensor, "B N D"]) -> Residuals:
        """Residuals (B, T, Q, ...) of the T frames that end N = history - 1 + T driving tokens."""
        batch, frames = len(driving), driving.shape[1] - self.history + 1

        def recent(x: Tensor) -> Tensor:
            return x.unfold(1, self.history, 1).transpose(2, 3)

        keys, values = recent(self.to_k(driving)) + self.ages, recent(self.to_v(driving))
        repeated = queries.unsqueeze(1).expand(-1, frames, -1, -1)
        found = attend(*(x.flatten(0, 1) for x in (repeated, keys, values)), heads=self.heads)
        features = repeated + found.unflatten(0, (batch, frames))
        made = {k: UNITS[k] * layer(features) for k, layer in self.to_residuals.items()}
        made["opacities"] = made["opacities"].squeeze(-1)
        return Residuals(**made)
