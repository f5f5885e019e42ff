"""The inside of the mouth: where teeth and tongue are in millimetres, what they hang on, and whose colour they have."""

import numpy as np
import pytest

from vivavoce.splat import topology
from vivavoce.splat.faceframe import FaceFrame, measure_face
from vivavoce.splat.layers import Layer
from vivavoce.splat.mouth import CROWN_LOWER, CROWN_UPPER, inner_contour, look_into_mouth, mouth_layers
from vivavoce.splat.sheet import hole_masks

PARTICLES = {"head": 3, "jaw": 8, "tongue": 11}
LIPS_BACK = 5.0
"""Canvas depth of the back of the lips, pixels."""


def by_kind(layers: list[Layer]) -> dict[str, Layer]:
    return {layer.kind: layer for layer in layers}


def in_millimetres(frame: FaceFrame, layer: Layer) -> np.ndarray:
    """Centres in the face's axes from the middle of the mouth."""
    return frame.local(layer.points.astype(np.float64)) / frame.millimetre


@pytest.fixture(scope="module")
def frame() -> FaceFrame:
    """A face that looks at the camera, 1.5 pixels a millimetre, its mouth 50 mm wide and shut."""
    return FaceFrame(np.eye(3), 200.0, 1.5, np.array([150.0, 200.0, 2.0]), 75.0, 0.0)


