"""Speech into the video stream: features to audio tokens once a step, cross-attention to them in the blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from vivavoce.timing import FACTOR, frames_of_latents, latent_frames
from vivavoce.video.branches.attention import PreNormCrossAttention, rotary_table
from vivavoce.video.branches.audio_mask import MaskEmbedding
from vivavoce.video.wan.sockets import Branch, Conditions, Grid, Moment, Place


class AudioProjector(nn.Module):
    """Speech features at video rate to audio tokens at latent rate (PhysAvatar eq. 3 and Proj_aud).

    Every frame sees `reach` frames to either side, those outside the clip included: `timing.mirrored` names them at
    the ends of a recording (the mirror padding of eq. 3), and within it they are the neighbours that are there.
    The windows of the four frames of a latent lie side by side before a perceptron of two layers.
    """

    def __init__(
        self,
        audio_width: int,
        width: int,
        *,
        reach: int = 2,
        tokens_per_latent: int = 1,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        self.audio_width = audio_width
        self.width = width
        self.reach = reach
        self.tokens_per_latent = tokens_per_latent
        hidden = width if hidden is None else hidden
        self.mlp = nn.Sequential(
            nn.Linear(FACTOR * (2 * reach + 1) * audio_width, hidden),
            nn.GELU(),
            nn.Linear(hidden, tokens_per_latent * width),
        )

    def forward(self, audio: Float[Tensor, "B N A"]) -> Float[Tensor, "B f m D"]:
        """`tokens_per_latent` tokens for each of the f = 1 + (F - 1) / 4 latent frames; N = F + 2 reach.

        Raises ValueError for features of another width, or where F is not 1 more than a multiple of 4.
        """
        if audio.shape[2] != self.audio_width:
            raise ValueError(
                f"the projector takes features of width {self.audio_width}, not {audio.shape[2]}"
            )
        tokens = self.mlp(latent_windows(audio, self.reach))
        return tokens.unflatten(2, (self.tokens_per_latent, self.width))


def latent_windows(audio: Float[Tensor, "B N A"], reach: int) -> Float[Tensor, "B f W"]:
    """For each latent frame the windows (PhysAvatar eq. 3) of its four frames: W = 4 (2 reach + 1) A.

    N = F + 2 reach: the F frames of the clip between `reach` neighbours on either side. Raises ValueError where
    F is not 1 more than a multiple of 4.
    """
    frames = frames_of_latents(latent_frames(audio.shape[1] - 2 * reach))
    windows = frames[..., None] + np.arange(2 * reach + 1)
    return audio[:, torch.from_numpy(windows).to(audio.device)].flatten(2)


def flat_gain(layers: int) -> tuple[float, ...]:
    """Audio alike in every block (PhysAvatar)."""
    return (1.0,) * layers


def progressive_gain(layers: int, gamma: float = 1.5) -> tuple[float, ...]:
    """Audio growing with depth, (l / L)^gamma for blocks l = 1 .. L (ActAvatar eq. 5)."""
    return tuple((layer / layers) ** gamma for layer in range(1, layers + 1))


def first_half_gain(layers: int) -> tuple[float, ...]:
    """Audio in the first half of the blocks alone, the middle one of an odd number included."""
    half = (layers + 1) // 2
    return (1.0,) * half + (0.0,) * (layers - half)


class AudioAttention(Branch):
    """Cross-attention from video tokens to audio tokens in the blocks of the main stack.

    `gain` weighs the residual of each block, from the first on (ActAvatar eq. 4); a block whose gain is 0 gets no
    module at all. `frame_wise`: a frame's tokens see the audio of their own latent frame alone (ApoAvatar
    eq. 7); otherwise all of it, with rotary positions in latent time (PhysAvatar section 3.3). `maskable`: with
    a learned embedding in the place of hidden audio tokens (PhysAvatar Alg. 1).

    Conditions read: "audio" (B, F + 2 reach, A), the projector's `reach` neighbours of the clip's F frames on either
    side, and, in training, "audio_mask" (B, f), False where a token is hidden.
    Prepared for the blocks, and for branches after this one to refine: "audio.tokens" (B, f, m, D).
    """

    def __init__(
        self,
        projector: AudioProjector,
        gain: Sequence[float],
        *,
        heads: int,
        frame_wise: bool,
        maskable: bool = False,
        place: Place = "after_text",
    ) -> None:
        super().__init__()
        self.projector = projector
        self.gain = tuple(gain)
        self.frame_wise = frame_wise
        self.place = place  # pyright: ignore[reportAttributeAccessIssue]  # fixed for most branches, a choice here
        self.mask = MaskEmbedding(projector.width) if maskable else None
        self.head_dim = projector.width // heads
        self.attentions = nn.ModuleDict(
            {
                str(layer): PreNormCrossAttention(projector.width, projector.width, heads=heads)
                for layer, weight in enumerate(self.gain)
                if weight
            }
        )

    def enter(
        self, tokens: Float[Tensor, "B L D"], conditions: Conditions, moment: Moment
    ) -> tuple[Float[Tensor, "B L D"], Conditions]:
        """Audio tokens, and with them the rotary positions of latent frames where attention is not frame-wise.

        Raises ValueError without "audio", for audio of another length than the video, and for "audio_mask"
        where the branch is not `maskable`.
        """
        if "audio" not in conditions:
            raise ValueError('audio attention needs the condition "audio"; silence is zeros')
        grid = moment.grid
        audio = self.projector(conditions["audio"].to(tokens.dtype))
        if audio.shape[1] != grid.frames - grid.references:
            raise ValueError(
                f"audio of {audio.shape[1]} latent frames for a video of {grid.frames - grid.references}"
            )
        if "audio_mask" in conditions:
            if self.mask is None:
                raise ValueError('"audio_mask" is for audio attention with maskable=True alone')
            audio = self.mask(audio, conditions["audio_mask"])
        prepared = {"audio.tokens": audio, "audio.references": _reference_residual(tokens, grid)}
        if not self.frame_wise:
            times = grid.first + np.arange(audio.shape[1])
            prepared["audio.rotary"] = rotary_table(self.head_dim, times).to(audio.device)
        return tokens, {**conditions, **prepared}

    def residual(
        self, layer: int, tokens: Float[Tensor, "B L D"], conditions: Conditions
    ) -> Float[Tensor, "B L D"] | None:
        """Zero for the tokens of reference pictures. Raises ValueError for a block beyond the gains."""
        if layer >= len(self.gain):
            raise ValueError(f"audio attention has gains for {len(self.gain)} blocks, none for block {layer}")
        if not self.gain[layer]:
            return None
        attention = cast(PreNormCrossAttention, self.attentions[str(layer)])
        references, audio = conditions["audio.references"], conditions["audio.tokens"]
        pictures, frames = references.shape[1], audio.shape[1]
        by_frame = tokens.unflatten(1, (pictures + frames, -1))
        video, cells = by_frame[:, pictures:], by_frame.shape[2]
        if self.frame_wise:
            attended = attention.frame_wise(video, audio).flatten(1, 2)
        else:
            times = conditions["audio.rotary"]
            rotary = tuple(times.repeat_interleave(each, dim=1) for each in (cells, audio.shape[2]))
            attended = attention(video.flatten(1, 2), audio.flatten(1, 2), rotary=rotary)
        nothing = references.expand(-1, -1, cells, -1).flatten(1, 2)
        return torch.cat([nothing, self.gain[layer] * attended], dim=1)


def _reference_residual(tokens: Float[Tensor, "B L D"], grid: Grid) -> Float[Tensor, "B R 1 D"]:
    """Nothing to add to a reference picture; its length tells `residual` how many they are."""
    batch, _, width = tokens.shape
    return tokens.new_zeros(1, 1, 1, 1).expand(batch, grid.references, 1, width)
