"""A method of the video family that is ready to draw: its network, its encoders, and how it samples."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from vivavoce.errors import InputError
from vivavoce.video.config import VideoConfig
from vivavoce.video.maker import Maker
from vivavoce.video.network import AvatarNetwork
from vivavoce.video.sample.guidance import Chain
from vivavoce.video.sample.long import ORDERS
from vivavoce.video.sample.long import Order as ChunkOrder
from vivavoce.video.sample.sampler import schedule, solver_named

_SAMPLE = 256
"""Values of a parameter that tell it from another."""


@dataclass(frozen=True)
class VideoMethod:
    """What `methods.load` gives."""

    config: VideoConfig
    network: AvatarNetwork
    make: Maker
    untrained: tuple[str, ...] = ()
    """Parts whose weights are random, for the user to be told."""

    def fingerprint(self) -> str:
        """Which weights these are, for a job that goes on later: a digest of a sample of every parameter."""
        digest = hashlib.sha256()
        models = (self.network, self.make.vae, self.make.text_encoder.model)
        for name, value in (item for model in models for item in model.state_dict().items()):
            some = value.detach().flatten()[:: max(1, value.numel() // _SAMPLE)].cpu()
            digest.update(name.encode() + some.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Sampling:
    """How a video is drawn. Raises InputError where it has no meaning."""

    steps: int
    shift: float
    solver: str
    chain: Chain
    order: str
    seed: int = 0
    cache: float | None = None
    """Threshold of first-block caching, None for none."""

    def __post_init__(self) -> None:
        schedule(self.steps, self.shift)
        solver_named(self.solver)
        if self.order not in ORDERS:
            raise InputError(
                f"There is no order of chunks {self.order!r}: choose one of {', '.join(ORDERS)}."
            )

    @classmethod
    def of(
        cls,
        config: VideoConfig,
        *,
        steps: int | None = None,
        solver: str | None = None,
        scales: Mapping[str, float] | None = None,
        guidance: str | None = None,
        order: str | None = None,
        seed: int = 0,
        cache: float | None = None,
    ) -> Sampling:
        """A method's own way, with what is given changed.

        Raises InputError for a guidance scale of a condition that the method does not have, and for an order of
        chunks that its backbone cannot follow.
        """
        unknown = sorted(set(scales or {}) - set(config.scales))
        if unknown:
            raise InputError(
                f"{config.name} has no guidance by {', '.join(unknown)}: it takes {', '.join(config.scales)}."
            )
        order = order or config.order
        if order == "interleaved" and config.backbone != "vace":
            raise InputError(
                f"{config.name} cannot draw chunks between others, since its backbone is given frames at the start "
                "alone: take --order autoregressive."
            )
        chain = Chain.ordered(guidance or config.guidance, {**config.scales, **(scales or {})})
        steps = config.steps if steps is None else steps
        return cls(steps, config.shift, solver or config.solver, chain, order, seed, cache)

    def chunks(self, config: VideoConfig, frames: int) -> ChunkOrder:
        """The chunks of a video of `frames` in the order of drawing."""
        given = {"before": config.before}
        if self.order == "interleaved":
            given["after"] = config.after
        return ORDERS[self.order](frames, length=config.chunk, **given)
