"""Numbers of a pose against the rig's own motion, what landmarks suggest, and what a detector sees."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from likeness import HEIGHT, WIDTH, acting, aperture, controls, degrees, likeness, shot
from vivavoce.personal.freedoms import EXPRESSIONS, GAZE, LIMBS, Freedoms
from vivavoce.personal.guess import Guesser
from vivavoce.personal.posing import particle_motion
from vivavoce.personal.sightings import POINTS, Watcher, rest_points
from vivavoce.splat.rig import JAW_DROP
from vivavoce.splat.skeleton import JOINT, JOINTS
from vivavoce.splat.topology import N_FACE

J = len(JOINTS)


@pytest.fixture(scope="module")
def freedoms():
    return Freedoms.of(likeness())


def decoded(freedoms, numbers):
    joints, face = freedoms.decode(numbers, torch.zeros(len(numbers), N_FACE, 3))
    return joints.numpy(), face.numpy()


def numbers_of(freedoms, **parts):
    """One frame's numbers with these parts set; turns by the limb's name, radians."""
    numbers = torch.zeros(1, freedoms.size)
    split = freedoms.split(numbers)
    for name, value in parts.items():
        if name in LIMBS:
            k = freedoms.limbs.index(name)
            split["turns"][0, 3 * k : 3 * k + 3] = torch.tensor(value) / LIMBS[name][1]
        else:
            split[name][0] = torch.as_tensor(value)
    return numbers


def photos_jaw():
    """The jaw channel of the photo's own pose: a parted mouth has it lowered by 0.55 of the gap."""
    frame = likeness().rig.frame
    return 0.55 * frame.gap / (JAW_DROP * frame.millimetre)


def test_zeros_are_the_photos_own_pose(freedoms):
    joints, face = decoded(freedoms, torch.zeros(2, freedoms.size))
    np.testing.assert_allclose(joints, np.broadcast_to(np.eye(3, 4), joints.shape), atol=1e-6)
    np.testing.assert_allclose(face, 0, atol=1e-8)


def test_only_what_the_photo_shows_is_free(freedoms):
    seen = likeness().rig.skeleton.seen
    assert {"head", "torso"} <= set(freedoms.limbs)
    assert ("left_shoulder" in freedoms.limbs) == ("left_shoulder" in seen)
    assert "left_wrist" not in seen | set(freedoms.limbs)
    assert freedoms.size == 3 * len(freedoms.limbs) + 2 + 3 + 1 + len(EXPRESSIONS) + 1


@pytest.mark.parametrize(
    ("channels", "parts"),
    [
        ({"head_yaw": 0.2}, {"head": (0.0, -0.2, 0.0)}),
        ({"head_pitch": 0.2}, {"head": (0.2, 0.0, 0.0)}),
        ({"torso_roll": 0.1}, {"torso": (0.0, 0.0, 0.1)}),
        ({"gaze_x": 0.15}, {"gaze": (0.15 / GAZE, 0.0)}),
        ({"gaze_y": 0.15}, {"gaze": (0.0, 0.15 / GAZE)}),
        ({"jaw": 0.8}, {"jaw": 0.8}),
    ],
)
def test_joints_are_those_of_the_rig_under_its_controls(freedoms, channels, parts):
    jaw = channels.get("jaw", 0.0)
    wanted, _ = acting(controls(**{"jaw": photos_jaw(), **channels}))
    joints, _ = decoded(
        freedoms, numbers_of(freedoms, **{**parts, "jaw": jaw - photos_jaw() if jaw else 0.0})
    )
    np.testing.assert_allclose(joints, wanted.transforms[:, :J], atol=2e-5)


@pytest.mark.parametrize("name", ["open", "smile", "blink"])
def test_a_face_is_that_of_the_rig_with_the_mouth_at_rest(freedoms, name):
    """Of two expressions at once the rig's is not quite the sum, of one it is."""
    expressions = torch.zeros(len(EXPRESSIONS) + 1)
    expressions[EXPRESSIONS.index(name)] = expressions[-1] = 1
    _, wanted = acting(controls(**{name: 1.0, "jaw": 1.0}))
    _, face = decoded(freedoms, numbers_of(freedoms, face=expressions, jaw=1 - photos_jaw()))
    assert np.abs(wanted).max() > 0.004
    np.testing.assert_allclose(face, wanted, atol=1e-5)


