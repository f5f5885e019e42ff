"""Blocks of the body-head transformer: points and image tokens attend to each other, and to hand tokens."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers.models.attention import JointTransformerBlock
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from vivavoce.splat.lhm.tokens import Hands

Points = Float[Tensor, "B N D"]
Seen = Float[Tensor, "B L D"]
Both = tuple[Float[Tensor, "B L D"], Float[Tensor, "B K D"]]
"""Image tokens of the body and of the head."""


class HandKeys(nn.Module):
    """Proj of paper 003: hand tokens into keys and values of one block.

    Values start at zero: hands then add nothing and take from the attention to the rest only their share of it.
    """

    def __init__(self, hand_width: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.key = nn.Linear(hand_width, width)
        self.value = nn.Linear(hand_width, width)
        self.norm = nn.RMSNorm(width // heads, eps=1e-6)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def forward(
        self, tokens: Float[Tensor, "B L C"]
    ) -> tuple[Float[Tensor, "B H L d"], Float[Tensor, "B H L d"]]:
        """Normalised keys, and values, by head."""
        return self.norm(_split(self.key(tokens), self.heads)), _split(self.value(tokens), self.heads)


class JointBlock(JointTransformerBlock):
    """SD3's block with RMS-normalised queries and keys, modulated by the picture as a whole.

    It departs from SD3's in one thing, which the published weights were trained with: what the feed-forward layer
    makes of image tokens is added once through its gate and once more without it.
    """

    def __init__(self, width: int, heads: int, *, last: bool, hand_width: int | None = None) -> None:
        super().__init__(width, heads, width // heads, context_pre_only=last, qk_norm="rms_norm")
        self.hand_keys = None if hand_width is None else HandKeys(hand_width, width, heads)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # diffusers' names and order are for SD3
        self, points: Points, image: Seen, modulation: Float[Tensor, "B D"], hands: Hands | None = None
    ) -> tuple[Points, Seen | None]:
        """Points and image tokens after the block; the last block gives no image tokens."""
        normed, gate, shift, scale, gate_ff = self.norm1(points, emb=modulation)
        if self.context_pre_only:
            seen, rest = self.norm1_context(image, modulation), ()
        else:
            seen, *rest = self.norm1_context(image, emb=modulation)
        moved, moved_image = self._attend(normed, seen, hands)
        points = points + gate[:, None] * moved
        hidden = self.norm2(points) * (1 + scale[:, None]) + shift[:, None]
        points = points + gate_ff[:, None] * self.ff(hidden)
        if not rest:
            return points, None
        gate, shift, scale, gate_ff = (part[:, None] for part in rest)
        image = image + gate * moved_image
        hidden = cast(nn.Module, self.norm2_context)(image) * (1 + scale) + shift
        return points, image + (1 + gate_ff) * cast(nn.Module, self.ff_context)(hidden)

    def _attend(self, points: Points, image: Seen, hands: Hands | None) -> tuple[Points, Seen]:
        if hands is None or self.hand_keys is None:
            return self.attn(hidden_states=points, encoder_hidden_states=image)
        return self._attend_to_hands(points, image, hands, self.hand_keys)

    def _attend_to_hands(
        self, points: Points, image: Seen, hands: Hands, to_keys: HandKeys
    ) -> tuple[Points, Seen]:
        """K = [K_fb || K_hand] and V = [V_fb || V_hand] of paper 003; points and image tokens ask."""
        attn: Any = self.attn  # diffusers has parts of it optional, none of which is missing here
        n, heads = points.shape[1], to_keys.heads
        hand_keys, hand_values = to_keys(hands.tokens)
        query = [
            attn.norm_q(_split(attn.to_q(points), heads)),
            attn.norm_added_q(_split(attn.add_q_proj(image), heads)),
        ]
        key = [
            attn.norm_k(_split(attn.to_k(points), heads)),
            attn.norm_added_k(_split(attn.add_k_proj(image), heads)),
        ]
        value = [_split(attn.to_v(points), heads), _split(attn.add_v_proj(image), heads)]
        mask = pad(hands.seen, (n + image.shape[1], 0), value=True)[:, None, None]
        found = scaled_dot_product_attention(
            torch.cat(query, 2),
            torch.cat([*key, hand_keys], 2),
            torch.cat([*value, hand_values], 2),
            attn_mask=mask,
        )
        found = found.transpose(1, 2).flatten(2)
        of_points, of_image = found[:, :n], found[:, n:]
        return attn.to_out[0](of_points), of_image if self.context_pre_only else attn.to_add_out(of_image)


class BodyHeadBlock(nn.Module):
    """The head's points with the head's tokens, then all points with the body's (LHM section 4.3).

    Hand tokens join the second attention, which is the one that the hands' points take part in.
    """

    def __init__(self, width: int, heads: int, *, last: bool, hand_width: int | None = None) -> None:
        super().__init__()
        self.head = JointBlock(width, heads, last=last)
        self.body = JointBlock(width, heads, last=last, hand_width=hand_width)

    def forward(
        self,
        points: Points,
        images: Both,
        modulations: tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]],
        *,
        on_head: int,
        hands: Hands | None = None,
    ) -> tuple[Points, Both | None]:
        """`images` and `modulations` are the body's and the head's; the last `on_head` points lie on the head."""
        elsewhere = points.shape[1] - on_head
        heads, head_image = self.head(points[:, elsewhere:], images[1], modulations[1])
        points = torch.cat([points[:, :elsewhere], heads], dim=1)
        points, body_image = self.body(points, images[0], modulations[0], hands)
        return points, None if body_image is None else (body_image, head_image)


def _split(x: Float[Tensor, "B L D"], heads: int) -> Float[Tensor, "B H L d"]:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)
