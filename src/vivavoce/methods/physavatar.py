"""PhysAvatar: VACE 1.3B, audio attention in every block, physical state supervision, planning guidance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vivavoce.features.physical_state import reference_states
from vivavoce.methods.miniature import SMALL, SMALL_VACE, packaged
from vivavoce.methods.wan import UMT5_XXL, VACE_1_3B, VAE_2_1
from vivavoce.timing import FACTOR
from vivavoce.video.batch import TrainingBatch
from vivavoce.video.branches.audio import AudioAttention, AudioProjector, flat_gain
from vivavoce.video.branches.audio_mask import audio_mask
from vivavoce.video.branches.planner_text import PlannerAttention
from vivavoce.video.branches.state import StateHead, state_loss
from vivavoce.video.config import EncoderConfig, LoraConfig, VideoConfig
from vivavoce.video.maker import Maker, Scene, Span
from vivavoce.video.network import AvatarNetwork, flow_loss, present
from vivavoce.video.planner import BRIEF, Form
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone
from vivavoce.video.wan.sockets import Conditions, Grid

REACH = 2
"""k of eq. 3."""


@dataclass(frozen=True, kw_only=True)
class PhysAvatarConfig(VideoConfig):
    """PhysAvatar's own numbers beside those of every method."""

    planner_width: int
    """Of the language model's hidden states; 3584 for Qwen2.5-Omni 7B."""
    planner: Literal["omni", "text"] = "omni"
    """Whose states they are: the planner's, or the text encoder's own, of what any planner wrote."""
    state_layer: int
    """J_phys, the block whose output must know the physical state, counted from 1."""
    supervised: Literal["masked", "all"] = "masked"
    """Latent frames whose state it must know: those whose audio is hidden (eq. 4), or all ("full", table 2)."""

    def build(self, backbone: WanBackbone | VaceBackbone | None = None) -> PhysAvatar:
        return PhysAvatar(self, backbone)

    @property
    def form(self) -> Form:
        return BRIEF


class PhysAvatar(AvatarNetwork):
    """The network of PhysAvatar (section 3)."""

    config: PhysAvatarConfig

    def __init__(self, config: PhysAvatarConfig, backbone: WanBackbone | VaceBackbone | None = None) -> None:
        t, width, heads = config.transformer, config.hidden, config.heads
        audio = AudioAttention(
            AudioProjector(config.encoder.width, width, reach=REACH),
            flat_gain(t["num_layers"]),
            heads=heads,
            frame_wise=False,
            maskable=True,
        )
        planner = PlannerAttention(
            width, heads=heads, planner_width=config.planner_width, layers=len(t["vace_layers"])
        )
        super().__init__(config, backbone, {"audio": audio, "planner": planner}, {"state": StateHead(width)})

    @property
    def state_tap(self) -> str:
        """The block that the state head reads."""
        return f"blocks.{self.config.state_layer - 1}"

    def blocks(self, scene: Scene, span: Span) -> tuple[str, ...]:
        """A short generic prompt, phases that somebody wrote while they last, and the brief where no model read it.

        The last is the paper's ablation (table 2), and what is left where no language model is at hand.
        """
        phases = scene.plan.between(*span.seconds(scene.fps)).phases
        unread = scene.embeddings is None and self.config.planner == "omni"
        brief = [scene.plan.base] if unread else []
        return self.config.prompt, *(phase.text for phase in phases), *brief

    def conditions(self, make: Maker, scene: Scene, span: Span) -> dict[str, Tensor]:
        """The brief conditions the VACE stack by a language model's states of it, where there are any."""
        states = scene.embeddings
        if self.config.planner == "text":
            states = make.states(scene.plan.base)
        plan = {} if states is None else {"plan": states.to(make.device, torch.float32)}
        return plan | {
            "text": make.text(self.blocks(scene, span)).features,
            "audio": make.audio(scene, span, REACH),
            "control": make.control(scene, span),
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
        """Adds "states", the reference tokens of every frame: 84 for 81 frames (appendix B)."""
        latents, conditions = super().example(make, scene, frames, given, first=first)
        states = present(scene.states, "physical states")[first : first + len(frames)]
        states = reference_states(states)
        return latents, conditions | {"states": torch.from_numpy(states).flatten(0, 1)[None].to(make.device)}

    def randomised(
        self,
        conditions: Conditions,
        sigma: Float[Tensor, " 1"],
        *,
        nulls: Conditions,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Adds "audio_mask", what of the audio is hidden (Alg. 1), where there are states to be told there."""
        mask = {}
        if "states" in conditions:
            states = conditions["states"]
            mask = {"audio_mask": audio_mask(sigma, states.shape[1] // FACTOR, generator).to(states.device)}
        return super().randomised({**conditions, **mask}, sigma, nulls=nulls, generator=generator)

    def losses(self, batch: TrainingBatch) -> dict[str, Float[Tensor, " B"]]:
        """Adds "state" (eq. 4): where "audio_mask" (B, f) hides the audio, block J_phys must tell the state.

        `conditions["states"]` (B, 4 f, 1024) are the reference tokens; without them there is no such term.
        """
        told = batch.conditions
        if "states" not in told:
            return super().losses(batch)
        drawn = self.drawn(batch, taps=[self.state_tap])
        predicted = self.states(drawn.taps[self.state_tap], batch.latents)
        kept = told["audio_mask"]
        unsupervised = torch.zeros_like(kept) if self.config.supervised == "all" else kept
        state = state_loss(predicted, told["states"], unsupervised)
        return {"flow": flow_loss(drawn, batch), "state": state}

    def states(
        self, tapped: Float[Tensor, "B L D"], latents: Float[Tensor, "B C f h w"]
    ) -> Float[Tensor, "B S E"]:
        """The physical states that a block's output tells."""
        patch = self.backbone.config["patch_size"]
        frames, height, width = (n // p for n, p in zip(latents.shape[2:], patch, strict=True))
        grid = Grid(frames, height, width, references=self.config.references)
        return self.extras["state"](tapped, grid)


PHYSAVATAR = PhysAvatarConfig(
    name="physavatar",
    paper="PhysAvatar: physically grounded avatars by discrete state supervision and planning",
    backbone="vace",
    transformer=VACE_1_3B,
    vae=VAE_2_1,
    text=UMT5_XXL,
    base="Wan-AI/Wan2.1-VACE-1.3B-diffusers",
    encoder=EncoderConfig("whisper", "whisper 1280x32", 1280, "openai/whisper-large-v3"),
    width=512,
    height=512,
    fps=25.0,
    chunk=81,
    order="interleaved",
    steps=50,
    shift=3.0,
    scales={"text": 5.0, "audio": 2.0},
    vace_scale=1.1,
    prompt="A person is speaking to the camera.",
    losses={"flow": 1.0, "state": 10.0},
    modes=frozenset({"photo", "keypoints"}),
    lora=LoraConfig(rank=128, alpha=64),
    planner_width=3584,
    state_layer=15,
)
"""As in the paper, section 4.1."""

PHYSAVATAR_MINIATURE = replace(
    PHYSAVATAR,
    **SMALL,
    name="physavatar-miniature",
    base=packaged("vace-miniature"),
    own=packaged("physavatar-miniature"),
    transformer=SMALL_VACE,
    lora=LoraConfig(rank=16, alpha=8),
    planner_width=SMALL_VACE["text_dim"],
    planner="text",
    state_layer=4,
)
