"""The network from normalised log-mel frames to articulation: plain PyTorch for training.

`articulation.py` runs the same arithmetic in numpy, so that using a motion model does not import torch.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from vivavoce.features.speech import BANDS
from vivavoce.splat.motion.articulation import OUTPUTS, STACK


class Block(nn.Module):
    """Depthwise convolution, two pointwise layers, scaled residual (Liu et al. 2022, ConvNeXt)."""

    def __init__(self, width: int, past: int, future: int) -> None:
        super().__init__()
        self.past, self.future = past, future
        self.depthwise = nn.Conv1d(width, width, past + 1 + future, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        h = self.depthwise(pad(x.transpose(1, 2), (self.past, self.future))).transpose(1, 2)
        return x + self.scale * self.contract(relu(self.expand(self.norm(h))))


class ArticulationNetwork(nn.Module):
    """Residual blocks between two linear layers; each sees `past` frames back and `future` ahead."""

    def __init__(self, width: int = 256, blocks: int = 7, *, past: int = 8, future: int = 1) -> None:
        super().__init__()
        self.inlet = nn.Linear(STACK * BANDS, width)
        self.blocks = nn.ModuleList(Block(width, past, future) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.outlet = nn.Linear(width, len(OUTPUTS))
        nn.init.constant_(self.outlet.bias, -1.5)  # most channels rest most of the time

    def forward(self, x: Float[Tensor, "B T 160"]) -> Float[Tensor, "B T 9"]:
        """Two stacked normalised log-mel frames at 50 Hz -> logits of `OUTPUTS`."""
        x = self.inlet(x)
        for block in self.blocks:
            x = block(x)
        return self.outlet(self.norm(x))
