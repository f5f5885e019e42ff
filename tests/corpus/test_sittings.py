"""People who sit for pictures: what is told of a view is what it shows, and what is drawn when."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from vivavoce.corpus.synth import sitter as module
from vivavoce.corpus.synth.orders import BOTH, PEOPLE, Corpus, orders
from vivavoce.corpus.synth.sitter import Sitter, rest_particles
from vivavoce.corpus.synth.views import WIDEST, Sittings, around, frontal, sides, subjects
from vivavoce.splat import topology
from vivavoce.splat.lhm.template import CANONICAL, PersonTemplate
from vivavoce.splat.skeleton import JOINT
from vivavoce.splat.template.person import build_person
from vivavoce.splat.template.stage import Light

COARSE = {"detail": 12.0, "drawn": 96}
HAND = 85  # the first of the left hand's points: its wrist
FINGERS = ("thumb", "index", "middle", "ring", "pinky")


@pytest.fixture(scope="module")
def people():
    return subjects(6, 0)


@pytest.fixture(scope="module")
def heavy(people):
    """Somebody who is not built as the template is."""
    return next(
        s for s in subjects(40, 0)[0] if s.attributes.body == "heavy" and s.attributes.gender == "man"
    )


@pytest.fixture(scope="module")
def sitter(heavy):
    return Sitter(heavy, **COARSE)


def in_camera(shot, points):
    """Where points of the template, each riding on a particle of its own, lie before the camera, metres."""
    posed = np.einsum("nab,nb->na", shot.pose[:, :, :3], points) + shot.pose[:, :, 3]
    return posed @ shot.extrinsics[:, :3].T + shot.extrinsics[:, 3]


def relative(camera, points):
    at = points[:, :2] / points[:, 2:] * camera.focal + (camera.cx, camera.cy)
    return 2 * at / (camera.width, camera.height) - 1


@pytest.mark.parametrize("yaw", [0.0, 20.0, -35.0])
def test_the_template_s_joints_come_to_where_the_person_s_are_seen(sitter, yaw):
    shot = sitter.shot(1, yaw, 96)
    template = rest_particles(build_person(CANONICAL, detail=20.0)) / 1000
    found = relative(sitter.camera(96), in_camera(shot, template))
    joints = [JOINT[f"left_{finger}{k}"] for finger in FINGERS for k in (1, 2, 3)]
    places = [HAND + 1 + 4 * i + k for i in range(5) for k in range(3)]
    seen = shot.keypoints[places, 2] > 0
    assert seen.any()
    assert np.abs(found[joints][seen] - shot.keypoints[places, :2][seen]).max() < 1e-4
    assert (
        np.abs(found[55 + topology.NOSE_TIP] - shot.keypoints[0, :2]).max() < 1e-4
    )  # the nose's tip is a vertex of the face


def test_the_template_s_surface_lies_on_the_person(sitter):
    template = PersonTemplate().sample(512)
    binding = template.binding
    for yaw in (0.0, 30.0):
        shot = sitter.shot(3, yaw, 96)
        maps = (binding.weights[:, :, None, None] * shot.pose[binding.indices]).sum(1)
        posed = np.einsum("nab,nb->na", maps[:, :, :3], template.points) + maps[:, :, 3]
        at = relative(sitter.camera(96), posed @ shot.extrinsics[:, :3].T + shot.extrinsics[:, 3])
        inside = (np.abs(at) < 1).all(axis=1)
        column, row = ((at[inside] + 1) / 2 * 96).astype(int).T
        near = binary_dilation(shot.alpha > 100, iterations=2)
        assert inside.sum() > 200
        assert near[row, column].mean() > 0.97


def test_one_who_is_built_as_the_template_is_only_moved(people, monkeypatch):
    monkeypatch.setattr(module, "look_of", lambda attributes, seed: CANONICAL)
    pose = Sitter(people[0][0], **COARSE).shot(1, 0.0, 96).pose.astype(float)
    R = pose[..., :3]
    assert np.allclose(R @ R.swapaxes(1, 2), np.eye(3), atol=1e-5)
    legs = [JOINT["left_hip"], JOINT["right_ankle"], JOINT["pelvis"]]  # which nothing moves
    assert np.allclose(pose[legs], np.eye(3, 4), atol=1e-6)


def test_a_person_is_scaled_by_stature_and_the_head_by_the_face(sitter):
    pose, look = sitter.shot(0, 0.0, 96).pose.astype(float), sitter.person.look
    size = np.cbrt(np.linalg.det(pose[..., :3]))
    assert size[JOINT["left_elbow"]] == pytest.approx(look.build.stature / 1700, rel=1e-5)
    assert size[JOINT["jaw"]] == pytest.approx(look.build.face / 177, rel=1e-5)
    assert np.allclose(size[55:], look.build.face / 177, rtol=1e-5)


def test_a_positive_yaw_turns_to_the_picture_s_right_about_the_middle(sitter):
    shots = {yaw: sitter.shot(0, yaw, 96) for yaw in (-30.0, 0.0, 30.0)}
    turned = {yaw: s.keypoints[0, 0] - s.keypoints[[5, 6], 0].mean() for yaw, s in shots.items()}
    assert turned[-30.0] < turned[0.0] - 0.05
    assert turned[30.0] > turned[0.0] + 0.05
    centre = np.array([0.0, -0.25 * sitter.person.look.build.stature / 1000, 0.0])
    for shot in shots.values():
        R = shot.extrinsics[:, :3].astype(float)
        assert np.allclose(R @ R.T, np.eye(3), atol=1e-6)
        assert np.allclose(R @ centre + shot.extrinsics[:, 3], (0, 0, 2.6), atol=1e-5)


def test_the_lamp_stays_with_the_person(heavy, monkeypatch):
    monkeypatch.setattr(module, "light", lambda rng: Light((-1.0, 0.0, -0.2), 0.1))
    sitter = Sitter(heavy, **COARSE)
    brighter = []
    for yaw in (0.0, 180.0):  # from behind the lit side is the other one
        shot = sitter.shot(0, yaw, 96)
        left, right = (
            shot.image[:, half][shot.alpha[:, half] > 250].mean() for half in (slice(48), slice(48, 96))
        )
        brighter.append(left / right)
    assert brighter[0] > 1.2
    assert brighter[1] < 1 / 1.2


def test_lips_are_shut_in_even_poses_alone(sitter):
    gaps = []
    for number in range(8):
        points = sitter.shot(number, 0.0, 96).keypoints
        inner = points[17 + 60 : 17 + 68, :2]
        gaps.append(np.linalg.norm(inner[2] - inner[6]))
    assert max(gaps[::2]) < 0.012
    assert np.mean(gaps[1::2]) > 2 * np.mean(gaps[::2])


def test_the_people_are_split_as_the_corpus_is():
    trained, held = subjects(40, 3)
    every = orders(Corpus(40, 1.0, 96, 96, 25.0, 3)).items()
    away = {order.person for _, order in every if order.split in (PEOPLE, BOTH)}
    assert {s.seed for s in held} == away
    assert {s.seed for s in trained} == {order.person for _, order in every} - away
    assert [s.name for s in trained + held] == [f"{k:04d}" for k in range(40)]


def test_pictures_are_on_white_and_alpha_tells_where(sitter):
    shot = sitter.shot(0, 0.0, 64)
    assert shot.image.shape == (64, 64, 3)
    assert shot.alpha.shape == (64, 64)
    assert (shot.image[shot.alpha == 0] == 255).all()
    assert 0.2 < (shot.alpha > 128).mean() < 0.7
    assert shot.alpha[60, 32] > 240


def yaw_of(shot):
    R = shot.extrinsics[:, :3]
    return -np.degrees(np.arctan2(R[0, 2], R[0, 0]))


def test_sittings_are_what_their_plan_says(people):
    trained, _ = people
    made = Sittings(trained[:2], each=2, photo=64, size=32, **COARSE)
    again = Sittings(trained[1:2], each=2, photo=64, size=32, **COARSE)
    assert len(made) == 4
    assert made[0].name == f"{trained[0].name}-0"
    for index in (1, 0):
        one, other = made[2 + index], again[index]
        assert one.name == other.name == f"{trained[1].name}-{index}"
        assert np.array_equal(one.photo.image, other.photo.image)
        assert all(np.array_equal(a.image, b.image) for a, b in zip(one.views, other.views, strict=True))
        assert [v.image.shape for v in one.views] == [(32, 32, 3)] * 4
        yaws = [yaw_of(view) for view in one.views]
        assert yaws[0] == pytest.approx(0, abs=1e-3)
        assert -WIDEST <= yaws[1] <= 0 <= yaws[2] <= WIDEST
        poses = [view.pose for view in one.views]
        assert all(np.array_equal(pose, one.photo.pose) for pose in poses[:3])
        assert not np.allclose(poses[3], poses[0], atol=1e-3)
    assert not np.array_equal(made[2].photo.image, made[3].photo.image)


def test_sides_and_frontal_views(people):
    judged = Sittings(people[1][:1], each=1, plan=sides, photo=32, size=32, **COARSE)[0]
    assert [yaw_of(view) for view in judged.views] == pytest.approx([0, 20, -20], abs=1e-3)
    assert all(np.array_equal(view.pose, judged.photo.pose) for view in judged.views)
    own = Sittings(people[1][:1], each=2, plan=frontal, photo=32, size=32, **COARSE)
    for index in range(2):
        assert np.array_equal(own[index].photo.image, judged.photo.image)
        assert [yaw_of(view) for view in own[index].views] == pytest.approx([0] * 6, abs=1e-3)
    different = {view.pose.tobytes() for i in range(2) for view in own[i].views}
    assert len(different) == 11


def test_another_plan_size_or_person_is_another_fingerprint(people):
    one = Sittings(people[0][:2], each=2)
    others = [
        Sittings(people[0][:1], each=2),
        Sittings(people[0][:2], each=3),
        Sittings(people[0][:2], each=2, plan=sides),
        Sittings(people[0][:2], each=2, size=64),
    ]
    assert one.fingerprint == Sittings(people[0][:2], each=2, plan=around).fingerprint
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 5
