from dataclasses import replace

import numpy as np
import pytest

from portraits import portrait
from vivavoce.features.joints import smplx_joints
from vivavoce.features.portrait import Portrait, analyze

ALWAYS = {"pelvis", "spine1", "spine2", "spine3", "neck", "head", "jaw", "left_eye", "right_eye"}
ALWAYS |= {f"{side}_{name}" for side in ("left", "right") for name in ("collar", "shoulder")}


@pytest.fixture(scope="module")
def astronaut() -> Portrait:
    return analyze(portrait("smile"))


def test_the_trunk_is_a_chain_from_pelvis_to_head(astronaut: Portrait):
    joints = smplx_joints(astronaut)
    assert set(joints) >= ALWAYS
    heights = [
        joints[name][1] for name in ("pelvis", "spine1", "spine2", "spine3", "neck", "head", "left_eye")
    ]
    assert heights == sorted(heights, reverse=True)
    assert joints["right_shoulder"][0] < joints["right_collar"][0] < joints["neck"][0]
    assert joints["neck"][0] < joints["left_collar"][0] < joints["left_shoulder"][0]
    # The eyeballs lie behind the irises.
    assert joints["left_eye"][:2] == pytest.approx(astronaut.face[473, :2], abs=2)
    assert joints["left_eye"][2] > astronaut.face[473, 2]


def test_what_the_photo_does_not_show_is_absent(astronaut: Portrait):
    joints = smplx_joints(astronaut)
    assert not {"left_knee", "right_ankle", "left_index1"} & set(joints)


def test_without_a_body_the_trunk_hangs_below_the_face(astronaut: Portrait):
    found = smplx_joints(astronaut)
    guessed = smplx_joints(replace(astronaut, body=None))
    assert set(guessed) == ALWAYS
    face_height = np.linalg.norm(astronaut.face[152] - astronaut.face[10])
    for name in ("left_shoulder", "right_shoulder", "neck"):
        assert np.linalg.norm(guessed[name][:2] - found[name][:2]) < 0.7 * face_height
        assert guessed[name][3] < 1


def test_fingers_run_from_the_palm_to_the_tips(astronaut: Portrait):
    hand = np.arange(63, dtype=np.float32).reshape(21, 3)
    joints = smplx_joints(replace(astronaut, hands={"right": hand}))
    for name, index in (
        ("thumb1", 1),
        ("thumb3", 3),
        ("index1", 5),
        ("ring2", 14),
        ("pinky3", 19),
        ("wrist", 0),
    ):
        assert np.array_equal(joints[f"right_{name}"], [*hand[index], 1.0])
    assert sum(name.startswith("right_") and name[-1].isdigit() for name in joints) == 15
