"""diffusers' Wan blocks with sockets: same parameters and arithmetic, and places where branches may add."""

from __future__ import annotations

from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformerBlock
from jaxtyping import Float
from torch import Tensor, nn

from vivavoce.video.wan.sockets import Sockets

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines (1, L, 1, head_dim)."""


class TrunkBlock(WanTransformerBlock):
    """A block of the main stack; `hint` is what the VACE stack adds behind it.

    The hint is added inside, so that a cache that skips the block skips its hint as well: diffusers adds it
    outside, where a skipped block's hint, already part of the cached residual, counts twice.
    """

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # diffusers annotates tuples as tensors
        self,
        hidden_states: Float[Tensor, "B L D"],
        encoder_hidden_states: Float[Tensor, "B S D"],
        temb: Float[Tensor, "..."],
        rotary_emb: Rotary,
        sockets: Sockets | None = None,
        hint: Float[Tensor, "B L D"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """The tokens after the block."""
        tokens = _transformed(self, hidden_states, encoder_hidden_states, temb, rotary_emb, sockets)
        return tokens if hint is None else tokens + hint.to(tokens.device)


class VaceBlock(WanVACETransformerBlock):
    """A block of the VACE stack: gives a hint for the main stack and passes its own tokens on."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # diffusers annotates tuples as tensors
        self,
        hidden_states: Float[Tensor, "B L D"],
        encoder_hidden_states: Float[Tensor, "B S D"],
        control_hidden_states: Float[Tensor, "B L D"],
        temb: Float[Tensor, "..."],
        rotary_emb: Rotary,
        sockets: Sockets | None = None,
    ) -> tuple[Float[Tensor, "B L D"] | None, Float[Tensor, "B L D"]]:
        """The hint, and the stack's tokens after the block."""
        tokens = control_hidden_states
        if self.proj_in is not None:
            tokens = self.proj_in(tokens) + hidden_states
        tokens = _transformed(self, tokens, encoder_hidden_states, temb, rotary_emb, sockets)
        return (None if self.proj_out is None else self.proj_out(tokens)), tokens


def _transformed(
    block: TrunkBlock | VaceBlock,
    tokens: Float[Tensor, "B L D"],
    text: Float[Tensor, "B S D"],
    temb: Float[Tensor, "..."],
    rotary_emb: Rotary,
    sockets: Sockets | None,
) -> Float[Tensor, "B L D"]:
    """Self-attention, text attention, feed-forward, in exactly diffusers' order of operations."""
    shift, scale, gate, late_shift, late_scale, late_gate = _modulation(block.scale_shift_table, temb)

    normed = (block.norm1(tokens.float()) * (1 + scale) + shift).type_as(tokens)
    attended = block.attn1(normed, None, None, rotary_emb)
    tokens = (tokens.float() + attended * gate).type_as(tokens)

    normed = block.norm2(tokens.float()).type_as(tokens)
    tokens = tokens + block.attn2(normed, text, None, None)
    if sockets is not None:
        tokens = sockets.add("after_text", tokens)

    normed = (block.norm3(tokens.float()) * (1 + late_scale) + late_shift).type_as(tokens)
    tokens = (tokens.float() + block.ffn(normed).float() * late_gate).type_as(tokens)
    return tokens if sockets is None else sockets.add("after_block", tokens)


def _modulation(table: nn.Parameter, temb: Float[Tensor, "..."]) -> tuple[Tensor, ...]:
    """The six vectors of adaptive layer norm: (B, 1, D) each, (B, L, D) where every token has its own time."""
    own = table.to(temb.device)
    if temb.ndim == 4:
        return tuple(part.squeeze(2) for part in (own.unsqueeze(0) + temb.float()).chunk(6, dim=2))
    return (own + temb.float()).chunk(6, dim=1)
