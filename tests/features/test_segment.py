import cv2
import numpy as np
import pytest

from rendered import render
from vivavoce.features.face import Face, find_faces
from vivavoce.features.segment import _connected, _corrected, _territory, person_prior
from vivavoce.features.solutions import to_uint8

RED, BLUE, GREEN = (200, 40, 30), (40, 60, 190), (30, 170, 60)


def face_at(x: float, y: float, height: float = 100.0) -> Face:
    """A flat face of the right outline: what is measured on it is its place and size."""
    angle = np.linspace(0, 2 * np.pi, 478, endpoint=False)
    points = np.stack([x + 0.4 * height * np.sin(angle), y + 0.5 * height * np.cos(angle), 0 * angle], axis=1)
    points[[10, 152]] = [(x, y - height / 2, 0), (x, y + height / 2, 0)]
    return Face(points.astype(np.float32), 0.0)


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray, Face]:
    """Someone in red before blue: the picture, where they are, where surely, and their face."""
    image = np.full((400, 400, 3), BLUE, np.uint8)
    person = np.zeros((400, 400), np.float32)
    cv2.circle(person, (200, 120), 70, (1.0,), -1)
    cv2.rectangle(person, (110, 200), (290, 399), (1.0,), -1)
    cv2.rectangle(person, (180, 180), (220, 210), (1.0,), -1)
    image[person > 0] = RED
    core = np.zeros((400, 400), bool)
    core[80:160, 165:235] = core[220:330, 150:250] = True
    return image, person, core, face_at(200, 120)


def test_furniture_of_another_colour_is_taken_from_the_person(scene):
    image, person, core, face = scene
    prior = np.where(person > 0, 0.95, 0.02).astype(np.float32)
    prior[300:400, 290:370] = 0.8  # the back of a chair
    corrected = _corrected(image, prior, face, core)
    assert ((corrected > 0.5) == (person > 0)).mean() > 0.995


def test_clothes_that_the_networks_missed_are_given_back(scene):
    image, person, core, face = scene
    prior = np.where(person > 0, 0.95, 0.02).astype(np.float32)
    prior[220:400, 110:150] = 0.4  # an arm, to which not half of them agree
    corrected = _corrected(image, prior, face, core)
    assert (corrected > 0.5)[230:390, 115:145].mean() > 0.95


def test_a_badge_is_no_hole(scene):
    image, person, core, face = scene
    image[340:370, 180:220] = BLUE
    prior = np.where(person > 0, 0.95, 0.02).astype(np.float32)
    assert _corrected(image, prior, face, core)[340:370, 180:220].min() > 0.5


def test_grey_pictures_without_any_difference_keep_the_networks_vote(scene):
    _, person, core, face = scene
    prior = np.where(person > 0, 0.9, 0.05).astype(np.float32)
    corrected = _corrected(np.full((400, 400, 3), 128, np.uint8), prior, face, core)
    assert ((corrected > 0.5) == (person > 0)).mean() > 0.98


def test_only_the_piece_with_the_face_and_large_ones_stay():
    prior = np.zeros((300, 300), np.float32)
    prior[50:200, 50:150] = 0.9
    prior[220:230, 250:260] = 0.9  # a speck
    prior[210:290, 20:120] = 0.9  # a hand's worth
    kept = _connected(prior, face_at(100, 120))
    assert kept[100, 100] == kept[250, 60] == np.float32(0.9)
    assert kept[225, 255] == 0


def test_neighbours_share_the_picture_half_way():
    left, right = face_at(150, 100), face_at(350, 100)
    mine = _territory((400, 500), left, [right])
    assert mine[100, 150] == mine[350, 150] == 1
    assert mine[100, 350] == mine[350, 350] == 0
    assert mine[100, 250] == pytest.approx(0.5, abs=0.05)
    theirs = _territory((400, 500), right, [left])
    assert np.abs(theirs + mine - 1).max() < 1e-3


def test_the_prior_is_right_up_to_the_width_of_a_finger():
    truth = render(9)
    image = to_uint8(truth.image)
    (face,) = find_faces(image)
    prior = person_prior(image, face, None, {}, [])
    wide = round(0.07 * face.height) | 1
    kernel = np.ones((wide, wide))
    sure = (cv2.erode(truth.matte, kernel) > 0.9) | (cv2.dilate(truth.matte, kernel) < 0.1)
    assert ((prior > 0.5) == (truth.matte > 0.5))[sure].mean() > 0.995
