"""The methods for a reader: what each stands on, and how many parameters it adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from vivavoce.methods import all_methods
from vivavoce.video.config import VideoConfig


@dataclass(frozen=True)
class Sizes:
    """Parameters of a method at its full size."""

    base: int
    """Of the backbone, the VACE stack included."""
    parts: dict[str, int]
    """Of each of the method's own parts."""
    lora: int
    """Of its low-rank adapters."""


def sizes(config: VideoConfig) -> Sizes:
    """Counted on the network itself, which takes no memory for it."""
    from vivavoce.methods.load import add_lora

    with torch.device("meta"):
        network = config.build()
        base = _count(network.backbone)
        parts = {name: _count(part) for name, part in network.parts.items()}
        lora = _count(network.backbone) - base if add_lora(network) else 0
    return Sizes(base, parts, lora)


def table() -> str:
    """A few lines for every method."""
    return "\n\n".join(_described(config) for _, config in sorted(all_methods().items()))


def _described(config: VideoConfig) -> str:
    found = sizes(config)
    added = ", ".join(f"{name} {_short(count)}" for name, count in found.parts.items())
    lora = f", LoRA of rank {config.lora.rank} {_short(found.lora)}" if config.lora else ""
    total = sum(found.parts.values()) + found.lora
    seconds = f"{config.chunk} frames at {config.fps:g} fps"
    scales = ", ".join(f"{name} {scale:g}" for name, scale in config.scales.items())
    lines = [
        config.name,
        f"  {config.paper}",
        f"  base      {config.base or 'a miniature, built untrained'}, {_short(found.base)} parameters",
        f"  adds      {_short(total)} parameters: {added}{lora}",
        f"  draws     {config.width}x{config.height}, {seconds} in one go, {config.order}",
        f"  hears     {config.encoder.name}",
        f"  samples   {config.steps} steps of {config.solver}, guidance {scales}",
        f"  can       {', '.join(sorted(config.modes))}",
    ]
    return "\n".join(lines)


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _short(count: int) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3f} {name}"
    return str(count)
