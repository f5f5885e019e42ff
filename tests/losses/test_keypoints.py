"""Keypoint alignment against eq. 9 point by point, and what may not count."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from vivavoce.features.physical_state import PARTS
from vivavoce.losses.keypoints import FACE, HANDS, charbonnier, keypoint_alignment


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    drawn, teacher = torch.rand(2, 2, 3, 127, 3, generator=generator).double()
    drawn[..., :2] = drawn[..., :2] * 2 - 1
    teacher[..., :2] = drawn[..., :2] + 0.1 * (teacher[..., :2] - 0.5)
    return drawn, teacher


def test_the_parts_are_those_of_the_physical_state():
    names = np.repeat(list(PARTS), list(PARTS.values()))
    assert set(names[FACE]) == {"face"}
    assert set(names[HANDS]) == {"left_hand", "right_hand"}
    assert len(names[FACE]) == 68
    assert len(names[HANDS]) == 42


def test_it_is_equation_9_with_means_over_points(pair):
    drawn, teacher = pair
    wanted = []
    for b in range(2):
        total = 0.0
        for t in range(3):
            for points, factor in ((range(17, 85), 1.0), (range(85, 127), 2.5)):
                above = below = 0.0
                for p in points:
                    (x, y, c), (u, v, d) = drawn[b, t, p].tolist(), teacher[b, t, p].tolist()
                    r = math.hypot(x - u, 1.5 * (y - v))
                    above += c * d * (math.sqrt(r**2 + 0.05**2) - 0.05)
                    below += c * d
                total += factor * above / below
        wanted.append(total)
    found = keypoint_alignment(drawn, teacher, hand_weight=2.5, scale=0.05, aspect=1.5)
    assert found.tolist() == pytest.approx(wanted)


def test_gradients_are_finite_differences(pair):
    drawn, teacher = (value[:1, :1] for value in pair)

    def loss(places):
        return keypoint_alignment(torch.cat([places, drawn[..., 2:]], dim=-1), teacher, hand_weight=0.7)

    assert gradcheck(loss, drawn[..., :2].clone().requires_grad_())
    same = teacher[..., :2].clone().requires_grad_()  # at the minimum too
    assert gradcheck(loss, same)


def test_nobody_gains_by_hiding(pair):
    drawn, teacher = pair
    drawn.requires_grad_()
    keypoint_alignment(drawn, teacher).sum().backward()
    assert torch.equal(drawn.grad[..., 2], torch.zeros(2, 3, 127).double())
    assert drawn.grad[..., 17:, :2].abs().min() > 0
    assert torch.equal(drawn.grad[..., :17, :], torch.zeros(2, 3, 17, 3).double())


def test_a_point_that_one_side_does_not_see_counts_nothing(pair):
    drawn, teacher = pair
    without_hand = teacher.clone()
    without_hand[:, :, 106:, 2] = 0
    expected = keypoint_alignment(drawn, without_hand)
    for hidden in (0.0, 1e6, math.nan):
        teacher[:, :, 106:] = torch.tensor([hidden, hidden, 0.0])
        mine = drawn.clone().requires_grad_()
        found = keypoint_alignment(mine, teacher)
        torch.testing.assert_close(found, expected)
        found.sum().backward()
        assert torch.equal(mine.grad[:, :, 106:], torch.zeros(2, 3, 21, 3).double())
    swapped = keypoint_alignment(without_hand, drawn)
    torch.testing.assert_close(swapped, expected)


def test_a_part_that_is_hardly_seen_fades_and_one_unseen_is_zero():
    drawn, teacher = torch.zeros(2, 1, 1, 127, 3).double()
    teacher[..., 0] = 0.5
    assert keypoint_alignment(drawn, teacher).item() == 0
    rho = math.sqrt(0.5**2 + 0.02**2) - 0.02
    for confidence, expected in ((0.1, 0.1 * rho), (1.0, rho)):
        drawn[..., 20, 2], teacher[..., 20, 2] = confidence, 1.0
        assert keypoint_alignment(drawn, teacher).item() == pytest.approx(expected)
    drawn[..., FACE, 2], teacher[..., FACE, 2] = 0.5, 0.5
    assert keypoint_alignment(drawn, teacher).item() == pytest.approx(rho)


def test_the_penalty_is_square_within_its_scale_and_linear_beyond():
    near, far = torch.tensor([1e-4, 3.0]).double()
    assert charbonnier(near**2, 0.02).item() == pytest.approx(1e-8 / 0.04, rel=1e-4)
    assert charbonnier(far**2, 0.02).item() == pytest.approx(3 - 0.02, rel=1e-4)
    assert charbonnier(torch.zeros(1), 0.02).item() == 0
    tiny = charbonnier(torch.tensor([1e-12]), 0.02)  # float32 has no room for a difference of roots
    assert tiny.item() == pytest.approx(1e-12 / 0.04, rel=1e-5)


def test_a_wrong_point_pulls_no_harder_than_others():
    places = torch.zeros(1, 1, 127, 2).double().requires_grad_()
    seen = torch.ones(1, 1, 127, 1).double()
    teacher = torch.cat([torch.full((1, 1, 127, 2), 0.1).double(), seen], dim=-1)
    teacher[0, 0, 100, :2] = 1.0
    keypoint_alignment(torch.cat([places, seen], dim=-1), teacher).sum().backward()
    pull = places.grad[0, 0].norm(dim=-1)
    assert pull[100] / pull[101] < 1.02
    assert pull[100] <= 1 / 42
