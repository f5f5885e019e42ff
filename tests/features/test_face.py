import math

import numpy as np
import pytest

from portraits import SPEAKING, portrait
from vivavoce.errors import InputError
from vivavoce.features.face import Detection, Face, detect, find_faces, mesh, mesh_again, square_crop
from vivavoce.features.solutions import to_uint8

NOSE, CHIN, FOREHEAD = 1, 152, 10


def pixels(kind: str) -> np.ndarray:
    return to_uint8(portrait(kind))


@pytest.fixture(scope="module")
def astronaut() -> Face:
    (face,) = find_faces(pixels("smile"))
    return mesh_again(pixels("smile"), face)


def test_landmarks_lie_on_the_features_seen_in_the_photo(astronaut: Face):
    # Pupils, corners of the mouth and chin, read off the enlarged photo by eye, to a pixel or two.
    seen = {468: (203.5, 100.5), 473: (246.8, 103), 78: (203.5, 139.5), 308: (244, 141), 152: (222, 178)}
    for index, at in seen.items():
        assert math.dist(astronaut.landmarks[index, :2], at) < 3, index


def test_depth_grows_away_from_the_camera(astronaut: Face):
    z = astronaut.landmarks[:, 2]
    assert z[NOSE] < z[[33, 263]].min() < z[[234, 454]].min()


@pytest.mark.parametrize("tilt", [-35.0, 20.0])
def test_landmarks_turn_with_the_picture(astronaut: Face, tilt: float):
    image = pixels("smile")
    turned, to_image = square_crop(image, (224.0, 124.0), 420.0, tilt, size=400)
    (face,) = find_faces(turned)
    back = face.landmarks[:, :2] @ to_image[:, :2].T + to_image[:, 2]
    error = np.linalg.norm(back - astronaut.landmarks[:, :2], axis=1).mean() / astronaut.height
    assert error < 0.01
    assert face.roll == pytest.approx(astronaut.roll - tilt, abs=2)


def test_landmarks_mirror_with_the_picture(astronaut: Face):
    (face,) = find_faces(np.ascontiguousarray(pixels("smile")[:, ::-1]))
    for right, left in ((33, 263), (61, 291), (234, 454)):
        mirrored = (512 - astronaut.landmarks[left, 0], astronaut.landmarks[left, 1])
        assert math.dist(face.landmarks[right, :2], mirrored) < 0.03 * astronaut.height


@pytest.mark.parametrize("angle", [-40.0, -15.0, 25.0])
def test_yaw_is_the_rotation_about_the_vertical(astronaut: Face, angle: float):
    level = np.radians(-astronaut.roll)
    a = np.radians(angle)
    about_z = np.array([[np.cos(level), -np.sin(level), 0], [np.sin(level), np.cos(level), 0], [0, 0, 1]])
    # The nose, nearest to the camera, moves to the picture's right for a positive angle.
    about_y = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    turned = (astronaut.landmarks @ about_z.T @ about_y.T).astype(np.float32)
    assert Face(turned, 0.0).yaw == pytest.approx(astronaut.yaw + angle, abs=0.5)
    ahead = turned[NOSE, 0] - turned[[234, 454], 0].mean()
    assert np.sign(ahead) == np.sign(angle)


@pytest.mark.parametrize("kind", SPEAKING)
def test_every_portrait_has_its_face(kind: str):
    faces = find_faces(pixels(kind))
    assert len(faces) == (5 if kind == "five" else 1)
    for face in faces:
        x, y = face.landmarks[:, 0], face.landmarks[:, 1]
        assert y[159] < y[NOSE] < y[13] < y[CHIN]
        assert x[33] < x[NOSE] < x[263]
        assert abs(face.yaw) < 15


def test_faces_are_counted_from_the_left():
    faces = find_faces(pixels("five"))
    assert [int(face.center[0] // 300) for face in faces] == [0, 1, 2, 3, 4]
    assert max(range(5), key=lambda i: faces[i].height) == 1


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("cat", "No human face"),
        ("landscape", "No human face"),
        ("from_behind", "No human face"),
        ("too_far", "only (39|40|41) pixels high, and at least 64"),
        ("profile", "turned away from the camera by about 5. degrees"),
    ],
)
def test_what_cannot_speak_is_refused_in_one_sentence(kind: str, sentence: str):
    with pytest.raises(InputError, match=sentence) as error:
        find_faces(pixels(kind))
    assert str(error.value).count(".") == 1


@pytest.mark.parametrize(("turns", "sentence"), [(1, "on its side"), (2, "upside down"), (3, "on its side")])
def test_a_photo_that_lies_is_to_be_turned(turns: int, sentence: str):
    with pytest.raises(InputError, match=sentence):
        find_faces(np.ascontiguousarray(np.rot90(pixels("smile"), turns)))


def test_a_texture_is_no_face_even_where_a_detector_says_so():
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    assert mesh(noise, Detection(200.0, 200.0, 120.0, 0.0, 0.9)) is None
    cat = pixels("cat")
    assert all(mesh(cat, Detection(x, 150.0, 180.0, 0.0, 0.9)) is None for x in (180.0, 220.0, 260.0))


def test_the_best_detection_of_a_face_is_kept_once():
    (found,) = detect(pixels("smile"))
    assert math.dist((found.x, found.y), (224, 125)) < 15
    assert 80 < found.width < 130


@pytest.mark.parametrize(("side", "tilt"), [(50.0, 0.0), (50.0, 30.0), (180.0, -20.0), (300.0, 0.0)])
def test_crops_sample_where_their_map_says(side: float, tilt: float):
    y, x = np.mgrid[:240, :320]
    ramp = np.stack([x * 0.75, y, 255 - 0.5 * x], axis=-1).round().astype(np.uint8)
    crop, to_image = square_crop(ramp, (150.0, 110.0), side, tilt, size=64)
    v, u = np.mgrid[:64, :64] + 0.5
    at = np.stack([u, v], axis=-1) @ to_image[:, :2].T + to_image[:, 2]
    inside = ((at > 8) & (at < (312, 232))).all(axis=-1)
    truth = np.stack([(at[..., 0] - 0.5) * 0.75, at[..., 1] - 0.5, 255 - 0.5 * (at[..., 0] - 0.5)], axis=-1)
    assert inside.mean() > 0.4
    assert np.abs(crop - truth)[inside].max() < 2.5
    assert np.allclose(to_image @ (32, 32, 1), (150, 110))
    assert np.linalg.det(to_image[:, :2]) == pytest.approx((side / 64) ** 2)
