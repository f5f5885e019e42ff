"""Noise-based audio masking (PhysAvatar, Alg. 1): the less noise, the more audio tokens are hidden in training."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

_INIT_STD = 0.02


def audio_mask(
    sigma: Float[Tensor, " B"], frames: int, generator: torch.Generator
) -> Bool[Tensor, "B {frames}"]:
    """Which audio tokens of each item stay: Alg. 1 of PhysAvatar, False where the paper's mask is 0.

    With p ~ U(0, 1 - sigma), exactly floor(frames p) of the `frames` latent frames are hidden, each choice of
    that many equally likely. Drawn on the generator's device, given on sigma's.
    Raises ValueError for a sigma outside [0, 1].
    """
    if not bool(((sigma >= 0) & (sigma <= 1)).all()):
        raise ValueError(f"sigma lies in [0, 1], not {sigma.tolist()}")

    def uniform(*shape: int) -> Tensor:
        # In float64, because in float32 frames * p can be rounded up to the next whole number.
        return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)

    ratio = uniform(len(sigma)) * (1 - sigma.to(generator.device, torch.float64))
    count = (frames * ratio).floor()
    # The order of noise is a uniform permutation: its values below n stand at n positions, all alike likely.
    order = uniform(len(sigma), frames).argsort(dim=1)
    return (order >= count[:, None]).to(sigma.device)


class MaskEmbedding(nn.Module):
    """One learned vector in the place of every hidden audio token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(_INIT_STD * torch.randn(width))

    def forward(
        self, tokens: Float[Tensor, "B f m D"], keep: Bool[Tensor, "B f"]
    ) -> Float[Tensor, "B f m D"]:
        """The tokens, hidden in the latent frames where `keep` is False."""
        return torch.where(keep[..., None, None], tokens, self.embedding.to(tokens.dtype))
