"""Constructor arguments of the published Wan models that the methods stand on, and of their text encoder."""

from __future__ import annotations

from typing import Any

_COMMON: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "attention_head_dim": 128,
    "text_dim": 4096,
    "freq_dim": 256,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "num_layers": 30,
    "rope_max_seq_len": 1024,
}

VACE_1_3B = _COMMON | {
    "num_attention_heads": 12,
    "in_channels": 16,
    "out_channels": 16,
    "ffn_dim": 8960,
    "vace_layers": list(range(0, 30, 2)),
    "vace_in_channels": 96,
}
"""Wan2.1-VACE-1.3B: 2.154 B parameters, the VACE stack included."""

TI2V_5B = _COMMON | {
    "num_attention_heads": 24,
    "in_channels": 48,
    "out_channels": 48,
    "ffn_dim": 14336,
}
"""Wan2.2-TI2V-5B: 5.000 B parameters."""

VAE_2_1: dict[str, Any] = {
    "base_dim": 96,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
}
"""Wan 2.1's: 4x8x8, 16 channels. Its latents' statistics are the class's own."""

_MEAN_2_2 = (
    "-0.2289 -0.0052 -0.1323 -0.2339 -0.2799 0.0174 0.1838 0.1557 -0.1382 0.0542 0.2813 0.0891 0.1570 -0.0098 "
    "0.0375 -0.1825 -0.2246 -0.1207 -0.0698 0.5109 0.2665 -0.2108 -0.2158 0.2502 -0.2055 -0.0322 0.1109 0.1567 "
    "-0.0729 0.0899 -0.2799 -0.1230 -0.0313 -0.1649 0.0117 0.0723 -0.2839 -0.2083 -0.0520 0.3748 0.0152 0.1957 "
    "0.1433 -0.2944 0.3573 -0.0548 -0.1681 -0.0667"
)
_STD_2_2 = (
    "0.4765 1.0364 0.4514 1.1677 0.5313 0.4990 0.4818 0.5013 0.8158 1.0344 0.5894 1.0901 0.6885 0.6165 0.8454 "
    "0.4978 0.5759 0.3523 0.7135 0.6804 0.5833 1.4146 0.8986 0.5659 0.7069 0.5338 0.4889 0.4917 0.4069 0.4999 "
    "0.6866 0.4093 0.5709 0.6065 0.6415 0.4944 0.5726 1.2042 0.5458 1.6887 0.3971 1.0600 0.3943 0.5537 0.5444 "
    "0.4089 0.7468 0.7744"
)

VAE_2_2: dict[str, Any] = {
    "base_dim": 160,
    "decoder_base_dim": 256,
    "z_dim": 48,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "temperal_downsample": [False, True, True],
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "scale_factor_temporal": 4,
    "latents_mean": [float(value) for value in _MEAN_2_2.split()],
    "latents_std": [float(value) for value in _STD_2_2.split()],
}
"""Wan 2.2's: 4x16x16, 48 channels. Its original file does not hold the statistics."""

UMT5_XXL: dict[str, Any] = {
    "vocab_size": 256384,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "feed_forward_proj": "gated-gelu",
}
"""The text encoder of both: 5.681 B parameters."""
