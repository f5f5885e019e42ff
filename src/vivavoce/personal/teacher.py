"""A method of the video family as a teacher: it draws clips, and tells how clips should be changed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from jaxtyping import Float, UInt8
from torch import Tensor

from vivavoce.config import SPLAT
from vivavoce.errors import InputError
from vivavoce.features.encoders import LogMelEncoder
from vivavoce.flow import noised
from vivavoce.losses.distill import draw_sigma, score_distillation
from vivavoce.media.files import check_readable, file_sha256
from vivavoce.methods import all_methods, find
from vivavoce.methods.base import BaseConfig
from vivavoce.methods.load import load
from vivavoce.video.config import EncoderConfig, VideoConfig
from vivavoce.video.draw import draw, frames_of
from vivavoce.video.maker import Scene, Span
from vivavoce.video.method import Sampling, VideoMethod
from vivavoce.video.sample.guidance import Dropped, variants
from vivavoce.video.sample.resume import Job
from vivavoce.video.vae import encoded, from_pictures
from vivavoce.weights import parts_of


@dataclass(frozen=True)
class Teacher:
    """A method, loaded when it is first needed; the arguments of `methods.load.load`."""

    config: VideoConfig
    base: str | None = None
    weights: Path | None = None
    encoder: str | None = None
    device: str = "auto"

    @cached_property
    def method(self) -> VideoMethod:
        """Warns of untrained weights. Raises WeightsError for weights that are missing or do not fit."""
        method = load(
            self.config, base=self.base, weights=self.weights, encoder=self.encoder, device=self.device
        )
        if method.untrained:
            parts = " and ".join(method.untrained)
            warnings.warn(
                f"{self.config.name} teaches with untrained weights ({parts}): its motion means nothing.",
                stacklevel=1,
            )
        return method

    @cached_property
    def told(self) -> dict[str, Any]:
        """What decides its clips, as JSON values. Raises InputError where the weights are not there."""
        return {
            "method": self.config.name,
            "base": self.base or self.config.base,
            "weights": self.config.own if self.weights is None else _digest(self.weights),
            "encoder": self.encoder,
            "size": [self.config.width, self.config.height, self.config.chunk, self.config.steps],
        }

    @property
    def open_domain(self) -> Teacher:
        """The video model that the method stands on, alone: it draws from a text and a picture and hears nothing."""
        return replace(self, config=_base_of(self.config), weights=None, encoder=None)

    def draw(
        self, scene: Scene, job: Path, *, seed: int, on_step: Callable[[], None] = lambda: None
    ) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        """The frames of a clip; what is drawn of it is kept in the folder `job`, for a call that goes on there.

        `on_step` is called `steps` times.
        """
        sampling = Sampling.of(self.config, seed=seed)
        kept = Job(
            job, {**self.told, "weights": self.method.fingerprint(), "seed": seed, "frames": scene.frames}
        )
        order = draw(self.method, scene, sampling, kept, on_step=lambda chunk: on_step())
        return frames_of(self.method, order, kept)

    def steps(self, frames: int) -> int:
        """Of denoising, for a clip of so many frames."""
        return self.config.steps * len(Sampling.of(self.config).chunks(self.config, frames))

    def score(
        self,
        pictures: Float[Tensor, "F H W 3"],
        scene: Scene,
        *,
        first: int,
        given: UInt8[np.ndarray, "n H W 3"],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Video score distillation (paper 003, eq. 8) of rendered frames, RGB in [0, 1], by the mean over latents.

        They are the scene's from `first` on, F = 1, 5, 9, ..., of which the teacher is given the first ones as its own
        clip has them, none of them where it begins with the photo. Its guidance is its own. `generator` draws noise
        and noise level. Differentiable in the pictures.
        """
        network, make = self.method.network, self.method.make
        frames = pictures.movedim(-1, 0)[None] * 2 - 1
        latents = encoded_with_gradient(make.vae, frames.to(make.device))
        known = {0: given} if len(given) else {}
        with torch.no_grad():
            conditions = network.conditions(make, scene, Span(first, len(pictures), known))
            before = _references(self.method, scene)
            whole = torch.cat([*before, latents.detach()], dim=2)
            noise = torch.randn(whole.shape, generator=generator).to(whole)
            sigma = draw_sigma(1, generator, shift=self.config.shift).to(whole)
            if "given" in conditions:
                conditions["given.noise"] = noise
            velocity = self._guided(noised(whole, noise, sigma), sigma, conditions)
        level = sigma.view(1, 1, 1, 1, 1).expand(-1, -1, latents.shape[2], -1, -1)
        if "given" in conditions:
            level = level * (1 - conditions["given"][:, None, :, None, None])
        drawn, noise = (value[:, :, whole.shape[2] - latents.shape[2] :] for value in (velocity, noise))
        total = score_distillation(latents, drawn, noise=noise, sigma=level)
        return (total[0] / latents.numel()).to(pictures.device)

    def _guided(self, x: Tensor, sigma: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """The velocity with the method's own guidance, one evaluation after another."""
        network = self.method.network
        nulls = {"text": self.method.make.text([self.config.negative]).features}

        def evaluate(dropped: Sequence[Dropped]) -> Tensor:
            told = variants(conditions, dropped, nulls)
            return network(x, sigma, told).sample[None]

        return network.chain.among(conditions).guided(evaluate)


def teacher_named(name: str | None, **parts: Any) -> Teacher:
    """The teacher of that name; `parts` are the other fields of `Teacher`.

    Raises InputError where there is none, it is no method of the video family, or does not start from a photo.
    """
    known = ", ".join(sorted(all_methods()))
    if name is None:
        raise InputError(f"Who teaches the avatar is not said: give one of {known} with --teacher.")
    if name == SPLAT or name not in all_methods():
        raise InputError(
            f"{name!r} is no method of the video family, as a teacher must be: give one of {known} with --teacher."
        )
    config = find(name)
    if "photo" not in config.modes:
        raise InputError(
            f"{name} draws nobody from a photo, so it teaches no avatar: give another --teacher."
        )
    return Teacher(config, **parts)


def encoded_with_gradient(
    vae: AutoencoderKLWan, frames: Float[Tensor, "B 3 F H W"]
) -> Float[Tensor, "B C f h w"]:
    """What `video.vae.encoded` gives, with its gradient by the frames."""
    mean, std = (
        torch.tensor(vae.config[name], device=frames.device).view(1, -1, 1, 1, 1)
        for name in ("latents_mean", "latents_std")
    )
    posterior = vae.encode(frames.to(vae.dtype), return_dict=False)[0]
    return (posterior.mode().float() - mean) * (1 / std)


def _digest(weights: Path) -> str:
    parts = parts_of(weights)
    check_readable(parts, "weight file")
    return file_sha256(parts)


def _references(method: VideoMethod, scene: Scene) -> list[Tensor]:
    """The latents of reference pictures that stand before those of a clip."""
    if not method.config.references or scene.photo is None:
        return []
    return [encoded(method.make.vae, from_pictures(scene.photo[None]).to(method.make.device))]


def _base_of(config: VideoConfig) -> BaseConfig:
    """The backbone of a method without its parts."""
    same = {field.name: getattr(config, field.name) for field in fields(VideoConfig)}
    changed = {
        "name": f"{config.name} without its parts",
        "own": None,
        "lora": None,
        "encoder": EncoderConfig("log-mel", LogMelEncoder.name, LogMelEncoder.width),
        "scales": {"text": config.scales.get("text", 1.0)},
        "losses": {"flow": 1.0},
        "prompt": "",
    }
    return BaseConfig(**same | changed)
