"""The miniatures' shared base: a Wan of 4 M parameters, small frames, encoders without weights.

Every mechanism is the full one; only numbers differ, so that a clip is drawn on a processor in seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vivavoce.features.encoders import LogMelEncoder
from vivavoce.video.config import EncoderConfig

SMALL_WAN: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 4,
    "attention_head_dim": 48,
    "in_channels": 24,
    "out_channels": 24,
    "text_dim": 64,
    "freq_dim": 64,
    "ffn_dim": 512,
    "num_layers": 8,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 1024,
}
SMALL_VACE = SMALL_WAN | {"vace_layers": [0, 2, 4, 6], "vace_in_channels": 112}

SMALL_VAE: dict[str, Any] = {
    "base_dim": 24,
    "z_dim": 24,
    "dim_mult": [1, 2, 2],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "is_residual": True,
}
"""4x8x8, as Wan 2.1's; pixels taken apart by two first, and shortcuts around each level, as Wan 2.2's.

24 channels are 96 numbers a token, half the backbone's width: it predicts noise less data, and has to carry the noise
through. A linear code of as many keeps, weighted by where one looks, how far a mouth is open (r 0.5 to 0.6). The
shortcuts make it learn in half the time.
"""

SMALL: dict[str, Any] = {
    "vae": SMALL_VAE,
    "encoder": EncoderConfig("log-mel", LogMelEncoder.name, LogMelEncoder.width),
    "text_length": 160,
    "width": 96,
    "height": 96,
    "fps": 25.0,
    "chunk": 81,
    "steps": 8,
    "shift": 3.0,
    "focus": True,
}
"""What every miniature replaces in the preset that it is made from."""


def packaged(name: str) -> str | None:
    """The folder of weights of that name that comes with the program; None where it does not."""
    folder = Path(__file__).with_name("weights") / name
    return str(folder) if folder.is_dir() else None
