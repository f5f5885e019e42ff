"""The Gaussian decoder: a point's features into offset, scale, rotation, opacity and colour."""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from vivavoce.splat.lhm.config import DecoderConfig

_SIZES = {"color": 3, "scale": 3, "offset": 3, "opacity": 1, "rotation": 4}


class GaussianDecoder(nn.Module):
    """A perceptron of two hidden layers and a linear layer for each attribute.

    At the start all but the colours are the same everywhere: round Gaussians on the template's points.
    """

    def __init__(self, width: int, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.mlp = nn.Sequential(
            nn.Linear(width, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.SiLU(),
            nn.Linear(config.hidden, width),
        )
        self.heads = nn.ModuleDict({name: nn.Linear(width, size) for name, size in _SIZES.items()})
        biases = {
            "scale": torch.full((3,), config.initial_scale),
            "offset": torch.zeros(3),
            "opacity": torch.tensor([math.log(config.initial_opacity / (1 - config.initial_opacity))]),
            "rotation": torch.tensor([1.0, 0.0, 0.0, 0.0]),
        }
        with torch.no_grad():
            for name, bias in biases.items():
                head = cast(nn.Linear, self.heads[name])
                head.weight.zero_()
                head.bias.copy_(bias)

    def forward(self, features: Float[Tensor, "B N D"], above: Bool[Tensor, " N"]) -> dict[str, Tensor]:
        """`offsets` (B, N, 3) and `scales` (B, N, 3) in metres, `quats` (B, N, 4) of unit length, w first,
        `opacities` (B, N) and `colors` (B, N, 3) in [0, 1]; points where `above` is true stay smaller.
        """
        hidden = self.mlp(features)
        found = {name: head(hidden) for name, head in self.heads.items()}
        limits = torch.where(above, self.config.largest_above, self.config.largest).log()
        return {
            "offsets": (found["offset"].sigmoid() - 0.5) * self.config.reach,
            # Limited before the exponential, whose gradient would overflow where its value is cut.
            "scales": found["scale"].minimum(limits[:, None].to(hidden)).exp(),
            "quats": normalize(found["rotation"], dim=-1),
            "opacities": found["opacity"].sigmoid().squeeze(-1),
            "colors": found["color"].sigmoid(),
        }
