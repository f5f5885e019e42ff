"""Constructor arguments of the smallest models of each real class, and the smallest of each real method."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vivavoce.video.config import VideoConfig

WAN = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "text_dim": 32,
    "freq_dim": 16,
    "ffn_dim": 48,
    "num_layers": 4,
    "rope_max_seq_len": 64,
}
"""A Wan transformer 24 wide."""
VACE = WAN | {"vace_layers": [0, 2], "vace_in_channels": 96}
"""The same with two VACE blocks."""
VAE = {"base_dim": 8, "z_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
"""An autoencoder of Wan 2.1's kind."""


def method(name: str, **changes: object) -> VideoConfig:
    """A miniature, smaller still: frames of 32 pixels, chunks of 17, two steps."""
    from vivavoce.methods import find

    config = find(f"{name}-miniature")
    size = {
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "ffn_dim": 48,
        "num_layers": 4,
        "freq_dim": 16,
        "in_channels": VAE["z_dim"],
        "out_channels": VAE["z_dim"],
    }
    transformer = dict(config.transformer) | size
    own: dict = {}
    if config.backbone == "vace":
        transformer |= {"vace_layers": [0, 2], "vace_in_channels": 96}
        own = {"state_layer": 2}
    # Weights that come with the program are of the miniature's own size.
    small = {
        "base": None,
        "own": None,
        "transformer": transformer,
        "vae": VAE,
        "width": 32,
        "height": 32,
        "chunk": 17,
        "steps": 2,
    }
    return replace(config, **small | own | changes)
