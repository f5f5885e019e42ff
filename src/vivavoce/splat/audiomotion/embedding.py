"""The shared embedding of speech and motion (AudioAvatar, appendix B): one unit vector for a patch of 25 frames."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from vivavoce.splat.audiomotion.config import PerceiverConfig


class PatchEncoder(nn.Module):
    """A Perceiver (Jaegle et al. 2021) over the frames of a patch, then a perceptron of two layers.

    Learned latents gather from the patch's frames by cross-attention, talk among themselves by self-attention, and
    their mean is embedded. One encoder takes speech features, another motion; a contrastive loss brings the two
    together. A patch's embedding depends on its own frames alone.
    """

    def __init__(self, features: int, config: PerceiverConfig) -> None:
        """`features` is the width C of the frames."""
        super().__init__()
        width, heads = config.width, config.heads
        self.patch = config.patch
        self.inlet = nn.Linear(features, width)
        self.places = nn.Parameter(0.02 * torch.randn(config.patch, width))
        self.latents = nn.Parameter(0.02 * torch.randn(config.latents, width))
        self.norm_latents, self.norm_frames = nn.LayerNorm(width), nn.LayerNorm(width)
        self.gather = nn.MultiheadAttention(width, heads, batch_first=True)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, config.size))

    def forward(self, features: Float[Tensor, "B T C"]) -> Float[Tensor, "B P E"]:
        """Unit vectors of the P = T // 25 patches from the first frame on; frames that fill none are left out.

        Raises ValueError where there is no whole patch.
        """
        batch, frames, _ = features.shape
        patches = frames // self.patch
        if not patches:
            raise ValueError(f"{frames} frames make no patch of {self.patch}")
        pieces = features[:, : patches * self.patch].unflatten(1, (patches, self.patch)).flatten(0, 1)
        seen = self.norm_frames(self.inlet(pieces) + self.places)
        latents = self.latents.expand(len(pieces), -1, -1)
        latents = latents + self.gather(self.norm_latents(latents), seen, seen, need_weights=False)[0]
        for layer in self.layers:
            latents = layer(latents)
        return normalize(self.mlp(self.norm(latents.mean(1))), dim=-1).unflatten(0, (batch, patches))
