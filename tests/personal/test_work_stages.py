"""A stage is made once, gone on with after a stop, and made anew from other inputs."""

import json

import pytest

from vivavoce.errors import OutputError
from vivavoce.personal.stages import RECORD, make_stage

INPUTS = {"clip": 3, "of": ["a", 0.5]}


def untouched(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()
    }


def written(text):
    return lambda folder: (folder / "made.txt").write_text(text)


def never(folder):
    raise AssertionError("it is whole already")


def test_a_whole_stage_is_not_made_again(tmp_path):
    folder = tmp_path / "deep" / "stage"
    digest = make_stage(folder, INPUTS, written("one"))
    before = untouched(folder)
    assert make_stage(folder, dict(reversed(INPUTS.items())), never) == digest
    assert untouched(folder) == before


def test_a_stage_that_was_stopped_finds_what_it_has_left(tmp_path):
    def stopped(folder):
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_stage(tmp_path / "stage", INPUTS, stopped)
    make_stage(tmp_path / "stage", INPUTS, lambda folder: (folder / "half").rename(folder / "whole"))
    assert (tmp_path / "stage" / "whole").read_text() == "half"
    make_stage(tmp_path / "stage", INPUTS, never)


@pytest.mark.filterwarnings("ignore")
def test_other_inputs_make_it_anew_and_change_the_digest(tmp_path):
    first = make_stage(tmp_path / "stage", INPUTS, written("one"))
    (tmp_path / "stage" / "left").touch()
    with pytest.warns(UserWarning, match="made from something else"):
        second = make_stage(tmp_path / "stage", {**INPUTS, "clip": 4}, written("two"))
    assert second != first
    assert sorted(path.name for path in (tmp_path / "stage").iterdir()) == ["made.txt", RECORD]
    assert (tmp_path / "stage" / "made.txt").read_text() == "two"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("record", ["", "[]", json.dumps({"inputs": INPUTS})])
def test_a_record_that_vouches_for_nothing_counts_for_nothing(tmp_path, record):
    make_stage(tmp_path / "stage", INPUTS, written("one"))
    (tmp_path / "stage" / RECORD).write_text(record)
    make_stage(tmp_path / "stage", INPUTS, written("two"))
    assert (tmp_path / "stage" / "made.txt").read_text() == "two"


def test_a_place_that_holds_no_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be made \(.+\): choose another place"):
        make_stage(tmp_path / "file" / "stage", INPUTS, never)
