"""Which phase the video listens to, and when: text attention by phase over time, as in fig. 4 of ActAvatar."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from diffusers.models.transformers.transformer_wan import WanAttention
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from vivavoce.errors import InputError
from vivavoce.media.files import check_target, replacing
from vivavoce.video.branches.phases import BASE
from vivavoce.video.plan import Plan
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone

_ROWS = 1024  # tokens at a time: with 512 words and 40 heads 84 MB of attention
_LEGEND = 44  # characters of a phase's text


class PhaseAttention:
    """Watches the text attention of one block while the backbone is evaluated once; changes nothing.

        with PhaseAttention(backbone, 14, phases=text.phases, mask=text.words) as view:
            backbone(latents, timestep, text.features)
        view.shares

    A token's attention to the text is taken from the block's own queries and keys and divided among the tokens in
    `mask`: Wan attends to padding too, and what goes there is left out.
    """

    def __init__(
        self,
        backbone: WanBackbone | VaceBackbone,
        block: int,
        *,
        phases: Int[Tensor, "B S"],
        mask: Bool[Tensor, "B S"],
        item: int = 0,
    ) -> None:
        """`block` counts the main stack from 0; `phases` and `mask` are the text's, `item` the one of the batch.

        Raises ValueError for a block that is not there and for a text without words.
        """
        if not 0 <= block < len(backbone.blocks):
            raise ValueError(f"there are blocks 0 to {len(backbone.blocks) - 1}, and no {block}")
        if not mask[item].any():
            raise ValueError("a text without words gets no attention that could be divided")
        self._backbone, self._block, self._item = backbone, block, item
        self._phases, self._mask = phases[item], mask[item]
        self._frames = self._references = 0
        self._seen: list[Float[Tensor, "f P"]] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> PhaseAttention:
        attention = self._backbone.get_submodule(f"blocks.{self._block}.attn2")
        self._hooks = [
            self._backbone.register_forward_pre_hook(self._begin, with_kwargs=True),
            attention.register_forward_pre_hook(self._watch),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    @property
    def shares(self) -> Float32[np.ndarray, "f P"]:
        """For each latent frame the shares of base text (column 0) and of phases 1 .. K, which sum to 1.

        The mean over heads and the frame's tokens; reference frames are left out. Raises ValueError unless the
        block ran exactly once.
        """
        if len(self._seen) != 1:
            raise ValueError(f"block {self._block} ran {len(self._seen)} times: watch one evaluation")
        return self._seen[0].cpu().numpy()

    def _begin(self, backbone: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        latents = args[0] if args else kwargs["hidden_states"]
        self._frames = latents.shape[2] // backbone.config.patch_size[0]
        self._references = kwargs.get("references", 0)

    @torch.no_grad()
    def _watch(self, attention: WanAttention, args: tuple[Any, ...]) -> None:
        tokens, text = (states[self._item] for states in args[:2])
        mask = self._mask.to(text.device)
        words = text[-len(mask) :][mask]  # an image's tokens, where the model has them, stand in front
        of_token = _by_phase(attention, tokens, words, self._phases.to(text.device)[mask])
        self._seen.append(of_token.unflatten(0, (self._frames, -1)).mean(1)[self._references :])


def plot(shares: Float32[np.ndarray, "F P"], plan: Plan, *, fps: float, path: Path, total: float) -> None:
    """Write a PNG: each phase's share of text attention over `total` seconds, its time window shaded.

    The shares are those of every video frame, `fps` of them a second. Raises InputError for a plan
    without phases or with phases beyond `total`, OutputError where `path` cannot be written, ValueError for shares
    of another plan.
    """
    if not plan.phases:
        raise InputError("The plan has no phases whose attention could be shown: give one with phases.")
    if shares.shape[1] != len(plan.phases) + 1:
        raise ValueError(f"shares of {shares.shape[1] - 1} phases for a plan of {len(plan.phases)}")
    plan.check(total)
    check_target(path, (".png",))
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    seconds = (np.arange(len(shares)) + 0.5) / fps
    figure = Figure(figsize=(9, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(seconds, shares[:, BASE], color="0.55", linestyle="--", label="base text")
    colours = matplotlib.colormaps["tab10"].colors  # pyright: ignore[reportAttributeAccessIssue]
    for k, phase in enumerate(plan.phases, 1):
        colour = colours[(k - 1) % len(colours)]
        text = phase.text if len(phase.text) <= _LEGEND else f"{phase.text[:_LEGEND].rstrip()}…"
        axes.axvspan(phase.start, min(phase.end, total), color=colour, alpha=0.13, linewidth=0)
        axes.plot(seconds, shares[:, k], color=colour, linewidth=2, label=f"{k}: {text}".replace("$", r"\$"))
        middle = (phase.start + min(phase.end, total)) / 2
        axes.text(middle, 1.01, str(k), color=colour, ha="center", transform=axes.get_xaxis_transform())
    axes.set(xlim=(0, total), ylim=(0, None), xlabel="seconds", ylabel="share of text attention")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)


def _by_phase(
    attention: WanAttention,
    tokens: Float[Tensor, "L D"],
    words: Float[Tensor, "S D"],
    phases: Int[Tensor, " S"],
) -> Float[Tensor, "L P"]:
    """Each token's attention to the words, summed by phase and averaged over heads, in float32."""
    heads = (attention.heads, -1)
    keys = attention.norm_k(attention.to_k(words)).unflatten(-1, heads).float()
    keys = keys * keys.shape[-1] ** -0.5
    members = torch.nn.functional.one_hot(phases.long()).float()
    parts = []
    for part in tokens.split(_ROWS):
        queries = attention.norm_q(attention.to_q(part)).unflatten(-1, heads).float()
        weights = torch.einsum("lhd,shd->hls", queries, keys).softmax(-1)
        parts.append(weights.mean(0) @ members)
    return torch.cat(parts)
