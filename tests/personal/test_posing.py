"""Joints and a face as motion of all particles: the rig's own, where it is told so, in numpy and torch alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from likeness import acting, controls, likeness
from vivavoce.personal.posing import Anatomy, chained, mouth_gains, particle_motion, posed
from vivavoce.splat import topology
from vivavoce.splat.layers import KINDS
from vivavoce.splat.skeleton import JOINT, JOINTS, chain, rotation
from vivavoce.types import Gaussians

J = len(JOINTS)
INSIDE = [KINDS.index(kind) for kind in ("upper_teeth", "lower_teeth", "tongue", "cavity")]


@pytest.fixture(scope="module")
def lively():
    """Five frames in which everything moves but the tongue's tip, which nothing is told of."""
    t = np.linspace(0, 1, 5)
    return acting(
        controls(
            **{"open": t, "jaw": t**2, "round": 0.5 * t, "smile": 0.4 * t, "head_yaw": 0.25 * t},
            **{"head_pitch": -0.1 * t, "torso_roll": 0.1 * t, "shoulders": t, "blink": t, "gaze_x": 0.2 * t},
        )
    )


def still(frames=1):
    joints = np.tile(np.eye(3, 4, dtype=np.float32), (frames, J, 1, 1))
    return joints, np.zeros((frames, topology.N_FACE, 3), np.float32)


def test_a_motion_of_the_rig_is_told_by_its_joints_and_its_face(lively):
    motion, face = lively
    found = particle_motion(likeness(), motion.transforms[:, :J].copy(), face, fps=30.0)
    assert found.fps == 30.0
    np.testing.assert_allclose(found.transforms, motion.transforms, atol=2e-7)
    np.testing.assert_allclose(found.gains, motion.gains, atol=0.1)  # a smile hides some of the rounding


def test_the_ring_around_the_face_and_the_tongue_follow_though_they_are_not_told_of(lively):
    """By millimetres in this motion, so that their agreement says something."""
    motion, _ = lively
    avatar = likeness()
    riders = [i for i, name in enumerate(avatar.particles) if name.startswith("rim") or name == "tongue"]
    assert len(riders) > 50
    head = motion.transforms[:, JOINT["head"]]
    at = avatar.lift.points(avatar.rest.astype(float))[riders]
    rigid = np.einsum("tab,mb->tma", head[..., :3], at) + head[:, None, :, 3]
    own = motion.transforms[:, riders]
    own = np.einsum("tmab,mb->tma", own[..., :3], at) + own[..., 3]
    away = np.linalg.norm(own - rigid, axis=-1).max(axis=0)
    assert away[-1] > 0.003
    assert away[:-1].max() > 0.003


def test_the_torch_twin_agrees_in_single_precision(lively):
    motion, face = lively
    joints = motion.transforms[:, :J].copy()
    transforms = posed(Anatomy.of(likeness()), torch.from_numpy(joints), torch.from_numpy(face))
    np.testing.assert_allclose(transforms, particle_motion(likeness(), joints, face).transforms, atol=2e-6)


def test_at_rest_nothing_moves():
    motion = particle_motion(likeness(), *still(2))
    expected = np.broadcast_to(np.eye(3, 4), motion.transforms.shape)
    np.testing.assert_allclose(motion.transforms, expected, atol=1e-7)


def test_an_offset_moves_its_vertex_alone_by_its_length_at_the_faces_distance():
    avatar, (joints, face) = likeness(), still()
    nose = topology.NOSE_TIP
    face[0, nose] = (0.003, -0.002, 0.004)
    transforms = particle_motion(avatar, joints, face).transforms[0]
    moved = transforms[:, :, 3] - 0.0
    others = np.delete(np.arange(len(avatar.rest)), J + nose)
    np.testing.assert_allclose(moved[others], 0, atol=1e-8)
    depth = avatar.lift.points(avatar.rest.astype(float))[J + nose, 2]
    np.testing.assert_allclose(moved[J + nose], face[0, nose] * depth / avatar.lift.distance, rtol=1e-4)


