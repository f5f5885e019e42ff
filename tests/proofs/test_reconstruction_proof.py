"""The proof of reconstruction: its measures against formulas, the lift turned, a table from end to end."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import reconstruction
import seen_sides
from accelerate.state import AcceleratorState
from reconstruction import Options, Untrained, prove, shortened, table

from vivavoce.corpus.synth.sitter import Shot
from vivavoce.corpus.synth.views import Sitting, Sittings, sides, subjects
from vivavoce.errors import InputError
from vivavoce.splat.lhm.config import MINIATURE, DecoderConfig, HandsConfig, PyramidConfig
from vivavoce.train.reconstruction import LHM_MINIATURE
from vivavoce.types import Camera

EYE = PyramidConfig(width=16, layers=1, heads=2, patch=8, trained=32, side=32, taps=(0,), out=16)
TINY = replace(
    MINIATURE,
    layers=1,
    points=128,
    width=32,
    heads=2,
    condition=16,
    head=EYE,
    body=EYE,
    hands=HandsConfig(width=16, layers=1, heads=2, patch=8, crop=(16, 16)),
    decoder=DecoderConfig(hidden=32, initial_scale=-3.0),
)
POINTS = 40  # of both hands, without wrists


def shot(image, hands):
    """A view in which these points (0 to 1 across the picture) of the left hand are seen, and none of the right."""
    keypoints = np.zeros((127, 3), np.float32)
    for index, (x, y) in hands.items():
        keypoints[85 + index] = (2 * x - 1, 2 * y - 1, 1)
    eye = np.eye(3, 4, dtype=np.float32)
    return Shot(image, np.zeros(image.shape[:2], np.uint8), keypoints, eye, eye[None])


def sitting(images, hands, name="0001-0"):
    camera = Camera(images.shape[2], images.shape[1], 50.0, 0.0, 0.0)
    views = tuple(shot(image, hands) for image in images)
    return Sitting(name, views[0], camera, views)


CORNERS = {0: (0.25, 0.25), 1: (0.5, 0.25), 2: (0.5, 0.5), 3: (0.25, 0.5)}


def test_hands_are_where_their_points_are_and_a_little_around():
    masks = seen_sides.hand_masks(sitting(np.zeros((2, 40, 40, 3), np.uint8), CORNERS))
    assert masks.shape == (2, 40, 40)
    assert masks[0, 15, 15]
    rows, columns = np.nonzero(masks[1])
    assert rows.min() == columns.min()
    assert 5 <= rows.min() <= 8
    assert 22 <= rows.max() <= 24
    nobody = seen_sides.hand_masks(sitting(np.zeros((1, 40, 40, 3), np.uint8), {0: (0.1, 0.1)}))
    assert not nobody.any()


def no_eye(views):
    return np.zeros((len(views), POINTS))


def test_the_hands_error_is_that_within_them():
    truth = np.zeros((3, 40, 40, 3), np.uint8)
    held = sitting(truth, CORNERS)
    mask = seen_sides.hand_masks(held)
    drawn = truth.copy()
    drawn[~mask] = 200
    drawn[:2][mask[:2]] = 51  # in two views of three, by a fifth
    found = seen_sides.measured(held, drawn, no_eye)
    assert found["hand"] == pytest.approx(10 * np.log10(25 * 3 / 2))
    outside = (~mask[2]).mean() * 200**2
    assert found["psnr_left"] == pytest.approx(10 * np.log10(255**2 / outside))
    assert set(found) == {measure.name for measure in table(TINY).measures}
    assert seen_sides.measured(held, None, no_eye) == {}


def test_hkc_is_the_mean_over_points_within_the_picture():
    held = sitting(np.zeros((2, 8, 8, 3), np.uint8), {0: (0.5, 0.5), 1: (0.2, 0.2), 5: (0.3, 0.3)})

    def eye(views):
        found = np.full((len(views), POINTS), 9.0)
        found[:, 0], found[:, 4] = (0.2, 0.4), (0.6, 0.8)  # the wrist is not among them
        return found

    assert seen_sides.hkc(held, seen_sides.truth_of(held), eye) == pytest.approx(0.5)
    assert np.isnan(
        seen_sides.hkc(sitting(np.zeros((1, 8, 8, 3), np.uint8), {}), np.zeros((1, 8, 8, 3), np.uint8), eye)
    )


def test_the_reader_s_eye_gives_probabilities_of_the_hands_points():
    found = seen_sides.seen_hands(np.full((2, 96, 96, 3), 255, np.uint8))
    assert found.shape == (2, POINTS)
    assert (found >= 0).all()
    assert (found <= 1).all()
    assert found.mean() < 0.5  # there is nobody


def test_a_shorter_recipe_keeps_its_stages_shares():
    short = shortened(LHM_MINIATURE, 28)
    assert [stage.steps for stage in short.stages] == [10, 18]
    assert all(stage.warmup < stage.steps for stage in short.stages)
    assert [s.name for s in short.stages] == [s.name for s in LHM_MINIATURE.stages]
    assert shortened(LHM_MINIATURE, None) is LHM_MINIATURE
    assert [stage.steps for stage in shortened(LHM_MINIATURE, 1).stages] == [1, 1]


def test_rows_differ_in_hands_and_in_what_is_trained():
    rows = {row.name: row for row in table(TINY).variants}
    assert list(rows) == ["lift", "plain", "hands", "personal"]
    assert isinstance(rows["lift"].recipe, Untrained)
    assert rows["plain"].config == replace(TINY, hands=None)
    assert rows["hands"].config == rows["personal"].config == TINY
    assert rows["plain"].recipe == rows["hands"].recipe == LHM_MINIATURE
    assert rows["personal"].begun == "hands"
    assert all("*" not in stage.trains for stage in rows["personal"].recipe.stages)


def test_the_lift_gives_its_photo_and_turns_as_the_person_does(monkeypatch):
    monkeypatch.setattr(seen_sides, "PIVOTS", np.array([0.0, 0.08]))
    subject = subjects(40, 0)[1][0]
    made = Sittings([subject], each=1, plan=sides, photo=512, size=96, detail=4.0, drawn=512)[0]
    views = seen_sides.lifted(made)
    assert views is not None
    truth = seen_sides.truth_of(made)
    found = seen_sides.psnr(views, truth)
    assert found[0] > 30
    assert (found[1:] > 12).all()
    swapped = seen_sides.psnr(views[[0, 2, 1]], truth)
    assert (found[1:] > swapped[1:]).all()  # to the right side, each


def test_a_photo_without_a_face_lifts_nobody():
    blank = sitting(np.full((3, 96, 96, 3), 255, np.uint8), {})
    assert seen_sides.lifted(blank) is None


def test_people_stand_side_by_side_and_rows_below_each_other():
    held = [sitting(np.full((3, 8, 8, 3), 10 * k, np.uint8), {}, name=f"{k}") for k in range(2)]
    picture = seen_sides.sheet(held, [{"0": np.full((3, 8, 8, 3), 77, np.uint8)}])
    assert picture.shape == (16, 48, 3)
    assert (picture[:8, 24:] == 10).all()
    assert (picture[8:, :24] == 77).all()
    assert (picture[8:, 24:] == 255).all()


@pytest.fixture
def small(monkeypatch):
    """Few small pictures, quickly drawn; the lift is perfect."""
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setattr(reconstruction, "PHOTO", 96)
    monkeypatch.setattr(reconstruction, "DETAIL", 12.0)
    monkeypatch.setattr(reconstruction, "SEEN", 64)
    coarse = {"photo": 64, "size": 96, "detail": 12.0, "drawn": 96}
    people = Sittings(subjects(4, 0)[0], each=1, **coarse)
    monkeypatch.setattr(reconstruction, "training_sittings", lambda count: people)
    monkeypatch.setattr(reconstruction, "personal_sittings", lambda who: Sittings([who], each=1, **coarse))
    monkeypatch.setattr(reconstruction, "lifted", lambda held: seen_sides.truth_of(held) // 2)


def test_a_proof_from_end_to_end_and_nothing_of_it_twice(small, tmp_path):
    given = table(TINY, steps=2, personal_steps=1)
    options = Options(runs=tmp_path / "runs", out=tmp_path / "docs", seeds=1, people=2, corpus=4)
    with pytest.raises(InputError, match="no row 'hand': choose one of lift, plain"):
        prove(given, replace(options, only="hand"), eye=no_eye)
    plain = replace(given, plot=lambda *told: told[-1].write_bytes(b""))  # plots take seconds
    one = prove(plain, replace(options, only="lift"), eye=no_eye)
    assert set(one["means"]) == {"lift", "truth"}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.png")}
    assert len(before) == 2

    record = prove(given, options, eye=no_eye)
    assert set(record["means"]) == {"lift", "plain", "hands", "personal", "truth"}
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    values = record["values"]["hands"][0]
    assert set(values) == {"0002-0", "0003-0"}
    for name, of_one in record["values"]["personal"][0].items():
        assert of_one["psnr_front"] != values[name]["psnr_front"]
    stages = sorted(path.name for path in (tmp_path / "runs/trained").glob("*/*/1-decoder"))
    assert len(stages) == 2
    assert (tmp_path / "docs/reconstruction.png").stat().st_size > 10_000
    people = cv2.imread(str(tmp_path / "docs/reconstruction-people.png"))
    assert people.shape == (5 * 96, 2 * 3 * 96, 3)
    every = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert prove(plain, options, eye=no_eye)["values"] == record["values"]
    assert all(path.stat().st_mtime_ns == time for path, time in every.items())
