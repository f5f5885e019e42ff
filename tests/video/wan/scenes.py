"""The smallest backbones with branches that are no identity any more, and what to call them with."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from tiny import VACE, WAN
from vivavoce.timing import video_frames
from vivavoce.video.branches.audio import AudioAttention, AudioProjector, progressive_gain
from vivavoce.video.branches.audio_refine import AudioRefinement
from vivavoce.video.branches.planner_text import PlannerAttention
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone
from vivavoce.video.wan.sockets import Branch

WIDTH, AUDIO, PLAN, LATENTS = 24, 6, 10, 5


def branches_of(
    kind: Literal["wan", "vace"], *, frame_wise: bool = True, place: str = "after_text"
) -> Sequence[Branch]:
    """Audio, refined where it is frame-wise, and for VACE a plan."""
    projector = AudioProjector(AUDIO, WIDTH, tokens_per_latent=2)
    options: dict[str, Any] = {"heads": 2, "frame_wise": frame_wise, "place": place, "maskable": True}
    branches: list[Branch] = [AudioAttention(projector, progressive_gain(4), **options)]
    if frame_wise:
        branches.append(AudioRefinement(WIDTH, heads=2))
    if kind == "vace":
        branches.append(PlannerAttention(WIDTH, heads=2, planner_width=PLAN, layers=2))
    for branch in branches:
        for parameter in branch.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.3)
    return branches


def scene(
    kind: Literal["wan", "vace"],
    *,
    rows: int = 2,
    references: int = 0,
    own_times: bool = False,
    frame_wise: bool = True,
    place: str = "after_text",
) -> tuple[WanBackbone | VaceBackbone, dict[str, Any]]:
    """A backbone and the arguments of its call: frames of `rows` x 3 tokens; the same at every call."""
    torch.manual_seed(3)
    model = (VaceBackbone(**VACE) if kind == "vace" else WanBackbone(**WAN)).eval()
    frames = LATENTS + references
    size = (frames, 2 * rows, 6)
    given = {
        "hidden_states": torch.randn(2, 16, *size),
        "timestep": torch.rand(2, frames * rows * 3) * 1000 if own_times else torch.tensor([700.0, 100.0]),
        "encoder_hidden_states": torch.randn(2, 12, 32),
        "branches": branches_of(kind, frame_wise=frame_wise, place=place),
        "conditions": {
            "audio": torch.randn(2, video_frames(LATENTS) + 4, AUDIO),
            "audio_mask": torch.rand(2, LATENTS) < 0.7,
            "plan": torch.randn(2, 7, PLAN),
        },
        "references": references,
    }
    if kind == "vace":
        given["control_hidden_states"] = torch.randn(2, 96, *size)
    return model, given
