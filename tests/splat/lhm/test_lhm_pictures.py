"""Crops of head and hands by keypoints."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from published_lhm import PLAIN, SMALL

from vivavoce.features.physical_state import POINTS
from vivavoce.splat.lhm.config import HandsConfig
from vivavoce.splat.lhm.pictures import hand_box, head_box, look_at, square

CROP = (32, 24)
CONFIG = replace(SMALL, hands=HandsConfig(width=8, layers=1, heads=2, patch=8, crop=CROP))


def keypoints(width=200, height=100, **boxes):
    """Keypoints of parts that fill boxes (left, top, right, bottom) in a picture of this size."""
    out = np.zeros((POINTS, 3), np.float32)
    first = {"face": (17, 68), "left_hand": (85, 21), "right_hand": (106, 21)}
    for part, (left, top, right, bottom) in boxes.items():
        start, count = first[part]
        t = np.linspace(0, 1, count)
        pixels = np.c_[left + t * (right - left), top + t * (bottom - top)]
        out[start : start + count, :2] = 2 * pixels / (width, height) - 1
        out[start : start + count, 2] = 1
    return out


def test_a_hand_s_crop_is_twice_as_high_as_the_hand_and_has_the_encoder_s_shape():
    points = keypoints(left_hand=(40, 30, 56, 50))
    assert hand_box(points, "left", (100, 200), CROP) == (33, 20, 30, 40)


def test_a_head_s_crop_is_a_square_that_reaches_above_the_brows():
    left, top, width, height = head_box(keypoints(face=(90, 40, 110, 60)), (100, 200))
    assert width == height == 38
    assert left == 81
    assert top == 27  # the middle of the points at 50, less a fifth of 20, less half of 38


@pytest.mark.parametrize("shown", [8, 9])
def test_a_hand_counts_as_seen_from_two_fifths_of_its_keypoints(shown):
    points = keypoints(right_hand=(40, 30, 56, 50))
    points[106 + shown : 127] = 0
    assert (hand_box(points, "right", (100, 200), CROP) is None) == (shown == 8)
    assert hand_box(points, "left", (100, 200), CROP) is None


def test_a_hand_of_a_pixel_is_none():
    assert hand_box(keypoints(left_hand=(40, 30, 41, 31)), "left", (100, 200), CROP) is None
    assert head_box(keypoints(face=(40, 30, 41, 31)), (100, 200)) is None


def test_left_hands_are_mirrored_and_unseen_ones_told():
    picture = torch.rand(2, 3, 100, 200)
    points = np.stack([keypoints(left_hand=(40, 30, 56, 50), right_hand=(120, 30, 136, 50)), keypoints()])
    images = look_at(picture, points, CONFIG)
    assert images.seen.tolist() == [[True, True], [False, False]]
    assert not images.hands[1].any()
    mirrored = look_at(picture.flip(-1), points, CONFIG)
    # In the mirrored picture, what lay at 120..136 lies at 64..80: moved there, a right hand becomes a left one.
    points[0] = keypoints(left_hand=(64, 30, 80, 50), right_hand=(144, 30, 160, 50))
    mirrored = look_at(picture.flip(-1), points, CONFIG)
    torch.testing.assert_close(mirrored.hands[0, 0], images.hands[0, 1])
    torch.testing.assert_close(mirrored.hands[0, 1], images.hands[0, 0])


def test_a_crop_shows_the_picture_in_it_and_white_beyond_its_border():
    config = replace(CONFIG, hands=HandsConfig(width=8, layers=1, heads=2, patch=8, crop=(40, 30)))
    picture = torch.rand(1, 3, 100, 200)
    inside = look_at(picture, keypoints(right_hand=(40, 30, 56, 50))[None], config)
    torch.testing.assert_close(inside.hands[0, 1], picture[0, :, 20:60, 33:63])
    across = look_at(picture, keypoints(right_hand=(0, 0, 16, 20))[None], config)
    assert (across.hands[0, 1, :, :10] == 1).all()
    assert (across.hands[0, 1, :, :, :7] == 1).all()
    torch.testing.assert_close(across.hands[0, 1, :, 10:, 7:], picture[0, :, :30, :23])


def test_a_head_that_is_not_found_is_black():
    images = look_at(torch.rand(1, 3, 20, 30), keypoints()[None], PLAIN)
    assert images.head.shape == (1, 3, 16, 16)
    assert not images.head.any()
    assert images.hands is None
    assert images.seen is None


def test_a_picture_is_padded_with_white_to_a_square():
    picture = torch.rand(1, 3, 8, 5)
    found = square(picture, 8)
    torch.testing.assert_close(found[..., 1:6], picture)
    assert (found[..., :1] == 1).all()
    assert (found[..., 6:] == 1).all()


def test_a_picture_is_fitted_corner_to_corner():
    ramp = torch.linspace(0, 1, 9).expand(1, 3, 9, 9)
    torch.testing.assert_close(square(ramp, 17)[0, 0, 3, ::2], ramp[0, 0, 0], atol=1e-5, rtol=0)
    smaller = square(ramp, 5)
    assert smaller.shape == (1, 3, 5, 5)
    torch.testing.assert_close(smaller[0, 0, 2, 2], torch.tensor(0.5))
