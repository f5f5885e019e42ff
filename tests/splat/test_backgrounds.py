"""What stands behind the person: every kind of answer to --background, and what is told of the others."""

import cv2
import numpy as np
import pytest
from PIL import Image

from vivavoce.errors import InputError
from vivavoce.splat.backgrounds import resolve_background


@pytest.mark.parametrize(
    ("choice", "rgb"),
    [("white", (255, 255, 255)), ("#00ff80", (0, 255, 128)), ("rgb(10,20,30)", (10, 20, 30))],
)
def test_a_colour_fills_the_frame(avatar, choice, rgb):
    plate = resolve_background(choice, avatar, 40, 30)
    assert plate is not None
    assert plate.shape == (30, 40, 3)
    np.testing.assert_allclose(plate * 255, np.broadcast_to(rgb, plate.shape), atol=1e-4)


def test_transparent_is_none(avatar):
    assert resolve_background("transparent", avatar, 40, 30) is None


def test_photo_is_the_plate_behind_the_person_at_any_size(avatar, portrait):
    h, w = avatar.background.shape[:2]
    np.testing.assert_allclose(
        resolve_background("photo", avatar, w, h), avatar.background.clip(0, 1), atol=1e-6
    )
    far = cv2.erode((portrait.matte < 0.01).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    np.testing.assert_allclose(avatar.background[far], portrait.image[far], atol=0.03)
    half = resolve_background("photo", avatar, w // 2, h // 2)
    blocks = avatar.background.reshape(h // 2, 2, w // 2, 2, 3).mean((1, 3))
    np.testing.assert_allclose(half, blocks.clip(0, 1), atol=1e-4)
    large = resolve_background("photo", avatar, 2 * w, 2 * h)
    assert large is not None
    assert large.min() >= 0
    assert large.max() <= 1


@pytest.mark.parametrize(("width", "height"), [(100, 100), (60, 120), (200, 50)])
def test_a_picture_fills_the_frame_about_its_middle_and_keeps_its_shape(avatar, tmp_path, width, height):
    """The picture is a pair of ramps: red grows by a level per pixel to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 1, 160), np.linspace(0, 1, 120))
    picture = (np.stack([x, y, np.full_like(x, 0.5)], -1) * 255 + 0.5).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "ramp.png")
    plate = resolve_background(str(tmp_path / "ramp.png"), avatar, width, height)
    assert plate is not None
    assert plate.shape == (height, width, 3)
    scale = max(width / 160, height / 120)
    np.testing.assert_allclose(plate[height // 2, :, 0].mean(), 0.5, atol=0.02)
    np.testing.assert_allclose(plate[:, width // 2, 1].mean(), 0.5, atol=0.02)
    inner = np.s_[height // 4 : -(height // 4), width // 4 : -(width // 4)]
    steps_x = np.diff(plate[inner][..., 0], axis=1).mean() * 159 * scale
    steps_y = np.diff(plate[inner][..., 1], axis=0).mean() * 119 * scale
    np.testing.assert_allclose([steps_x, steps_y], 1, rtol=0.05)


@pytest.mark.parametrize("choice", ["whiet", "#12345", "gone.png", "", "photo.", "12"])
def test_nonsense_is_told(avatar, choice):
    with pytest.raises(InputError) as told:
        resolve_background(choice, avatar, 40, 30)
    assert f'"{choice}"' in str(told.value)


def test_a_file_that_is_no_picture_is_told(avatar, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"notes\.txt"):
        resolve_background(str(tmp_path / "notes.txt"), avatar, 40, 30)
