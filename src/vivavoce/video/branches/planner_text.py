"""Planning guidance (PhysAvatar, sec. 3.4, eq. 5): the VACE stack attends to what a language model planned."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from vivavoce.video.branches.attention import PreNormCrossAttention
from vivavoce.video.wan.sockets import Branch, Conditions, Moment, Place, Stack

TOKENS = "planner_text.tokens"


class PlannerAttention(Branch):
    """Cross-attention in every VACE block, after its text attention, to e = Proj(e_con + e_tok) (eq. 5).

    Reads conditions["plan"] (B, P, E): for each of P text tokens, the planner's last hidden state plus the
    token's embedding. `Proj` is an MLP to the width of the video tokens, run once a denoising step. All tokens
    of the stack look, those of reference pictures too: the context that they are is what the plan refines.
    """

    stack: ClassVar[Stack] = "vace"
    place: ClassVar[Place] = "after_text"

    def __init__(self, width: int, *, heads: int, planner_width: int, layers: int) -> None:
        """`planner_width` is E, 3584 for Qwen2.5-Omni 7B; `layers` the VACE blocks, 15 for Wan2.1-VACE-1.3B."""
        super().__init__()
        self.project = nn.Sequential(
            nn.LayerNorm(planner_width),
            nn.Linear(planner_width, width),
            nn.GELU("tanh"),
            nn.Linear(width, width),
        )
        self.attentions = nn.ModuleList(
            PreNormCrossAttention(width, width, heads=heads) for _ in range(layers)
        )

    def enter(
        self, tokens: Float[Tensor, "B L D"], conditions: Conditions, moment: Moment
    ) -> tuple[Float[Tensor, "B L D"], Conditions]:
        """The tokens as they are, and the conditions with the projected plan; without one, what was given."""
        if "plan" not in conditions:
            return tokens, conditions
        return tokens, {**conditions, TOKENS: self.project(conditions["plan"].to(tokens.dtype))}

    def residual(
        self, layer: int, tokens: Float[Tensor, "B L D"], conditions: Conditions
    ) -> Float[Tensor, "B L D"] | None:
        """What VACE block `layer` adds for the plan; nothing without one."""
        if TOKENS not in conditions:
            return None
        return self.attentions[layer](tokens, conditions[TOKENS])
