"""What a recipe will cost, before it runs: parameters, memory and time on a card.

Parameters are counted on the networks themselves, which take no memory for it. In bytes, T parameters trained of N:

    weights      4 T + 2 (N - T), in float32 all of 4 N; and 2 T for autocast's copies in bfloat16
    gradients    4 T
    optimizer    8 T, AdamW's two moments
    average      4 T where one is kept
    activations  of one example: tokens x (B (a D + 2 i F) + 20 D), where B blocks D wide with F in their feed-forward
                 keep i = 2 or 4 bytes a number; a = 72 in bfloat16, 89 in float32, and 32 more where every token has a
                 time of its own. Audio attention keeps 16 or 28 D more in each block of the trunk. With checkpointing
                 a block keeps its input alone, 4 D, and one block at a time all of it.

a was measured on the blocks themselves (`tests/train/test_estimate.py` holds it to that); keys and values of texts, and
the pose adapter, are left out. Time is operations over the card's rate: forward once, backward once for activations and
once for the share of weights that is trained, forward again with checkpointing; the forward count is `video.flops`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from vivavoce.methods.load import add_lora
from vivavoce.train.machine import Machine
from vivavoce.train.recipe import Recipe
from vivavoce.train.stage import Stage, matching
from vivavoce.video.branches.audio import AudioAttention
from vivavoce.video.config import VideoConfig
from vivavoce.video.flops import network_flops
from vivavoce.video.network import AvatarNetwork

USED = 0.4
"""Share of a card's rate that training reaches; 0.3 to 0.5 is usual for transformers of these sizes."""
PLAN = 128
"""Tokens of a planner's brief of 80 words."""
_GIB = 2**30
_BLOCK, _AUDIO, _OWN_TIMES, _AROUND = {4: 89, 2: 72}, {4: 28, 2: 16}, 32, 20  # bytes a token, in widths


@dataclass(frozen=True)
class Card:
    """A graphics card by its public data sheet."""

    name: str
    memory: float
    """GiB."""
    rate: float
    """Dense bfloat16 operations with float32 sums, 10^12 a second."""

    @property
    def chip(self) -> str:
        """The word by which drivers' names tell it."""
        return self.name.removeprefix("RTX ").split()[0]


CARDS = (
    Card("RTX 4090", 24.0, 165.2),
    Card("A100 80 GB", 80.0, 312.0),
    Card("H20", 96.0, 148.0),
    Card("H100 SXM", 80.0, 989.4),
    Card("H200", 141.0, 989.4),
)


@dataclass(frozen=True)
class Estimate:
    """Of one stage; memory in bytes."""

    stage: Stage
    trained: int
    frozen: int
    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    """Of one example with what the stage says of checkpointing."""
    activations_kept: int
    """And without checkpointing."""
    operations: float
    """Of the whole stage."""

    def memory(self, *, micro: int = 1, cards: int = 1) -> int:
        """On each of `cards` that all states are sharded over, with `micro` examples at once."""
        states = self.weights + self.gradients + self.optimizer + self.average
        return states // cards + micro * self.activations

    def seconds(self, card: Card, *, cards: int = 1) -> float:
        """The whole stage on so many of these."""
        return self.operations / (cards * card.rate * 1e12 * USED)


def estimate(config: VideoConfig, stage: Stage, *, precision: str = "bf16") -> Estimate:
    """What a stage of a method's recipe costs. Raises InputError for patterns that match no parameter."""
    if stage.frames is not None:
        config = replace(config, chunk=stage.frames)
    with torch.device("meta"):
        network = config.build()
        if stage.lora:
            add_lora(network)
    trained = _count(stage.freeze(network).values())
    matching(dict(network.named_parameters()), stage.restores, f"Stage {stage.name!r} restores")
    every = _count(network.parameters())
    item = 4 if precision == "no" else 2
    copies = 0 if item == 4 else 2 * trained
    kept, one = activations(network, item=item)
    recomputed = config.tokens * 4 * config.hidden * _blocks(network) + one
    passes = 2 + trained / every + stage.checkpointing
    return Estimate(
        stage,
        trained,
        every - trained,
        weights=4 * trained + item * (every - trained) + copies,
        gradients=4 * trained,
        optimizer=8 * trained,
        average=4 * trained if stage.ema is not None else 0,
        activations=recomputed if stage.checkpointing else kept,
        activations_kept=kept,
        operations=passes * network_flops(network, plan=PLAN) * stage.batch * stage.steps,
    )


def activations(network: AvatarNetwork, *, item: int) -> tuple[int, int]:
    """Bytes that the backward pass of one example needs, of the whole network and of its widest block."""
    config = network.config
    width, tokens = config.hidden, config.tokens
    own = _OWN_TIMES if config.backbone == "wan" else 0
    block = (_BLOCK[item] + own) * width + 2 * item * config.transformer["ffn_dim"]
    audio = (
        sum(isinstance(branch, AudioAttention) for branch in network.branches.values()) * _AUDIO[item] * width
    )
    trunk = config.transformer["num_layers"]
    whole = _blocks(network) * block + trunk * audio + _AROUND * width
    return tokens * whole, tokens * (block + audio)


def table(recipe: Recipe, config: VideoConfig, machine: Machine, cards: Sequence[Card] = CARDS) -> str:
    """What `--dry-run` prints: for each stage its parameters and memory, and what each card makes of it."""
    return "\n\n".join(
        _described(estimate(config, stage, precision=machine.precision), machine, cards)
        for stage in recipe.stages
    )


def card_here() -> Card | None:
    """The graphics card of this machine, where it is one of `CARDS`; its memory is the true one."""
    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(0)
    known = [card for card in CARDS if re.search(rf"\b{card.chip}\b", found.name)]
    return Card(found.name, found.total_memory / _GIB, known[0].rate) if known else None


def _described(found: Estimate, machine: Machine, cards: Sequence[Card]) -> str:
    s = found.stage
    memory = {
        "weights": found.weights,
        "gradients": found.gradients,
        "optimizer": found.optimizer,
        "average": found.average,
        "activations": machine.micro * found.activations,
    }
    parts = ", ".join(f"{name} {_size(value)}" for name, value in memory.items() if value)
    kept = (
        f" ({_size(machine.micro * found.activations_kept)} without checkpointing)" if s.checkpointing else ""
    )
    lines = [
        f"{s.name}: {s.steps} steps of {s.batch} examples, {machine.micro} at once",
        f"  trains      {found.trained / 1e6:,.1f} M parameters, {found.frozen / 1e6:,.1f} M frozen",
        f"  memory      {_size(found.memory(micro=machine.micro))}: {parts}{kept}",
    ]
    return "\n".join([*lines, *(f"  {card.name:<10}  {_on(card, found, machine)}" for card in cards)])


def _on(card: Card, found: Estimate, machine: Machine) -> str:
    """Whether a stage fits on a card, or on how many, and how long it takes there."""
    for cards in (1, 2, 4, 8, 16, 32, 64, 128):
        if found.memory(micro=machine.micro, cards=cards) / _GIB <= card.memory:
            how = "fits" if cards == 1 else f"fits sharded over {cards}"
            return f"{how}, {_time(found.seconds(card, cards=cards))}"
    return "does not fit: the activations of one example alone are too many"


def _size(count: int) -> str:
    return f"{count / _GIB:.1f} GiB" if count >= _GIB else f"{count / 2**20:.0f} MiB"


def _time(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds:.0f} seconds"


def _blocks(network: AvatarNetwork) -> int:
    return network.config.transformer["num_layers"] + len(network.config.transformer.get("vace_layers", ()))


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
