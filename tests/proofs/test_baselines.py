"""Baselines: what a still frame is worth, what a network expects, and a table from end to end."""

import baselines
import numpy as np
import pytest
import torch
from proof import Options

import tiny
from test_methods import clip, scene
from vivavoce.methods.load import load
from vivavoce.video.vae import encoded, from_pictures, pictures
from vivavoce.video.wan.backbone import Drawn


def test_weighted_errors_are_those_of_a_formula():
    truth = np.zeros((1, 4, 4, 3), np.uint8)
    drawn = truth.copy()
    drawn[0, :2, :2] = 51  # one cell of four is off by a fifth of the range
    assert baselines.weighted_psnr(drawn, truth) == pytest.approx(10 * np.log10(4 * 25))
    weights = np.array([[[5.0, 1.0], [1.0, 1.0]]], np.float32)
    assert baselines.weighted_psnr(drawn, truth, weights) == pytest.approx(10 * np.log10(8 / 5 * 25))


@pytest.mark.parametrize("name", ["physavatar", "actavatar", "apoavatar"])
def test_a_network_that_knows_the_clip_expects_it(name, monkeypatch):
    method = load(tiny.method(name))
    make, config = method.make, method.config
    known = encoded(make.vae, from_pictures(clip()))
    latents = torch.cat([torch.zeros_like(known[:, :, :1])] * config.references + [known], dim=2)

    def perfect(batch, *, taps=()):
        assert batch.sigma.tolist() == [1.0]
        return Drawn(batch.noise - latents, {})

    monkeypatch.setattr(method.network, "drawn", perfect)
    found = baselines.expected(method, scene(), seed=0)
    assert found.shape == clip().shape
    wanted = np.stack(list(pictures(make.vae, known)))  # its first frame is the photo
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_a_table_from_end_to_end(corpus, eye, tmp_path):
    method = load(tiny.method("actavatar"))
    given = Options(corpus=corpus, runs=tmp_path / "runs", out=tmp_path / "docs", frames=17, clips=3)
    record = baselines.compare(method, given, read=eye)
    assert set(record["means"]) == {"mean", "photo", "average", "other", "own", "truth"}
    values = {row: list(record["values"][row][0].values()) for row in ("mean", "photo", "average", "own")}
    for row in ("mean", "photo", "average"):  # what never moves goes with nothing
        assert [one["mouth"] for one in values[row]] == [0.0] * 3
    best = np.mean([one["psnr"] for one in values["average"]])
    assert all(best > np.mean([one["psnr"] for one in values[row]]) for row in ("mean", "photo", "own"))
    assert (tmp_path / "docs/baselines-actavatar-miniature.md").is_file()
    assert len(list((tmp_path / "runs").rglob("job.json"))) == 6