def test_a_turned_head_turns_the_offsets_with_it():
    """A vertex that hangs on the head alone goes where the head takes the point v + offset, on the canvas."""
    avatar, (joints, face) = likeness(), still()
    turn = rotation(*(np.array([angle]) for angle in (0.3, 0.1, -0.2)))
    positions = avatar.rig.skeleton.positions
    canvas = chain(positions, {"head": turn}, {}, 1).astype(np.float32)
    joints = avatar.lift.transforms(canvas, avatar.rest[:J])
    nose = topology.NOSE_TIP
    np.testing.assert_allclose(avatar.rig.skin[nose, JOINT["head"]], 1, atol=1e-6)
    face[0, nose] = (0.004, 0.001, -0.003)
    found = particle_motion(avatar, joints, face).transforms[0, J + nose].astype(float)
    v, neck = avatar.rest[J + nose].astype(float), positions[JOINT["head"]].astype(float)
    shift = turn[0] @ (v + face[0, nose] / avatar.lift.metre - neck) + neck - v
    at = avatar.lift.points(v[None])[0]
    np.testing.assert_allclose(
        found[:, :3] @ at + found[:, 3], at + shift * at[2] / avatar.lift.camera.focal, atol=1e-6
    )
    np.testing.assert_allclose(found[:, :3], turn[0], atol=1e-6)


def test_the_chain_in_torch_is_the_skeletons_taken_into_space():
    avatar, rng = likeness(), np.random.default_rng(0)
    names = ("spine1", "neck", "head", "jaw", "left_eye", "right_shoulder")
    turns = {name: rotation(*rng.normal(0, 0.3, (3, 4))) for name in names}
    shifts = {"pelvis": rng.normal(0, 5, (4, 3)), "jaw": rng.normal(0, 2, (4, 3))}
    expected = chain(avatar.rig.skeleton.positions, turns, shifts, 4)
    anatomy = Anatomy.of(avatar, torch.float64)
    found = chained(anatomy, *({k: torch.from_numpy(v) for k, v in d.items()} for d in (turns, shifts)))
    lifted = avatar.lift.transforms(expected.astype(np.float32), avatar.rest[:J])
    np.testing.assert_allclose(found, lifted, atol=1e-6)
    np.testing.assert_allclose(anatomy.lowered(found), expected, atol=1e-9)


def test_gradients_of_posing_are_those_of_finite_differences(lively):
    motion, face = lively
    anatomy = Anatomy.of(likeness(), torch.float64)
    joints = torch.from_numpy(motion.transforms[2:3, :J].astype(float)).requires_grad_()
    offsets = torch.from_numpy(face[2:3].astype(float)).requires_grad_()
    # A joint's translation is metres, its rotation about 1: the step of 1e-6 is small for both.
    assert torch.autograd.gradcheck(lambda *x: posed(anatomy, *x), (joints, offsets), fast_mode=True)


def test_a_wider_opening_lets_more_light_in_and_only_there():
    gains = mouth_gains(likeness(), acting(controls(open=np.linspace(0, 1, 5)))[1])
    assert (np.diff(gains[:, INSIDE, 0], axis=0) >= 0).all()
    assert gains[0, INSIDE].max() < 0.8
    np.testing.assert_allclose(gains[-1, INSIDE], 1, atol=0.02)
    np.testing.assert_array_equal(np.delete(gains, INSIDE, axis=1), 1)


def test_the_light_in_a_grey_persons_mouth_is_grey():
    avatar = likeness()
    own = vars(avatar.gaussians) | {"colors": np.full_like(avatar.gaussians.colors, 0.5)}
    grey = replace(avatar, gaussians=Gaussians(**own), background=np.full_like(avatar.background, 0.5))
    face = acting(controls(open=0.1))[1]
    assert np.ptp(mouth_gains(avatar, face)[0, INSIDE[0]]) > 0.05
    assert np.ptp(mouth_gains(grey, face)[0, INSIDE[0]]) < 1e-6
