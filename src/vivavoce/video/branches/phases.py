"""Phase-aware text (ActAvatar, sec. 3.2): the plan as one prompt whose tokens know their phase.

The order of calls: `prompt_blocks` turns a plan into text, `tokenized` into token ids and their phases, the
text encoder (umT5) into features, and `PhaseEmbedding` adds each token's phase to these. What it returns is
the backbone's `encoder_hidden_states`: eq. 3 is then the backbone's own text attention, in every block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from vivavoce.errors import InputError
from vivavoce.video.plan import Plan

BASE = 0
"""The phase of base text, of special tokens and of padding."""


class PhaseEmbedding(nn.Module):
    """Eq. 2: c'_i = c_i + e_k for every text token i of phase k, with e_k learned and zero at first.

    Base text has no e_k: its features pass as they are.
    """

    def __init__(self, phases: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(phases + 1, width, padding_idx=BASE)
        nn.init.zeros_(self.embedding.weight)

    def check(self, phases: int) -> None:
        """Raise InputError for more phases than were learned."""
        known = self.embedding.num_embeddings - 1
        if phases > known:
            raise InputError(f"The plan has {phases} phases and the weights know {known}: join some of them.")

    def forward(self, text: Float[Tensor, "B S E"], phases: Int[Tensor, "B S"]) -> Float[Tensor, "B S E"]:
        """The features with their tokens' phases in them; `phases` is 0 for base text, 1 .. K for phases.

        Raises InputError for a phase beyond those that were learned.
        """
        self.check(int(phases.max()))
        return text + self.embedding(phases).to(text.dtype)


@dataclass(frozen=True)
class PhasedTokens:
    """One prompt, ready for a text encoder."""

    ids: Int[Tensor, "1 S"]
    attention_mask: Int[Tensor, "1 S"]
    """1 for tokens, 0 for padding."""
    phases: Int[Tensor, "1 S"]
    """0 for base text and padding, 1 .. K for phases."""


def prompt_blocks(plan: Plan) -> tuple[str, ...]:
    """The base block and the K phase blocks of eq. 1, each phase with its time window as text."""
    blocks = [plan.base] + [
        f"Phase-{k} [{phase.start:g}-{phase.end:g}s]: {phase.text}" for k, phase in enumerate(plan.phases, 1)
    ]
    return tuple(" ".join(block.split()) for block in blocks)


def tokenized(
    blocks: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, length: int = 512
) -> PhasedTokens:
    """The blocks as one prompt, padded to `length` tokens; block k's tokens are of phase k.

    The text is encoded as a whole, as the encoder was trained on, and a token belongs to the block that its
    last character stands in. Raises InputError for a prompt longer than `length`, and for a tokenizer that
    does not say which characters its tokens come from.
    """
    if not tokenizer.is_fast:
        raise InputError(
            f"{type(tokenizer).__name__} does not tell which characters a token stands for: use a fast tokenizer."
        )
    encoded = tokenizer(" ".join(blocks), return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    if len(ids) > length:
        raise InputError(
            f"The plan is {len(ids)} tokens long and the model reads {length}: shorten its texts or drop phases."
        )
    ends = torch.tensor([len(block) + 1 for block in blocks]).cumsum(0)  # 1 for the space between
    last = torch.tensor([max(end - 1, 0) for _, end in offsets])
    padding = length - len(ids)
    phases = torch.bucketize(last, ends, right=True)
    return PhasedTokens(
        ids=torch.tensor([ids + [tokenizer.pad_token_id or 0] * padding]),
        attention_mask=torch.tensor([[1] * len(ids) + [0] * padding]),
        phases=nn.functional.pad(phases, (0, padding), value=BASE)[None],
    )
