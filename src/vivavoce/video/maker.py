"""From a photo, a speech, a plan and a pose to the tensors that a network is told, span by span of the video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from vivavoce.features.encoders import SpeechEncoder
from vivavoce.features.loudness import Speech
from vivavoce.timing import frame_rate, latent_frames, mirrored
from vivavoce.video.control import control_latents, given_frames, grey_latents
from vivavoce.video.plan import Plan
from vivavoce.video.text import EncodedText, TextEncoder
from vivavoce.video.vae import from_pictures


@dataclass(frozen=True)
class Scene:
    """What holds for a whole video."""

    photo: UInt8[np.ndarray, "H W 3"] | None
    """At the size of the frames; None where the text alone says who is seen."""
    speech: Speech
    plan: Plan
    frames: int
    fps: float
    embeddings: Float[Tensor, "1 P E"] | None = None
    """The planner's own words for `plan.base`, where the planner is a model (PhysAvatar eq. 5)."""
    pose: Float32[np.ndarray, "F 127 3"] | None = None
    """Keypoints of every frame (features.physical_state)."""
    states: Float32[np.ndarray, "F 1024"] | None = None
    """The physical state of every frame; for training alone."""
    focus: Float32[np.ndarray, "F h w"] | None = None
    """How much an error in each latent cell of every frame counts; for training alone."""


@dataclass(frozen=True)
class Span:
    """A part of a video that is drawn in one go, and the frames of it that are known beforehand."""

    first: int
    frames: int
    """1, 5, 9, ...; the last span of a video may pass its end by three."""
    given: Mapping[int, UInt8[np.ndarray, "n H W 3"]] = field(default_factory=dict)
    """By the place in the span of the first of them."""

    def seconds(self, fps: float) -> tuple[float, float]:
        """When it begins and ends."""
        rate = frame_rate(fps)
        return float(self.first / rate), float((self.first + self.frames) / rate)


class Maker:
    """The encoders of a method, and what each kind of condition is made of with them.

    Tensors are of batch one, float32, on the device of the VAE.
    """

    def __init__(
        self, vae: AutoencoderKLWan, text: TextEncoder, speech: SpeechEncoder, *, size: tuple[int, int]
    ) -> None:
        """`size` is the frames' width and height in pixels."""
        self.vae = vae
        self.text_encoder = text
        self.speech_encoder = speech
        self.size = size
        self._grey: dict[int, Tensor] = {}

    @property
    def device(self) -> torch.device:
        """Where the conditions are made and the network runs."""
        return self.vae.device

    def text(self, blocks: Sequence[str]) -> EncodedText:
        """One prompt of several blocks; block k's tokens are of phase k."""
        encoded = self.text_encoder.encode(blocks)
        return EncodedText(*(part.to(self.device) for part in vars(encoded).values()))

    def states(self, text: str) -> Float[Tensor, "1 P E"]:
        """The text encoder's own states of a text, for networks whose planner it is."""
        return self.text_encoder.states(text).to(self.device)

    def audio(self, scene: Scene, span: Span, reach: int) -> Float[Tensor, "1 F A"]:
        """Speech features of the span's frames and of `reach` more on either side.

        Those are the frames before and behind it in the video, mirrored at the video's own ends (PhysAvatar eq. 3).
        """
        wanted = np.arange(span.first - reach, span.first + span.frames + reach)
        frames = mirrored(wanted, scene.frames)
        features = self.speech_encoder.features(scene.speech, scene.fps, frames)
        return torch.from_numpy(features)[None].to(self.device)

    def control(self, scene: Scene, span: Span) -> Float[Tensor, "1 c f h w"]:
        """VACE's control latents: the photo as a reference picture, and the given frames."""
        width, height = self.size
        frames = np.zeros((span.frames, height, width, 3), np.uint8)
        known = np.zeros(span.frames, bool)
        for place, pictures in span.given.items():
            frames[place : place + len(pictures)] = pictures
            known[place : place + len(pictures)] = True
        if span.frames not in self._grey:  # the same for every chunk of a length
            self._grey[span.frames] = grey_latents(self.vae, span.frames, (height, width))
        return control_latents(self.vae, scene.photo, frames, known, grey=self._grey[span.frames])

    def beginning(self, scene: Scene, span: Span) -> dict[str, Tensor]:
        """How the span begins: with what the one before it ends with, or with the photo; or freely, without any."""
        if span.given:
            pictures = span.given[0]
        elif scene.photo is not None:
            pictures = scene.photo[None]
        else:
            return {}
        return given_frames(self.vae, pictures, latent_frames(span.frames))

    def pose(self, scene: Scene, span: Span) -> Float[Tensor, "1 3 F H W"] | None:
        """The drawn pose sequence in [-1, 1], None without one."""
        if scene.pose is None:
            return None
        from vivavoce.features.pose import draw_pose

        last = len(scene.pose) - 1
        keypoints = scene.pose[np.minimum(np.arange(span.first, span.first + span.frames), last)]
        return from_pictures(draw_pose(keypoints, *self.size)).to(self.device)
