import math

import numpy as np
import pytest

from portraits import portrait
from rendered import draw_hand, render
from vivavoce.features.body import Body, find_body, find_hands
from vivavoce.features.face import find_faces
from vivavoce.features.solutions import to_uint8

LEFT, RIGHT = 11, 12  # shoulders


@pytest.fixture(scope="module")
def waving() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Someone with both hands up, and where the points of the hands are, by the person's own side."""
    image = render(4).image.copy()
    right = draw_hand(image, (90, 400), 120)
    left = draw_hand(image, (420, 400), 120, mirrored=True)
    return to_uint8(image), {"left": left, "right": right}


def test_hands_are_found_where_they_were_drawn(waving):
    image, truth = waving
    (face,) = find_faces(image)
    hands = find_hands(image, face, find_body(image, face))
    assert set(hands) == {"left", "right"}
    for side, points in hands.items():
        assert np.linalg.norm(points[:, :2] - truth[side], axis=1).mean() < 0.04 * 120


@pytest.mark.parametrize("seen", ["left", "right"])
def test_a_hand_goes_to_the_nearest_wrist(waving, seen: str):
    image, truth = waving
    (face,) = find_faces(image)
    landmarks = np.zeros((33, 4), np.float32)
    landmarks[:, 3] = 1
    at = truth[seen][0]
    mine, other = ((15, 13), (16, 14)) if seen == "left" else ((16, 14), (15, 13))
    landmarks[[mine[0], mine[0] + 2, mine[0] + 4, mine[0] + 6], :2] = at - np.array([0, 40])
    landmarks[mine[1], :2] = at + np.array([0, 90])
    # The other wrist lies outside of the picture.
    landmarks[list(other), :2] = -200
    landmarks[:, 2] = 7.0
    hands = find_hands(image, face, Body(landmarks, np.zeros(image.shape[:2], np.float32)))
    assert list(hands) == [seen]
    assert hands[seen][0, 2] == pytest.approx(7.0)


def test_without_a_body_there_are_no_hands(waving):
    image, _ = waving
    (face,) = find_faces(image)
    assert find_hands(image, face, None) == {}


def test_shoulders_hang_below_the_face_and_swap_in_the_mirror():
    image = to_uint8(portrait("smile"))
    sides = []
    for picture in (image, np.ascontiguousarray(image[:, ::-1])):
        (face,) = find_faces(picture)
        body = find_body(picture, face)
        assert body is not None
        left, right = body.landmarks[LEFT], body.landmarks[RIGHT]
        assert left[0] > face.center[0] > right[0]
        assert min(left[1], right[1]) > face.landmarks[152, 1]
        assert body.landmarks[0, 2] < left[2]  # the nose is nearer to the camera
        assert 0.9 < body.matte[round(left[1]), round(left[0])] <= 1
        assert body.matte[5, 5] < 0.1
        sides.append((left, right))
    (left, right), (mirrored_left, mirrored_right) = sides
    assert math.dist((512 - mirrored_left[0], mirrored_left[1]), right[:2]) < 20
    assert math.dist((512 - mirrored_right[0], mirrored_right[1]), left[:2]) < 20


def test_each_of_several_people_has_their_own_body():
    image = to_uint8(portrait("five"))
    faces = find_faces(image)
    for i in (0, 1, 4):
        body = find_body(image, faces[i], [*faces[:i], *faces[i + 1 :]])
        assert body is not None
        assert math.dist(body.landmarks[0, :2], faces[i].landmarks[1, :2]) < 0.3 * faces[i].height
