"""The proof of distillation: rows that differ in their losses alone, and a table from end to end."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import distillation
import numpy as np
import pytest
from distillation import TABLE, Options, prove

from vivavoce.errors import InputError
from vivavoce.personal import pipeline
from vivavoce.personal.objectives import Objectives

sys.path.insert(0, str(Path(__file__).parents[1] / "personal"))
import taught

ROWS = ("plain", "all")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def small(monkeypatch):
    """Two of the rows, a tiny teacher, and fields that are known."""
    taught.only_tiny(monkeypatch)
    monkeypatch.setattr(pipeline, "fit_field", taught.fitted)
    monkeypatch.setattr(
        pipeline, "seen_keypoints", lambda frames: np.zeros((len(frames), 127, 3), np.float32)
    )
    monkeypatch.setattr(distillation, "_photo", taught.photo)
    rows = tuple(row for row in TABLE.variants if row.name in ROWS)
    claims = tuple(claim for claim in TABLE.claims if {claim.more, claim.less} <= {*ROWS})
    monkeypatch.setattr(distillation, "TABLE", replace(TABLE, variants=rows, claims=claims))


def options(folder, **changes):
    return Options(
        **{
            "teacher": taught.TEACHER.name,
            "clips": 2,
            "held": 2,
            "seeds": 1,
            "runs": folder / "runs",
            "out": folder / "docs",
            **changes,
        }
    )


def test_a_table_from_end_to_end_and_again(tmp_path, small, monkeypatch):
    record = prove(options(tmp_path), sizes=taught.sizes())
    assert set(record["means"]) == {*ROWS, "truth"}
    assert record["means"]["truth"]["face"]["mean"] == 0
    assert record["means"]["truth"]["aperture"]["mean"] == pytest.approx(1)
    for row in ROWS:
        assert set(record["values"][row][0]) == {"motion-002", "motion-003"}
        assert 0 < record["means"][row]["face"]["mean"] < 30
        assert 5 < record["means"][row]["frames"]["mean"] < 60
    one, other = (record["means"][row]["face"]["mean"] for row in ROWS)
    assert one != other  # a step with other losses leads elsewhere
    assert len(record["claims"]) == 2
    assert "mouth correlation" in (tmp_path / "docs/distillation.md").read_text()
    assert (tmp_path / "docs/distillation.png").is_file()

    def never(*given, **more):
        raise AssertionError("it was there already")

    monkeypatch.setattr("vivavoce.personal.training.train", never)
    again = prove(options(tmp_path), sizes=taught.sizes())
    assert json.dumps(again["means"]) == json.dumps(record["means"])
    with pytest.raises(AssertionError, match="there already"):
        prove(options(tmp_path, seeds=2), sizes=taught.sizes())


def test_rows_differ_in_the_losses_that_their_titles_tell():
    found = {row.name: set(row.recipe.losses) for row in TABLE.variants}
    everything = set(Objectives().losses)
    drawn = {"score", "keypoints", "pictures", "rigid"}
    assert found["plain"] == {"simple"}
    assert found["trajectory"] == everything - drawn
    assert found["score"] == {"simple", "score"}
    assert found["both"] == everything - drawn | {"score"}
    assert found["unscored"] == everything - {"score"}
    assert found["unseen"] == everything - {"keypoints"}
    assert found["all"] == everything


def test_what_cannot_be_proved_is_told(tmp_path):
    with pytest.raises(InputError, match="has no variant 'half': choose one of plain, trajectory"):
        prove(options(tmp_path, only="half"))
    with pytest.raises(InputError, match="2 clips to learn from and 1 kept back are too few"):
        prove(options(tmp_path, held=1))
