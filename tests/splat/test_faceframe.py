"""Measures of a face, and whether its mouth is shut: by landmarks where they are sure, by the picture where not."""

import cv2
import numpy as np
import pytest

from portraits import portrait as picture_of
from vivavoce.features.face import find_faces
from vivavoce.features.solutions import to_uint8
from vivavoce.splat import topology
from vivavoce.splat.faceframe import SHUT, measure_face, shut_lips

UPPER, LOWER = list(topology.LIP_UPPER[0]), list(topology.LIP_LOWER[0])
SKIN, LIP = np.array([0.8, 0.6, 0.5], np.float32), np.array([0.75, 0.45, 0.42], np.float32)


def painted(face: np.ndarray, inside: str) -> np.ndarray:
    """A plain face with red lips and what is `inside` the landmarks' opening: teeth, the dark, or more lip."""
    image = np.tile(SKIN, (560, 560, 1))

    def fill(ring: np.ndarray, color: np.ndarray) -> None:
        mask = np.zeros(image.shape[:2], np.float32)
        cv2.fillPoly(
            mask, [np.round((ring[:, :2] - 0.5) * 16).astype(np.int32)], (1.0,), cv2.LINE_AA, shift=4
        )
        image[:] = image * (1 - mask[..., None]) + color * mask[..., None]

    outer = face[[*topology.LIP_UPPER[3], *topology.LIP_LOWER[3][-2:0:-1]]]
    fill(outer, LIP)
    hole = face[[*UPPER, *LOWER[-2:0:-1]]]
    if inside == "teeth":
        fill(hole, np.array([0.85, 0.8, 0.7], np.float32))
    if inside == "dark":
        fill(hole, np.array([0.15, 0.06, 0.05], np.float32))
    if inside.startswith("line at"):
        share = float(inside.rsplit(maxsplit=1)[-1])
        seam = face[UPPER] + share * (face[LOWER] - face[UPPER])
        half = np.array([0, 0.7, 0])
        band = np.concatenate([seam - half, seam[::-1] + half])
        fill(band, 0.4 * LIP)
    return image.astype(np.float32)


@pytest.fixture(scope="module")
def face(canvas) -> np.ndarray:
    """The astronaut's landmarks, three times as large as her mouth is a few pixels high."""
    landmarks = canvas.face.copy()
    middle = landmarks[[13, 14]].mean(0)
    return (landmarks - middle) * 3 + np.array([280, 280, 0])


@pytest.mark.parametrize("light", [1.0, 0.35])
@pytest.mark.parametrize("inside", ["teeth", "dark"])
def test_parted_lips_stay_as_they_are(face, inside, light):
    np.testing.assert_array_equal(shut_lips(face, light * painted(face, inside)), face)


@pytest.mark.parametrize("light", [1.0, 0.35])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_lips_that_only_the_landmarks_part_meet_on_the_dark_line(face, share, light):
    found = shut_lips(face, light * painted(face, f"line at {share}"))
    np.testing.assert_array_equal(found[UPPER], found[LOWER])
    assert measure_face(found).gap == 0
    line = face[UPPER] + share * (face[LOWER] - face[UPPER])
    middle = slice(2, 9)
    np.testing.assert_allclose(found[UPPER][middle], line[middle], atol=0.06 * measure_face(face).gap)


def test_light_from_the_side_does_not_part_lips(face):
    ramp = np.linspace(0.3, 1.0, 560, dtype=np.float32)[None, :, None]
    assert measure_face(shut_lips(face, ramp * painted(face, "line at 0.4"))).gap == 0
    np.testing.assert_array_equal(shut_lips(face, ramp * painted(face, "teeth")), face)


def test_lips_that_nearly_touch_meet_halfway_whatever_the_picture(face):
    near = face.copy()
    gap = measure_face(face).gap
    near[LOWER] = near[UPPER] + 0.8 * SHUT * measure_face(face).mouth_width / gap * (
        face[LOWER] - face[UPPER]
    )
    found = shut_lips(near, painted(face, "dark"))
    np.testing.assert_allclose(found[UPPER], (near[UPPER] + near[LOWER]) / 2)
    np.testing.assert_array_equal(found[UPPER], found[LOWER])


def test_the_rings_of_the_lips_stay_in_order_and_the_rest_in_place(face):
    found = shut_lips(face, painted(face, "line at 0.2"))
    heights = [found[list(ring[2:9]), 1] for ring in (*topology.LIP_UPPER[::-1], *topology.LIP_LOWER[1:])]
    assert (np.diff(heights, axis=0) > 0).all()
    lips = [v for half in (topology.LIP_UPPER, topology.LIP_LOWER) for ring in half[:3] for v in ring]
    others = np.setdiff1d(np.arange(478), lips)
    np.testing.assert_array_equal(found[others], face[others])


@pytest.mark.parametrize("kind", ["shut", "brown", "beard", "open", "grey"])
def test_pictures_of_mouths_are_told_apart(kind):
    """Her smile with teeth, opened, and edited shut: the landmarks part all of them."""
    image = picture_of(kind)
    face = find_faces(to_uint8(image))[0].landmarks.astype(np.float64)
    assert measure_face(face).gap > SHUT * measure_face(face).mouth_width
    assert (measure_face(shut_lips(face, image)).gap == 0) == (kind not in ("open", "grey"))
