"""The proof of particles: what it measures, and a table from end to end."""

import json
import math
from dataclasses import replace

import numpy as np
import particles
import pytest
import torch
from particles import Options, measured, prove

import motioned
from vivavoce.corpus.synth.motions import Motions
from vivavoce.corpus.synth.orders import BOTH
from vivavoce.errors import InputError
from vivavoce.features.phones import Phone
from vivavoce.train.moving import Performed, Places, Span


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return motioned.motions(tmp_path_factory.mktemp("motions"), each=((0, 0), (1, 1), (2, 1)))


@pytest.fixture(scope="module")
def pair(folder):
    clips = Motions(folder, split=BOTH)
    return clips[0], clips[1]


def performed(clip, *, shift=0.0):
    """The truth, off by metres along an axis of the head, or along all of them."""
    span = Span.of(clip)
    true = span.places
    face = true.face + torch.tensor([0.0, 0.0, shift])
    return Performed(span.joints, Places(face, true.hands + shift, true.surface + shift))


def test_the_truth_has_no_errors(pair):
    clip, other = pair
    found = measured(clip, other, performed(clip))
    assert found["face"] == found["hands"] == found["surface"] == found["acceleration"] == 0
    assert found["aperture"] == pytest.approx(1)
    if not math.isnan(found["f1"]):
        assert (found["closed"], found["false"], found["f1"], found["narrowed"]) == (1, 0, 1, 1)
        assert found["gap"] == 0


def test_errors_are_told_in_millimetres(pair):
    clip, other = pair
    found = measured(clip, other, performed(clip, shift=0.01))
    assert found["face"] == pytest.approx(10, rel=1e-3)
    assert found["hands"] == pytest.approx(10 * math.sqrt(3), rel=1e-3)
    assert found["acceleration"] == 0


def test_mouths_that_stay_open_or_come_late_meet_less(pair, monkeypatch):
    clip, other = (replace(one, phones=(Phone("aa", 0.0, 2.04),)) for one in pair)
    shut = np.isin(np.arange(51) % 12, (5, 6))
    true, drawn = performed(clip), performed(clip)
    mouths = {id(true): np.where(shut, -0.02, 0.3)}
    monkeypatch.setattr(particles, "_true", lambda clip: true)
    monkeypatch.setattr(particles, "_aperture", lambda found, body: mouths[id(found)])

    mouths[id(drawn)] = np.where(shut, 0.1, 0.3)
    parted = measured(clip, other, drawn)
    assert (parted["closed"], parted["f1"], parted["narrowed"]) == (0, 0, 1)
    assert parted["gap"] == pytest.approx(0.1)
    mouths[id(drawn)] = np.roll(mouths[id(true)], 1)
    assert measured(clip, other, drawn)["f1"] == 1
    mouths[id(drawn)] = np.roll(mouths[id(true)], 3)
    late = measured(clip, other, drawn)
    assert (late["closed"], late["false"], late["f1"]) == (0, 1, 0)


def test_a_table_from_end_to_end_and_again(folder, tmp_path, monkeypatch):
    options = Options(
        motions=folder, runs=tmp_path / "runs", out=tmp_path / "docs", seeds=1, steps=2, frames=30
    )
    record = prove(options)
    assert set(record["means"]) == {"particles", "alone", "angles", "truth"}
    assert record["means"]["truth"]["face"]["mean"] == 0
    for variant in ("particles", "angles"):
        assert 0 < record["means"][variant]["face"]["mean"] < 30
        assert set(record["values"][variant][0]) == {
            "shard-000000.tar/0001-0001",
            "shard-000000.tar/0002-0001",
        }
    assert len(record["claims"]) == 7
    assert (tmp_path / "docs/particles.png").is_file()
    assert "closure F1" in (tmp_path / "docs/particles.md").read_text()
    assert len(list((tmp_path / "runs/seen").glob("*.json"))) == 3

    def never(*given, **more):
        raise AssertionError("it was there already")

    monkeypatch.setattr(particles, "train", never)
    again = prove(options)
    assert json.dumps(again["means"]) == json.dumps(record["means"])
    with pytest.raises(AssertionError, match="there already"):
        prove(Options(motions=folder, runs=tmp_path / "runs", out=tmp_path / "docs", seeds=1, steps=3))


def test_what_cannot_be_proved_is_told(folder, tmp_path):
    with pytest.raises(InputError, match="has no variant 'poses': choose one of particles, alone, angles"):
        prove(Options(motions=folder, only="poses"))
    with pytest.raises(InputError, match="1 held-out clips are too few"):
        prove(Options(motions=folder, runs=tmp_path, clips=1))