@pytest.fixture(scope="module")
def rest() -> np.ndarray:
    """The contour of shut lips, pixels."""
    return np.stack([np.c_[np.linspace(-37.5, 37.5, 11), np.zeros((11, 2))]] * 2)


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture of skin with eyes of a known white, and masks of a shut mouth and of the eyes."""
    image = np.tile(np.array([0.8, 0.6, 0.5], np.float32), (300, 300, 1))
    eyes = np.zeros((300, 300), bool)
    eyes[90:100, 90:120] = eyes[90:100, 180:210] = True
    image[eyes] = [0.8, 0.78, 0.76]
    return image, np.zeros((300, 300), bool), eyes


@pytest.fixture(scope="module")
def layers(frame, rest, scene) -> dict[str, Layer]:
    image, mouth, eyes = scene
    look = look_into_mouth(image, mouth, eyes, frame, rest)
    return by_kind(mouth_layers(frame, look, 0.0, LIPS_BACK, PARTICLES))


def test_shut_lips_have_teeth_and_a_tongue_behind_them(layers, frame):
    assert set(layers) == {"upper_teeth", "lower_teeth", "tongue", "cavity"}
    for kind in ("upper_teeth", "lower_teeth"):
        x, _, _ = in_millimetres(frame, layers[kind]).T
        assert np.ptp(x) > 35  # both rows are wider than the mouth opens
        assert abs(np.average(x, weights=layers[kind].opacities)) < 1
        assert (layers[kind].opacities > 0.9).sum() > 100
    upper = in_millimetres(frame, layers["upper_teeth"])[:, 1]
    lower = in_millimetres(frame, layers["lower_teeth"])[:, 1]
    assert upper.min() < -CROWN_UPPER + 5
    assert 0 < upper.max() < 5  # their edges stand a little below the line of the lips
    assert lower.max() > upper.max() + 0.6 * CROWN_LOWER
    assert -4 < lower.min() - upper.max() < 1  # and bite over the lower ones


def test_everything_lies_behind_the_lips_one_after_the_other(layers, frame):
    front = {kind: layer.points[:, 2].min() for kind, layer in layers.items()}
    assert front["upper_teeth"] > LIPS_BACK
    assert front["lower_teeth"] > front["upper_teeth"]
    assert front["tongue"] > front["lower_teeth"]
    assert front["cavity"] > layers["tongue"].points[:, 2].max()
    # The dental arch: the side teeth stand further back than the front ones.
    x, _, z = in_millimetres(frame, layers["upper_teeth"]).T
    assert z[np.abs(x) > 15].min() > z[np.abs(x) < 5].max() + 2


def test_upper_teeth_hang_on_the_head_and_lower_ones_on_the_jaw(layers):
    for kind, particle in (("upper_teeth", 3), ("lower_teeth", 8), ("tongue", 11), ("cavity", 3)):
        binding = layers[kind].binding
        np.testing.assert_array_equal(binding.indices[:, 0], particle)
        np.testing.assert_array_equal(binding.weights.sum(1), 1)
        assert not binding.gradients.any()


def test_a_lowered_jaw_takes_the_lower_teeth_along_and_not_the_upper(frame, rest, scene):
    image, mouth, eyes = scene
    look = look_into_mouth(image, mouth, eyes, frame, rest)
    shut, lowered = (by_kind(mouth_layers(frame, look, drop, LIPS_BACK, PARTICLES)) for drop in (0.0, 6.0))
    np.testing.assert_array_equal(shut["upper_teeth"].points, lowered["upper_teeth"].points)
    tops = [in_millimetres(frame, one["lower_teeth"])[:, 1].min() for one in (shut, lowered)]
    assert tops[1] - tops[0] == pytest.approx(6.0, abs=0.8)


def test_without_teeth_to_see_the_white_of_the_eyes_tells_the_light(frame, rest, scene):
    image, mouth, eyes = scene
    bright, dim = (look_into_mouth(image * k, mouth, eyes, frame, rest).tooth for k in (1.0, 0.6))
    assert dim.mean() < 0.8 * bright.mean()
    assert (np.diff(bright) < 0).all()  # teeth are yellower than the white of the eye
    assert bright.mean() == pytest.approx(0.78, abs=0.12)


def parted(
    rest: np.ndarray, colour: tuple[float, float, float], edge: float, frame: FaceFrame, image: np.ndarray
):
    """The scene with lips 14 px apart, teeth of a colour down to `edge` pixels, and the dark below them."""
    image, mouth = image.copy(), np.zeros(image.shape[:2], bool)
    x0, y0 = int(frame.mouth[0]), int(frame.mouth[1])
    mouth[y0 - 4 : y0 + 10, x0 - 30 : x0 + 30] = True
    image[mouth] = [0.1, 0.05, 0.05]
    image[y0 - 4 : y0 + int(edge), x0 - 30 : x0 + 30] = colour
    contour = rest.copy()
    contour[0, 1:-1, 1], contour[1, 1:-1, 1] = -4, 10
    return image, mouth, contour


@pytest.mark.parametrize("colour", [(0.95, 0.9, 0.8), (0.7, 0.62, 0.5)])
@pytest.mark.parametrize("edge", [4.0, 7.0])
def test_visible_teeth_tell_their_colour_and_where_they_end(frame, rest, scene, colour, edge):
    image, mouth, contour = parted(rest, colour, edge, frame, scene[0])
    wide = FaceFrame(frame.axes, frame.height, frame.millimetre, frame.mouth, frame.mouth_width, 14.0)
    look = look_into_mouth(image, mouth, scene[2], wide, contour)
    np.testing.assert_allclose(look.tooth, colour, atol=1e-5)
    assert look.edge == pytest.approx(edge / frame.millimetre, abs=0.7)


def test_a_dark_opening_is_not_taken_for_teeth(frame, rest, scene):
    image, mouth, contour = parted(rest, (0.1, 0.05, 0.05), 4.0, frame, scene[0])
    wide = FaceFrame(frame.axes, frame.height, frame.millimetre, frame.mouth, frame.mouth_width, 14.0)
    look = look_into_mouth(image, mouth, scene[2], wide, contour)
    expected = look_into_mouth(scene[0], scene[1], scene[2], wide, contour)
    np.testing.assert_array_equal(look.tooth, expected.tooth)


def test_the_astronauts_teeth_are_her_own(canvas, built):
    mouth, eyes = hole_masks(built.sheet, canvas.matte.shape)
    frame = built.rig.frame
    look = look_into_mouth(canvas.image, mouth, eyes, frame, inner_contour(canvas.face, frame))
    pixels = canvas.image[mouth]
    brightest = np.median(pixels[pixels.mean(1) > np.percentile(pixels.mean(1), 70)], axis=0)
    np.testing.assert_allclose(look.tooth, brightest, atol=0.06)
    # Her teeth end about the lower lip, which covers the last of them.
    lower_lip = frame.local(canvas.face[topology.LIP_LOWER[0][5]]) / frame.millimetre
    assert look.edge == pytest.approx(lower_lip[1], abs=2.0)


def test_colours_are_colours_and_sizes_follow_the_face(layers, frame, scene, rest):
    for layer in layers.values():
        assert layer.colors.min() >= 0
        assert layer.colors.max() <= 1
        assert layer.opacities.max() < 1
    image, mouth, eyes = scene
    small = FaceFrame(frame.axes, 100.0, 0.75, frame.mouth, 37.5, 0.0)
    look = look_into_mouth(image, mouth, eyes, small, rest / 2)
    half = by_kind(mouth_layers(small, look, 0.0, LIPS_BACK, PARTICLES))
    width, half_width = (np.ptp(one["upper_teeth"].points[:, 0]) for one in (layers, half))
    assert half_width == pytest.approx(width / 2, rel=0.1)


def test_the_frame_measures_the_face(canvas):
    frame = measure_face(canvas.face)
    np.testing.assert_allclose(frame.axes @ frame.axes.T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(frame.axes, np.eye(3), atol=0.25)  # she looks nearly into the camera
    points = np.random.default_rng(0).normal(0, 50, (20, 3))
    np.testing.assert_allclose(frame.local(frame.mouth + frame.canvas(points)), points, atol=1e-6)
    assert frame.height / frame.millimetre == pytest.approx(165, rel=0.2)  # millimetres from hairline to chin


def test_teeth_are_lit_from_the_side_the_face_is_lit_from(frame, rest, scene):
    image, mouth, eyes = scene
    lit = image * np.where(np.arange(300) < 150, 1.0, 0.4).astype(np.float32)[None, :, None]
    look = look_into_mouth(lit, mouth, eyes, frame, rest)
    assert look.light[0] == pytest.approx(1.0)
    assert look.light[-1] == pytest.approx(0.4, abs=0.02)
    teeth = by_kind(mouth_layers(frame, look, 0.0, LIPS_BACK, PARTICLES))["upper_teeth"]
    x = in_millimetres(frame, teeth)[:, 0]
    left, right = (np.median(teeth.colors[(sign * x > 8) & (sign * x < 14)]) for sign in (-1, 1))
    assert right == pytest.approx(0.4 * left, rel=0.15)


def test_a_black_and_white_photo_has_a_black_and_white_mouth(frame, rest, scene):
    image, mouth, eyes = scene
    grey = np.repeat(image.mean(2, keepdims=True), 3, 2)
    for picture, colored in ((image, True), (grey, False)):
        look = look_into_mouth(picture, mouth, eyes, frame, rest)
        made = mouth_layers(frame, look, 0.0, LIPS_BACK, PARTICLES)
        assert [np.ptp(layer.colors, axis=1).max() > 1e-6 for layer in made] == [colored] * len(made)
