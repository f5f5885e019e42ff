"""ActAvatar: TI2V 5B, phases in the text, audio that grows with depth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, cast

from jaxtyping import Float
from torch import Tensor

from vivavoce.methods.miniature import SMALL, SMALL_WAN, packaged
from vivavoce.methods.wan import TI2V_5B, UMT5_XXL, VAE_2_2
from vivavoce.video.branches.audio import AudioAttention, AudioProjector, progressive_gain
from vivavoce.video.branches.phases import PhaseEmbedding, prompt_blocks
from vivavoce.video.config import EncoderConfig, VideoConfig
from vivavoce.video.maker import Maker, Scene, Span
from vivavoce.video.network import AvatarNetwork
from vivavoce.video.plan import Plan
from vivavoce.video.planner import PHASES, Form
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone
from vivavoce.video.wan.sockets import Conditions

REACH = 2
"""Frames of speech that a frame sees on either side."""


@dataclass(frozen=True, kw_only=True)
class ActAvatarConfig(VideoConfig):
    """ActAvatar's own numbers beside those of every method."""

    gamma: float
    """Of the audio's growth with depth (eq. 5)."""
    phases: int
    """How many phases have an embedding; a plan of more is refused."""
    plan: Literal["phases", "global", "base"] = "phases"
    """How the network is told a plan: phases with their windows; all of them in one text that says no times (the
    ablation of table 4); or the base text alone, as the brief captions of the first stage (section 3.4.1)."""

    def build(self, backbone: WanBackbone | VaceBackbone | None = None) -> ActAvatar:
        return ActAvatar(self, backbone)

    @property
    def form(self) -> Form:
        return PHASES

    @property
    def brief(self) -> ActAvatarConfig:
        return replace(self, plan="base")


class ActAvatar(AvatarNetwork):
    """The network of ActAvatar (section 3)."""

    config: ActAvatarConfig

    def __init__(self, config: ActAvatarConfig, backbone: WanBackbone | VaceBackbone | None = None) -> None:
        t, width, heads = config.transformer, config.hidden, config.heads
        audio = AudioAttention(
            AudioProjector(config.encoder.width, width, reach=REACH),
            progressive_gain(t["num_layers"], config.gamma),
            heads=heads,
            frame_wise=True,
        )
        super().__init__(
            config, backbone, {"audio": audio}, {"phases": PhaseEmbedding(config.phases, t["text_dim"])}
        )

    def blocks(self, scene: Scene, span: Span) -> tuple[str, ...]:
        """The span's own part of the plan: windows are told in its own time, as in training (eq. 1)."""
        plan = scene.plan.between(*span.seconds(scene.fps))
        base = f"{self.config.prompt} {plan.base}"
        if self.config.plan == "phases":
            return prompt_blocks(Plan(base=base, phases=plan.phases))
        return (" ".join([base, *(p.text for p in plan.phases if self.config.plan == "global")]),)

    def check(self, make: Maker, scene: Scene, spans: Iterable[Span]) -> None:
        """Also of its phases: no more than have an embedding."""
        for span in spans:
            cast(PhaseEmbedding, self.extras["phases"]).check(len(self.blocks(scene, span)) - 1)
            super().check(make, scene, [span])

    def conditions(self, make: Maker, scene: Scene, span: Span) -> dict[str, Tensor]:
        """Text with its phases, speech, and the picture that the span begins with."""
        text = make.text(self.blocks(scene, span))
        return {
            "text": text.features,
            "phases": text.phases,
            "words": text.words,
            "audio": make.audio(scene, span, REACH),
            **make.beginning(scene, span),
        }

    def text(self, conditions: Conditions) -> Float[Tensor, "B S E"]:
        """The text with its phases (eq. 2); the backbone's text attention is then eq. 3."""
        return self.extras["phases"](conditions["text"], conditions["phases"])


ACTAVATAR = ActAvatarConfig(
    name="actavatar",
    paper="ActAvatar: action control by phases in text, audio that grows with depth",
    backbone="wan",
    transformer=TI2V_5B,
    vae=VAE_2_2,
    text=UMT5_XXL,
    base="Wan-AI/Wan2.2-TI2V-5B-Diffusers",
    encoder=EncoderConfig("wav2vec2", "wav2vec2 768x12", 768, "facebook/wav2vec2-base-960h"),
    width=704,
    height=1280,
    fps=25.0,
    chunk=125,
    order="autoregressive",
    steps=40,
    shift=5.0,
    scales={"text": 5.0, "audio": 5.0},
    prompt="A person is speaking.",
    modes=frozenset({"photo", "attention"}),
    gamma=1.5,
    phases=8,
)
"""As in the paper, section 4.1."""

ACTAVATAR_MINIATURE = replace(
    ACTAVATAR,
    **SMALL,
    name="actavatar-miniature",
    base=packaged("wan-miniature"),
    own=packaged("actavatar-miniature"),
    transformer=SMALL_WAN,
)
