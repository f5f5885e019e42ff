"""AudioAvatar's motion diffusion: speech features in, blocks of motion vectors out; and its training loss."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor, nn

from vivavoce.errors import WeightsError
from vivavoce.media.files import check_target, replacing
from vivavoce.splat.audiomotion.config import MotionDiffusionConfig
from vivavoce.splat.audiomotion.embedding import PatchEncoder
from vivavoce.splat.audiomotion.representation import MotionSpace
from vivavoce.splat.audiomotion.schedule import CosineSchedule, simple_loss
from vivavoce.splat.audiomotion.transformer import GIVEN, MotionTransformer
from vivavoce.splat.audiomotion.windows import Window, WindowStream, frame_noise
from vivavoce.weights.files import load_strictly, read_metadata, read_state, written

HEADER = "vivavoce.audiomotion"
"""Of the config in the file's metadata."""


@dataclass(frozen=True)
class MotionBatch:
    """Windows of speech and motion to train on."""

    motion: Float[Tensor, "B T D"]
    """As `MotionSpace.encode` gives it."""
    audio: Float[Tensor, "B T A"]
    identity: Float[Tensor, "B S"] | None = None


@dataclass(frozen=True)
class Denoised:
    """What the network makes of noised motion."""

    loss: Float[Tensor, ""]
    """L_simple."""
    estimate: Float[Tensor, "B T D"]
    """Of the data, for losses about geometry and pictures."""
    step: Int[Tensor, " B"]
    """Of noise, 0 .. 199."""


class MotionDiffusion(nn.Module):
    """The transformer, the two encoders of the shared embedding, and the space that motion lives in.

    Motion does not drift: a window's motion is absolute and drawn from what such windows were in training; and
    every estimate, and so every frame, is held channel by channel within the motion that `space` was fitted to.
    """

    def __init__(self, config: MotionDiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.space = MotionSpace(config.particles, config.code)
        self.audio_encoder = PatchEncoder(config.audio, config.perceiver)
        self.motion_encoder = PatchEncoder(config.channels, config.perceiver)
        self.transformer = MotionTransformer(config)
        self.schedule = CosineSchedule(config.noise_steps)

    def loss(self, batch: MotionBatch, *, generator: torch.Generator | None = None) -> Denoised:
        """Noise the motion at uniformly drawn steps and estimate it again.

        Of some items the speech is dropped, and of some the first frames are given (`config`): these are what they
        are in the estimate, too, and cost nothing. `generator` draws all that is random, on the CPU.
        """
        data, (count, frames, _) = batch.motion, batch.motion.shape
        drawn = torch.randint(self.config.noise_steps, (count,), generator=generator)
        heard = torch.rand(count, generator=generator) >= self.config.dropout
        opened = torch.rand(count, generator=generator) < self.config.given
        noise = torch.randn(data.shape, generator=generator).to(data)
        given = opened[:, None] & (torch.arange(frames) < self.config.layout.held)
        step = torch.where(given, GIVEN, drawn[:, None]).to(data.device)
        drawn, heard, given = drawn.to(data.device), heard.to(data.device), given.to(data.device)[..., None]

        noised = torch.where(given, data, self.schedule.noised(data, noise, drawn))
        sound = self.transformer.hear(batch.audio, self.audio_encoder(batch.audio), heard)
        estimate = self.transformer(noised, step, sound, batch.identity)
        estimate = torch.where(given, data, estimate)
        return Denoised(simple_loss(estimate, data), estimate, drawn)

    def sample(
        self,
        audio: Float32[np.ndarray, "T A"] | Iterable[Float32[np.ndarray, "n A"]],
        *,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        identity: Float[Tensor, " S"] | None = None,
    ) -> Iterator[Float[Tensor, "n D"]]:
        """Motion vectors (`space.decode`) of a recording, block by block on the CPU, as many frames as features.

        Features come whole or in blocks of any lengths, which do not change the motion; nor do they pile up. For
        the rest, as `stream`.
        """
        stream = self.stream(seed=seed, steps=steps, guidance=guidance, identity=identity)
        for block in [audio] if isinstance(audio, np.ndarray) else audio:
            motion = stream.push(torch.from_numpy(block))
            if len(motion):
                yield motion
        rest = stream.finish()
        if len(rest):
            yield rest

    def stream(
        self,
        *,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        identity: Float[Tensor, " S"] | None = None,
    ) -> WindowStream:
        """A stream from the start of a recording; `config.layout.look_ahead` frames of look-ahead.

        Each window takes `steps` evaluations of the network (by default the config's), twice as many where the
        speech's `guidance` is neither 0 nor 1. Raises InputError for a negative seed, or steps out of bounds.
        """
        steps = self.config.steps if steps is None else steps
        scale = self.config.guidance if guidance is None else guidance
        self.schedule.chosen(steps)
        frame_noise(seed, 0, 1, 1)

        @torch.no_grad()
        def draw(window: Window) -> Tensor:
            audio = window.audio[None].to(self.transformer.null)
            sound = self.transformer.hear(audio, self.audio_encoder(audio))
            count = audio.shape[1]
            start = frame_noise(seed, window.first, count, self.config.channels)[None].to(audio)

            def denoise(x: Tensor, step: int) -> Tensor:
                each = torch.full((1, count), step, device=x.device)
                each[:, : window.given] = GIVEN
                estimate = self._guided(window.opened(x), each, sound, scale, identity)
                return window.mended(self.space.bounded(estimate))

            return self.schedule.sample(denoise, start, steps)[0].cpu()

        return WindowStream(draw, self.config.layout, channels=self.config.channels)

    def _guided(
        self, x: Tensor, step: Tensor, sound: Tensor, scale: float, identity: Tensor | None
    ) -> Tensor:
        """The estimate with speech, moved away from the one without by the scale (Ho & Salimans 2022)."""
        unheard = self.transformer.unheard(sound)
        conditions = {1.0: [sound], 0.0: [unheard]}.get(scale, [sound, unheard])
        count = len(conditions)
        estimates = self.transformer(
            x.expand(count, -1, -1),
            step.expand(count, -1),
            torch.cat(conditions),
            None if identity is None else identity.to(x).expand(count, -1),
        )
        return torch.lerp(estimates[-1:], estimates[:1], scale) if count > 1 else estimates

    def save(self, path: Path) -> None:
        """Write weights and statistics with the config as one safetensors file.

        Raises OutputError where that cannot be.
        """
        from safetensors.torch import save_file

        check_target(path, (".safetensors",))
        state = {name: value.to("cpu", copy=True).contiguous() for name, value in self.state_dict().items()}
        with replacing(path) as temporary, written():
            save_file(state, temporary, {HEADER: json.dumps(self.config.to_json())})

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu") -> MotionDiffusion:
        """The model of a file of `save`, ready to sample.

        Raises WeightsError for a file that is missing, damaged or made by something else.
        """
        stored = read_metadata(path).get(HEADER)
        if stored is None:
            raise WeightsError(f"{path} holds no motion model: give the file that its training saved.")
        try:
            config = MotionDiffusionConfig.from_json(json.loads(stored))
        except (ValueError, TypeError, KeyError) as error:
            raise WeightsError(
                f"The header of {path} cannot be read ({error}): it was written by another version; train it again."
            ) from error
        model = cls(config)
        load_strictly(model, read_state(path), str(path))
        return model.to(device).eval()
