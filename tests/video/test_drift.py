"""Drift of colour, sharpness and face: known shifts are reported as such."""

import json
import subprocess
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from portraits import portrait
from rendered import render
from vivavoce.errors import OutputError
from vivavoce.video.drift import DriftMeter, face_distance, mean_lab


def to_bytes(image):
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def lab_of(rgb):
    """CIELAB of sRGB values 0..255 (..., 3), in float64 by the definitions of IEC 61966-2-1 and CIE 15."""
    v = np.asarray(rgb, np.float64) / 255
    linear = np.where(v > 0.04045, ((v + 0.055) / 1.055) ** 2.4, v / 12.92)
    # The matrix from the primaries' and the white's chromaticities.
    xy = np.array([(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)])
    primaries = np.stack([xy[:, 0] / xy[:, 1], np.ones(3), (1 - xy.sum(axis=1)) / xy[:, 1]])
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    xyz = linear @ (primaries * np.linalg.solve(primaries, white)).T / white
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def rows(frames, reference=None, fps=1.0):
    meter = DriftMeter(reference, fps)
    for frame in frames:
        meter.add(frame)
    return meter.report()["seconds"]


def placed(image, *, angle=0.0, scale=1.0, shift=(0, 0)):
    height, width = image.shape[:2]
    affine = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
    affine[:, 2] += shift
    return cv2.warpAffine(
        image, affine, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


@pytest.fixture
def plain():
    """A picture without a face."""
    noise = np.random.default_rng(0).uniform(60, 180, (120, 160, 3))
    return cv2.GaussianBlur(noise, (0, 0), 0.7).astype(np.uint8)


def test_the_mean_colour_is_cielabs(plain):
    np.testing.assert_allclose(mean_lab(plain), lab_of(plain).mean(axis=(0, 1)), atol=0.01)
    for color in ([0, 0, 0], [255, 255, 255], [255, 0, 0], [3, 9, 250]):
        picture = np.full((4, 6, 3), color, np.uint8)
        np.testing.assert_allclose(mean_lab(picture), lab_of(color), atol=0.02)
    np.testing.assert_allclose(
        mean_lab(np.full((2, 2, 3), (255, 0, 0), np.uint8)), [53.24, 80.09, 67.20], atol=0.02
    )


def test_a_shift_in_colour_is_reported_as_its_delta_e(plain):
    shifts = [np.array(s, np.uint8) for s in ((0, 0, 0), (10, 0, 0), (30, 12, 4), (0, 0, 60))]
    frames = [plain + shift for shift in shifts]
    found = rows(frames, plain)
    means = [lab_of(frame).mean(axis=(0, 1)) for frame in frames]
    for row, mean in zip(found, means, strict=True):
        np.testing.assert_allclose(row["lab"], mean, atol=0.01)
        assert row["delta_e"] == pytest.approx(np.linalg.norm(mean - means[0]), abs=0.01)
    assert found[0]["delta_e"] == 0
    assert found[3]["delta_e"] > 10


def test_sharpness_is_the_ratio_of_the_laplacians_variances(plain):
    def variance(picture):
        red, green, blue = np.moveaxis(picture.astype(np.float64), -1, 0)
        grey = np.round(0.299 * red + 0.587 * green + 0.114 * blue)
        inner = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
        return inner.var()

    blurred = [cv2.GaussianBlur(plain, (0, 0), sigma) for sigma in (0.5, 1.0, 2.0)]
    found = [row["sharpness"] for row in rows([plain, *blurred], plain)]
    assert found[0] == 1
    assert found == sorted(found, reverse=True)
    for sharpness, picture in zip(found, [plain, *blurred], strict=True):
        assert sharpness == pytest.approx(variance(picture) / variance(plain), rel=0.05)
    assert found[-1] < 0.1
    flat = np.full((120, 160, 3), 90, np.uint8)
    assert rows([plain], flat)[0]["sharpness"] is None


def test_a_larger_photo_is_compared_at_the_frames_size(plain):
    plain = cv2.GaussianBlur(plain, (0, 0), 1.5)
    large = cv2.resize(plain, (480, 360), interpolation=cv2.INTER_CUBIC)
    wide = np.hstack([np.zeros((360, 90, 3), np.uint8), large, np.full((360, 90, 3), 255, np.uint8)])
    (row,) = rows([plain], wide)
    assert row["delta_e"] < 0.2
    assert row["sharpness"] == pytest.approx(1, abs=0.25)
    (odd,) = rows([plain], np.full((33, 77, 3), 128, np.uint8))
    assert odd["delta_e"] == pytest.approx(
        np.linalg.norm(lab_of(plain).mean(axis=(0, 1)) - lab_of([128] * 3)), abs=0.02
    )


def test_the_same_face_elsewhere_in_the_picture_has_not_drifted():
    image = portrait("smile")
    frames = [
        image,
        placed(image, shift=(25, 14)),
        placed(image, scale=1.25),
        placed(image, angle=9),
        placed(image, angle=-5, scale=0.9, shift=(-20, 10)),
    ]
    found = [row["identity"] for row in rows(map(to_bytes, frames), to_bytes(image))]
    assert found[0] == 0
    assert max(found) < 0.004
    strangers = [render(seed).image for seed in (1, 2)]
    others = [row["identity"] for row in rows(map(to_bytes, strangers), to_bytes(image))]
    assert min(others) > 4 * max(found)
    assert min(others) > 0.012


def test_an_opening_mouth_is_nearer_than_another_person_and_a_turned_head_is_told_by_its_yaw():
    reference = to_bytes(render(1).image)
    smile, opened, stranger = (
        to_bytes(image) for image in (portrait("shut"), portrait("open"), render(0).image)
    )
    jaw, other = (row["identity"] for row in rows([opened, stranger], smile))
    assert jaw < 0.7 * other
    straight, turned = rows([reference, to_bytes(render(1, yaw=15).image)], reference)
    assert abs(straight["yaw"]) < 3
    assert turned["yaw"] == pytest.approx(15, abs=5)
    assert 0.005 < turned["identity"] < 0.03


def test_the_distance_is_what_the_best_similarity_transform_leaves():
    rng = np.random.default_rng(4)
    reference = rng.normal(0, 100, (478, 3)).astype(np.float32)
    face = (reference + rng.normal(0, 15, (478, 3))).astype(np.float32)
    turned = (0.6 * face @ Rotation.from_rotvec([0.3, -0.8, 0.2]).as_matrix() + (40, -9, 3)).astype(
        np.float32
    )
    rigid = [
        33,
        133,
        362,
        263,
        168,
        6,
        197,
        195,
        5,
        4,
        98,
        2,
        327,
        70,
        107,
        336,
        300,
        127,
        234,
        93,
        356,
        454,
        323,
    ]

    moving, fixed = (points[rigid].astype(np.float64) for points in (turned, reference))

    def gap(p):
        moved = np.exp(p[6]) * moving @ Rotation.from_rotvec(p[:3]).as_matrix() + p[3:6]
        return (moved - fixed).ravel()

    left = least_squares(gap, np.zeros(7), x_scale="jac").cost
    rms = np.sqrt(2 * left / len(rigid))
    eyes = np.linalg.norm(reference[33] - reference[263])
    assert face_distance(turned, reference) == pytest.approx(rms / eyes, rel=1e-4)
    lips = face.copy()
    lips[[0, 13, 14, 17, 61, 291, 152, 159, 386]] += 50  # lips, chin, lids
    assert face_distance(lips, reference) == face_distance(face, reference)


def test_a_mirrored_face_is_another_shape():
    rng = np.random.default_rng(5)
    face = rng.normal(0, 100, (478, 3)).astype(np.float32)
    assert face_distance(face, face) < 1e-6
    assert face_distance(face * np.float32([-1, 1, 1]), face) > 0.1


def test_without_a_face_identity_and_yaw_are_null(plain):
    person = to_bytes(portrait("smile"))
    nobody = cv2.resize(plain, (512, 512))
    assert [row["identity"] for row in rows([nobody, person], person)] == [None, 0]
    assert rows([nobody], person)[0]["yaw"] is None
    found = rows([person], nobody)[0]
    assert found["identity"] is None
    assert found["yaw"] is not None


@pytest.mark.parametrize("fps", [23.976, 25.0, 29.97, 1.0])
def test_each_second_is_judged_by_the_frame_at_its_middle(fps: float):
    exact = {23.976: Fraction(24000, 1001), 29.97: Fraction(30000, 1001)}.get(fps, Fraction(fps))
    seconds = 20
    meter = DriftMeter(None, fps)
    count = int(exact * (seconds - Fraction(1, 4)))
    for i in range(count):
        meter.add(np.full((8, 8, 3), i % 256, np.uint8))
    found = meter.report()["seconds"]
    assert [row["second"] for row in found] == list(range(len(found)))
    assert len(found) == (seconds if fps > 1 else seconds - 1)
    for row in found:
        middle = row["second"] + Fraction(1, 2)
        assert row["frame"] / exact <= middle < (row["frame"] + 1) / exact
        np.testing.assert_allclose(row["lab"], lab_of([row["frame"] % 256] * 3), atol=0.02)


def test_a_last_second_without_its_middle_has_no_row(plain):
    assert len(rows([plain] * 12, plain, fps=25.0)) == 0
    assert len(rows([plain] * 13, plain, fps=25.0)) == 1
    assert len(rows([plain] * 37, plain, fps=25.0)) == 1
    assert len(rows([plain] * 38, plain, fps=25.0)) == 2


def test_without_a_photo_the_first_second_is_the_reference(plain):
    frames = [plain + np.uint8(5)] * 10 + [plain + np.uint8(40)] * 10
    meter = DriftMeter(None, 10.0)
    assert meter.report()["reference_lab"] is None
    for frame in frames:
        meter.add(frame)
    report = meter.report()
    assert report["reference"] == "first second"
    first, second = report["seconds"]
    assert report["reference_lab"] == first["lab"]
    assert (first["delta_e"], first["sharpness"]) == (0, 1)
    means = [lab_of(frames[i]).mean(axis=(0, 1)) for i in (0, -1)]
    assert second["delta_e"] == pytest.approx(np.linalg.norm(means[1] - means[0]), abs=0.01)


def test_an_array_that_is_used_again_does_not_change_the_reference(plain):
    buffer = plain.copy()
    meter = DriftMeter(None, 1.0)
    meter.add(buffer)
    buffer += np.uint8(50)
    meter.add(buffer)
    assert meter.report()["seconds"][1]["delta_e"] > 5


def test_the_report_is_a_json_file_that_says_what_its_numbers_are(plain, tmp_path):
    meter = DriftMeter(plain, 1.0)
    meter.add(plain)
    meter.write(tmp_path / "a.json")
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert report == meter.report()
    assert report["reference"] == "photo"
    assert set(report["definitions"]) == set(report["seconds"][0]) - {"second", "frame"}
    assert (
        "not the cosine similarity of a face recognition network (CSIM)" in report["definitions"]["identity"]
    )
    assert "CIE76" in report["definitions"]["delta_e"]
    with pytest.raises(OutputError, match=r"choose one of \.json"):
        meter.write(tmp_path / "a.txt")


def test_less_than_a_frame_a_second_is_no_clip():
    with pytest.raises(ValueError, match=r"not 0\.5"):
        DriftMeter(None, 0.5)


def test_the_module_loads_without_mediapipe():
    code = "import sys, vivavoce.video.drift; print({'mediapipe', 'cv2'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
