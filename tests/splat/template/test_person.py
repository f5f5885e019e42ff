"""Whole people: what moves with what, and that a face detector finds their faces where they are."""

import numpy as np
import pytest
from people import LOOKS

from vivavoce.splat import topology
from vivavoce.splat.controls import CHANNELS, INDEX
from vivavoce.splat.skeleton import JOINT, JOINTS, rotation
from vivavoce.splat.template.look import FACE, TONGUE
from vivavoce.splat.template.person import build_person
from vivavoce.splat.template.stage import Light, Stage
from vivavoce.types import Camera


@pytest.fixture(scope="module")
def person():
    return build_person(LOOKS[0], detail=6.0)


def controls(frames=1, **values):
    out = np.zeros((frames, len(CHANNELS)), np.float32)
    for name, value in values.items():
        out[:, INDEX[name]] = value
    return out


def stage_of(person, size=256, field=0.45, background=0.6):
    distance = 2.6
    camera = Camera(size, size, size * distance / field, size / 2, size / 2)
    return Stage(
        person,
        camera,
        centre=person.joints["head"] - (0, 30, 0),
        distance=distance,
        light=Light(),
        background=np.full((size, size, 3), background, np.float32),
    )


def test_every_gaussian_hangs_on_particles_that_exist(person):
    binding = person.binding
    assert binding.indices.max() <= TONGUE
    assert np.allclose(binding.weights.sum(1), 1, atol=1e-4)
    hung = {int(i) for i in np.unique(binding.indices[binding.weights > 0])}
    assert {JOINT[n] for n in ("head", "jaw", "left_eye", "left_wrist", "right_index3", "pelvis")} <= hung
    assert TONGUE in hung
    assert sum(FACE <= i < TONGUE for i in hung) == topology.N_FACE


def test_covariances_are_flat_discs_in_the_surface(person):
    xx, xy, xz, yy, yz, zz = person.covariances[:2000].astype(float).T
    full = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], 1).reshape(-1, 3, 3)
    values, vectors = np.linalg.eigh(full)
    assert np.allclose(values[:, 1], values[:, 2], rtol=1e-3)
    assert np.allclose(values[:, 0], 0.04 * values[:, 2], rtol=1e-2)
    thin = np.abs((vectors[..., 0] * person.normals[:2000]).sum(1))
    assert thin.min() > 0.999


def test_at_rest_nothing_moves_and_an_opened_mouth_moves_the_jaw_alone(person):
    rest = person.rig.transforms(controls())[0]
    assert np.allclose(rest[:55, :, :3], np.eye(3), atol=1e-6)
    assert np.abs(rest[:55, :, 3]).max() < 1e-3
    opened = person.rig.transforms(controls(open=1.0, jaw=1.0))[0]
    at = person.face[:468]
    moved = np.einsum("vab,vb->va", opened[FACE:TONGUE, :, :3], at) + opened[FACE:TONGUE, :, 3]
    way = moved - at
    assert way[topology.CHIN, 1] > 8  # mm, downwards
    assert np.abs(way[[10, 33, 263, 4]]).max() < 1.0
    assert moved[14, 1] - moved[13, 1] > 15


def test_given_turns_take_the_place_of_the_controls(person):
    raised = rotation(*(np.array([v]) for v in (0.0, 0.0, 1.2)))
    plain = person.rig.transforms(controls(hand_left=1.0))[0]
    turned = person.rig.transforms(controls(hand_left=1.0), {"left_elbow": raised})[0]
    assert not np.allclose(plain[JOINT["left_elbow"]], turned[JOINT["left_elbow"]])
    assert np.allclose(turned[JOINT["left_elbow"], :, :3], raised[0], atol=1e-6)
    assert np.allclose(plain[JOINT["head"]], turned[JOINT["head"]])


@pytest.mark.parametrize("k", range(len(LOOKS)))
def test_a_face_detector_finds_the_landmarks_where_they_are(k):
    from vivavoce.features.face import detect, mesh

    person = build_person(LOOKS[k], detail=3.0)
    stage = stage_of(person)
    for case in (controls(), controls(open=0.6, jaw=0.5), controls(head_yaw=0.2)):
        template = person.rig.transforms(case)
        image, _ = stage.draw(stage.transforms(template)[0], case[0])
        pixels = (image.clip(0, 1) * 255).round().astype(np.uint8)
        at = np.einsum("vab,vb->va", template[0, FACE:TONGUE, :, :3], person.face[:468])
        true = stage.project(at + template[0, FACE:TONGUE, :, 3])
        found = mesh(pixels, detect(pixels)[0])
        assert found is not None
        far = np.linalg.norm(found.landmarks[:468, :2] - true, axis=1)
        assert np.median(far) < 0.02 * np.linalg.norm(true[454] - true[234])


def test_the_picture_is_the_same_whether_backs_are_drawn_or_not(person):
    stage = stage_of(person)
    template = person.rig.transforms(controls())
    image, alpha = stage.draw(stage.transforms(template)[0], controls()[0])
    whole = np.zeros(len(person.means), bool) | True
    everything = Stage(
        type(person)(**{**vars(person), "inside": whole}),
        stage.camera,
        centre=person.joints["head"] - (0, 30, 0),
        distance=2.6,
        light=Light(),
        background=stage.background,
    )
    _, other = everything.draw(everything.transforms(template)[0], controls()[0])
    assert np.abs(alpha - other).mean() < 0.01  # only at the outline, where discs are seen edge-on
    assert image.shape == (256, 256, 3)


def test_projected_points_are_where_the_picture_has_them(person):
    stage = stage_of(person, background=1.0)
    template = person.rig.transforms(controls())
    _, alpha = stage.draw(stage.transforms(template)[0], controls()[0])
    y, x = np.nonzero(alpha > 0.5)
    ears = stage.project(person.face[[234, 454]])
    # The head's silhouette at the height of the ears is about as wide as the face and its ears.
    row = np.abs(y - ears[:, 1].mean()) < 3
    assert x[row].min() < ears[0, 0] < x[row].min() + 30
    assert x[row].max() - 30 < ears[1, 0] < x[row].max()
    assert len(JOINTS) == FACE
