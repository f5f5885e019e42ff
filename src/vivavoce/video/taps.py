"""The causal 3D convolutions of Wan's autoencoder as 2D ones, one for each moment of the kernel: faster on a CPU.

There 3D convolutions of single videos fall to a slow kernel, and of one picture two thirds of each kernel only see
the zeros before it. The same parameters and, but for rounding, the same values and gradients; other devices keep
their own kernels.
"""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    AutoencoderKLWan,
    WanCausalConv3d,
    WanRMS_norm,
)
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d


def by_taps(vae: AutoencoderKLWan) -> None:
    """Let `vae` compute so wherever its inputs are on a CPU; its parameters and its configuration stay."""
    for module in vae.modules():
        if isinstance(module, WanCausalConv3d):
            module.__class__ = TapConv
        elif isinstance(module, WanRMS_norm):
            module.__class__ = OneReadNorm


class TapConv(WanCausalConv3d):
    """A causal convolution that sums, over the moments of its kernel, 2D convolutions of frames shifted in time."""

    def forward(
        self, x: Float[Tensor, "B C F H W"], cache_x: Float[Tensor, "B C P H W"] | None = None
    ) -> Float[Tensor, "B D G I J"]:
        """As the class it takes the place of; `cache_x` are the frames before, zeros where they are not there."""
        if x.device.type != "cpu":
            return super().forward(x, cache_x)
        across, _, down, _, before, _ = map(int, self._padding)
        if cache_x is not None and before > 0:
            x, before = torch.cat([cache_x, x], dim=2), before - cache_x.shape[2]
        size, stride = self.kernel_size[0], self.stride[0]
        count = (x.shape[2] + before - size) // stride + 1
        # Time before batch and channels last, once: each tap's frames then lie side by side.
        frames = x.permute(2, 0, 1, 3, 4).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        frames = frames.unflatten(0, (x.shape[2], -1))
        total: Tensor | None = None
        for tap in reversed(range(size)):
            empty = max(0, -((tap - before) // stride))  # outputs for which this tap sees zeros
            begin, seeing = empty * stride + tap - before, count - empty
            if seeing <= 0:
                break
            seen = frames[begin : begin + (seeing - 1) * stride + 1 : stride].flatten(0, 1)
            bias = self.bias if total is None else None
            drawn = conv2d(seen, self.weight[:, :, tap], bias, self.stride[1:], (down, across))
            drawn = drawn.unflatten(0, (seeing, -1))
            total = drawn if total is None else torch.cat([total[:empty], total[empty:] + drawn])
        assert total is not None  # the last tap sees a frame for every output
        return total.permute(1, 2, 0, 3, 4)


class OneReadNorm(WanRMS_norm):
    """The norm over channels as a scale of each place, without a copy of its inputs divided first."""

    def forward(self, x: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C *space"]:
        """As the class it takes the place of."""
        if x.device.type != "cpu" or not self.channel_first or x.dtype != torch.float32:
            return super().forward(x)
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12)
        return x * (self.scale / length) * self.gamma + self.bias
