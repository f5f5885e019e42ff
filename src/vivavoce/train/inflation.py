"""A video autoencoder that begins as one of pictures: what it learns from pictures then holds for video too."""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d, WanResample


@torch.no_grad()
def inflate(vae: AutoencoderKLWan) -> None:
    """Silence what pictures do not train: each latent is made of the last frame that it has, and drawn as it stands.

    Pictures only reach the last moment of each causal kernel, and no convolution that halves or doubles time. Drawn by
    chance those would add noise to video that is longer to unlearn than motion to learn (inflation: Carreira and
    Zisserman 2017).
    """
    for module in vae.modules():
        if isinstance(module, WanCausalConv3d):
            module.weight[:, :, :-1] = 0
    for module in vae.modules():
        if isinstance(module, WanResample) and hasattr(module, "time_conv"):
            weight, bias = module.time_conv.weight, module.time_conv.bias
            assert bias is not None
            bias.zero_()
            # Once to halve time; twice, one copy for each of two frames, to double it.
            same = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
            weight[:, :, -1, 0, 0] = same.repeat(weight.shape[0] // weight.shape[1], 1)
