"""A backbone with what a method adds to it: conditions in, velocity out, and the loss that trains it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from vivavoce.flow import noised, timestep, velocity
from vivavoce.timing import frames_of_latents, latent_frames
from vivavoce.video.batch import TrainingBatch
from vivavoce.video.config import VideoConfig
from vivavoce.video.control import placed
from vivavoce.video.maker import Maker, Scene, Span
from vivavoce.video.sample.guidance import Chain, variants
from vivavoce.video.vae import encoded, from_pictures
from vivavoce.video.wan.backbone import Drawn, VaceBackbone, WanBackbone
from vivavoce.video.wan.sockets import Branch, Conditions

TRAINING = ("states", "pose_drop", "focus")
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
        *,
        first: int = 0,
    ) -> tuple[Float[Tensor, "1 C f h w"], dict[str, Tensor]]:
        """A span of a clip for training: its latents, reference pictures before them, and all that `losses` reads.

        `scene` is the whole clip's, whose frames from `first` on are `frames`; F is 1, 5, 9, .... Of these, `given` are
        known beforehand, as a chunk of a long video is given some of its neighbours' at its ends: what is to be drawn
        so must be trained so.
        """
        latents = encoded(make.vae, from_pictures(frames).to(make.device))
        if self.config.references:
            photo = from_pictures(present(scene.photo, "photo")[None])
            latents = torch.cat([encoded(make.vae, photo.to(make.device)), latents], dim=2)
        known = {span.start: frames[span.start : span.stop] for span in given}
        conditions = self.conditions(make, scene, Span(first, len(frames), known))
        if self.config.focus and scene.focus is not None:
            conditions["focus"] = self._focus(scene.focus[first : first + len(frames)]).to(make.device)
        return latents, conditions

    def _focus(self, weights: Float32[np.ndarray, "F h w"]) -> Float[Tensor, "1 1 f h w"]:
        """Weights of all latent cells, those of reference pictures 1."""
        mean = weights[frames_of_latents(latent_frames(len(weights)))].mean(axis=1)
        reference = np.ones((self.config.references, *mean.shape[1:]), np.float32)
        return torch.from_numpy(np.concatenate([reference, mean]))[None, None].float()

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The method's own modules, without the backbone, by their names in its file of weights."""
        return {**self.branches, **self.extras}

    @property
    def adapted(self) -> bool:
        """Whether the backbone has the method's LoRA."""
        return bool(getattr(self.backbone, "peft_config", None))

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

    def randomised(
        self,
        conditions: Conditions,
        sigma: Float[Tensor, " 1"],
        *,
        nulls: Conditions,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """The conditions of one example with all that is random in training, at its noise level; batch of one.

        Here that is which links of the guidance chain are `dropped`; methods add their masks. Only `generator` decides,
        so that an example is the same in whatever batch, process or accumulation step it stands.
        """
        return self.dropped(conditions, nulls, generator)

    def losses(self, batch: TrainingBatch) -> dict[str, Float[Tensor, " B"]]:
        """The terms of the training loss for each example, unweighted; `config.losses` weighs them.

        "flow" is the mean squared error of the velocity over all latent frames that are not given. Nothing is random
        here, and no example's terms depend on another's.
        """
        return {"flow": flow_loss(self.drawn(batch), batch)}

    def drawn(self, batch: TrainingBatch, *, taps: Collection[str] = ()) -> Drawn:
        """What the network predicts for a batch."""
        told = dict(batch.conditions)
        if "given" in told:
            told["given.noise"] = batch.noise
        return self(noised(batch.latents, batch.noise, batch.sigma), batch.sigma, told, taps=taps)

    def dropped(
        self, conditions: Conditions, nulls: Conditions, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The conditions of one example, of which it keeps the first links of the chain, a random number of them.

        So every evaluation of guidance is met in training. Each shorter number has the probability `config.dropout`.
        """
        names = [name for name, _ in self.chain.among(conditions).links]
        draw = torch.rand((), generator=generator, device=generator.device).item()
        kept = int(min(draw / max(self.config.dropout, 1e-12), len(names)))
        return variants(conditions, [frozenset(names[kept:])], nulls)


def present(value: np.ndarray | None, name: str) -> np.ndarray:
    """What a training scene must have. Raises ValueError where it lacks it."""
    if value is None:
        raise ValueError(f"a training scene needs its {name}")
    return value


def flow_loss(drawn: Drawn, batch: TrainingBatch) -> Float[Tensor, " B"]:
    """Mean squared error of the velocity of each example, in float32, over its latent frames that are not given.

    Where there is a "focus" (B, 1, f, h, w), the mean over a frame is weighted by it. 0 where all frames are given.
    """
    error = (drawn.sample.float() - velocity(batch.latents, batch.noise)).square().mean(dim=1, keepdim=True)
    weights = batch.conditions.get("focus", torch.ones_like(error))
    error = ((error * weights).sum(dim=(3, 4)) / weights.sum(dim=(3, 4)))[:, 0]
    if "image" not in batch.conditions:
        return error.mean(dim=1)
    free = 1 - batch.conditions["image"]
    return (error * free).sum(dim=1) / free.sum(dim=1).clamp(min=1)


def backbone_of(config: VideoConfig) -> WanBackbone | VaceBackbone:
    """The backbone of a method, at random."""
    return (VaceBackbone if config.backbone == "vace" else WanBackbone)(**config.transformer)
