"""The Gaussian decoder."""

import pytest
import torch

from vivavoce.splat.lhm.config import DecoderConfig
from vivavoce.splat.lhm.heads import GaussianDecoder

CONFIG = DecoderConfig(hidden=8, largest=0.08, largest_above=0.03, initial_scale=-4.0, initial_opacity=0.25)
ABOVE = torch.tensor([True, False, False])


def test_at_the_start_gaussians_are_round_and_sit_on_the_template():
    found = GaussianDecoder(8, CONFIG)(torch.randn(2, 3, 8), ABOVE)
    torch.testing.assert_close(found["scales"], torch.full((2, 3, 3), 0.01831564))
    torch.testing.assert_close(found["opacities"], torch.full((2, 3), 0.25))
    assert torch.equal(found["quats"], torch.tensor([1.0, 0, 0, 0]).expand(2, 3, 4))
    assert not found["offsets"].any()
    assert found["colors"].std() > 0


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_attributes_stay_in_their_ranges_and_gradients_finite(sign):
    decoder = GaussianDecoder(8, CONFIG)
    with torch.no_grad():
        for head in decoder.heads.values():
            head.bias.fill_(sign * 200.0)  # exp(200) is beyond float32
    features = torch.randn(1, 3, 8, requires_grad=True)
    found = decoder(features, ABOVE)
    sum(value.sum() for value in found.values()).backward()
    torch.testing.assert_close(found["offsets"], torch.full((1, 3, 3), 0.5 * sign))
    assert all(torch.isfinite(p.grad).all() for p in decoder.parameters())
    torch.testing.assert_close(found["quats"].norm(dim=-1), torch.ones(1, 3))
    largest = torch.tensor([0.03, 0.08, 0.08]) if sign > 0 else torch.zeros(3)
    torch.testing.assert_close(found["scales"][0], largest[:, None].expand(3, 3))


def test_the_reach_is_the_width_of_the_offsets_range():
    decoder = GaussianDecoder(8, DecoderConfig(hidden=8, reach=0.2))
    with torch.no_grad():
        decoder.heads["offset"].bias.copy_(torch.tensor([50.0, -50.0, 0.0]))
    found = decoder(torch.randn(1, 1, 8), ABOVE[:1])
    torch.testing.assert_close(found["offsets"][0, 0], torch.tensor([0.1, -0.1, 0.0]))
