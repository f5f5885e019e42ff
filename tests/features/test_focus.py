"""Where errors count more."""

import numpy as np
import pytest

from vivavoce.features.focus import focus_of


def points(frames=1):
    return np.zeros((frames, 127, 3), np.float32)


def test_without_anybody_every_pixel_counts_alike():
    assert (focus_of(points(3), 32, 24) == 1).all()
    assert focus_of(points(3), 32, 24).shape == (3, 24, 32)


def test_weights_are_highest_in_the_middle_of_what_is_seen():
    given = points()
    left_hand = slice(85, 106)
    angle = np.linspace(0, 2 * np.pi, 21, endpoint=False)
    given[0, left_hand, :2] = np.stack([0.5 + 0.1 * np.cos(angle), -0.25 + 0.1 * np.sin(angle)], 1)
    given[0, left_hand, 2] = 1
    found = focus_of(given, 64, 64)[0]
    y, x = np.unravel_index(found.argmax(), found.shape)
    # x = 0.5 of half a width is pixel 48, y = -0.25 is pixel 24; centres lie at halves.
    assert (x, y) == (pytest.approx(47.5, abs=1), pytest.approx(23.5, abs=1))
    assert found.max() == pytest.approx(4, abs=0.1)
    assert found[60, 2] == pytest.approx(1, abs=0.01)


def test_the_mouth_counts_more_than_the_face_around_it():
    given = points()
    face = slice(17, 85)
    rng = np.random.default_rng(0)
    given[0, face, :2] = rng.uniform(-0.5, 0.5, (68, 2))
    given[0, 17 + 48 : 85, :2] = rng.uniform(-0.05, 0.05, (20, 2)) + np.array([0.0, 0.3])
    given[0, face, 2] = 1
    found = focus_of(given, 64, 64)[0]
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert (x, y) == (pytest.approx(31.5, abs=3), pytest.approx(41, abs=4))


def test_hidden_points_do_not_pull():
    given = points()
    given[0, 85:106] = (0.5, 0.5, 1.0)
    given[0, 100:106] = 0  # some fingers are not seen, and written as zeros
    found = focus_of(given, 64, 64)[0]
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert (x, y) == (pytest.approx(47.5, abs=1), pytest.approx(47.5, abs=1))
