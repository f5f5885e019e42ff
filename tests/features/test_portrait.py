import cv2
import numpy as np
import pytest

from portraits import portrait
from rendered import render
from vivavoce.errors import InputError
from vivavoce.features.portrait import analyze


def test_a_portrait_holds_the_whole_photo_and_the_person_in_it():
    image = portrait("smile")
    found = analyze(image)
    assert found.image is image
    assert found.crop == (0, 0, 512, 512)
    assert found.faces_found == 1
    assert found.notes == ()
    assert found.body is not None
    assert found.hands == {}
    inside = cv2.convexHull(found.face[:, :2].astype(np.int32))
    mask = np.zeros((512, 512), np.float32)
    cv2.fillConvexPoly(mask, inside, (1.0,))
    assert found.matte[cv2.erode(mask, np.ones((5, 5))) > 0].min() > 0.9
    assert found.matte[:120, 400:].max() == 0  # the model of a shuttle


@pytest.mark.parametrize("seed", [1, 7])
def test_the_matte_is_the_one_the_picture_was_made_with(seed: int):
    truth = render(seed)
    found = analyze(truth.image)
    assert np.abs(found.matte - truth.matte).mean() < 0.006
    union = ((found.matte > 0.5) | (truth.matte > 0.5)).sum()
    assert ((found.matte > 0.5) & (truth.matte > 0.5)).sum() / union > 0.98
    error = np.linalg.norm(found.face[:, :2] - truth.landmarks[:, :2], axis=1).mean()
    assert error < 0.03 * np.linalg.norm(truth.landmarks[10] - truth.landmarks[152])


def test_a_large_photo_gives_the_same_in_its_own_pixels():
    image = portrait("smile")
    small, large = (
        analyze(image),
        analyze(cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC).clip(0, 1)),
    )
    assert large.crop == (0, 0, 1536, 1536)
    assert np.abs(large.face / 3 - small.face)[:, :2].mean() < 0.5
    assert small.body is not None
    assert large.body is not None
    assert np.abs(large.body[:13, :2] / 3 - small.body[:13, :2]).mean() < 3
    matte = cv2.resize(large.matte, (512, 512), interpolation=cv2.INTER_AREA)
    assert np.abs(matte - small.matte).mean() < 0.01


def test_an_alpha_channel_is_the_matte():
    image = portrait("smile")
    alpha = np.zeros((512, 512), np.float32)
    alpha[50:400, 100:300] = 0.75
    assert np.array_equal(analyze(image, alpha).matte, alpha)
    opaque = analyze(image, np.ones((512, 512), np.float32))
    assert opaque.matte.mean() < 0.7


def test_a_transparent_face_is_refused():
    alpha = np.ones((512, 512), np.float32)
    alpha[:200] = 0.0
    with pytest.raises(InputError, match="transparency hides 100% of the face"):
        analyze(portrait("smile"), alpha)


def test_the_largest_face_speaks_and_it_is_said_so():
    found = analyze(portrait("five"))
    assert found.faces_found == 5
    (note,) = found.notes
    assert (
        note == "5 faces found; the largest one (face 2 from the left) speaks; choose another with --face N."
    )
    assert 300 < found.face[1, 0] < 600


@pytest.mark.parametrize("number", [1, 4])
def test_another_face_can_be_chosen(number: int):
    found = analyze(portrait("five"), face=number)
    assert found.notes == ()
    x0 = 300 * (number - 1)
    assert x0 < found.face[1, 0] < x0 + 300
    owned = found.matte[:, x0 : x0 + 300].sum()
    assert owned > 0.95 * found.matte.sum()
    assert owned > 0.1 * 300 * 420


@pytest.mark.parametrize("number", [0, 6, -1])
def test_a_face_beyond_those_found_is_refused(number: int):
    with pytest.raises(InputError, match=f"There is no face {number}: 5 faces were found"):
        analyze(portrait("five"), face=number)
