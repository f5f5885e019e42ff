"""Convolutions by taps are diffusers' own: values, gradients, and memory from chunk to chunk."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d

from vivavoce.methods.miniature import SMALL_VAE
from vivavoce.video.taps import TapConv, by_taps


@pytest.mark.parametrize("remembered", [0, 1, 2])
@pytest.mark.parametrize("kernel", [1, (3, 1, 1), 3])
@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 1, 1), (1, 2, 2)])
def test_values_and_gradients(
    remembered: int, kernel: int | tuple[int, int, int], stride: tuple[int, int, int]
) -> None:
    torch.manual_seed(0)
    sizes = (kernel,) * 3 if isinstance(kernel, int) else kernel
    theirs = WanCausalConv3d(3, 5, kernel, stride, tuple(n // 2 for n in sizes)).double()
    ours = copy.deepcopy(theirs)
    ours.__class__ = TapConv
    for frames in (1, 4, 5):
        before = torch.randn(2, 3, remembered, 6, 8, dtype=torch.float64) if remembered else None
        inputs = [torch.randn(2, 3, frames, 6, 8, dtype=torch.float64).requires_grad_()]
        inputs.append(inputs[0].detach().clone().requires_grad_())
        outputs = [conv(x, before) for conv, x in zip((theirs, ours), inputs, strict=True)]
        torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-12, atol=1e-12)
        towards = torch.randn_like(outputs[0])
        for conv, output in zip((theirs, ours), outputs, strict=True):
            conv.zero_grad()
            output.backward(towards)
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-12, atol=1e-12)
        for name, parameter in ours.named_parameters():
            expected = theirs.get_parameter(name).grad
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-12, atol=1e-12)


def test_autoencoder() -> None:
    torch.manual_seed(0)
    theirs = AutoencoderKLWan(**SMALL_VAE).eval()
    ours = copy.deepcopy(theirs)
    by_taps(ours)
    video = torch.randn(1, 3, 9, 48, 32)
    with torch.no_grad():
        codes = [vae.encode(video, return_dict=False)[0].mode() for vae in (theirs, ours)]
        drawn = [vae.decode(codes[0], return_dict=False)[0] for vae in (theirs, ours)]
    torch.testing.assert_close(codes[1], codes[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(drawn[1], drawn[0], rtol=1e-4, atol=1e-4)
    assert ours.config == theirs.config
    assert ours.state_dict().keys() == theirs.state_dict().keys()
