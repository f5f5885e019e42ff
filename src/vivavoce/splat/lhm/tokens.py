"""Pictures into tokens: DINOv2 with a feature pyramid, Sapiens from its published program, and a ViT for hands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    VitPoseBackbone,
    VitPoseBackboneConfig,
)

from vivavoce.errors import WeightsError
from vivavoce.splat.lhm.config import HandsConfig, PyramidConfig
from vivavoce.splat.lhm.pictures import square

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_SAPIENS = ((0.4844, 0.4570, 0.4062), (0.2295, 0.2236, 0.2256))


@runtime_checkable
class TokenEncoder(Protocol):
    """What makes tokens of whole pictures."""

    def tokens(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B L C"]:
        """Of RGB in [0, 1]; the picture is padded with white to a square."""
        ...


class PyramidEncoder(nn.Module):
    """DINOv2, four of whose layers are projected, put side by side and fused into one token a patch.

    Pictures are not normalised: LHM trains its encoder further on RGB in [0, 1].
    """

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        self.side, self.taps = config.side, config.taps
        self.vit = Dinov2WithRegistersModel(
            Dinov2WithRegistersConfig(
                hidden_size=config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                patch_size=config.patch,
                image_size=config.trained,
            )
        )
        self.projects = nn.ModuleList(nn.Linear(config.width, config.width) for _ in config.taps)
        self.fusion = nn.Linear(len(config.taps) * config.width, config.out)

    def forward(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B L C"]:
        hidden = self.vit.embeddings(square(pictures, self.side))
        levels = []
        for index, layer in enumerate(self.vit.encoder.layer):
            hidden = layer(hidden)
            if index in self.taps:
                levels.append(self.vit.layernorm(hidden))
        first = 1 + self.vit.config.num_register_tokens
        parts = [to(level[:, first:]) for to, level in zip(self.projects, levels, strict=True)]
        return self.fusion(torch.cat(parts, dim=-1))

    tokens = forward


class Sapiens:
    """Sapiens-1B (Khirodkar et al. 2024) from the TorchScript file of its release; it is never trained.

    Raises WeightsError for a file that is no such program.
    """

    def __init__(self, path: Path, device: torch.device | str = "cpu", *, side: int = 1024) -> None:
        self._path, self._side = path, side
        try:
            self._program = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise WeightsError(
                f"{path} is not a TorchScript program: give Sapiens' sapiens_1b_epoch_173_torchscript.pt2."
            ) from error

    def tokens(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B L C"]:
        """One token for each 16 x 16 px of the picture fitted to a square; raises WeightsError for other outputs."""
        with torch.no_grad():
            found = self._program(_normalised(square(pictures, self._side), _SAPIENS))
        features = found[0] if isinstance(found, tuple | list) else found
        if not isinstance(features, Tensor) or features.ndim != 4:
            raise WeightsError(
                f"{self._path} gives no map of features: give Sapiens' pretrained encoder, not one of its tasks."
            )
        return features.flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class Hands:
    """Tokens of both hands."""

    tokens: Float[Tensor, "B L C"]
    seen: Bool[Tensor, "B L"]
    """False for tokens of a hand that the picture does not show: nothing attends to them."""


class HandTokens(nn.Module):
    """E_hand of paper 003: a ViT over the crops of both hands, and a learned vector that tells which hand it is."""

    def __init__(self, config: HandsConfig) -> None:
        super().__init__()
        self.encoder = VitPoseBackbone(
            VitPoseBackboneConfig(
                hidden_size=config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                patch_size=(config.patch, config.patch),
                image_size=config.crop,
                layer_norm_eps=1e-6,
            )
        )
        self.sides = nn.Parameter(0.02 * torch.randn(2, 1, config.width))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, crops: Float[Tensor, "B 2 3 h w"], seen: Bool[Tensor, "B 2"]) -> Hands:
        """Of RGB in [0, 1], left hands mirrored."""
        hidden = self.encoder.embeddings(_normalised(crops.flatten(0, 1), _IMAGENET))
        for layer in self.encoder.encoder.layer:
            hidden = layer(hidden)
        hidden = self.encoder.layernorm(hidden).unflatten(0, (-1, 2)) + self.sides
        tokens = self.norm(hidden)
        return Hands(tokens.flatten(1, 2), seen.repeat_interleave(tokens.shape[2], dim=1))


def _normalised(
    pictures: Float[Tensor, "B 3 H W"], statistics: tuple[tuple[float, ...], ...]
) -> Float[Tensor, "B 3 H W"]:
    mean, deviation = (pictures.new_tensor(values)[:, None, None] for values in statistics)
    return (pictures - mean) / deviation
