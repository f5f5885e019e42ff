"""Eyeballs behind the lids: where they turn, what they hang on, and whose iris they have."""

import numpy as np
import pytest

from vivavoce.splat import topology
from vivavoce.splat.eyes import EYE_DEPTH_MM, eye_layer, eyeball_centres
from vivavoce.splat.faceframe import measure_face
from vivavoce.splat.sheet import hole_masks

LIDS = {
    "left_eye": (topology.LEFT_IRIS, topology.LEFT_LID_UPPER + topology.LEFT_LID_LOWER),
    "right_eye": (topology.RIGHT_IRIS, topology.RIGHT_LID_UPPER + topology.RIGHT_LID_LOWER),
}
PARTICLES = {"left_eye": 23, "right_eye": 24}


@pytest.fixture(scope="module")
def frame(canvas):
    return measure_face(canvas.face)


@pytest.fixture(scope="module")
def open_eyes(canvas, built) -> np.ndarray:
    return hole_masks(built.sheet, canvas.matte.shape)[1]


@pytest.fixture(scope="module")
def eyes(canvas, frame, open_eyes):
    layers = eye_layer(canvas.image, open_eyes, canvas.face, frame, PARTICLES)
    return {int(layer.binding.indices[0, 0]): layer for layer in layers}


def test_eyeballs_turn_about_points_behind_the_irises(canvas, frame):
    centres = eyeball_centres(canvas.face, frame)
    for name, (iris, lids) in LIDS.items():
        inward = frame.axes[2]
        offset = centres[name] - canvas.face[iris]
        front = canvas.face[list(lids), 2].mean()
        np.testing.assert_allclose(offset[:2], EYE_DEPTH_MM * frame.millimetre * inward[:2], atol=0.5)
        assert centres[name][2] == pytest.approx(
            front + 11 * frame.millimetre * inward[2], abs=frame.millimetre
        )
    apart = np.linalg.norm(centres["left_eye"] - centres["right_eye"]) / frame.millimetre
    assert apart == pytest.approx(63, rel=0.03)


def test_each_eye_hangs_on_its_own_eyeball(eyes, canvas):
    assert set(eyes) == {23, 24}
    for name, particle in PARTICLES.items():
        layer, (_, lids) = eyes[particle], LIDS[name]
        np.testing.assert_array_equal(layer.binding.indices[:, 0], particle)
        middle = canvas.face[list(lids), :2].mean(0)
        span = np.ptp(canvas.face[list(lids), 0])
        assert np.linalg.norm(layer.points[:, :2] - middle, axis=1).max() < span


def test_eyes_fill_the_opening_and_reach_under_the_lids(eyes, open_eyes, frame):
    covered = np.zeros_like(open_eyes)
    for layer in eyes.values():
        x, y = (layer.points[:, k].astype(int) for k in (0, 1))
        covered[y, x] = True
    assert covered[open_eyes].all()
    rows = [np.ptp(np.nonzero(mask.any(1))[0]) for mask in (covered, open_eyes)]
    assert rows[0] >= rows[1] + 3 * frame.millimetre


def test_eyes_lie_behind_the_lids(eyes, canvas):
    for name, particle in PARTICLES.items():
        lids = canvas.face[list(LIDS[name][1]), 2]
        assert eyes[particle].points[:, 2].min() > lids.mean()


def test_what_the_photo_shows_of_an_eye_is_kept(eyes, canvas, open_eyes):
    import cv2

    core = cv2.erode(open_eyes.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    for layer in eyes.values():
        x, y = (layer.points[:, k].astype(int) for k in (0, 1))
        seen = core[y, x]
        assert seen.sum() > 20
        np.testing.assert_allclose(layer.colors[seen], canvas.image[y, x][seen], atol=1.5 / 255)


def test_under_the_lids_the_eye_goes_on_instead_of_the_skin(eyes, canvas, open_eyes):
    """What was filled in is no copy of the photo, whose lids lie there."""
    for layer in eyes.values():
        x, y = (layer.points[:, k].astype(int) for k in (0, 1))
        hidden = ~open_eyes[y, x]
        assert np.abs(layer.colors[hidden] - canvas.image[y, x][hidden]).mean() > 0.02
