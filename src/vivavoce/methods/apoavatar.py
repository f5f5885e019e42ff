"""ApoAvatar: pose refocused by loudness, audio refined by the video, audio attention frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vivavoce.features.refocusing import latent_dropout, pose_dropout
from vivavoce.methods.miniature import SMALL, SMALL_WAN, packaged
from vivavoce.methods.wan import TI2V_5B, UMT5_XXL, VAE_2_2
from vivavoce.video.branches.audio import AudioAttention, AudioProjector, flat_gain
from vivavoce.video.branches.audio_refine import AudioRefinement
from vivavoce.video.branches.pose import PoseAdapter
from vivavoce.video.config import EncoderConfig, VideoConfig
from vivavoce.video.maker import Maker, Scene, Span
from vivavoce.video.network import AvatarNetwork
from vivavoce.video.planner import PHASES, Form
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone
from vivavoce.video.wan.sockets import Conditions

REACH = 2
"""W_a = 5 of section 3.3."""


@dataclass(frozen=True, kw_only=True)
class ApoAvatarConfig(VideoConfig):
    """ApoAvatar's own numbers beside those of every method."""

    window: int
    """W_a, audio tokens of a latent frame."""
    pose_dropout: Literal["loudness", "frames", "clip"] = "loudness"
    """Where training drops a pose: frames by the loudness there (eq. 4), or, at the same mean rate of each clip, any of
    its frames, or all of them at once (both of table 4)."""

    def build(self, backbone: WanBackbone | VaceBackbone | None = None) -> ApoAvatar:
        return ApoAvatar(self, backbone)

    @property
    def form(self) -> Form:
        return PHASES


class ApoAvatar(AvatarNetwork):
    """The network of ApoAvatar (section 3)."""

    config: ApoAvatarConfig

    def __init__(self, config: ApoAvatarConfig, backbone: WanBackbone | VaceBackbone | None = None) -> None:
        t, width, heads = config.transformer, config.hidden, config.heads
        audio = AudioAttention(
            AudioProjector(config.encoder.width, width, reach=REACH, tokens_per_latent=config.window),
            flat_gain(t["num_layers"]),
            heads=heads,
            frame_wise=True,
        )
        branches = {
            # The refinement reads what the two before it have made (figure 2).
            "pose": PoseAdapter(width, stride=2 * config.stride),
            "audio": audio,
            "refine": AudioRefinement(width, heads=heads),
        }
        super().__init__(config, backbone, branches)

    def blocks(self, scene: Scene, span: Span) -> tuple[str, ...]:
        """The plan's base, and what it says of this span."""
        phases = scene.plan.between(*span.seconds(scene.fps)).phases
        return self.config.prompt, scene.plan.base, *(phase.text for phase in phases)

    def conditions(self, make: Maker, scene: Scene, span: Span) -> dict[str, Tensor]:
        """Text, speech, the picture where there is one, and the pose where one is given, without dropout."""
        pose = make.pose(scene, span)
        return {
            "text": make.text(self.blocks(scene, span)).features,
            "audio": make.audio(scene, span, REACH),
            **make.beginning(scene, span),
            **({} if pose is None else {"pose": pose}),
        }

    def example(
        self,
        make: Maker,
        scene: Scene,
        frames: UInt8[np.ndarray, "F H W 3"],
        given: Sequence[range] = (),
        *,
        first: int = 0,
    ) -> tuple[Float[Tensor, "1 C f h w"], dict[str, Tensor]]:
        """Adds "pose_drop", how likely each latent frame's pose is dropped for the loudness there (eq. 2 to 4)."""
        latents, conditions = super().example(make, scene, frames, given, first=first)
        loud = scene.speech.samples * np.float32(scene.speech.gain)
        drop = latent_dropout(pose_dropout(loud, scene.fps, scene.frames)[first : first + len(frames)])
        return latents, conditions | {"pose_drop": torch.from_numpy(drop)[None].float().to(make.device)}

    def randomised(
        self,
        conditions: Conditions,
        sigma: Float[Tensor, " 1"],
        *,
        nulls: Conditions,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Adds "pose_keep" (1, f): each latent frame's pose is dropped by "pose_drop", its probability (eq. 4).

        Where the config has other frames dropped, that tells only how many.
        """
        keep = {}
        if "pose" in conditions and "pose_drop" in conditions:
            drop = conditions["pose_drop"]
            draws = torch.rand(drop.shape, generator=generator, device=generator.device).to(drop)
            if self.config.pose_dropout != "loudness":
                drop = drop.mean(dim=1, keepdim=True)
            if self.config.pose_dropout == "clip":
                draws = draws[:, :1]
            keep = {"pose_keep": (draws >= drop).expand_as(conditions["pose_drop"])}
        return super().randomised({**conditions, **keep}, sigma, nulls=nulls, generator=generator)


APOAVATAR = ApoAvatarConfig(
    name="apoavatar",
    paper="ApoAvatar: audio-pose prior refocusing and frame-wise audio-video interaction",
    backbone="wan",
    transformer=TI2V_5B,
    vae=VAE_2_2,
    text=UMT5_XXL,
    base="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
    encoder=EncoderConfig("wav2vec2", "wav2vec2 768x12", 768, "facebook/wav2vec2-base-960h"),
    width=704,
    height=1280,
    fps=24.0,
    chunk=121,
    order="autoregressive",
    steps=50,
    shift=5.0,
    scales={"text": 5.0, "image": 2.0, "audio": 4.0, "pose": 1.0},
    prompt="A person is speaking.",
    modes=frozenset({"photo", "pose", "reference-free"}),
    window=5,
)
"""Sizes as in the paper; its backbone, Goku-I2V, is not public, and Wan's of 5 B takes its place.

The paper does not give its guidance scales: Wan's own for the text, MultiTalk's for the audio, 1 for the pose.
"""

APOAVATAR_MINIATURE = replace(
    APOAVATAR,
    **SMALL,
    name="apoavatar-miniature",
    base=packaged("wan-miniature"),
    own=packaged("apoavatar-miniature"),
    transformer=SMALL_WAN,
)
