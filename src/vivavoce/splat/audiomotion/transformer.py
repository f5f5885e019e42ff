"""The diffusion transformer over the frames of a window: noised motion and speech in, an estimate of the motion out.

It predicts the data, as motion diffusion usually does (Tevet et al. 2023): losses about geometry and pictures then
apply to the estimate at every noise step, and estimates of overlapping windows can be averaged.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention, silu

from vivavoce.splat.audiomotion.config import MotionDiffusionConfig

GIVEN = -1
"""The step of frames that are given without noise, for the others to go on from."""
_FREQUENCIES = 256  # of the noise step's sines and cosines, as in DiT
_BASE = 10000.0


class MotionTransformer(nn.Module):
    """A DiT with adaLN-zero (Peebles & Xie 2023) whose tokens are frames and whose modulation differs by frame.

    What modulates a frame is the sum of noise step, identity and the frame's own speech, so that speech acts at its
    moment directly, and on others through attention. As built, it says zero for everything: the mean motion.
    """

    rotary: Tensor

    def __init__(self, config: MotionDiffusionConfig) -> None:
        super().__init__()
        width = config.width
        self.motion_in = nn.Linear(config.channels, width)
        self.audio_in = nn.Linear(config.audio, width)
        self.patch_in = nn.Linear(config.perceiver.size, width)
        self.null = nn.Parameter(0.02 * torch.randn(width))
        self.step_in = nn.Sequential(nn.Linear(_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.identity_in = nn.Linear(config.identity, width) if config.identity else None
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = zeroed(nn.Linear(width, 2 * width))
        self.motion_out = zeroed(nn.Linear(width, config.channels))
        self.register_buffer(
            "rotary", rotary_table(config.layout.length, width // config.heads), persistent=False
        )

    def hear(
        self,
        audio: Float[Tensor, "B T A"],
        patches: Float[Tensor, "B P E"],
        heard: Bool[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B T W"]:
        """What frames hear, from features and from embeddings of patches; the null for items not `heard`.

        Embeddings hold at the middles of their patches and change linearly in between, so that nothing jumps from
        patch to patch. The same for all noise steps.
        """
        between = interpolate(
            patches.transpose(1, 2), size=audio.shape[1], mode="linear", align_corners=False
        )
        sound = self.audio_in(audio) + self.patch_in(between.transpose(1, 2))
        return sound if heard is None else torch.where(heard[:, None, None], sound, self.null)

    def unheard(self, heard: Float[Tensor, "B T W"]) -> Float[Tensor, "B T W"]:
        """What `hear` gives where nothing is heard."""
        return self.null.expand_as(heard)

    def forward(
        self,
        noised: Float[Tensor, "B T D"],
        step: Int[Tensor, "B T"],
        heard: Float[Tensor, "B T W"],
        identity: Float[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The estimate of the motion, from frames each at its own step of noise; GIVEN is none at all.

        Raises ValueError unless an identity is given exactly where there is one.
        """
        if (identity is None) != (self.identity_in is None):
            raise ValueError("an identity is given to a model without one, or the other way round")
        condition = heard + self.step_in(sinusoids(step - GIVEN, _FREQUENCIES).to(heard.dtype))
        if identity is not None and self.identity_in is not None:
            condition = condition + self.identity_in(identity)[:, None]
        condition = silu(condition)
        x = self.motion_in(noised) + heard
        for block in self.blocks:
            x = block(x, condition, self.rotary[:, : x.shape[1]])
        shift, scale = self.modulation(condition).chunk(2, dim=-1)
        return self.motion_out(self.norm(x) * (1 + scale) + shift)


class Block(nn.Module):
    """Self-attention and a perceptron, both modulated and gated; the identity as built."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = zeroed(nn.Linear(width, 6 * width))
        self.qkv = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.expand, self.contract = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self, x: Float[Tensor, "B T W"], condition: Float[Tensor, "B T W"], rotary: Float[Tensor, "2 T d"]
    ) -> Float[Tensor, "B T W"]:
        """`rotary` is the `rotary_table` of the frames."""
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(condition).chunk(6, dim=-1)
        qkv = self.qkv(self.norm(x) * (1 + scale) + shift)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = scaled_dot_product_attention(rotated(q, rotary), rotated(k, rotary), v)
        x = x + gate * self.attended(found.transpose(1, 2).flatten(2))
        hidden = gelu(self.expand(self.norm(x) * (1 + scale2) + shift2), approximate="tanh")
        return x + gate2 * self.contract(hidden)


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer, giving zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def sinusoids(step: Int[Tensor, "B T"], width: int) -> Float[Tensor, "B T F"]:
    """Cosines, then sines, of the step at frequencies from 1 down to almost 1 / 10000 (Vaswani et al. 2017)."""
    rates = torch.exp(-math.log(_BASE) * torch.arange(width // 2, device=step.device) / (width // 2))
    angles = step[..., None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotary_table(length: int, width: int) -> Float[Tensor, "2 T d"]:
    """Cosines and sines of rotary positions 0 .. length - 1 for heads of `width` = 2 d values (Su et al. 2024)."""
    rates = _BASE ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotated(x: Float[Tensor, "B H T e"], rotary: Float[Tensor, "2 T d"]) -> Float[Tensor, "B H T e"]:
    """Queries or keys turned by their positions: products then depend on differences of position alone."""
    cosine, sine = rotary
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cosine - b * sine, a * sine + b * cosine], dim=-1)
