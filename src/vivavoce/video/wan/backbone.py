"""diffusers' Wan transformers with sockets: the plain one and the one with VACE.

Parameter names are untouched: any Wan checkpoint in diffusers' layout loads strictly, and without branches
the output is the plain model's bit for bit.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel
from diffusers.utils.peft_utils import apply_lora_scale
from jaxtyping import Float, Shaped
from torch import Tensor

from vivavoce.video.wan.blocks import TrunkBlock, VaceBlock
from vivavoce.video.wan.context_parallel import Share
from vivavoce.video.wan.rope import OffsetRotary
from vivavoce.video.wan.sockets import Branch, Conditions, Grid, Moment, enter_all, of_stack


@dataclass(frozen=True)
class Drawn:
    """What one call of a backbone gives."""

    sample: Float[Tensor, "B C f h w"]
    """The predicted velocity, eps - data."""
    taps: Mapping[str, Float[Tensor, "B L D"]] = field(default_factory=dict)
    """Outputs of the blocks that were asked for, by name: `blocks.14`, `vace_blocks.3`."""


@dataclass
class _Pass:
    """One forward pass on its way through the blocks."""

    tokens: Float[Tensor, "B L D"]
    text: Float[Tensor, "B S D"]
    temb: Float[Tensor, "..."]
    modulation: Float[Tensor, "..."]
    rotary: tuple[Tensor, Tensor]
    grid: Grid
    share: Share
    conditions: Conditions
    branches: Sequence[Branch]
    taps: dict[str, Tensor]


class _Backbone:
    """What both classes do alike around their blocks."""

    _cp_plan: ClassVar = {}
    """Nothing for diffusers to split: under context parallelism each pass takes its `Share` by itself."""

    def _adopt(self: Any) -> None:
        """Give the modules that diffusers built this project's `forward`: the parameters stay what they are."""
        self.rope.__class__ = OffsetRotary
        for block in self.blocks:
            block.__class__ = TrunkBlock
        for block in getattr(self, "vace_blocks", ()):
            block.__class__ = VaceBlock

    def _embed(
        self: Any,
        latents: Float[Tensor, "B C f h w"],
        timestep: Shaped[Tensor, "..."],
        text: Float[Tensor, "B S E"],
        image: Float[Tensor, "B N I"] | None,
        first: int,
        references: int,
    ) -> _Pass:
        frames, rows, columns = (
            n // p for n, p in zip(latents.shape[2:], self.config.patch_size, strict=True)
        )
        rotary = self.rope(latents, first) if first else self.rope(latents)
        tokens = self.patch_embedding(latents).flatten(2).transpose(1, 2).contiguous()
        own = timestep.shape[1] if timestep.ndim == 2 else None
        temb, modulation, text, image = self.condition_embedder(
            timestep.flatten(), text, image, timestep_seq_len=own
        )
        modulation = modulation.unflatten(1 if own is None else 2, (6, -1))
        if image is not None:
            text = torch.concat([image, text], dim=1)
        grid = Grid(frames, rows, columns, first, references)
        parallel = self._parallel_config and self._parallel_config.context_parallel_config
        share = Share.of(parallel, grid, self.config.num_attention_heads)
        return _Pass(tokens, text, temb, modulation, rotary, grid, share, {}, (), {})

    def _enter(
        self: Any,
        state: _Pass,
        timestep: Tensor,
        branches: Sequence[Branch],
        conditions: Conditions,
        taps: Collection[str],
    ) -> None:
        unknown = set(taps) - {name for name, module in self.named_modules() if name.count(".") == 1}
        if unknown:
            raise ValueError(f"no blocks of these names to tap: {', '.join(sorted(unknown))}")
        moment = Moment(timestep, state.temb, state.grid)
        state.branches = branches
        state.tokens, state.conditions = enter_all(branches, state.tokens, conditions, moment)
        state.taps = dict.fromkeys(taps)  # type: ignore[assignment]
        part = state.share.part
        state.tokens, state.rotary = part(state.tokens), (part(state.rotary[0]), part(state.rotary[1]))
        if timestep.ndim == 2:
            state.temb, state.modulation = part(state.temb), part(state.modulation)

    def _trunk(self: Any, state: _Pass, hints: Mapping[int, Tensor]) -> None:
        for i, block in enumerate(self.blocks):
            sockets = of_stack("trunk", i, state.branches, state.conditions)
            inputs = (state.tokens, state.text, state.modulation, state.rotary, sockets, hints.get(i))
            state.tokens = self._run(block, *inputs)
            if f"blocks.{i}" in state.taps:
                state.taps[f"blocks.{i}"] = state.tokens

    def _run(self: Any, block: torch.nn.Module, *inputs: object) -> Any:
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(block, *inputs)
        return block(*inputs)

    def _draw(self: Any, state: _Pass, shape: torch.Size) -> Drawn:
        """Tokens back to a latent of `shape`, with the last adaptive norm."""
        table = self.scale_shift_table.to(state.temb.device)
        if state.temb.ndim == 3:
            parts = (table.unsqueeze(0) + state.temb.unsqueeze(2)).chunk(2, dim=2)
            shift, scale = (part.squeeze(2).to(state.tokens.device) for part in parts)
        else:
            parts = (table + state.temb.unsqueeze(1)).chunk(2, dim=1)
            shift, scale = (part.to(state.tokens.device) for part in parts)
        tokens = (self.norm_out(state.tokens.float()) * (1 + scale) + shift).type_as(state.tokens)
        g, patch = state.grid, self.config.patch_size
        cells = state.share.whole(self.proj_out(tokens)).reshape(
            shape[0], g.frames, g.height, g.width, *patch, -1
        )
        sample = cells.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)
        return Drawn(sample, {name: state.share.whole(tap) for name, tap in state.taps.items()})


