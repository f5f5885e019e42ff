"""The whole network, from a picture to Gaussians, and its sizes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from published_lhm import PLAIN, SMALL, template

from vivavoce.errors import InputError
from vivavoce.splat.lhm.config import LHM_1B, LHM_500M, LHM_MINI, MINIATURE, HandsConfig
from vivavoce.splat.lhm.network import PERSONAL, PERSONAL_HANDS, LargeReconstruction, Tokens, reconstruct
from vivavoce.splat.lhm.pictures import Images
from vivavoce.train.stage import Stage


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(config):
    with torch.device("meta"):
        return LargeReconstruction(config)


def images(batch=1, seen=True):
    torch.manual_seed(2)
    hands = torch.rand(batch, 2, 3, 16, 16)
    found = torch.full((batch, 2), seen)
    return Images(torch.rand(batch, 3, 18, 12), torch.rand(batch, 3, 16, 16), hands, found)


def trained(network):
    """With random values where it starts with zeros."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("config", [LHM_MINI, LHM_500M, LHM_1B])
def test_parameters_at_the_published_sizes(config):
    d, network = 1024, on_meta(config)
    # Two modulated norms, eight projections and two feed-forward layers, with biases and four norms of heads.
    full = 12 * (d + 1) * d + 8 * (d + 1) * d + 2 * (8 * d + 5) * d + 4 * 64
    last = 8 * (d + 1) * d + 7 * (d + 1) * d + (8 * d + 5) * d + 4 * 64
    assert parameters(network.blocks) == 2 * ((config.layers - 1) * full + last)
    assert parameters(network.decoder) == (d + 1) * 512 + 513 * 512 + 513 * d + (d + 1) * 14
    assert parameters(network.modulation) == 1537 * 768 + 769 * 2048
    assert parameters(network.embed) == 52 * d + 2 * d
    assert parameters(network.condition) == 1537 * d
    assert round(parameters(network.head_encoder.vit) / 1e6, 1) == 304.4
    assert config.points in (20_000, 40_000)


def test_the_network_runs_at_its_published_size_on_the_meta_device():
    network, points = on_meta(LHM_MINI), template(64)
    with torch.device("meta"):
        tokens = Tokens(torch.empty(1, 4096, 1536), torch.empty(1, 1024, 1536))
        found = network.decode(network.queries(tokens, points), points)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "offsets": (1, 64, 3), "means": (1, 64, 3), "scales": (1, 64, 3),
        "quats": (1, 64, 4), "opacities": (1, 64), "colors": (1, 64, 3),
    }  # fmt: skip
    with torch.device("meta"):
        assert network.head_encoder(torch.empty(1, 3, 448, 448)).shape == (1, 1024, 1024)


def test_hand_plus_plus_at_hamer_s_size():
    network = on_meta(replace(LHM_500M, hands=HandsConfig()))
    plain = parameters(on_meta(LHM_500M))
    keys = 5 * (2 * 1281 * 1024 + 64)
    d = 1280
    encoder = 32 * (12 * d * d + 13 * d) + 193 * d + (3 * 16 * 16 + 1) * d + 2 * d
    assert parameters(network) - plain == encoder + keys + 2 * d + 2 * d
    assert HandsConfig().tokens == 192
    assert round(encoder / 1e6) == 631


def test_the_miniature_has_three_to_five_million_parameters():
    assert 3e6 < parameters(on_meta(MINIATURE)) < 5e6
    assert parameters(on_meta(replace(MINIATURE, hands=None))) < parameters(on_meta(MINIATURE))


def test_gaussians_of_a_batch_are_those_of_its_pictures():
    network, points = trained(LargeReconstruction(SMALL)), template()
    both = images(2)
    found = network(both, points)
    for b in range(2):
        part = slice(b, b + 1)
        one = Images(both.body[part], both.head[part], both.hands[part], both.seen[part])
        for name, value in network(one, points).items():
            torch.testing.assert_close(value[0], found[name][b])


def test_turning_template_space_to_the_network_s_own_turns_means_and_covariances():
    network, points = trained(LargeReconstruction(SMALL)), template()
    queries = network.queries(network.encode(images()), points)
    inner = network.decoder(queries, torch.from_numpy(points.above))
    outer = network.decode(queries, points)
    turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(outer["offsets"], inner["offsets"] @ turn)
    torch.testing.assert_close(outer["means"], torch.from_numpy(points.points) + outer["offsets"])
    wanted = turn @ covariances(inner) @ turn
    torch.testing.assert_close(covariances(outer), wanted, atol=1e-8, rtol=1e-4)


def covariances(found):
    from scipy.spatial.transform import Rotation

    q = found["quats"][0].detach().numpy()
    R = torch.from_numpy(Rotation.from_quat(q[:, [1, 2, 3, 0]]).as_matrix()).float()
    return R @ torch.diag_embed(found["scales"][0] ** 2) @ R.transpose(1, 2)


def test_without_a_hand_in_sight_the_network_is_lhm_to_the_bit():
    torch.manual_seed(0)
    network, points = trained(LargeReconstruction(SMALL)), template()
    plain = LargeReconstruction(replace(SMALL, hands=None))
    own = plain.state_dict().keys()
    plain.load_state_dict({name: value for name, value in network.state_dict().items() if name in own})
    unseen, seen = network(images(seen=False), points), network(images(), points)
    for name, value in plain(images(), points).items():
        assert torch.equal(value, unseen[name])
    assert not torch.allclose(seen["colors"], unseen["colors"])


def test_hands_are_learned_from_the_first_step():
    network, points = LargeReconstruction(SMALL), template()
    network(images(), points)["colors"].square().sum().backward()
    assert network.blocks[0].body.hand_keys.value.weight.grad.abs().max() > 0


def test_the_parts_that_a_person_trains():
    def stage(patterns):
        return Stage(name="person", steps=1, batch=1, rate=1e-4, trains=patterns)

    plain = stage(PERSONAL).freeze(LargeReconstruction(PLAIN))
    assert {name.split(".")[0] for name in plain} == {"decoder"}
    assert len(plain) == 6 + 10
    found = stage(PERSONAL_HANDS).freeze(LargeReconstruction(SMALL))
    assert {name for name in found if not name.startswith("decoder.")} == {
        "hands.sides", "hands.norm.weight", "hands.norm.bias",
        *(f"blocks.{i}.body.hand_keys.{part}" for i in (0, 1) for part in (
            "key.weight", "key.bias", "value.weight", "value.bias", "norm.weight")),
    }  # fmt: skip
    assert not any("encoder" in name for name in found)


def test_whole_pictures_need_sapiens_or_an_encoder_of_the_network_s_own():
    with pytest.raises(
        InputError, match="whole pictures through Sapiens-1B, which is not given: give the Torch"
    ):
        LargeReconstruction(PLAIN).encode(images())


def test_a_picture_becomes_gaussians_in_template_space():
    network, points = trained(LargeReconstruction(SMALL)), template()
    image = np.random.default_rng(0).random((40, 30, 3), np.float32)
    found = reconstruct(image, np.zeros((127, 3), np.float32), points, network)
    assert len(found) == 8
    assert found.means.dtype == found.colors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.quats, axis=1), 1, rtol=1e-5)
    other = reconstruct(1 - image, np.zeros((127, 3), np.float32), points, network)
    assert not np.allclose(found.colors, other.colors)
    assert np.abs(found.means - points.points).max() <= 0.5
