"""The deformer against its own equations in float64, and against finite differences of its map."""

import numpy as np
import pytest

from vivavoce.splat.deform import MAX_STRETCH, deform
from vivavoce.splat.skeleton import rotation
from vivavoce.types import Binding

N, K, M = 300, 6, 12


def as_matrices(covariances: np.ndarray) -> np.ndarray:
    return covariances[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3).astype(np.float64)


def as_rows(matrices: np.ndarray) -> np.ndarray:
    return matrices[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].astype(np.float32)


def rigid(rng: np.random.Generator, count: int, angle: float, shift: float) -> np.ndarray:
    turns = rotation(*rng.uniform(-angle, angle, (3, count)))
    return np.concatenate([turns, rng.normal(0, shift, (count, 3, 1))], 2).astype(np.float32)


def gaussians(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Around 0.5 m before the camera, millimetres wide."""
    means = rng.normal([0, 0, 0.5], 0.1, (N, 3)).astype(np.float32)
    roots = rng.normal(0, 2e-3, (N, 3, 3))
    return means, as_rows(roots @ roots.swapaxes(1, 2))


def bindings(rng: np.random.Generator, slope: float = 3.0) -> Binding:
    """Weights sum to one, gradients (1/metre) to zero over the slots; the last slot is unused."""
    weights, gradients = np.zeros((N, K)), np.zeros((N, K, 3))
    weights[:, :-1] = rng.dirichlet(np.ones(K - 1), N)
    gradients[:, :-1] = rng.normal(0, slope, (N, K - 1, 3))
    gradients[:, :-1] -= gradients[:, :-1].mean(1, keepdims=True)
    indices = rng.integers(0, M, (N, K))
    indices[:, -1] = 0
    return Binding(indices.astype(np.int32), weights.astype(np.float32), gradients.astype(np.float32))


def by_equation(means: np.ndarray, covariances: np.ndarray, b: Binding, transforms: np.ndarray):
    """y = sum w T x, J = sum w R + sum (T x) grad(w)^T, in float64 and without the limit."""
    T = transforms.astype(np.float64)[b.indices]
    x = means.astype(np.float64)
    moved = np.einsum("nkab,nb->nka", T[..., :3], x) + T[..., 3]
    weights, gradients = b.weights.astype(np.float64), b.gradients.astype(np.float64)
    weights /= weights.sum(1, keepdims=True)
    used = (weights > 0)[..., None]
    gradients -= used * gradients.sum(1, keepdims=True) / used.sum(1, keepdims=True)
    y = np.einsum("nk,nka->na", weights, moved)
    J = np.einsum("nk,nkab->nab", weights, T[..., :3]) + np.einsum("nka,nkb->nab", moved, gradients)
    return y, J @ as_matrices(covariances) @ J.swapaxes(1, 2), J


def test_at_rest_nothing_moves():
    rng = np.random.default_rng(0)
    means, covariances = gaussians(rng)
    rest = np.broadcast_to(np.eye(3, 4, dtype=np.float32), (M, 3, 4)).copy()
    moved, turned = deform(means, covariances, bindings(rng), rest)
    np.testing.assert_allclose(moved, means, atol=1e-7)
    np.testing.assert_allclose(turned, covariances, rtol=1e-4, atol=1e-11)


def test_a_common_motion_moves_all_rigidly():
    rng = np.random.default_rng(1)
    means, covariances = gaussians(rng)
    one = rigid(rng, 1, 0.8, 0.2)
    moved, turned = deform(means, covariances, bindings(rng), np.repeat(one, M, 0))
    R, t = one[0, :, :3].astype(np.float64), one[0, :, 3].astype(np.float64)
    np.testing.assert_allclose(moved, means @ R.T + t, atol=1e-6)
    expected = R @ as_matrices(covariances) @ R.T
    scale = np.abs(expected).max((1, 2), keepdims=True)
    np.testing.assert_allclose((as_matrices(turned) - expected) / scale, 0, atol=1e-4)


def test_blended_motions_follow_the_equations():
    rng = np.random.default_rng(2)
    means, covariances = gaussians(rng)
    binding, transforms = bindings(rng), rigid(rng, M, 0.2, 0.01)
    y, S, J = by_equation(means, covariances, binding, transforms)
    free = np.linalg.norm(J, axis=(1, 2)) < MAX_STRETCH
    assert free.mean() > 0.9
    moved, turned = deform(means, covariances, binding, transforms)
    np.testing.assert_allclose(moved, y, atol=1e-6)
    scale = np.abs(S).max((1, 2), keepdims=True)
    np.testing.assert_allclose(((as_matrices(turned) - S) / scale)[free], 0, atol=1e-3)


def test_covariances_turn_by_the_jacobian_of_the_map():
    """Two particles with logistic weights along a line: J against differences of the positions."""
    rng = np.random.default_rng(3)
    along = np.array([0.6, 0.0, 0.8])
    transforms = rigid(rng, 2, 0.3, 0.01)

    def bind(x: np.ndarray) -> Binding:
        w = 1 / (1 + np.exp(-(x @ along) / 0.05))
        g = (w * (1 - w) / 0.05)[:, None] * along
        n = len(x)
        return Binding(
            np.tile(np.array([[0, 1]], np.int32), (n, 1)),
            np.stack([w, 1 - w], 1).astype(np.float32),
            np.stack([g, -g], 1).astype(np.float32),
        )

    def move(x: np.ndarray) -> np.ndarray:
        covariances = np.zeros((len(x), 6), np.float32)
        return deform(x.astype(np.float32), covariances, bind(x), transforms)[0].astype(np.float64)

    points = rng.normal(0, 0.05, (50, 3))
    differences = np.stack([(move(points + d) - move(points - d)) / 4e-3 for d in 2e-3 * np.eye(3)], 2)
    # J e e^T J^T for each axis e shows all columns of J up to sign.
    for axis in range(3):
        unit = np.zeros((3, 3))
        unit[axis, axis] = 1e-6
        covariances = np.repeat(as_rows(unit[None]), len(points), 0)
        _, turned = deform(points.astype(np.float32), covariances, bind(points), transforms)
        column = differences[:, :, axis]
        expected = 1e-6 * column[:, :, None] * column[:, None, :]
        np.testing.assert_allclose(as_matrices(turned), expected, atol=4e-9)


@pytest.mark.parametrize("slope", [50.0, 1000.0])
def test_no_gaussian_stretches_without_end(slope):
    rng = np.random.default_rng(4)
    means, covariances = gaussians(rng)
    binding, transforms = bindings(rng, slope), rigid(rng, M, 0.5, 0.1)
    moved, turned = deform(means, covariances, binding, transforms)
    y, S, J = by_equation(means, covariances, binding, transforms)
    size = np.linalg.norm(J, axis=(1, 2))
    assert (size > MAX_STRETCH).any()
    largest = np.linalg.eigvalsh(as_matrices(covariances))[:, -1]
    stretch = np.sqrt(np.linalg.eigvalsh(as_matrices(turned))[:, -1] / largest)
    assert stretch.max() < MAX_STRETCH * 1.001
    np.testing.assert_allclose(moved, y, atol=2e-6)
    # What is limited keeps its shape: the same J, only smaller.
    over = size > 1.1 * MAX_STRETCH
    expected = S[over] * (MAX_STRETCH / size[over])[:, None, None] ** 2
    scale = np.abs(expected).max((1, 2), keepdims=True)
    np.testing.assert_allclose((as_matrices(turned)[over] - expected) / scale, 0, atol=1e-2)


def test_unused_slots_have_no_say():
    rng = np.random.default_rng(5)
    means, covariances = gaussians(rng)
    binding, transforms = bindings(rng), rigid(rng, M, 0.2, 0.01)
    narrow = Binding(
        *(np.ascontiguousarray(a[:, :-1]) for a in (binding.indices, binding.weights, binding.gradients))
    )
    indices = binding.indices.copy()
    indices[:, -1] = M
    wild = np.concatenate([transforms, np.full((1, 3, 4), np.nan, np.float32)])
    expected = deform(means, covariances, narrow, transforms)
    given = deform(means, covariances, Binding(indices, binding.weights, binding.gradients), wild)
    for a, b in zip(given, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_results_go_where_they_are_asked_to():
    rng = np.random.default_rng(6)
    means, covariances = gaussians(rng)
    binding, transforms = bindings(rng), rigid(rng, M, 0.2, 0.01)
    out = np.empty_like(means), np.empty_like(covariances)
    given = deform(means, covariances, binding, transforms, out=out)
    assert given[0] is out[0]
    assert given[1] is out[1]
    for a, b in zip(out, deform(means, covariances, binding, transforms), strict=True):
        np.testing.assert_array_equal(a, b)
