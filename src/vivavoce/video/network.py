"""A backbone with what a method adds to it: conditions in, velocity out, and the loss that trains it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vivavoce.flow import noised, timestep, velocity
from vivavoce.timing import latent_frames
from vivavoce.video.config import VideoConfig
from vivavoce.video.control import placed
from vivavoce.video.maker import Maker, Scene, Span
from vivavoce.video.sample.guidance import Chain, variants
from vivavoce.video.vae import encoded, from_pictures
from vivavoce.video.wan.backbone import Drawn, VaceBackbone, WanBackbone
from vivavoce.video.wan.sockets import Branch, Conditions

TRAINING = ("states", "pose_drop")
"""Entries of the conditions that only losses read."""


class AvatarNetwork(nn.Module):
    """What is trained: the backbone, the branches in their order, and modules beside them."""

    def __init__(
        self,
        config: VideoConfig,
        backbone: WanBackbone | VaceBackbone | None,
        branches: Mapping[str, Branch],
        extras: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone_of(config) if backbone is None else backbone
        self.branches = nn.ModuleDict(branches)
        self.extras = nn.ModuleDict(extras)

    @abstractmethod
    def blocks(self, scene: Scene, span: Span) -> tuple[str, ...]:
        """The text of a span, the first block what holds all the time."""

    def check(self, make: Maker, scene: Scene, spans: Iterable[Span]) -> None:
        """Raise InputError where the plan asks more of any span than the network can read, before one is drawn."""
        for span in spans:
            make.text_encoder.tokens(self.blocks(scene, span))

    @abstractmethod
    def conditions(self, make: Maker, scene: Scene, span: Span) -> dict[str, Tensor]:
        """Everything that the network is told of a span of a scene, batch of one, on the maker's device."""

    def example(
        self,
        make: Maker,
        scene: Scene,
        frames: UInt8[np.ndarray, "F H W 3"],
        given: Sequence[range] = (),
    ) -> tuple[Float[Tensor, "1 C f h w"], dict[str, Tensor]]:
        """A clip for training: its latents, reference pictures before them, and all that `losses` reads.

        `scene` is the clip's own; F is 1, 5, 9, .... `given` are frames that are known beforehand, as a chunk of a
        long video is given some of its neighbours' at its ends: what is to be drawn so must be trained so.
        """
        latents = encoded(make.vae, from_pictures(frames).to(make.device))
        if self.config.references:
            photo = from_pictures(present(scene.photo, "photo")[None])
            latents = torch.cat([encoded(make.vae, photo.to(make.device)), latents], dim=2)
        known = {span.start: frames[span.start : span.stop] for span in given}
        return latents, self.conditions(make, scene, Span(0, len(frames), known))

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The method's own modules, without the backbone, by their names in its file of weights."""
        return {**self.branches, **self.extras}

    @property
    def chain(self) -> Chain:
        """The method's guidance."""
        return Chain.ordered(self.config.guidance, self.config.scales)

    def latent_shape(self, frames: int) -> tuple[int, int, int, int, int]:
        """Of one video of 1, 5, 9, ... frames, reference pictures included."""
        c = self.config
        latents = c.references + latent_frames(frames)
        return 1, c.transformer["in_channels"], latents, c.height // c.stride, c.width // c.stride

    def text(self, conditions: Conditions) -> Float[Tensor, "B S E"]:
        """What the backbone's text attention reads."""
        return conditions["text"]

    def forward(
        self,
        x: Float[Tensor, "B C f h w"],
        sigma: Float[Tensor, " B"],
        conditions: Conditions,
        *,
        taps: Collection[str] = (),
    ) -> Drawn:
        """The velocity of noisy latents at noise levels in [0, 1]."""
        rest = {key: value for key, value in conditions.items() if key not in TRAINING}
        patch = self.backbone.config["patch_size"]
        per_frame = (x.shape[3] // patch[1]) * (x.shape[4] // patch[2])
        x, level = placed(x, sigma, rest, tokens=per_frame)
        given: dict[str, Any] = {
            "hidden_states": x.to(self.dtype),
            "timestep": timestep(level),
            "encoder_hidden_states": self.text(rest).to(self.dtype),
            "branches": tuple(cast(Branch, branch) for branch in self.branches.values()),
            "references": self.config.references,
            "taps": taps,
        }
        if "control" in rest:
            control = rest.pop("control").to(self.dtype)
            given["control_hidden_states"] = control
            scale = control.new_full((len(self.backbone.config["vace_layers"]),), self.vace_scale)
            given["control_hidden_states_scale"] = scale
        return self.backbone(**given, conditions=rest)

    @property
    def vace_scale(self) -> float:
        """Weight of the VACE stack's hints: in training 1, in sampling the method's own."""
        return 1.0 if self.training else self.config.vace_scale

    @property
    def dtype(self) -> torch.dtype:
        """Of the tokens."""
        return self.backbone.patch_embedding.weight.dtype

    def losses(
        self,
        latents: Float[Tensor, "B C f h w"],
        conditions: Conditions,
        *,
        sigma: Float[Tensor, " B"],
        noise: Float[Tensor, "B C f h w"],
        generator: torch.Generator,
    ) -> dict[str, Float[Tensor, ""]]:
        """The terms of the training loss, unweighted, at given noise; `config.losses` weighs them.

        "flow" is the mean squared error of the velocity over all latent frames that are not given. Whatever else is
        random, as masks, comes from `generator`.
        """
        given = {**conditions, "given.noise": noise} if "given" in conditions else dict(conditions)
        return {"flow": flow_loss(self(noised(latents, noise, sigma), sigma, given), latents, noise, given)}

    def loss(self, *args: Any, **kwargs: Any) -> Float[Tensor, ""]:
        """The weighted sum of `losses`, which has the same arguments."""
        terms = self.losses(*args, **kwargs)
        return torch.stack([self.config.losses[name] * term for name, term in terms.items()]).sum()

    def dropped(
        self, conditions: Conditions, nulls: Conditions, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Conditions for training, of which each item keeps the first links of the chain, a random number of them.

        So every evaluation of guidance is met in training. Each shorter number has the probability `config.dropout`.
        """
        names = [name for name, _ in self.chain.among(conditions).links]
        batch = len(conditions["text"])
        draws = torch.rand(batch, generator=generator, device=generator.device).tolist()
        kept = [int(min(draw / max(self.config.dropout, 1e-12), len(names))) for draw in draws]
        items = [
            variants(
                {key: value[i : i + 1] for key, value in conditions.items()}, [frozenset(names[n:])], nulls
            )
            for i, n in enumerate(kept)
        ]
        return {key: torch.cat([item[key] for item in items]) for key in conditions}


def present(value: np.ndarray | None, name: str) -> np.ndarray:
    """What a training scene must have. Raises ValueError where it lacks it."""
    if value is None:
        raise ValueError(f"a training scene needs its {name}")
    return value


def flow_loss(
    drawn: Drawn,
    latents: Float[Tensor, "B C f h w"],
    noise: Float[Tensor, "B C f h w"],
    conditions: Conditions,
) -> Float[Tensor, ""]:
    """Mean squared error of the velocity, in float32, over latent frames that are not given."""
    error = (drawn.sample.float() - velocity(latents, noise)).square().mean(dim=(1, 3, 4))
    if "image" not in conditions:
        return error.mean()
    free = 1 - conditions["image"]
    return (error * free).sum() / free.sum().clamp(min=1)


def backbone_of(config: VideoConfig) -> WanBackbone | VaceBackbone:
    """The backbone of a method, at random."""
    return (VaceBackbone if config.backbone == "vace" else WanBackbone)(**config.transformer)
