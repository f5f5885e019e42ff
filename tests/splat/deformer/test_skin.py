"""The torch twin of the deformer against the numba kernel and finite differences, and residuals against eq. 6 and 7."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from vivavoce.splat.deform import MAX_STRETCH, deform
from vivavoce.splat.deformer.residual import Reading, Residuals
from vivavoce.splat.deformer.skin import Body, Hold, pose, rest_covariances, skin
from vivavoce.splat.rasterize import covariance_from_quats_scales
from vivavoce.types import Binding, Gaussians

N, K, M = 200, 5, 9


def rigid(rng, frames, angle=0.3, shift=0.02):
    turns = (
        Rotation.from_rotvec(angle * rng.normal(size=(frames * M, 3))).as_matrix().reshape(frames, M, 3, 3)
    )
    return np.concatenate([turns, rng.normal(0, shift, (frames, M, 3, 1))], -1).astype(np.float32)


def gaussians(rng):
    quats = rng.normal(size=(N, 4))
    return Gaussians(
        means=rng.normal([0, 0, 1.2], 0.1, (N, 3)).astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=rng.uniform(1e-3, 5e-3, (N, 3)).astype(np.float32),
        opacities=rng.uniform(0, 1, N).astype(np.float32),
        colors=rng.uniform(0, 1, (N, 3)).astype(np.float32),
    )


def binding(rng, slope=3.0):
    """Weights that sum to one, gradients to zero; the last slot is unused."""
    weights, gradients = np.zeros((N, K)), np.zeros((N, K, 3))
    weights[:, :-1] = rng.dirichlet(np.ones(K - 1), N)
    gradients[:, :-1] = rng.normal(0, slope, (N, K - 1, 3))
    gradients[:, :-1] -= gradients[:, :-1].mean(1, keepdims=True)
    indices = rng.integers(0, M, (N, K))
    indices[:, -1] = 0
    return Binding(indices.astype(np.int32), weights.astype(np.float32), gradients.astype(np.float32))


def full(rows):
    return rows[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(*rows.shape[:-1], 3, 3)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(("slope", "angle", "limited"), [(3.0, 0.02, False), (60.0, 0.3, True)])
def test_the_twin_agrees_with_the_kernel_within_and_beyond_the_limit(rng, slope, angle, limited):
    g, b, T = gaussians(rng), binding(rng, slope), rigid(rng, 3, angle)
    covariances = covariance_from_quats_scales(g.quats, g.scales)
    means, turned = skin(torch.tensor(g.means), torch.tensor(covariances), Hold.of(b), torch.tensor(T))
    for t in range(3):
        expected = deform(g.means, covariances, b, T[t])
        np.testing.assert_allclose(means[t], expected[0], atol=1e-6)
        scale = np.abs(expected[1]).max(1, keepdims=True)
        np.testing.assert_allclose(turned[t] / scale, expected[1] / scale, atol=1e-4)
    # With a steep binding Gaussians meet the limit, with a flat one none comes near.
    largest = [
        np.linalg.eigvalsh(full(c).astype(np.float64))[..., -1] for c in (turned[0].numpy(), covariances)
    ]
    assert (np.sqrt(largest[0] / largest[1]).max() > 0.5 * MAX_STRETCH) == limited


def test_gradients_of_means_covariances_weights_and_transforms(rng):
    g, b = gaussians(rng), binding(rng)
    few = Hold.of(Binding(b.indices[:4], b.weights[:4], b.gradients[:4]))
    inputs = [torch.as_tensor(a).double() for a in (g.means[:4], few.weights, rigid(rng, 2, 0.05))]
    # Covariances of order one, since gradcheck's step would swallow square millimetres.
    inputs.append(torch.tensor(covariance_from_quats_scales(g.quats[:4], 100 * g.scales[:4])).double())

    def moved(means, weights, transforms, covariances):
        hold = Hold(few.particles, weights, few.gradients.double())
        return skin(means, covariances, hold, transforms)

    assert torch.autograd.gradcheck(moved, [x.requires_grad_() for x in inputs])


def test_no_gradient_is_lost_or_unbounded_at_rest_and_beyond_the_limit(rng):
    g, b = gaussians(rng), binding(rng, 300.0)
    covariances = torch.tensor(covariance_from_quats_scales(g.quats, g.scales))
    for T in (rigid(rng, 1)[0], np.tile(np.eye(3, 4, dtype=np.float32), (M, 1, 1))):
        transforms = torch.tensor(T).requires_grad_()
        means, turned = skin(torch.tensor(g.means), covariances, Hold.of(b), transforms)
        (means.sum() + 1e3 * turned.sum()).backward()
        assert transforms.grad is not None
        assert transforms.grad.isfinite().all()
        assert transforms.grad.abs().amax((1, 2)).min() > 0


def test_covariances_at_rest_are_the_rasterisers(rng):
    g = gaussians(rng)
    found = rest_covariances(torch.tensor(g.quats), torch.tensor(g.scales))
    np.testing.assert_allclose(found, covariance_from_quats_scales(g.quats, g.scales), rtol=2e-4, atol=1e-10)


@pytest.fixture
def body(rng):
    reading = Reading(torch.arange(N)[:, None], torch.ones(N, 1))
    return Body.of(gaussians(rng), binding(rng), reading)


def residuals(frames, size=0.3, seed=1):
    random = torch.Generator().manual_seed(seed)
    shapes = [(frames, N, 3), (frames, N, 3), (frames, N), (frames, N, 3)]
    return Residuals(*(size * torch.randn(s, generator=random) for s in shapes))


def test_without_residuals_a_body_is_moved_and_no_more(rng, body):
    T = torch.tensor(rigid(rng, 2))
    zero = residuals(2, size=0.0)
    plain, same = pose(body, T), pose(body, T, zero)
    for name in ("means", "covariances", "opacities", "colors"):
        torch.testing.assert_close(getattr(plain, name), getattr(same, name))
    means, _ = skin(body.means, torch.zeros(N, 6), body.hold, T)
    assert torch.equal(plain.means, means)
    assert torch.equal(plain.colors, body.colors.expand(2, -1, -1))


def test_residuals_are_applied_after_the_motion(rng, body):
    T, r = torch.tensor(rigid(rng, 2)), residuals(2)
    plain, changed = pose(body, T), pose(body, T, r)
    torch.testing.assert_close(changed.means, plain.means + r.offsets)
    torch.testing.assert_close(changed.colors, body.colors + r.colors)
    expected = (body.opacities + r.opacities).clamp(0, 1)
    torch.testing.assert_close(changed.opacities, expected)
    assert (expected == 0).any()
    assert (expected == 1).any()


def test_the_scales_residual_multiplies_the_moved_covariance_in_the_gaussians_own_axes(rng, body):
    """Sigma* = G Sigma' G^T with G = J R exp(ds) R^T J^-1, J from differences of the map of positions."""
    g, b, T, r = gaussians(np.random.default_rng(0)), binding(rng), rigid(rng, 1), residuals(1)
    b = replace(b, gradients=np.zeros_like(b.gradients))
    held = replace(body, hold=Hold.of(b))
    moved = full(pose(held, torch.tensor(T)).covariances[0].double().numpy())
    found = full(pose(held, torch.tensor(T), r).covariances[0].double().numpy())
    # Without gradients of weights J is the blend of the rotations.
    J = np.einsum("nk,nkab->nab", b.weights.astype(np.float64), T[0].astype(np.float64)[b.indices][..., :3])
    R = Rotation.from_quat(g.quats[:, [1, 2, 3, 0]]).as_matrix()
    stretch = np.exp(r.scales[0].double().numpy())
    G = J @ (R * stretch[:, None]) @ R.transpose(0, 2, 1) @ np.linalg.inv(J)
    expected = G @ moved @ G.transpose(0, 2, 1)
    scale = np.abs(expected).max((1, 2), keepdims=True)
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-4)


def test_covariances_stay_covariances_whatever_the_residual(rng, body):
    changed = pose(body, torch.tensor(rigid(rng, 2)), residuals(2, size=2.0))
    values = np.linalg.eigvalsh(full(changed.covariances.double().numpy()))
    assert (values > -1e-5 * values[..., -1:]).all()
