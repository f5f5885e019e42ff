"""Constructor arguments of the smallest models of each real class."""

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
