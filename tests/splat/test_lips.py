"""How the lips of any photo move: contours drawn by formula, and the astronaut's own."""

import numpy as np
import pytest

from vivavoce.splat.lips import KEPT_SMILE, OPENING, RINGS, LipModel, lip_offsets

WIDTH = 40.0
"""Of the relaxed mouth, pixels."""


def drawn(*, gap: float = 0.0, smile: float = 0.0, tilt: float = 0.0, skew: float = 0.0) -> LipModel:
    """Lips by formula: parted by `gap` px, `smile` 0..1 wider with raised corners, turned by `tilt` radians."""
    wide = WIDTH * (1 + 0.22 * smile)
    u = np.linspace(-1, 1, 11) * (1 + skew * (1 - np.linspace(-1, 1, 11) ** 2))
    arch = 1 - u**2
    rest = np.zeros((RINGS, 2, 11, 3))
    for ring in range(RINGS):
        grown = ring / (RINGS - 1)
        x = u * wide / 2 * (1 + 0.1 * grown)
        corners = -0.1 * WIDTH * smile * u**2
        for half, sign, share, thick in ((0, -1, 0.3, 6.0), (1, 1, 0.7, 8.0)):
            y = corners + sign * arch * (share * gap + thick * grown)
            rest[ring, half] = np.c_[x, y, 0.05 * x**2 / WIDTH]
    c, s = np.cos(tilt), np.sin(tilt)
    rest[..., :2] = rest[..., :2] @ np.array([[c, s], [-s, c]])
    rest[..., 1] -= rest[0, :, 5, 1].mean()
    return LipModel(rest, WIDTH, wide)


LIPS = {
    "shut": drawn(),
    "parted": drawn(gap=5.0),
    "wide open": drawn(gap=16.0),
    "smiling with teeth": drawn(gap=7.0, smile=1.0),
    "smiling, shut": drawn(smile=0.7),
    "tilted": drawn(gap=4.0, smile=0.4, tilt=0.08),
    "uneven": drawn(gap=4.0, skew=0.1),
}


@pytest.fixture(params=[*LIPS, "astronaut"])
def lips(request, built) -> LipModel:
    return built.rig.lips if request.param == "astronaut" else LIPS[request.param]


def posed(lips: LipModel, controls: np.ndarray) -> np.ndarray:
    """Where the ring points are, (T, ring, upper/lower, point, axis)."""
    return lips.rest + lip_offsets(lips, controls.astype(np.float64))


