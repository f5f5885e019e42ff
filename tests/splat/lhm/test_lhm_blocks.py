"""Blocks of the body-head transformer and the hands that join them."""

import pytest
import torch
from published_lhm import joint_block
from torch.nn.functional import layer_norm

from vivavoce.splat.lhm.blocks import BodyHeadBlock, JointBlock
from vivavoce.splat.lhm.tokens import Hands


def block_of(last=False, hand_width=6):
    torch.manual_seed(0)
    block = JointBlock(16, 2, last=last, hand_width=hand_width).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(0.4 * torch.randn_like(parameter))
    return block


def given(n_hands=5):
    torch.manual_seed(1)
    points, image, m = torch.randn(2, 7, 16), torch.randn(2, 4, 16), torch.randn(2, 16)
    tokens = torch.randn(2, n_hands, 6)
    return points.double(), image.double(), m.double(), tokens.double()


@pytest.mark.parametrize("last", [False, True])
def test_a_block_attends_to_hands_by_the_formula(last):
    block = block_of(last)
    points, image, m, tokens = given()
    seen = torch.tensor([[True] * 5, [True, True, False, False, False]])
    found, found_image = block(points, image, m, Hands(tokens, seen))
    state = {f"b.{name}": value for name, value in block.state_dict().items()}
    keys = block.hand_keys.key(tokens).unflatten(-1, (2, 8))
    keys = keys / (keys.square().mean(-1, keepdim=True) + 1e-6).sqrt() * block.hand_keys.norm.weight
    values = block.hand_keys.value(tokens)
    for b in range(2):
        hands = (keys[b, seen[b]].flatten(1), values[b, seen[b]])
        wanted, wanted_image = joint_block(
            state, "b", points[b], image[b], m[b], heads=2, last=last, hands=hands
        )
        torch.testing.assert_close(found[b], wanted)
        if last:
            assert found_image is None
        else:
            torch.testing.assert_close(found_image[b], wanted_image)


def test_hands_that_are_not_seen_change_nothing():
    block = block_of()
    points, image, m, tokens = given()
    unseen = Hands(tokens, torch.zeros(2, 5, dtype=torch.bool))
    for found, wanted in zip(block(points, image, m, unseen), block(points, image, m), strict=True):
        torch.testing.assert_close(found, wanted)


def test_new_hands_only_thin_the_attention_to_the_rest():
    block = JointBlock(16, 2, last=True, hand_width=6).double()
    assert not block.hand_keys.value(torch.randn(3, 6).double()).any()
    points, image, _, tokens = given()
    seen = torch.ones(2, 5, dtype=torch.bool)
    normed = [layer_norm(t, (16,), eps=1e-6) for t in (points, image)]
    alone = block._attend(*normed, None)[0] - block.attn.to_out[0].bias
    joined = block._attend(*normed, Hands(tokens, seen))[0] - block.attn.to_out[0].bias
    # One head's share of the hands differs from the other's, so compare what each head brings in.
    back = torch.linalg.inv(block.attn.to_out[0].weight.T)
    ratio = ((joined @ back) / (alone @ back)).unflatten(-1, (2, 8))
    torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio), atol=1e-6, rtol=1e-6)
    assert ((ratio > 0) & (ratio < 1)).all()


def test_the_head_s_tokens_reach_the_head_s_points_first_and_the_others_through_them():
    torch.manual_seed(0)
    block = BodyHeadBlock(16, 2, last=False)
    points, images = torch.randn(1, 8, 16), (torch.randn(1, 4, 16), torch.randn(1, 3, 16))
    m = (torch.randn(1, 16), torch.randn(1, 16))
    found, (body, head) = block(points, images, m, on_head=2)
    own, own_image = block.head(points[:, 6:], images[1], m[1])
    joined = torch.cat([points[:, :6], own], 1)
    wanted, wanted_body = block.body(joined, images[0], m[0])
    assert torch.equal(found, wanted)
    assert torch.equal(body, wanted_body)
    assert torch.equal(head, own_image)


def test_the_last_block_gives_no_image_tokens():
    block = BodyHeadBlock(16, 2, last=True)
    m = (torch.randn(1, 16), torch.randn(1, 16))
    points, images = block(
        torch.randn(1, 8, 16), (torch.randn(1, 4, 16), torch.randn(1, 3, 16)), m, on_head=2
    )
    assert points.shape == (1, 8, 16)
    assert images is None
