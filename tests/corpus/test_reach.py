"""Inverse kinematics of arms against the chain of joints that moves them."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vivavoce.corpus.synth.hands import SHAPES, finger_turns
from vivavoce.corpus.synth.reach import (
    LIMITS,
    Arm,
    about,
    arm_of,
    arm_turns,
    bend,
    hand_angles,
    hand_points,
    outwards,
    within_reach,
)
from vivavoce.splat.skeleton import JOINT, chain
from vivavoce.splat.template.joints import Build, rest_joints

BUILDS = (Build(), Build(stature=1530.0, shoulders=0.9), Build(stature=1930.0, shoulders=1.12))
MIRROR = {"left": np.ones(3), "right": np.array([-1.0, 1.0, 1.0])}


def targets(arm: Arm, count: int = 200) -> np.ndarray:
    """Places before, beside and above the shoulder, within reach."""
    rng = np.random.default_rng(3)
    way = outwards(rng.uniform([-0.6, -0.9, 0.1], [0.8, 0.8, 0.9], (count, 3)))
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    return arm.shoulder + way * arm.length * rng.uniform(0.45, 0.9, (count, 1))


def solved(build: Build, side: str, hand: np.ndarray | None = None):
    joints = rest_joints(build)
    arm = arm_of(joints, side)
    wrist = targets(arm)
    bent = bend(arm, wrist, np.tile(outwards(np.array([0.55, -0.8, -0.25])), (len(wrist), 1)))
    hand = np.zeros((len(wrist), 3)) if hand is None else np.tile(hand, (len(wrist), 1))
    moved = chain(joints.positions, arm_turns(arm, bent, hand), {}, len(wrist))
    at = {
        name: moved[:, JOINT[f"{side}_{name}"], :, :3] @ joints[f"{side}_{name}"]
        + moved[:, JOINT[f"{side}_{name}"], :, 3]
        for name in ("shoulder", "elbow", "wrist", "middle1")
    }
    return joints, arm, wrist, bent, moved, at


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("build", BUILDS)
def test_the_chain_takes_the_wrist_where_it_was_asked_for(build, side):
    _, arm, wrist, _, _, at = solved(build, side)
    np.testing.assert_allclose(at["wrist"], wrist * MIRROR[side], atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(at["elbow"] - at["shoulder"], axis=1), arm.upper)
    np.testing.assert_allclose(np.linalg.norm(at["wrist"] - at["elbow"], axis=1), arm.fore)


@pytest.mark.parametrize("side", ["left", "right"])
def test_elbows_point_to_the_pole_and_bend_one_way(side):
    _, arm, _, bent, moved, at = solved(BUILDS[0], side)
    assert (bent.elbow > 0).all()
    assert (bent.elbow < np.radians(150)).all()
    pole = outwards(np.array([0.55, -0.8, -0.25])) * MIRROR[side]
    ahead = at["wrist"] - at["shoulder"]
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    out = at["elbow"] - at["shoulder"]
    out -= (out * ahead).sum(axis=1, keepdims=True) * ahead
    across = pole - (pole * ahead).sum(axis=1, keepdims=True) * ahead
    cosine = (out * across).sum(axis=1) / np.linalg.norm(out, axis=1) / np.linalg.norm(across, axis=1)
    np.testing.assert_allclose(cosine, 1)
    # The hinge stands across upper arm and forearm, and the forearm folds to the side where the palm's thumb is.
    upper, fore = at["elbow"] - at["shoulder"], at["wrist"] - at["elbow"]
    hinge = moved[:, JOINT[f"{side}_shoulder"], :, :3] @ (arm.palm * MIRROR[side])
    np.testing.assert_allclose((upper * hinge).sum(axis=1), 0, atol=1e-9)
    thumb = moved[:, JOINT[f"{side}_shoulder"], :, :3] @ arm.thumb
    assert ((fore * thumb).sum(axis=1) > 0).all()


def test_right_arms_are_left_arms_in_the_mirror():
    turns = {side: solved(BUILDS[1], side, np.array([0.4, -0.3, 0.1]))[4] for side in ("left", "right")}
    flip = np.diag(MIRROR["right"])
    for name in ("shoulder", "elbow", "wrist", "index2"):
        left, right = (turns[side][:, JOINT[f"{side}_{name}"], :, :3] for side in ("left", "right"))
        np.testing.assert_allclose(right, flip @ left @ flip, atol=1e-12)


def test_what_is_out_of_reach_is_approached_smoothly():
    arm = arm_of(rest_joints(Build()), "left")
    way = outwards(np.array([0.2, 0.1, 1.0])) / np.linalg.norm([0.2, 0.1, 1.0])
    asked = np.linspace(0.05, 3.0, 4000)[:, None] * arm.length
    got = np.linalg.norm(within_reach(arm, arm.shoulder + asked * way) - arm.shoulder, axis=1) / arm.length
    assert got.min() >= 0.33
    assert got.max() <= 0.99
    comfortable = (asked[:, 0] > 0.45 * arm.length) & (asked[:, 0] < 0.9 * arm.length)
    np.testing.assert_allclose(got[comfortable], asked[comfortable, 0] / arm.length)
    slope = np.diff(got) / np.diff(asked[:, 0] / arm.length)
    assert (slope > -1e-9).all()
    assert np.abs(np.diff(slope)).max() < 0.02, "no kink"


@pytest.mark.parametrize(
    ("roll", "flexion", "deviation"), [(0.0, 0.0, 0.0), (1.2, 0.5, -0.3), (-1.4, -1.0, 0.3)]
)
def test_the_hand_s_angles_are_those_that_point_it(roll, flexion, deviation):
    """An independent hand: roll about the forearm, then flexion towards the palm, deviation towards the thumb."""
    arm = arm_of(rest_joints(Build()), "left")
    forearm = Rotation.from_euler("xyz", [0.3, -0.8, 0.5])
    bent = Rotation.from_rotvec(-flexion * arm.thumb + deviation * arm.palm)
    turn = forearm * Rotation.from_rotvec(roll * arm.along) * bent
    found = hand_angles(arm, forearm.as_matrix(), fingers=turn.apply(arm.along), palm=turn.apply(arm.palm))
    np.testing.assert_allclose(found, [roll, flexion, deviation], atol=1e-9)
    if flexion > 0 and deviation == 0:
        assert bent.apply(arm.along) @ arm.palm > 0


def test_no_hand_turns_further_than_a_wrist_can():
    arm = arm_of(rest_joints(Build()), "left")
    rng = np.random.default_rng(0)
    for fingers, palm in rng.normal(0, 1, (200, 2, 3)):
        angles = hand_angles(arm, np.eye(3), fingers=fingers, palm=palm)
        assert (angles >= LIMITS[:, 0]).all()
        assert (angles <= LIMITS[:, 1]).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_roll_is_shared_between_elbow_and_wrist(side):
    hand = np.array([1.2, 0.0, 0.0])
    _, arm, wrist, bent, _, _ = solved(BUILDS[0], side, hand)
    turns = arm_turns(arm, bent, np.tile(hand, (len(wrist), 1)))
    axis = arm.along * MIRROR[side]
    sense = 1.0 if side == "left" else -1.0  # turns change their sense in a mirror
    wrist_roll = Rotation.from_matrix(turns[f"{side}_wrist"]).as_rotvec()
    np.testing.assert_allclose(wrist_roll, np.tile(sense * 0.6 * axis, (len(wrist), 1)), atol=1e-9)
    unrolled = arm_turns(arm, bent, np.zeros((len(wrist), 3)))[f"{side}_elbow"]
    elbow_roll = Rotation.from_matrix(unrolled.swapaxes(1, 2) @ turns[f"{side}_elbow"]).as_rotvec()
    np.testing.assert_allclose(elbow_roll, wrist_roll, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
def test_hand_points_are_where_the_chain_has_them(side):
    hand = np.array([0.7, 0.4, -0.2])
    _, arm, wrist, bent, _, at = solved(BUILDS[2], side, hand)
    points = hand_points(arm, wrist, bent, np.tile(hand, (len(wrist), 1))) * MIRROR[side]
    np.testing.assert_allclose(points[:, 0], at["wrist"], atol=1e-9)
    np.testing.assert_allclose(points[:, 1], (at["wrist"] + at["elbow"]) / 2, atol=1e-9)
    np.testing.assert_allclose(points[:, 2], at["middle1"], atol=1e-9)


def test_rotations_about_an_axis_are_scipy_s():
    axis, angles = np.array([2.0, -1.0, 2.0]) / 3, np.linspace(-4, 4, 9)
    expected = Rotation.from_rotvec(angles[:, None] * axis).as_matrix()
    np.testing.assert_allclose(about(axis, angles), expected, atol=1e-12)


@pytest.mark.parametrize("side", ["left", "right"])
def test_hands_take_their_shapes(side):
    joints = rest_joints(Build())
    arm = arm_of(joints, side)
    shapes = list(SHAPES)
    turns = finger_turns(arm, np.stack([SHAPES[name] for name in shapes]))
    moved = chain(joints.positions, turns, {}, len(shapes))
    wrist = joints[f"{side}_wrist"]

    def tip(finger: str, shape: str) -> np.ndarray:
        """Along the hand, towards the thumb, and out of the palm, relative to the hand's length."""
        last = moved[shapes.index(shape), JOINT[f"{side}_{finger}3"]]
        at = last[:, :3] @ joints.tips[f"{side}_{finger}"] + last[:, 3] - wrist
        axes = np.stack([arm.along, arm.thumb, arm.palm]) * MIRROR[side]
        return axes @ at / np.linalg.norm(joints.tips[f"{side}_middle"] - wrist)

    for finger in ("middle", "ring", "pinky"):
        for fist in ("pointing", "thumb up"):
            curled = tip(finger, fist)
            assert curled[0] < 0.62, "the tip is back at the palm"
            assert 0.02 < curled[2] < 0.35, "before the palm, not behind the hand"
    assert tip("index", "pointing")[0] > 0.9
    assert tip("index", "thumb up")[0] < 0.65
    assert tip("thumb", "thumb up")[1] > 0.5
    assert tip("thumb", "pointing")[1] < 0.4
    wide, narrow = (tip("index", s)[1] - tip("pinky", s)[1] for s in ("open", "flat"))
    assert wide > narrow + 0.08
    assert 0.03 < tip("middle", "relaxed")[2] < 0.5
