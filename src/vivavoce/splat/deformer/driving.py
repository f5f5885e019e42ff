"""Driving tokens: what is heard around each frame, and what is said (paper 003, section 3.2, audio/text encoders)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vivavoce.splat.deformer.config import DeformerConfig


class DrivingTokens(nn.Module):
    """D_t = g_t Proj_a(A~_t) + (1 - g_t) Pool(Proj_z(Z)), with A~_t = PE(t) concatenated with A_t.

    A_t are the features of `past` frames before frame t, its own, and `ahead` frames after it, side by side: a
    frame of speech means little without its neighbours, and `ahead` bounds the look-ahead. g_t in [0, 1] is read from
    A~_t; without a transcript it is 1. Pool is the mean over the transcript, which must be known whole beforehand.
    """

    def __init__(self, config: DeformerConfig) -> None:
        super().__init__()
        self.audio_width = config.audio_width
        self.window = config.past + 1 + config.ahead
        self.period, self.harmonics = config.period, config.harmonics
        heard = self.window * config.audio_width + 2 * config.harmonics
        self.to_token = nn.Sequential(
            nn.Linear(heard, config.width), nn.GELU(), nn.Linear(config.width, config.width)
        )
        self.to_gate = nn.Linear(heard, 1)
        self.from_transcript = nn.Linear(config.transcript_width, config.width)

    def pooled(self, transcript: Float[Tensor, "B L E"]) -> Float[Tensor, "B D"]:
        """Pool(Proj_z(Z)) of a transcript's tokens, L >= 1."""
        return self.from_transcript(transcript).mean(1)

    def forward(
        self, audio: Float[Tensor, "B N A"], *, first: int, said: Float[Tensor, "B D"] | None = None
    ) -> Float[Tensor, "B T D"]:
        """The tokens of frames `first`, `first` + 1, ...; N = T + past + ahead, their neighbours on either side.

        Raises ValueError for features of another width.
        """
        if audio.shape[2] != self.audio_width:
            raise ValueError(f"the deformer takes features of width {self.audio_width}, not {audio.shape[2]}")
        windows = audio.unfold(1, self.window, 1).transpose(2, 3).flatten(2)
        when = self.positions(first, windows)
        heard = torch.cat([when.expand(len(audio), -1, -1), windows], -1)
        token = self.to_token(heard)
        if said is None:
            return token
        gate = self.to_gate(heard).sigmoid()
        return gate * token + (1 - gate) * said.unsqueeze(1)

    def positions(self, first: int, like: Float[Tensor, "B T W"]) -> Float[Tensor, "T P"]:
        """PE(t): sines and cosines of 1, 2, ..., `harmonics` turns a `period`; dtype and device are those of `like`.

        Positions in absolute time would take the network, ten minutes in, to where it never was in training. These
        come round smoothly after the length of a training clip, so that it meets none that are new to it. In
        training, clips should begin at random positions (`first`), lest position 0 come to mean rest.
        """
        frames = (first + torch.arange(like.shape[1], device=like.device)) % self.period
        turns = frames[:, None] * torch.arange(1, self.harmonics + 1, device=like.device) % self.period
        angles = turns.to(like.dtype) * (2 * torch.pi / self.period)
        return torch.cat([angles.sin(), angles.cos()], -1)
