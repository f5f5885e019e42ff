"""Wan's rotary positions with a start other than zero in time."""

from __future__ import annotations

import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed
from torch import Tensor


class OffsetRotary(WanRotaryPosEmbed):
    """Positions of a latent whose first frame lies `first` latent frames after time zero."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # diffusers annotates the pair as a tensor
        self, hidden_states: Tensor, first: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Cosines and sines (1, L, 1, head_dim) for latents (B, C, f, h, w).

        Raises ValueError for positions before zero or beyond `rope_max_seq_len`.
        """
        if first == 0:
            cosines, sines = super().forward(hidden_states)
            return cosines, sines
        batch, channels, frames, height, width = hidden_states.shape
        steps, rows, columns = (n // p for n, p in zip((frames, height, width), self.patch_size, strict=True))
        if first < 0 or first + steps > self.max_seq_len:
            raise ValueError(
                f"latent frames {first} to {first + steps} lie outside the {self.max_seq_len} known positions"
            )
        # Only the shape is read, so nothing of that size is ever allocated.
        longer = torch.empty(
            batch, channels, first * self.patch_size[0] + frames, height, width, device="meta"
        )
        skipped = first * rows * columns
        cosines, sines = super().forward(longer)
        return cosines[:, skipped:], sines[:, skipped:]
