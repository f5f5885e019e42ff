"""How many evaluations of guidance fit into memory side by side."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

SHARE = 0.8
"""Of the device's memory that may be filled: allocators fragment, and others use it too."""


def at_once(network: Any, tokens: int, evaluations: int, *, beside: Iterable[nn.Module] = ()) -> int:
    """The most evaluations of `tokens` each, up to `evaluations`, that fit beside the network's weights.

    And `beside` the models that stay on the same device.

    From sizes and the device's whole memory alone, not from what happens to be free: the same video is then drawn in
    the same batches, and so bit for bit the same, whatever else runs. A processor gains nothing by batches.
    """
    device = next(network.parameters()).device
    if device.type == "cpu":
        return 1
    there = (p for model in (network, *beside) for p in model.parameters())
    weights = sum(p.numel() * p.element_size() for p in there if p.device == device)
    free = SHARE * _memory(device) - weights
    return max(1, min(evaluations, int(free // activations(network.backbone.config, tokens, network.dtype))))


def activations(config: Any, tokens: int, dtype: torch.dtype) -> int:
    """Bytes that one evaluation holds at most at one time, without gradients.

    The widest moment is a block's feed-forward: its hidden layer twice, and beside it the stream, its norm in float32,
    queries, keys and values, and a hint of each VACE block. Without VACE given frames are clean tokens among noisy
    ones, so that each token has a time of its own: its embedding and six modulations, those in float32 as well.
    """
    width = config["num_attention_heads"] * config["attention_head_dim"]
    hints = config.get("vace_layers", ())
    item = dtype.itemsize
    times = 0 if hints else 7 * item + 4 * 6
    return tokens * (item * (2 * config["ffn_dim"] + (5 + len(hints)) * width) + (4 * 2 + times) * width)


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
