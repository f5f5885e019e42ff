"""The rest pose against published proportions, and the weights that hang a body on it."""

import numpy as np
import pytest

from vivavoce.splat.skeleton import JOINT, JOINTS
from vivavoce.splat.template.binding import bind, chain_weights, trunk_weights
from vivavoce.splat.template.joints import ARM_ANGLE, FINGERS, Build, rest_joints
from vivavoce.types import Binding


def length(joints, a, b):
    return np.linalg.norm(joints[a] - joints[b])


def test_limbs_are_as_long_as_anthropometry_says():
    joints = rest_joints(Build(stature=1800.0))
    assert length(joints, "left_shoulder", "left_elbow") == pytest.approx(0.178 * 1800)
    assert length(joints, "left_elbow", "left_wrist") == pytest.approx(0.146 * 1800)
    assert length(joints, "left_hip", "left_knee") == pytest.approx(0.235 * 1800, rel=0.02)
    hand = np.linalg.norm(joints.tips["left_middle"] - joints["left_wrist"])
    assert hand == pytest.approx(0.108 * 1800, rel=0.02)


def test_the_left_is_at_the_pictures_right_and_the_right_its_mirror_image():
    joints = rest_joints(Build())
    for name in JOINTS:
        if name.startswith("left_"):
            other = joints[f"right_{name[5:]}"]
            assert np.allclose(joints[name] * (-1, 1, 1), other)
            assert joints[name][0] > 0
    for finger in FINGERS:
        assert np.allclose(joints.tips[f"left_{finger}"] * (-1, 1, 1), joints.tips[f"right_{finger}"])


def test_arms_hang_beside_the_body_with_thumbs_forwards():
    joints = rest_joints(Build())
    arm = joints["left_wrist"] - joints["left_shoulder"]
    assert np.arctan2(arm[0], arm[1]) == pytest.approx(ARM_ANGLE)
    assert joints["left_thumb3"][2] < joints["left_pinky3"][2] - 50  # towards the camera
    assert (
        np.diff([joints[n][1] for n in ("head", "neck", "spine3", "spine1", "pelvis", "left_knee")]) > 0
    ).all()


def test_measures_scale_what_they_name():
    plain, wide, tall = (rest_joints(b) for b in (Build(), Build(shoulders=1.2), Build(stature=1870.0)))
    assert wide["left_shoulder"][0] == pytest.approx(1.2 * plain["left_shoulder"][0])
    assert np.allclose(tall["left_wrist"], 1.1 * plain["left_wrist"])


@pytest.fixture
def points():
    return np.random.default_rng(1).uniform((-150, -650, -80), (150, 60, 80), (400, 3))


def test_trunk_weights_sum_to_one_and_go_from_pelvis_to_head(points):
    joints = rest_joints(Build())
    weights = trunk_weights(joints)(points)
    assert np.allclose(weights.sum(1), 1)
    assert (weights >= -1e-12).all()
    low, high = np.array([[0.0, 50, 0]]), np.array([[0.0, -700, 0]])
    assert trunk_weights(joints)(low)[0, JOINT["pelvis"]] == 1
    assert trunk_weights(joints)(high)[0, JOINT["head"]] == 1
    shoulder = joints["left_shoulder"][None] - (0, 5, 0)
    assert trunk_weights(joints)(shoulder)[0, JOINT["left_collar"]] > 0.9


def test_an_arm_passes_from_joint_to_joint_around_each():
    joints = rest_joints(Build())
    names = ("left_collar", "left_shoulder", "left_elbow", "left_wrist")
    weights = chain_weights(joints, names, (18.0, 14.0, 8.0))
    middle = 0.5 * (joints["left_shoulder"] + joints["left_elbow"])
    assert weights(middle[None])[0, JOINT["left_shoulder"]] == 1
    at_elbow = weights(joints["left_elbow"][None])[0]
    assert at_elbow[JOINT["left_shoulder"]] == pytest.approx(0.5)
    assert at_elbow[JOINT["left_elbow"]] == pytest.approx(0.5)


def test_bound_points_keep_weights_and_their_gradients(points):
    weights = trunk_weights(rest_joints(Build()))
    binding = bind(points, weights)
    assert isinstance(binding, Binding)
    assert np.allclose(binding.weights.sum(1), 1, atol=1e-6)
    # Weights that sum to one have gradients that sum to zero.
    assert np.abs(binding.gradients.sum(1)).max() < 5e-4  # at a kink of the clipped weights
    shift = np.array([0.0, 1e-3, 0.0])
    true = (weights(points + shift) - weights(points - shift)) / 2e-3
    rows = np.arange(len(points))[:, None]
    assert np.allclose(
        binding.gradients[..., 1], true[rows, binding.indices] * (binding.weights > 0), atol=2e-4
    )
