"""Where an avatar's points are, and where a teacher's frames show them."""

import numpy as np
import pytest
import taught
import torch

from vivavoce.features.physical_state import FACE_POINTS
from vivavoce.personal.body import keypoints, projected, rest_of
from vivavoce.personal.view import FACE, view_of
from vivavoce.splat.skeleton import JOINT, JOINTS
from vivavoce.train.moving import Body, places


@pytest.fixture(scope="module")
def avatar():
    return taught.avatar()


@pytest.fixture(scope="module")
def body(avatar):
    return Body.of(rest_of(avatar))


def seen_at(avatar, view):
    """Pixels of the face's vertices in a view's window, from the canvas that they were found on."""
    at = avatar.rest[FACE, :2] - avatar.lift.pad
    scale = np.array([view.whole.width, view.whole.height]) / (
        avatar.lift.camera.width,
        avatar.lift.camera.height,
    )
    return at * scale - (view.left, view.top)


@pytest.mark.parametrize("size", [(96, 96), (64, 128), (120, 60)])
def test_points_are_seen_where_the_photo_shows_them(avatar, body, size):
    view = view_of(avatar, *size)
    assert (view.camera.width, view.camera.height) == size
    flat = (projected(body.vertices, view.camera).numpy() + 1) / 2 * size
    np.testing.assert_allclose(flat, seen_at(avatar, view), atol=0.1)  # its sides are whole pixels


def test_the_window_lies_in_the_photo_and_shows_the_face(avatar):
    for size in ((96, 96), (64, 128), (120, 60)):
        view = view_of(avatar, *size)
        assert 0 <= view.left <= view.whole.width - size[0]
        assert 0 <= view.top <= view.whole.height - size[1]
        assert view.whole.width == size[0] or view.whole.height == size[1]
        middle = seen_at(avatar, view).mean(axis=0)
        assert (middle > 0.2 * np.array(size)).all()
        assert (middle < 0.8 * np.array(size)).all()


def test_frames_stand_in_the_photo_they_were_cut_from(avatar):
    view = view_of(avatar, 64, 128)
    photo = np.random.default_rng(0).random((view.whole.height, view.whole.width, 3)).astype(np.float32)
    scaled = view.scaled(photo)
    frames = np.stack([scaled[view.window], 255 - scaled[view.window]])
    whole = view.within(frames, scaled)
    assert np.array_equal(whole[0], scaled)
    assert np.array_equal(whole[1][view.window], frames[1])
    whole[1][view.window] = scaled[view.window]
    assert np.array_equal(whole[1], scaled)


def test_the_rest_is_the_avatars_own(avatar):
    rest = rest_of(avatar)
    anchors = avatar.lift.points(avatar.rest.astype(np.float64))
    np.testing.assert_allclose(rest.joints, anchors[: len(JOINTS)], atol=1e-6)
    np.testing.assert_allclose(rest.riders[:-1], anchors[FACE], atol=1e-6)
    np.testing.assert_allclose(rest.skin.sum(axis=1), 1, atol=1e-5)
    assert rest.mouth == pytest.approx(avatar.rig.lips.width * avatar.lift.metre)
    assert rest.surface.shape == (192, 3)


def test_keypoints_are_those_of_the_figure(avatar, body):
    camera = view_of(avatar, 96, 96).camera
    still = torch.eye(3, 4).expand(1, len(JOINTS), 3, 4)
    found = keypoints(
        body.vertices[None],
        places(still, body.face[None], body),
        frozenset(("left_wrist", "left_index1")),
        camera,
    )[0]
    flat = projected(body.vertices, camera)
    for k in (0, 3, 36, 60):
        wanted = flat[list(FACE_POINTS[k])].mean(dim=0)
        torch.testing.assert_close(found[17 + k, :2], wanted)
    assert found[17:85, 2].eq(1).all()
    assert found[85:106, 2].eq(1).all()
    for part in (found[:17], found[106:]):
        assert not part.any()
    joints = projected(body.joints, camera)
    order = ["wrist", "thumb1", "thumb2", "thumb3", None, "index1", "index2", "index3", None, "middle1"]
    for k, name in enumerate(order):
        if name:
            torch.testing.assert_close(found[85 + k, :2], joints[JOINT[f"left_{name}"]])
