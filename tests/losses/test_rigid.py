"""As-rigid-as-possible energy against scipy's own best rotations; LHM's hinges."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.autograd import gradcheck

from vivavoce.losses.rigid import acap, arap, asap, best_rotations, knn_graph


@pytest.fixture
def cloud():
    """Points at rest, moved in two frames, neighbours, and weights of the edges."""
    generator = torch.Generator().manual_seed(0)
    rest = torch.randn(12, 3, generator=generator).double()
    moved = rest + 0.3 * torch.randn(2, 12, 3, generator=generator).double()
    neighbours = knn_graph(rest, 4)
    return rest, moved, neighbours, torch.rand(12, 4, generator=generator).double() + 0.1


def turned(points, vector, shift=(0.0, 0.0, 0.0)):
    matrix = torch.from_numpy(Rotation.from_rotvec(vector).as_matrix())
    return points @ matrix.T + torch.tensor(shift).double()


def test_neighbours_are_the_nearest_others():
    points = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    distances = torch.cdist(points.double(), points.double()).fill_diagonal_(math.inf)
    assert torch.equal(knn_graph(points, 5), distances.argsort(dim=1)[:, :5])


def test_points_in_one_place_are_not_their_own_neighbours():
    near = knn_graph(torch.zeros(6, 3), 3)
    assert near.shape == (6, 3)
    assert (near != torch.arange(6)[:, None]).all()
    assert all(len(set(row)) == 3 for row in near.tolist())


@pytest.mark.parametrize("k", [0, 6])
def test_there_must_be_that_many_others(k):
    with pytest.raises(ValueError, match=f"6 points have 1 to 5 neighbours each, not {k}"):
        knn_graph(torch.zeros(6, 3), k)


@pytest.mark.parametrize("weighted", [False, True])
def test_rotations_and_energy_are_scipys(cloud, weighted):
    rest, moved, neighbours, weights = cloud
    shares = weights if weighted else torch.ones_like(weights)
    found = best_rotations(rest, moved, neighbours, weights=weights if weighted else None)
    energy = arap(rest, moved, neighbours, weights=weights if weighted else None)
    for t in range(2):
        total = 0.0
        for i, near in enumerate(neighbours.tolist()):
            was, now = (rest[near] - rest[i]).numpy(), (moved[t, near] - moved[t, i]).numpy()
            rotation, distance = Rotation.align_vectors(now, was, weights=shares[i].numpy())
            np.testing.assert_allclose(found[t, i], rotation.as_matrix(), atol=1e-7)
            total += distance**2
        assert energy[t].item() == pytest.approx(total / (12 * 4))


def test_rigid_motion_is_free_and_nothing_else(cloud):
    rest, moved, neighbours, _ = cloud
    rigid = turned(rest, [0.5, -2.0, 1.0], (3.0, 0.0, -1.0))
    assert arap(rest, rigid, neighbours).item() == pytest.approx(0, abs=1e-20)
    np.testing.assert_allclose(
        best_rotations(rest, rigid, neighbours)[3],
        Rotation.from_rotvec([0.5, -2.0, 1.0]).as_matrix(),
        atol=1e-9,
    )
    for other in (1.1 * rest, rest * torch.tensor([1.0, 1.0, -1.0]).double(), moved[0]):
        assert arap(rest, other, neighbours).item() > 1e-3


def test_bodies_apart_may_move_apart():
    one = torch.rand(8, 3, generator=torch.Generator().manual_seed(2)).double()
    rest = torch.cat([one, one + 100])
    moved = torch.cat([turned(one, [1.0, 0.0, 0.0]), turned(one, [0.0, 2.0, 0.0], (5.0, 5.0, 5.0))])
    assert arap(rest, moved, knn_graph(rest, 5)).item() == pytest.approx(0, abs=1e-20)
    assert arap(rest, moved, knn_graph(rest, 10)).item() > 1


def test_flat_and_straight_neighbourhoods_have_rotations():
    flat = torch.rand(9, 3, generator=torch.Generator().manual_seed(3)).double()
    flat[:, 2] = 0
    for rest in (flat, flat * torch.tensor([1.0, 0.0, 0.0]).double()):
        moved = turned(rest, [0.3, 0.9, -0.4])
        graph = knn_graph(rest, 3)
        found = best_rotations(rest, moved, graph)
        torch.testing.assert_close(torch.linalg.det(found), torch.ones(9).double())
        assert arap(rest, moved, graph).item() == pytest.approx(0, abs=1e-20)


def test_the_gradient_is_the_full_one_though_rotations_are_constant(cloud):
    rest, moved, neighbours, weights = cloud
    assert gradcheck(lambda m: arap(rest, m, neighbours, weights=weights), moved.requires_grad_())

    def through_svd(points):
        was = rest[neighbours] - rest[:, None]
        now = points[neighbours] - points[:, None]
        u, _, vh = torch.linalg.svd(
            (weights[..., None, None] * was[..., :, None] * now[..., None, :]).sum(dim=1)
        )
        sign = torch.linalg.det(vh.mT @ u.mT)
        flip = torch.diag_embed(torch.stack([torch.ones(12), torch.ones(12), sign], dim=1))
        rotation = vh.mT @ flip @ u.mT
        strain = now - (rotation[:, None] @ was[..., None]).squeeze(-1)
        return (weights * strain.square().sum(dim=-1)).mean()

    (full,) = torch.autograd.grad(through_svd(moved[0]), moved)
    (ours,) = torch.autograd.grad(arap(rest, moved, neighbours, weights=weights)[0], moved)
    torch.testing.assert_close(ours, full)


def test_given_rotations_are_taken_and_taught(cloud):
    rest, moved, neighbours, weights = cloud
    matrices = Rotation.random(24, random_state=0).as_matrix().reshape(2, 12, 3, 3)
    given = torch.from_numpy(matrices)
    expected = 0.0
    for i, near in enumerate(neighbours.tolist()):
        for j, w in zip(near, weights[i].tolist(), strict=True):
            off = (moved[1, j] - moved[1, i]) - given[1, i] @ (rest[j] - rest[i])
            expected += w * (off @ off).item() / 48
    found = arap(rest, moved, neighbours, rotations=given, weights=weights)
    assert found[1].item() == pytest.approx(expected)
    assert (found > arap(rest, moved, neighbours, weights=weights)).all()

    def loss(moved, given):
        return arap(rest, moved, neighbours, rotations=given, weights=weights)

    assert gradcheck(loss, (moved.requires_grad_(), given.requires_grad_()))


def test_long_gaussians_pay_for_what_is_beyond_the_ratio():
    scales = torch.tensor([[[0.01, 0.02, 0.01], [0.01, 0.05, 0.08], [0.003, 0.001, 0.007]]]).double()
    expected = (0.08 / 0.010001 - 5 + 0.007 / 0.001001 - 5) / 3
    assert asap(scales).tolist() == pytest.approx([expected])
    assert asap(scales, ratio=1.0).item() > asap(scales).item()
    assert gradcheck(asap, scales.requires_grad_())
    asap(scales).sum().backward()
    assert scales.grad[0, 0].abs().max() == 0


def test_gaussians_pay_for_offsets_beyond_the_margin():
    offsets = torch.tensor([[0.03, 0.04, 0.0], [0.3, 0.0, 0.4], [0.0, 0.0, 0.0]]).double()
    assert acap(offsets).item() == pytest.approx((0.5 - 0.05625) / 3)
    assert acap(offsets, margin=0.04).item() == pytest.approx((0.5 - 0.04 + 0.05 - 0.04) / 3)
    assert gradcheck(acap, offsets[:2].clone().requires_grad_())
    offsets.requires_grad_()
    acap(offsets, margin=0.0).backward()
    assert offsets.grad.isfinite().all()
    assert offsets.grad[2].abs().max() == 0
