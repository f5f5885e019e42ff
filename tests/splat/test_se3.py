"""The maps of se(3) against scipy's matrix exponential and logarithm in float64."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm, logm
from scipy.spatial.transform import Rotation

from vivavoce.splat import se3

ANGLES = (0.0, 1e-12, 1e-7, 1e-3, 0.3, 0.499999, 0.500001, 1.0, 2.5, 3.1)


def twists_of(angles, seed=0):
    """Two twists of each angle, about random axes."""
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(len(angles), 2, 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    return np.concatenate([np.asarray(angles)[:, None, None] * axes, rng.normal(size=axes.shape)], -1)


def by_scipy(twist):
    w, v = twist[:3], twist[3:]
    generator = np.zeros((4, 4))
    generator[:3, :3] = [[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]]
    generator[:3, 3] = v
    return expm(generator)[:3]


def homogeneous(transform):
    return np.concatenate([transform, [[0, 0, 0, 1]]])


@pytest.mark.parametrize("angle", [*ANGLES, np.pi, 4.0, 7.0])
def test_the_exponential_is_the_matrix_exponential(angle):
    twists = twists_of([angle])
    expected = np.array([[by_scipy(t) for t in row] for row in twists])
    np.testing.assert_allclose(se3.exp(torch.tensor(twists)), expected, atol=5e-14)


@pytest.mark.parametrize("angle", ANGLES)
def test_the_logarithm_is_the_matrix_logarithm(angle):
    twists = twists_of([angle], seed=1)[0]
    transforms = np.array([by_scipy(t) for t in twists])
    found = se3.log(torch.tensor(transforms)).numpy()
    np.testing.assert_allclose(found, twists, atol=1e-13 if angle < 3 else 1e-12)
    generator = np.real(logm(homogeneous(transforms[0])))
    expected = [generator[2, 1], generator[0, 2], generator[1, 0], *generator[:3, 3]]
    np.testing.assert_allclose(found[0], expected, atol=1e-8)


@pytest.mark.parametrize("short", [0.0, 1e-12, 1e-9, 1e-6, 1e-3])
def test_at_a_half_turn_the_logarithm_still_leads_back(short):
    transforms = se3.exp(torch.tensor(twists_of([np.pi - short], seed=2)))
    twists = se3.log(transforms)
    torch.testing.assert_close(se3.exp(twists), transforms, atol=1e-14, rtol=0)
    angles = twists[..., :3].norm(dim=-1)
    torch.testing.assert_close(angles, torch.full_like(angles, np.pi - short), atol=1e-14, rtol=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_half_turn_about_an_axis_of_space_is_found(axis):
    half = -torch.eye(3, dtype=torch.float64)
    half[axis, axis] = 1
    found = se3.rotation_vectors(se3.quaternions(half))
    expected = torch.zeros(3, dtype=torch.float64)
    expected[axis] = np.pi
    torch.testing.assert_close(found.abs(), expected)


def test_float32_keeps_its_digits_near_rest():
    twists = torch.tensor(twists_of([1e-5, 1e-3, 0.1]), dtype=torch.float32)
    torch.testing.assert_close(se3.log(se3.exp(twists)), twists, atol=3e-7, rtol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 0.5, 2.0, 3.0])
def test_gradients_of_the_exponential_and_the_logarithm(angle):
    twists = torch.tensor(twists_of([angle], seed=3)[0], requires_grad=True)
    assert torch.autograd.gradcheck(se3.exp, twists)
    transforms = se3.exp(twists).detach().requires_grad_()
    assert torch.autograd.gradcheck(se3.log, transforms)


def test_float32_gradients_at_rest_are_those_of_the_linear_map():
    twist = torch.zeros(6, requires_grad=True)
    se3.exp(twist)[:, 3].sum().backward()
    torch.testing.assert_close(twist.grad, torch.tensor([0.0, 0, 0, 1, 1, 1]))
    rest = torch.eye(3, 4, requires_grad=True)
    se3.log(rest).sum().backward()
    assert rest.grad is not None
    torch.testing.assert_close(rest.grad[:, 3], torch.ones(3))
    # Of the angles, the sum of half the differences of opposite entries.
    expected = torch.tensor([[0.0, -0.5, 0.5], [0.5, 0.0, -0.5], [-0.5, 0.5, 0.0]])
    torch.testing.assert_close(rest.grad[:, :3], expected)


def test_composition_and_inverse_are_those_of_4x4_matrices():
    a, b = (se3.exp(torch.tensor(twists_of([1.0, 2.0], seed=s))) for s in (4, 5))
    for i in range(2):
        product = homogeneous(a[i, 0].numpy()) @ homogeneous(b[i, 0].numpy())
        np.testing.assert_allclose(se3.compose(a, b)[i, 0], product[:3], atol=1e-14)
        inverse = np.linalg.inv(homogeneous(a[i, 0].numpy()))
        np.testing.assert_allclose(se3.inverse(a)[i, 0], inverse[:3], atol=1e-14)


def test_quaternions_are_scipys():
    turns = Rotation.random(200, random_state=6)
    expected = turns.as_quat(canonical=True)[:, [3, 0, 1, 2]]
    found = se3.quaternions(torch.tensor(turns.as_matrix()))
    np.testing.assert_allclose(found, expected, atol=1e-14)
    np.testing.assert_allclose(se3.rotation_matrices(found), turns.as_matrix(), atol=1e-14)
    np.testing.assert_allclose(se3.rotation_vectors(found), turns.as_rotvec(), atol=1e-13)
    vectors = torch.tensor(turns.as_rotvec())
    np.testing.assert_allclose(se3.vector_quaternions(vectors), expected, atol=1e-14)


def test_a_turn_about_a_centre_leaves_it_where_it_is_put():
    turn = torch.tensor(Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix())
    centre, shift = torch.tensor([[0.1, 0.4, 1.5], [0.0, 0.1, 0.02]], dtype=torch.float64)
    motion = se3.about(turn, centre, shift)
    moved = motion[:, :3] @ centre + motion[:, 3]
    torch.testing.assert_close(moved, centre + shift)
    torch.testing.assert_close(motion[:, :3], turn)