class WanBackbone(_Backbone, WanTransformer3DModel):
    """Wan 2.1 and 2.2, text or image to video, with sockets in every block."""

    _no_split_modules = ["TrunkBlock"]
    _repeated_blocks = ["TrunkBlock"]

    @functools.wraps(WanTransformer3DModel.__init__)  # diffusers reads a config by this signature
    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self._adopt()

    @apply_lora_scale("attention_kwargs")
    def forward(  # type: ignore[override]
        self,
        hidden_states: Float[Tensor, "B C f h w"],
        timestep: Shaped[Tensor, "..."],
        encoder_hidden_states: Float[Tensor, "B S E"],
        encoder_hidden_states_image: Float[Tensor, "B N I"] | None = None,
        *,
        branches: Sequence[Branch] = (),
        conditions: Conditions | None = None,
        taps: Collection[str] = (),
        first: int = 0,
        references: int = 0,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> Drawn:
        """Velocity of noisy latents at `timestep` in [0, 1000]: (B,), or (B, tokens) for a time of its own each.

        `first` is the latent time of the first frame; `references` of the leading frames are pictures.
        Raises ValueError for taps that name no block.
        """
        state = self._embed(
            hidden_states, timestep, encoder_hidden_states, encoder_hidden_states_image, first, references
        )
        self._enter(state, timestep, branches, conditions or {}, taps)
        self._trunk(state, {})
        return self._draw(state, hidden_states.shape)


class VaceBackbone(_Backbone, WanVACETransformer3DModel):
    """Wan with the VACE stack, which reads control latents and gives hints, with sockets in both stacks."""

    _no_split_modules = ["TrunkBlock", "VaceBlock"]
    _repeated_blocks = ["TrunkBlock", "VaceBlock"]

    @functools.wraps(WanVACETransformer3DModel.__init__)
    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self._adopt()

    @apply_lora_scale("attention_kwargs")
    def forward(  # type: ignore[override]
        self,
        hidden_states: Float[Tensor, "B C f h w"],
        timestep: Shaped[Tensor, "..."],
        encoder_hidden_states: Float[Tensor, "B S E"],
        encoder_hidden_states_image: Float[Tensor, "B N I"] | None = None,
        control_hidden_states: Float[Tensor, "B V f h w"] | None = None,
        control_hidden_states_scale: Float[Tensor, " K"] | None = None,
        *,
        branches: Sequence[Branch] = (),
        conditions: Conditions | None = None,
        taps: Collection[str] = (),
        first: int = 0,
        references: int = 0,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> Drawn:
        """As `WanBackbone.forward`; the control latents are VACE's (inactive, reactive, folded mask).

        `control_hidden_states_scale` weighs the hint of each VACE block (1 where it is not given). Raises
        ValueError without control latents.
        """
        if control_hidden_states is None:
            raise ValueError("a VACE backbone needs control latents (the reference and the frames to keep)")
        state = self._embed(
            hidden_states, timestep, encoder_hidden_states, encoder_hidden_states_image, first, references
        )
        control = self.vace_patch_embedding(control_hidden_states).flatten(2).transpose(1, 2)
        missing = state.tokens.shape[1] - control.shape[1]
        control = torch.cat([control, control.new_zeros(control.shape[0], missing, control.shape[2])], dim=1)
        self._enter(state, timestep, branches, conditions or {}, taps)
        self._trunk(state, self._hints(state, control, control_hidden_states_scale))
        return self._draw(state, hidden_states.shape)

    def _hints(
        self, state: _Pass, control: Float[Tensor, "B L D"], scale: Float[Tensor, " K"] | None
    ) -> dict[int, Tensor]:
        """What each VACE block adds behind its block of the main stack, by that block's number."""
        layers, control = self.config["vace_layers"], state.share.part(control)
        scale = control.new_ones(len(layers)) if scale is None else scale
        if len(scale) != len(layers):
            raise ValueError(f"{len(scale)} scales for {len(layers)} VACE blocks")
        hints = {}
        for i, (layer, block) in enumerate(zip(layers, self.vace_blocks, strict=True)):
            sockets = of_stack("vace", i, state.branches, state.conditions)
            inputs = (state.tokens, state.text, control, state.modulation, state.rotary, sockets)
            hint, control = self._run(block, *inputs)
            hints[layer] = hint * scale[i]
            if f"vace_blocks.{i}" in state.taps:
                state.taps[f"vace_blocks.{i}"] = control
        return hints
