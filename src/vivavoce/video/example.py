"""A span of a clip as a network is trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from vivavoce.video.maker import Maker, Scene, Span
from vivavoce.video.network import AvatarNetwork


@dataclass(frozen=True)
class Example:
    """A clip as its network is trained on it; every tensor has a batch of one."""

    name: str
    latents: Float[Tensor, "1 C f h w"]
    """Reference pictures before those of the clip."""
    conditions: Mapping[str, Shaped[Tensor, "..."]]
    """As `AvatarNetwork.example` gives them."""
    given: Mapping[str, Mapping[str, Shaped[Tensor, "..."]]] = field(default_factory=dict)
    """By the kind in `stage.GIVEN`: the conditions that differ where the clip is given frames as a later chunk is."""


def example_of(
    network: AvatarNetwork,
    make: Maker,
    *,
    scene: Scene,
    frames: UInt8[np.ndarray, "F H W 3"],
    name: str,
    first: int = 0,
) -> Example:
    """A span of a clip with everything that any stage may ask of it, as it is kept for training.

    `scene` is the clip's, and `frames` are its own from `first` on.
    """
    latents, conditions = network.example(make, scene, frames, first=first)
    config = network.config
    kinds = {"before": [range(config.before)]}
    if config.order == "interleaved":
        kinds["between"] = [range(config.before), range(len(frames) - config.after, len(frames))]
    given = {}
    for kind, spans in kinds.items():
        known = {span.start: frames[span.start : span.stop] for span in spans}
        told = network.conditions(make, scene, Span(first, len(frames), known))
        given[kind] = {
            key: value
            for key, value in told.items()
            if key not in conditions or not torch.equal(value, conditions[key])
        }
    return Example(name, latents, conditions, given)
