"""A deformer of a few hundred parameters, as if it were trained: nothing in it is zero."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vivavoce.splat.deformer.config import MINIATURE, DeformerConfig


@pytest.fixture
def tiny() -> DeformerConfig:
    return replace(
        MINIATURE,
        audio_width=5,
        transcript_width=6,
        width=8,
        hidden=8,
        heads=2,
        particles=4,
        past=3,
        ahead=2,
        period=10,
        harmonics=2,
        history=3,
    )


@pytest.fixture
def shaken():
    """`shaken(module)` is the module in float64 with random parameters."""

    def shake(module: torch.nn.Module, seed: int = 0, size: float = 0.5) -> torch.nn.Module:
        generator = torch.Generator().manual_seed(seed)
        module = module.double()
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(size * noise)
        return module

    return shake


@pytest.fixture
def draw():
    """`draw(2, 3, seed=1)` is a normal sample of that shape in float64."""

    def sample(*shape: int, seed: int = 0) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return sample