def gaps(where: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Height of the opening between the inner contours (2, 11, 3) at shares `at` of its width."""
    x = where[0, 0, 0] + at * (where[0, -1, 0] - where[0, 0, 0])
    upper, lower = (np.interp(x, where[half, :, 0], where[half, :, 1]) for half in (0, 1))
    return lower - upper


EVERYWHERE = np.linspace(0, 1, 81)


def width(inner: np.ndarray) -> float:
    """Between the corners of the inner contours (2, 11, 3)."""
    return float(np.linalg.norm((inner[0, -1] - inner[0, 0])[:2]))


def test_at_rest_the_lips_meet(lips, pose):
    opening = gaps(posed(lips, pose())[0, 0], EVERYWHERE)
    assert opening.max() < 0.5
    # They press into each other by the overlap that hides the teeth, but do not trade places.
    assert opening.min() > -0.04 * lips.width


def test_pressed_lips_stay_shut(lips, pose):
    rest, pressed = (gaps(posed(lips, pose(press=p))[0, 0], EVERYWHERE) for p in (0.0, 1.0))
    assert pressed.max() < 0.5
    assert pressed[40] < rest[40]
    assert pressed.min() > -0.08 * lips.width


def test_the_gap_grows_with_open_up_to_its_full_height(lips, pose):
    where = posed(lips, pose(open=np.linspace(0, 1, 21)))[:, 0]
    middle = np.array([gaps(frame, np.array([0.5]))[0] for frame in where])
    assert (np.diff(middle) > 0).all()
    assert middle[-1] == pytest.approx(OPENING * lips.width, rel=0.06)
    assert middle[10] == pytest.approx(0.5 * OPENING * lips.width, rel=0.12)


def test_the_upper_lip_takes_the_smaller_part(lips, pose):
    shut, opened = posed(lips, pose(open=np.array([0.0, 1.0])))[:, 0, :, 5, 1]
    assert 0.1 < (shut[0] - opened[0]) / (OPENING * lips.width) < 0.35


def test_a_smile_in_the_photo_is_mostly_gone_at_rest(pose):
    smiling, relaxed = LIPS["smiling with teeth"], LIPS["shut"]
    at_rest = posed(smiling, pose())[0, 0]
    assert width(at_rest) < (1 + 0.25 * 0.22 + 0.01) * width(posed(relaxed, pose())[0, 0])
    lift = at_rest[:, 5, 1].mean() - at_rest[0, [0, -1], 1].mean()
    before = smiling.rest[0, :, 5, 1].mean() - smiling.rest[0, 0, [0, -1], 1].mean()
    assert lift < 0.6 * before
    assert 0 <= KEPT_SMILE < 0.5


def test_rounding_narrows_the_mouth_and_pushes_it_out(lips, pose):
    rest, rounded = posed(lips, pose(round=np.array([0.0, 1.0])))
    # Rounding also takes away what was kept of a smile: that much narrower at most.
    assert 0.5 < width(rounded[0]) / width(rest[0]) < 0.7
    forward = rest[..., 2] - rounded[..., 2]
    assert forward.min() > -1e-9
    assert (forward.argmax(axis=2) == 5).all()
    assert 0.08 * lips.width < forward[:3, :, 5].min() < forward[:3, :, 5].max() < 0.2 * lips.width
    assert (forward[3, :, 5] < 0.6 * forward[0, :, 5]).all()


def test_spreading_widens_the_mouth(lips, pose):
    rest, spread = posed(lips, pose(wide=np.array([0.0, 1.0])))
    assert 1.08 < width(spread[0]) / width(rest[0]) < 1.25


def test_smiling_raises_the_corners_and_frowning_lowers_them(lips, pose):
    frown, rest, smile = posed(lips, pose(smile=np.array([-1.0, 0.0, 1.0])))[:, 0]

    def lift(where: np.ndarray) -> float:
        return float(where[:, 5, 1].mean() - where[0, [0, -1], 1].mean())

    assert lift(frown) < lift(rest) + 1e-9
    assert lift(smile) > lift(rest)
    assert width(smile) > width(rest)


def test_for_f_the_lower_lip_goes_up_and_under_the_teeth(lips, pose):
    controls = pose(open=0.15, tuck=np.array([0.0, 1.0]))
    plain, tucked = posed(lips, controls)[:, 0, :, 5]
    assert tucked[1, 1] < plain[1, 1] - 0.01 * lips.width
    assert tucked[1, 2] > plain[1, 2] + 0.02 * lips.width
    assert tucked[0, 1] < plain[0, 1]  # the upper lip bares the teeth's edge
    assert tucked[1, 1] > tucked[0, 1]


def test_corners_never_part_and_rings_never_fold(lips, pose):
    rng = np.random.default_rng(0)
    channels = ("open", "jaw", "wide", "round", "tuck", "press", "smile")
    controls = pose(**{name: rng.uniform(-1 if name == "smile" else 0, 1, 300) for name in channels})
    where = posed(lips, controls)
    np.testing.assert_allclose(where[:, :, 0, [0, -1]], where[:, :, 1, [0, -1]], atol=1e-6)
    thickness = np.stack([where[:, 0, 0] - where[:, 3, 0], where[:, 3, 1] - where[:, 0, 1]])[..., 2:-2, 1]
    assert thickness.min() > 0
    assert (np.diff(where[:, 0, :, :, 0], axis=2) > 0).all()


def test_a_mirrored_mouth_moves_as_its_mirror_image(lips, pose):
    flip = np.array([-1.0, 1.0, 1.0])
    mirrored = LipModel(lips.rest[:, :, ::-1] * flip, lips.width, lips.photo_width)
    rng = np.random.default_rng(1)
    controls = pose(**{name: rng.random(50) for name in ("open", "wide", "round", "tuck", "press", "smile")})
    one, other = (lip_offsets(model, controls.astype(np.float64)) for model in (lips, mirrored))
    np.testing.assert_allclose(other[:, :, :, ::-1] * flip, one, atol=1e-9)
