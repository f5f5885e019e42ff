import cv2
import numpy as np
import pytest

from rendered import render
from vivavoce.features.plate import background_plate, push_pull


def test_push_pull_keeps_what_is_known_and_continues_it_smoothly():
    y, x = np.mgrid[:97, :131].astype(np.float32)
    values = np.stack([x / 131, y / 97, 0 * x], axis=-1)
    weight = (np.hypot(x - 60, y - 50) > 25).astype(np.float32)
    filled = push_pull(values, weight)
    assert np.array_equal(filled[weight == 1], values[weight == 1])
    hole = weight == 0
    assert (
        np.abs(filled - values)[hole].max() < 0.16
    )  # a hole 50 pixels wide, a ramp of 0.38 and 0.5 across it
    assert np.abs(np.diff(filled, axis=0)).max() < 0.08


@pytest.mark.parametrize("shape", [(1, 1), (3, 64), (65, 2), (50, 50)])
def test_push_pull_continues_a_constant_exactly(shape: tuple[int, int]):
    weight = np.zeros(shape, np.float32)
    weight[0, 0] = 1
    values = np.repeat(np.where(weight[..., None] == 1, 0.25, 9.0), 3, axis=-1).astype(np.float32)
    assert push_pull(values, weight) == pytest.approx(0.25, abs=1e-5)


def test_the_band_around_the_person_is_what_is_behind_them():
    rendering = render(1)
    plate = background_plate(rendering.image, rendering.matte)
    inside = rendering.matte > 0.5
    band = inside & (cv2.erode(rendering.matte, np.ones((25, 25))) < 0.5)  # revealed when the head moves
    error = np.abs(plate - rendering.background).mean(axis=-1)
    assert error[band].mean() < 0.03
    assert np.abs(rendering.image - rendering.background).mean(axis=-1)[band].mean() > 0.2
    far = cv2.dilate(rendering.matte, np.ones((31, 31))) == 0
    assert np.abs(plate - rendering.image)[far].max() < 0.01


def test_no_halo_of_a_person_whose_matte_is_a_pixel_too_small():
    image = np.full((240, 320, 3), 0.5, np.float32)
    true = np.zeros((240, 320), np.float32)
    cv2.circle(true, (160, 130), 60, (1.0,), -1, cv2.LINE_AA)
    image = image * (1 - true[..., None]) + true[..., None] * np.float32([0.9, 0.1, 0.1])
    plate = background_plate(image, cv2.erode(true, np.ones((3, 3))))
    assert np.abs(plate - 0.5).max() < 0.02


def test_the_fill_has_the_grain_of_the_photo():
    rng = np.random.default_rng(5)
    image = (0.5 + 0.03 * rng.standard_normal((300, 300, 3))).astype(np.float32)
    matte = np.zeros((300, 300), np.float32)
    matte[80:220, 80:220] = 1
    plate = background_plate(image, matte)
    assert plate[100:200, 100:200].std() == pytest.approx(0.03, rel=0.15)
    assert np.array_equal(plate, background_plate(image, matte))


def test_a_person_who_fills_the_picture_leaves_a_plate_of_some_colour():
    image = np.random.default_rng(0).random((40, 50, 3)).astype(np.float32)
    plate = background_plate(image, np.ones((40, 50), np.float32))
    assert plate.shape == image.shape
    assert np.isfinite(plate).all()
