"""What can be made visible of a network at work: taken at the last denoising step, kept with the chunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vivavoce.errors import InputError
from vivavoce.features.physical_state import StateEncoder
from vivavoce.timing import FACTOR, frame_rate
from vivavoce.types import SPEECH_RATE
from vivavoce.video.attention_view import PhaseAttention, plot
from vivavoce.video.maker import Scene, Span
from vivavoce.video.network import AvatarNetwork
from vivavoce.video.sample.long import Chunk
from vivavoce.video.wan.backbone import Drawn

Batch = tuple[Tensor, Tensor, Mapping[str, Tensor]]
"""Latents, noise levels and conditions of an evaluation."""
Keep = Callable[[Drawn], dict[str, Tensor]]
"""From what an evaluation gave to what is kept of it with the chunk."""


class _TellsStates(Protocol):
    """A network that knows physical states, as `WatchStates` needs it."""

    @property
    def state_tap(self) -> str: ...

    def states(self, tapped: Tensor, latents: Tensor) -> Tensor: ...


class Watch(ABC):
    """One thing to see."""

    def taps(self, network: AvatarNetwork) -> tuple[str, ...]:
        """Blocks whose output it needs."""
        return ()

    def check(self, scene: Scene) -> None:  # noqa: B027
        """Raise InputError where there will be nothing to see."""

    @abstractmethod
    def over(self, network: AvatarNetwork, batch: Batch, *, item: int) -> AbstractContextManager[Keep]:
        """Around the evaluation whose `item` has every condition."""

    def shown(
        self, frame: UInt8[np.ndarray, "H W 3"], kept: Mapping[str, Tensor], place: int
    ) -> UInt8[np.ndarray, "H W 3"]:
        """A chunk's frame at `place`, with what was seen drawn over it."""
        return frame

    def finish(self, scene: Scene, chunks: Iterable[tuple[Chunk, Mapping[str, Tensor]]], clip: Path) -> None:  # noqa: B027
        """Write what belongs beside the clip; nothing, unless a watch has something."""


class WatchStates(Watch):
    """The physical state that the network expects of every frame, as keypoints over it (PhysAvatar, appendix B).

    Kept: "states" (F, 1024).
    """

    def __init__(self, encoder: StateEncoder) -> None:
        self.encoder = encoder

    def taps(self, network: AvatarNetwork) -> tuple[str, ...]:
        return (cast(_TellsStates, network).state_tap,)

    def over(self, network: AvatarNetwork, batch: Batch, *, item: int) -> AbstractContextManager[Keep]:
        def keep(drawn: Drawn) -> dict[str, Tensor]:
            teller, one = cast(_TellsStates, network), slice(item, item + 1)
            told = teller.states(drawn.taps[teller.state_tap][one], batch[0][one])[0]
            return {"states": told[FACTOR - 1 :].float()}  # the first latent's four are all frame 0

        return nullcontext(keep)

    def shown(
        self, frame: UInt8[np.ndarray, "H W 3"], kept: Mapping[str, Tensor], place: int
    ) -> UInt8[np.ndarray, "H W 3"]:
        from vivavoce.features.pose import draw_over

        states = kept["states"][place : place + 1].numpy()
        return draw_over(frame, self.encoder.keypoints(states)[0])


class WatchPhases(Watch):
    """How a block's text attention is shared among base text and phases (ActAvatar, figure 4).

    Kept: "shares" (f, P), P - 1 phases of the chunk's own part of the plan.
    """

    def __init__(self, block: int) -> None:
        """`block` counts from 0."""
        self.block = block

    def check(self, scene: Scene) -> None:
        if not scene.plan.phases:
            raise InputError(
                "The plan has no phases whose attention could be shown: give one with phases, or leave --show out."
            )

    @contextmanager
    def over(self, network: AvatarNetwork, batch: Batch, *, item: int) -> Iterator[Keep]:
        conditions = batch[2]
        phases, words = conditions["phases"], conditions["words"]
        with PhaseAttention(network.backbone, self.block, phases=phases, mask=words, item=item) as view:
            yield lambda _: {"shares": torch.from_numpy(view.shares)}

    def finish(self, scene: Scene, chunks: Iterable[tuple[Chunk, Mapping[str, Tensor]]], clip: Path) -> None:
        shares = np.zeros((scene.frames, len(scene.plan.phases) + 1), np.float32)
        for chunk, kept in chunks:
            start, end = Span(chunk.first, chunk.frames).seconds(scene.fps)
            there = [k for k, p in enumerate(scene.plan.phases, 1) if min(p.end, end) > max(p.start, start)]
            latents = -(-np.arange(chunk.keep.start, chunk.keep.stop) // FACTOR)
            part = np.zeros((len(latents), shares.shape[1]), np.float32)
            part[:, [0, *there]] = kept["shares"].numpy()[latents]
            shares[chunk.kept.start : chunk.kept.stop] = part
        rate = float(frame_rate(scene.fps))
        seconds = len(scene.speech.samples) / SPEECH_RATE
        plot(shares, scene.plan, fps=rate, path=clip.with_suffix(".attention.png"), total=seconds)
