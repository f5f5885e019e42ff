"""What the parts of the deformer are built from: attention, perceptrons that begin at zero, and eq. 1."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from vivavoce.splat.deformer.config import DeformerConfig


def attend(
    queries: Float[Tensor, "B L h"],
    keys: Float[Tensor, "B S h"],
    values: Float[Tensor, "B S h"],
    *,
    heads: int,
) -> Float[Tensor, "B L h"]:
    """Multi-head attention of projected queries over projected keys and values."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def perceptron(width: int, outputs: int) -> nn.Sequential:
    """Two layers over normalised features; before training they give 0 for all."""
    last = nn.Linear(width, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), last)


@dataclass(frozen=True)
class Context:
    """K and V of eq. 1: they hold what the avatar is like, and stay the same over time."""

    keys: Float[Tensor, "B S h"]
    values: Float[Tensor, "B S h"]


class MotionAttention(nn.Module):
    """What each frame means to each particle: paper 003, eq. 1.

        K = Proj_K([Q || Q0]),  V = Proj_V([Q || Q0]),  H_t = Proj_Q(D_t) + softmax(Proj_Q(D_t) K^T / sqrt(d)) V

    Proj_Q gives a query to every particle, so H_t is M x d_h. Two readings: the attention has several heads, d being
    the width of one; and the queries are added, as in any transformer block, since speech would otherwise
    reach the motion only through how it weighs values that never change. Tokens are normalised first.
    """

    def __init__(self, config: DeformerConfig) -> None:
        super().__init__()
        self.heads, self.particles = config.heads, config.particles
        self.norm = nn.LayerNorm(config.width)
        self.to_q = nn.Linear(config.width, config.particles * config.hidden)
        self.to_k = nn.Linear(config.width, config.hidden)
        self.to_v = nn.Linear(config.width, config.hidden)

    def context(self, avatar: Float[Tensor, "B Q D"], template: Float[Tensor, "B P D"]) -> Context:
        """Keys and values of the avatar's and the template's query tokens, once for an avatar."""
        tokens = self.norm(torch.cat([avatar, template], 1))
        return Context(self.to_k(tokens), self.to_v(tokens))

    def forward(self, driving: Float[Tensor, "B T D"], context: Context) -> Float[Tensor, "B T M h"]:
        """H_t of every frame; all frames at once."""
        queries = self.to_q(driving).unflatten(2, (self.particles, -1))
        found = attend(queries.flatten(1, 2), context.keys, context.values, heads=self.heads)
        return queries + found.unflatten(1, (-1, self.particles))
