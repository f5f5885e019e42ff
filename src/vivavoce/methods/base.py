"""The miniatures' own pretrained base: from text, or text and a picture, to video; with the VACE branch on top.

What Wan 2.1 and 2.2 are to the methods at real size. It hears nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vivavoce.methods.miniature import SMALL, SMALL_VACE, SMALL_WAN, packaged
from vivavoce.video.config import VideoConfig
from vivavoce.video.maker import Maker, Scene, Span
from vivavoce.video.network import AvatarNetwork
from vivavoce.video.planner import PHASES, Form
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone


@dataclass(frozen=True, kw_only=True)
class BaseConfig(VideoConfig):
    """A backbone and nothing else."""

    def build(self, backbone: WanBackbone | VaceBackbone | None = None) -> BaseNetwork:
        return BaseNetwork(self, backbone, {})

    @property
    def form(self) -> Form:
        return PHASES


class BaseNetwork(AvatarNetwork):
    """The backbone alone: what is said of a video is the caption and what happens in it."""

    def blocks(self, scene: Scene, span: Span) -> tuple[str, ...]:
        """The base text of the plan and the phases of this span."""
        plan = scene.plan.between(*span.seconds(scene.fps))
        return plan.base, *(phase.text for phase in plan.phases)

    def conditions(self, make: Maker, scene: Scene, span: Span) -> dict[str, Tensor]:
        """Text; and the control latents where there is a VACE branch, else the picture or what was drawn before."""
        text = {"text": make.text(self.blocks(scene, span)).features}
        if self.config.backbone == "vace":
            return text | {"control": make.control(scene, span)}
        return text | make.beginning(scene, span)


WAN_MINIATURE = BaseConfig(
    **SMALL,
    name="wan-miniature",
    paper="Wan: open and advanced large-scale video generative models",
    backbone="wan",
    base=packaged("wan-miniature"),
    transformer=SMALL_WAN,
    text={},
    order="autoregressive",
    scales={"text": 3.0, "image": 1.0},
    dropout=0.2,
    prompt="",
)
"""Text, or text and a picture, to video: the picture is left out as often as the text (Wan 2.2's TI2V)."""

VACE_MINIATURE = BaseConfig(
    **SMALL,
    name="vace-miniature",
    paper="VACE: all-in-one video creation and editing",
    backbone="vace",
    base=packaged("vace-miniature"),
    transformer=SMALL_VACE,
    text={},
    order="interleaved",
    scales={"text": 3.0},
    prompt="",
)
"""The same backbone with a branch that reads a reference picture and given frames."""


def with_branch(trunk: WanBackbone) -> VaceBackbone:
    """A VACE backbone on a trained trunk: its branch is copied from the trunk's blocks and says nothing as yet.

    As VACE begins (section 3.3): copies of the blocks, and hints through layers of zeros.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        made = VaceBackbone(**VACE_MINIATURE.transformer)
    state = trunk.state_dict()
    for i, layer in enumerate(VACE_MINIATURE.transformer["vace_layers"]):
        block = f"blocks.{layer}."
        copied = {key: value for key, value in state.items() if key.startswith(block)}
        state |= {f"vace_blocks.{i}.{key.removeprefix(block)}": value for key, value in copied.items()}
    made.load_state_dict(made.state_dict() | state)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if name.startswith("vace_blocks.") and ".proj_" in name:
                value.zero_()
    return made


BASES = {config.name: config for config in (WAN_MINIATURE, VACE_MINIATURE)}
"""By name: what the miniatures of the methods are trained from."""
