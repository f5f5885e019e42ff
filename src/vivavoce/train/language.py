"""Training a small text encoder on captions: words that are hidden must be told from the others around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from vivavoce.corpus.captions import Caption
from vivavoce.errors import WeightsError
from vivavoce.video.text import TextEncoder
from vivavoce.weights import TEXT_ENCODER, load_strictly, read_state

HIDDEN = 0.25
"""Probability of each token to be hidden."""


@dataclass(frozen=True)
class Tokens:
    """A batch of captions."""

    ids: Int[Tensor, "B S"]
    words: Int[Tensor, "B S"]
    """1 for tokens, 0 for padding."""
    hidden: Bool[Tensor, "B S"]


class MaskedLanguage(nn.Module):
    """An encoder with a layer that tells tokens from its states (masked language modelling, Devlin et al. 2019).

    umT5's own pretraining, span corruption, needs a decoder, which nothing here would use afterwards.
    """

    def __init__(self, encoder: nn.Module, width: int, vocabulary: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.mask = nn.Parameter(torch.randn(width))
        self.tell = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tokens) -> Float[Tensor, "B S V"]:
        """Scores of all tokens at each place."""
        given: Any = self.encoder
        embedded = given.get_input_embeddings()(tokens.ids)
        embedded = torch.where(tokens.hidden[..., None], self.mask, embedded)
        return self.tell(given(inputs_embeds=embedded, attention_mask=tokens.words).last_hidden_state)


class LanguageTask:
    """A text encoder on captions (`Task`); the layer on top is thrown away in the end."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self.module: Any = MaskedLanguage(encoder.model, encoder.width, encoder.model.config.vocab_size)
        self.weights: Mapping[str, float] = {}

    def batch(self, examples: Sequence[Caption], generators: Sequence[torch.Generator]) -> Tokens:
        """The captions, of each of which random tokens are hidden."""
        found = [self.encoder.tokens(example.blocks) for example in examples]
        ids, words = (torch.cat([getattr(f, name) for f in found]) for name in ("ids", "attention_mask"))
        longest = int(words.sum(1).max())
        ids, words = ids[:, :longest], words[:, :longest]
        draws = torch.stack([torch.rand(longest, generator=generator) for generator in generators])
        hidden = (draws < HIDDEN) & (words == 1)
        device = next(self.module.parameters()).device
        return Tokens(ids.to(device), words.to(device), hidden.to(device))

    def losses(self, batch: Tokens) -> dict[str, Float[Tensor, " B"]]:
        """Mean cross-entropy of each caption's hidden tokens; 0 where none is hidden."""
        scores = self.module(batch)
        each = cross_entropy(scores.transpose(1, 2), batch.ids, reduction="none")
        return {"hidden": (each * batch.hidden).sum(1) / batch.hidden.sum(1).clamp(min=1)}

    def load(self, folder: Path) -> None:
        """Take over what `save` wrote. Raises WeightsError where it does not fit."""
        path = folder / TEXT_ENCODER.folder / "model.safetensors"
        if not path.is_file():
            raise WeightsError(f"{folder} holds no text encoder: give the result of a stage that made one.")
        load_strictly(self.encoder.model, read_state(path), str(path))

    def save(self, folder: Path) -> None:
        """Write the encoder and its tokenizer, in diffusers' layout."""
        self.encoder.save(folder)

    def sample(self, folder: Path | None) -> None:
        """Nothing: an encoder has nothing to show."""
