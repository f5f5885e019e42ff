"""Cross-attention from video tokens to the tokens of a condition, shared by the branches.

Parameters carry diffusers' names (`to_q`, `norm_q`, ...), and queries and keys are normed across all heads at
once, as Wan does: the text attention of a checkpoint can be copied in.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers.models.embeddings import apply_rotary_emb, get_1d_rotary_pos_embed
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

EPS = 1e-6
"""Of every norm, as in Wan."""


class CrossAttention(nn.Module):
    """Multi-head attention of queries over a context of another width; it gives zero at init.

    Raises ValueError where `heads` does not divide `width`.
    """

    def __init__(self, width: int, context_width: int, *, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.heads = heads
        self.head_dim = width // heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(context_width, width)
        self.to_v = nn.Linear(context_width, width)
        self.norm_q = nn.RMSNorm(width, eps=EPS)
        self.norm_k = nn.RMSNorm(width, eps=EPS)
        self.to_out = nn.Linear(width, width)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(
        self,
        tokens: Float[Tensor, "B L D"],
        context: Float[Tensor, "B S E"],
        *,
        rotary: tuple[Float[Tensor, "2 L d"], Float[Tensor, "2 S d"]] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """What each token gathers from all of the context.

        `rotary` rotates queries and keys by their positions (`rotary_table`).
        """
        q = self._split(self.norm_q(self.to_q(tokens)))
        k = self._split(self.norm_k(self.to_k(context)))
        v = self._split(self.to_v(context))
        if rotary is not None:
            q, k = (_rotated(x, table) for x, table in zip((q, k), rotary, strict=True))
        attended = scaled_dot_product_attention(q, k, v)
        return self.to_out(attended.transpose(1, 2).flatten(2))

    def frame_wise(
        self, tokens: Float[Tensor, "B f n D"], context: Float[Tensor, "B f m E"]
    ) -> Float[Tensor, "B f n D"]:
        """What the tokens of each frame gather from the context of the same frame alone.

        Frames are folded into the batch, so the cost grows linearly with their number and nothing is masked
        (ApoAvatar eq. 7: block-diagonal attention).
        """
        frames = tokens.shape[1]
        return self(tokens.flatten(0, 1), context.flatten(0, 1)).unflatten(0, (-1, frames))

    def _split(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B H L d"]:
        return x.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)


class PreNormCrossAttention(CrossAttention):
    """Cross-attention as a residual of a transformer block: its tokens are layer-normed first."""

    def __init__(self, width: int, context_width: int, *, heads: int) -> None:
        super().__init__(width, context_width, heads=heads)
        self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(
        self,
        tokens: Float[Tensor, "B L D"],
        context: Float[Tensor, "B S E"],
        *,
        rotary: tuple[Float[Tensor, "2 L d"], Float[Tensor, "2 S d"]] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """What to add to the tokens."""
        return super().forward(self.norm(tokens), context, rotary=rotary)


def rotary_table(head_dim: int, positions: Int[np.ndarray, " L"]) -> Float[Tensor, "2 L d"]:
    """Cosines and sines of one-dimensional rotary positions (Su et al. 2024), base 10000, on the CPU.

    Scores then depend on the difference between a query's and a key's position alone.
    """
    # Angles in float64, which not every accelerator has: in float32 they drift at far positions.
    pair = get_1d_rotary_pos_embed(head_dim, positions, use_real=True, freqs_dtype=torch.float64)
    return torch.stack(list(pair))


def _rotated(x: Float[Tensor, "B H L d"], table: Float[Tensor, "2 L d"]) -> Float[Tensor, "B H L d"]:
    return apply_rotary_emb(x, table)  # pyright: ignore[reportReturnType]  # diffusers annotates a pair