def test_gradients_reach_every_number(freedoms):
    numbers = torch.zeros(1, freedoms.size, requires_grad=True)
    own = torch.zeros(1, N_FACE, 3, requires_grad=True)
    joints, face = freedoms.decode(numbers, own)
    mix = torch.Generator().manual_seed(0)
    (joints * torch.randn(joints.shape, generator=mix)).sum().add(
        (face * torch.randn(face.shape, generator=mix)).sum()
    ).backward()
    for gradient in (numbers.grad, own.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
        assert (gradient != 0).all()


def seen_points(motion):
    """Where the camera sees the landmarks of a motion, on the canvas; z is that of space, from the face's plane."""
    avatar = likeness()
    lift = avatar.lift
    carriers = [*range(J, J + N_FACE), JOINT["right_eye"], JOINT["left_eye"]]
    at, T = lift.points(rest_points(avatar).astype(float)), motion.transforms[:, carriers].astype(float)
    x = np.einsum("tmab,mb->tma", T[..., :3], at) + T[..., 3]
    flat = lift.camera.focal * x[..., :2] / x[..., 2:] + (lift.camera.cx, lift.camera.cy) + lift.pad
    return np.concatenate([flat, (x[..., 2:] - lift.distance) / lift.metre], -1).astype(np.float32)


@pytest.fixture(scope="module")
def scene():
    t = np.array([0.0, 0.3, 0.6, 0.9])
    yaw = np.array([0.0, 0.2, -0.15, 0.1])
    return acting(controls(**{"open": t, "jaw": t, "head_yaw": yaw, "head_pitch": yaw / 2, "gaze_x": 0.1}))


def test_exact_landmarks_suggest_the_pose_that_they_were_taken_from(freedoms, scene):
    motion, face = scene
    guess = Guesser.of(likeness(), freedoms)
    before = numbers_of(freedoms, torso=(0.0, 0.0, 0.01))[0]
    numbers = torch.stack([guess(points, before) for points in seen_points(motion)])
    assert torch.equal(before, numbers_of(freedoms, torso=(0.0, 0.0, 0.01))[0])
    torso = freedoms.limbs.index("torso")
    kept = numbers[:, 3 * torso : 3 * torso + 3]
    assert torch.equal(kept, before[3 * torso : 3 * torso + 3].expand(4, -1))
    joints, found = decoded(freedoms, numbers)
    head, eye = JOINT["head"], JOINT["left_eye"]
    assert degrees(joints[:, head, :, :3], motion.transforms[:, head, :, :3]).max() < 1
    gaze = np.einsum("tba,tbc->tac", motion.transforms[:, head, :, :3], motion.transforms[:, eye, :, :3])
    own = np.einsum("tba,tbc->tac", joints[:, head, :, :3], joints[:, eye, :, :3])
    assert degrees(own, gaze).max() < 4
    assert np.corrcoef(aperture(found), aperture(face))[0, 1] > 0.99
    np.testing.assert_allclose(aperture(found), aperture(face), atol=0.1)


def test_a_detector_sees_a_drawn_face_move_as_it_moves(scene):
    motion, _ = scene
    watcher = Watcher.of(likeness(), WIDTH, HEIGHT)
    height = likeness().rig.frame.height
    for frame, points in zip(shot(motion), seen_points(motion), strict=True):
        found = watcher(frame)
        assert found is not None
        assert found.shape == (len(POINTS), 3)
        assert np.linalg.norm((found - points)[:, :2], axis=1).mean() < 0.025 * height


def test_frames_of_another_size_are_seen_in_the_same_places():
    still = particle_motion(
        likeness(),
        np.tile(np.eye(3, 4, dtype=np.float32), (1, J, 1, 1)),
        np.zeros((1, N_FACE, 3), np.float32),
    )
    watcher = Watcher.of(likeness(), 2 * WIDTH, 2 * HEIGHT)
    found = watcher(shot(still, 2 * WIDTH, 2 * HEIGHT)[0])
    assert found is not None
    np.testing.assert_allclose(
        found, rest_points(likeness()), atol=1e-3
    )  # what it misses at rest is taken off


def test_no_face_is_seen_in_a_grey_frame_and_none_far_from_where_it_rests():
    watcher = Watcher.of(likeness(), WIDTH, HEIGHT)
    assert watcher(np.full((HEIGHT, WIDTH, 3), 128, np.uint8)) is None
    frame = shot(acting(controls())[0])[0]
    assert watcher(frame) is not None
    x, y = watcher.middle
    assert replace(watcher, middle=(x + 1.5 * watcher.height, y))(frame) is None
