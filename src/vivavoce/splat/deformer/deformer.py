"""Speech straight to the particles of one avatar and to its Gaussians (paper 003, section 3.2), whole or as it comes.

    features of speech -> driving tokens D -> H of each particle (eq. 1) -> twists -> poses -> transforms (eq. 2)
                                       \\-> residuals of each query token (eq. 3-5)

`skin.pose` then moves the Gaussians and applies the residuals (eq. 6, 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vivavoce.splat.deformer.angles import JointAngles
from vivavoce.splat.deformer.blocks import Context, MotionAttention
from vivavoce.splat.deformer.config import DeformerConfig
from vivavoce.splat.deformer.driving import DrivingTokens
from vivavoce.splat.deformer.particles import FreeParticles, at_rest
from vivavoce.splat.deformer.residual import GaussianHead, Residuals


@dataclass(frozen=True)
class Subject:
    """What stays the same while somebody speaks: made once by `ParticleDeformer.prepare`."""

    context: Context
    queries: Float[Tensor, "B Q h"] | None
    """Of the Gaussian head; None where there is none."""
    rest: Float[Tensor, "B M 3"]
    said: Float[Tensor, "B D"] | None
    """The transcript, pooled."""


@dataclass(frozen=True)
class Deformation:
    """T frames of motion: transforms [R | t] of the particles from rest, in metres, and residuals of the tokens."""

    transforms: Float[Tensor, "B T M 3 4"]
    residuals: Residuals | None
    """None of a deformer by joint angles."""


@dataclass(frozen=True)
class StreamState:
    """What a stream remembers: of the same size after a second and after an hour."""

    frame: int
    """Number of the next frame to come out."""
    heard: Float[Tensor, "B n A"]
    """Features that frames to come will hear, from `past` before the next frame on."""
    driven: Float[Tensor, "B o D"]
    """Driving tokens that frames to come will read residuals from."""
    poses: Float[Tensor, "B M 7"]
    """Of the last frame that came out."""


class ParticleDeformer(nn.Module):
    """Features of speech and an avatar's tokens to the motion of its particles and residuals of its Gaussians.

    `forward` takes a clip, from rest; `push` and `finish` take the same features in blocks of any length and give
    the same numbers, each frame as soon as the `config.ahead` frames after it are there. Before the first frame
    and after the last, that frame is heard again. Before training nothing moves.
    """

    def __init__(self, config: DeformerConfig) -> None:
        super().__init__()
        self.config = config
        self.driving = DrivingTokens(config)
        self.attention = MotionAttention(config)
        free = config.motion == "particles"
        self.motion = FreeParticles(config) if free else JointAngles(config)
        self.head = GaussianHead(config) if free else None

    def prepare(
        self,
        avatar: Float[Tensor, "B Q D"],
        template: Float[Tensor, "B P D"],
        rest: Float[Tensor, "B M 3"],
        *,
        transcript: Float[Tensor, "B L E"] | None = None,
    ) -> Subject:
        """All that does not depend on time: from the query tokens of the avatar and of its template, the rest
        positions of its particles in metres, and the tokens of the whole transcript where there is one.

        Raises ValueError for another number of particles than the deformer was made for.
        """
        if rest.shape[1] != self.config.particles:
            raise ValueError(f"the deformer moves {self.config.particles} particles, not {rest.shape[1]}")
        return Subject(
            self.attention.context(avatar, template),
            None if self.head is None else self.head.queries(avatar),
            rest,
            None if transcript is None else self.driving.pooled(transcript),
        )

    def forward(self, audio: Float[Tensor, "B T A"], subject: Subject, *, first: int = 0) -> Deformation:
        """The motion of a clip, from rest; `first` is the position of its first frame, at random in training."""
        whole = torch.cat([audio, self._after(audio)], 1)
        return self.push(whole, subject, self.begin(audio, subject, first=first))[0]

    def begin(self, audio: Float[Tensor, "B T A"], subject: Subject, *, first: int = 0) -> StreamState:
        """The state of a stream before it hears `audio`: at rest, its first frame heard and nothing else.

        Raises ValueError where there is no first frame.
        """
        if not audio.shape[1]:
            raise ValueError("a stream begins with one frame of speech at least")
        return StreamState(
            first,
            audio[:, :1].expand(-1, self.config.past, -1),
            audio.new_empty(len(audio), 0, self.config.width),
            at_rest(subject.rest),
        )

    def push(
        self, audio: Float[Tensor, "B n A"], subject: Subject, state: StreamState | None = None
    ) -> tuple[Deformation, StreamState]:
        """The frames that the next features settle, possibly none, and the state to go on from.

        Without a state the stream begins with these features.
        """
        state = state or self.begin(audio, subject)
        heard = torch.cat([state.heard, audio], 1)
        frames = max(0, heard.shape[1] - self.config.past - self.config.ahead)
        if not frames:
            return self._nothing(subject), StreamState(state.frame, heard, state.driven, state.poses)
        window = heard[:, : self.config.past + frames + self.config.ahead]
        driving = self.driving(window, first=state.frame, said=subject.said)
        features = self.attention(driving, subject.context)
        transforms, poses = self.motion(features, subject.rest, state.poses)
        missing = self.config.history - 1 - state.driven.shape[1]
        recent = torch.cat([driving[:, :1].expand(-1, missing, -1), state.driven, driving], 1)
        residuals = None if self.head is None else self.head(subject.queries, recent)
        # Copies, so that the state does not hold on to the whole block that it was cut from.
        after = StreamState(
            state.frame + frames,
            heard[:, frames:].clone(),
            recent[:, frames:].clone(),
            poses[:, -1].clone(),
        )
        return Deformation(transforms, residuals), after

    def finish(self, subject: Subject, state: StreamState) -> Deformation:
        """The frames that are left: as many have then come out as were pushed."""
        return self.push(self._after(state.heard), subject, state)[0]

    def _after(self, audio: Float[Tensor, "B n A"]) -> Float[Tensor, "B k A"]:
        return audio[:, -1:].expand(-1, self.config.ahead, -1)

    def _nothing(self, subject: Subject) -> Deformation:
        batch, particles = subject.rest.shape[:2]
        transforms = subject.rest.new_empty(batch, 0, particles, 3, 4)
        if subject.queries is None:
            return Deformation(transforms, None)
        empty = subject.rest.new_empty(batch, 0, subject.queries.shape[1], 3)
        return Deformation(transforms, Residuals(empty, empty, empty[..., 0], empty))
