"""The joints' tree and how it turns, against SMPL-X's published tree, scipy and 4x4 matrices."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vivavoce.splat.skeleton import JOINT, JOINTS, PARENTS, chain, place_joints, rotation

# SMPL-X (Pavlakos et al. 2019): the kinematic tree's parents, joint by joint.
SMPLX_TREE = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15]
SMPLX_TREE += [20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38]
SMPLX_TREE += [21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53]


def turn(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    return rotation(*(np.array([angle]) for angle in (yaw, pitch, roll)))[0]


def test_the_tree_is_smplx():
    assert len(JOINTS) == len(set(JOINTS)) == 55
    assert [-1 if parent is None else JOINT[parent] for parent in PARENTS.values()] == SMPLX_TREE
    expected = {15: "head", 22: "jaw", 23: "left_eye", 24: "right_eye", 20: "left_wrist", 25: "left_index1"}
    assert {i: JOINTS[i] for i in expected} == expected
    assert all(name.replace("left", "right") in JOINTS for name in JOINTS)


@pytest.mark.parametrize(
    ("angles", "looked_at"),
    [({"yaw": 0.2}, (1, 0)), ({"pitch": 0.2}, (0, 1)), ({"yaw": -0.2}, (-1, 0)), ({"pitch": -0.2}, (0, -1))],
)
def test_yaw_and_pitch_turn_the_face_right_and_down(angles, looked_at):
    ahead = turn(**angles) @ np.array([0.0, 0.0, -1.0])
    np.testing.assert_allclose(ahead[:2], np.sin(0.2) * np.array(looked_at), atol=1e-12)


def test_roll_tilts_clockwise_in_the_picture():
    crown = turn(roll=0.2) @ np.array([0.0, -1.0, 0.0])
    np.testing.assert_allclose(crown, [np.sin(0.2), -np.cos(0.2), 0], atol=1e-12)


def test_rotations_are_roll_after_pitch_after_yaw():
    yaw, pitch, roll = np.random.default_rng(0).uniform(-1, 1, (3, 20))
    # Extrinsic angles; the face looks along -z, so that a turn to the right is negative about y.
    expected = Rotation.from_euler("yxz", np.c_[-yaw, pitch, roll]).as_matrix()
    np.testing.assert_allclose(rotation(yaw, pitch, roll), expected, atol=1e-12)


def test_a_chain_is_the_product_of_its_matrices():
    rng = np.random.default_rng(1)
    positions = rng.normal(0, 100, (55, 3))
    turned, shifted = rng.choice(JOINTS, 20, replace=False), rng.choice(JOINTS, 10, replace=False)
    rotations = {str(j): rotation(*rng.uniform(-0.5, 0.5, (3, 4))) for j in turned}
    shifts = {str(j): rng.normal(0, 5, (4, 3)) for j in shifted}
    moved = chain(positions, rotations, shifts, 4)

    def to_world(joint: str, frame: int) -> np.ndarray:
        forth, about, back = np.eye(4), np.eye(4), np.eye(4)
        forth[:3, 3] = positions[JOINT[joint]] + (shifts[joint][frame] if joint in shifts else 0)
        back[:3, 3] = -positions[JOINT[joint]]
        if joint in rotations:
            about[:3, :3] = rotations[joint][frame]
        parent = PARENTS[joint]
        return (np.eye(4) if parent is None else to_world(parent, frame)) @ forth @ about @ back

    for frame in range(4):
        expected = np.stack([to_world(joint, frame)[:3] for joint in JOINTS])
        np.testing.assert_allclose(moved[frame], expected, atol=1e-9)


def test_a_joint_turns_what_hangs_on_it_and_nothing_else():
    positions = np.random.default_rng(2).normal(0, 100, (55, 3))
    moved = chain(positions, {"left_elbow": turn(roll=0.3)[None]}, {}, 1)[0]
    rest = np.concatenate([np.eye(3), np.zeros((3, 1))], 1)
    hand = [j for j in JOINTS if j.startswith("left_") and j[-1].isdigit()]
    for joint in JOINTS:
        if joint in ("left_elbow", "left_wrist", *hand):
            np.testing.assert_array_equal(moved[JOINT[joint]], moved[JOINT["left_elbow"]])
        else:
            np.testing.assert_array_equal(moved[JOINT[joint]], rest)
    elbow = positions[JOINT["left_elbow"]]
    np.testing.assert_allclose(moved[JOINT["left_elbow"]] @ np.append(elbow, 1), elbow)


def test_joints_that_the_photo_does_not_show_stand_at_their_parents():
    core = ("pelvis", "spine1", "spine2", "spine3", "neck", "head", "jaw", "left_eye", "right_eye")
    found = {name: np.full(3, float(k)) for k, name in enumerate(core)}
    found["left_shoulder"] = np.array([7.0, 8.0, 9.0])
    skeleton = place_joints(found)
    assert skeleton.seen == frozenset(found)
    for name, at in found.items():
        np.testing.assert_array_equal(skeleton[name], at)
    for name in ("left_elbow", "left_wrist", "left_thumb3"):
        np.testing.assert_array_equal(skeleton[name], found["left_shoulder"])
    for name in ("right_collar", "right_wrist"):
        np.testing.assert_array_equal(skeleton[name], found["spine3"])
    np.testing.assert_array_equal(skeleton["left_foot"], found["pelvis"])
