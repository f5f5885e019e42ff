"""Floating-point operations of one evaluation of a network, by formula.

A product of an m x k with a k x n matrix counts 2 m n k, attention as its two products, a convolution as the product
that it is. Norms, rotations and activations are not counted, as in the published shares of a card's matrix rate.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from vivavoce.timing import latent_frames
from vivavoce.video.branches.audio import AudioAttention
from vivavoce.video.branches.audio_refine import AudioRefinement
from vivavoce.video.branches.planner_text import PlannerAttention
from vivavoce.video.branches.pose import PoseAdapter
from vivavoce.video.config import VideoConfig
from vivavoce.video.network import AvatarNetwork
from vivavoce.video.wan.sockets import Branch


@dataclass(frozen=True)
class Load:
    """How much an evaluation of a whole chunk works on, batch of one."""

    width: int
    """D, of a token."""
    cells: int
    """Tokens of a latent frame."""
    frames: int
    """Latent frames of the video."""
    references: int
    """Latent frames of reference pictures."""
    text: int
    """Tokens of text."""
    plan: int = 0
    """Tokens of the planner's brief."""
    own_times: bool = False
    """Whether every token has a noise level of its own."""
    audio: int = 1
    """Audio tokens of a latent frame."""

    @classmethod
    def of(cls, config: VideoConfig, *, plan: int, audio: int) -> Load:
        """A method's own chunk, with a photo and everything else that it can be told."""
        width = config.transformer["num_attention_heads"] * config.transformer["attention_head_dim"]
        frames = latent_frames(config.chunk)
        cells = config.tokens // (frames + config.references)
        own_times = config.backbone == "wan"
        return cls(width, cells, frames, config.references, config.text_length, plan, own_times, audio)

    @property
    def video(self) -> int:
        """Tokens of the video."""
        return self.frames * self.cells

    @property
    def tokens(self) -> int:
        """Those of reference pictures too."""
        return self.video + self.references * self.cells


def network_flops(network: AvatarNetwork, *, plan: int) -> int:
    """Of one evaluation of a method's own chunk, all its branches at work; `plan` tokens of a brief."""
    branches = network.branches.values()
    heard = (b.projector.tokens_per_latent for b in branches if isinstance(b, AudioAttention))
    audio = next(heard, 0)  # a base hears nothing
    load = Load.of(network.config, plan=plan, audio=audio)
    return backbone_flops(network.config, load) + sum(branch_flops(branch, load) for branch in branches)


def backbone_flops(config: VideoConfig, load: Load) -> int:
    """Of the pretrained transformer alone."""
    c, d, n = config.transformer, load.width, load.tokens
    patch = math.prod(c["patch_size"])
    block = (
        _linear(n, d, d, times=4)
        + _attention(n, n, d)
        + _cross(n, load.text, d)
        + _linear(n, d, c["ffn_dim"], times=2)
    )
    total = c["num_layers"] * block
    if hints := len(c.get("vace_layers", ())):
        total += hints * (block + _linear(n, d, d)) + _linear(n, d, d)
        total += _linear(n, c["vace_in_channels"] * patch, d)
    total += _linear(n, c["in_channels"] * patch, d) + _linear(n, d, c["out_channels"] * patch)
    times = n if load.own_times else 1
    total += _linear(times, c["freq_dim"], d) + _linear(times, d, d) + _linear(times, d, 6 * d)
    return total + _linear(load.text, c["text_dim"], d) + _linear(load.text, d, d)


@functools.singledispatch
def branch_flops(branch: Branch, load: Load) -> int:
    """Of one branch, over all blocks. Raises TypeError for a kind without a formula."""
    raise TypeError(f"there is no formula for {type(branch).__name__}")


@branch_flops.register
def _(branch: AudioAttention, load: Load) -> int:
    context = load.frames * load.audio
    seen = load.audio if branch.frame_wise else context
    each = _linear(load.video, load.width, load.width, times=2) + _attention(load.video, seen, load.width)
    each += _linear(context, load.width, load.width, times=2)
    return _layers(branch.projector.modules(), load.frames) + len(branch.attentions) * each


@branch_flops.register
def _(branch: AudioRefinement, load: Load) -> int:
    queries, d = load.frames * load.audio, load.width
    times = load.frames if load.own_times else 1
    attention = _linear(queries, d, d, times=2) + _linear(load.video, d, d, times=2)
    return _linear(times, d, 3 * d) + attention + _attention(queries, load.cells, d)


@branch_flops.register
def _(branch: PlannerAttention, load: Load) -> int:
    each = _cross(load.tokens, load.plan, load.width)
    return _layers(branch.project, load.plan) + len(branch.attentions) * each


@branch_flops.register
def _(branch: PoseAdapter, load: Load) -> int:
    total, frames, pixels = 0, 4 * (load.frames - 1) + 1, load.cells * branch.stride**2
    for layer in branch.encoder:
        if isinstance(layer, nn.Conv3d):
            frames = (frames - 1) // layer.stride[0] + 1
            pixels //= layer.stride[1] * layer.stride[2]
            inputs = layer.in_channels * math.prod(layer.kernel_size)
            total += _linear(frames * pixels, inputs, layer.out_channels)
    return total + _linear(load.video, branch.project.in_features, load.width)


def _linear(rows: int, inputs: int, outputs: int, *, times: int = 1) -> int:
    return times * 2 * rows * inputs * outputs


def _attention(queries: int, keys: int, width: int) -> int:
    return 4 * queries * keys * width


def _cross(queries: int, keys: int, width: int) -> int:
    """Cross-attention with its four projections."""
    projections = _linear(queries, width, width, times=2) + _linear(keys, width, width, times=2)
    return projections + _attention(queries, keys, width)


def _layers(modules: Iterable[nn.Module], rows: int) -> int:
    """Linear layers one after another."""
    return sum(_linear(rows, m.in_features, m.out_features) for m in modules if isinstance(m, nn.Linear))
