"""The proofs: what their variants switch, what is held out, and a table from end to end."""

import functools
import json
from dataclasses import replace

import actavatar
import apoavatar
import longform
import numpy as np
import physavatar
import pytest
import torch
from accelerate.state import AcceleratorState
from bench import Bench, prove
from heldout import best_span, held_out, long_speeches
from proof import Options
from retold import Retold

import tiny
from test_methods import batch_of, clip, scene
from vivavoce.corpus.cache import CachedExamples
from vivavoce.corpus.cuts import Cutter
from vivavoce.corpus.shard_clips import Shards
from vivavoce.corpus.synth.orders import BOTH, TRAIN
from vivavoce.errors import InputError
from vivavoce.methods.load import load
from vivavoce.video.branches.state import state_loss
from vivavoce.video.maker import Span
from vivavoce.video.plan import Phase, Plan

FRAMES = 17


# What the variants switch.


def test_a_global_prompt_tells_what_happens_and_not_when():
    plan = Plan(
        base="A woman speaks.",
        phases=(Phase(text="waves", start=0.1, end=0.3), Phase(text="nods", start=0.4, end=0.6)),
    )
    told = replace(scene(), plan=plan)
    span = Span(0, FRAMES)
    found = {kind: load(tiny.method("actavatar", plan=kind)) for kind in ("phases", "global", "base")}
    texts = {kind: method.network.blocks(told, span) for kind, method in found.items()}
    prompt = found["base"].config.prompt
    assert texts["global"] == (f"{prompt} A woman speaks. waves nods",)
    assert texts["base"] == (f"{prompt} A woman speaks.",)
    assert texts["phases"][1:] == ("Phase-1 [0.1-0.3s]: waves", "Phase-2 [0.4-0.6s]: nods")
    assert not found["global"].network.conditions(found["global"].make, told, span)["phases"].any()
    assert found["phases"].network.conditions(found["phases"].make, told, span)["phases"].max() == 2


def test_the_rows_of_actavatar_differ_in_what_the_paper_says():
    untold, paca, progressive, full = actavatar.proof(tiny.method("actavatar"), steps=10).variants
    assert untold.config.plan == "global"
    assert paca.config.plan == progressive.config.plan == full.config.plan == "phases"
    gains = [v.config.build().branches["audio"].gain for v in (untold, paca, progressive, full)]
    assert gains[0] == gains[1] == (1.0,) * 4
    assert gains[2] == gains[3] == pytest.approx(tuple((layer / 4) ** 1.5 for layer in (1, 2, 3, 4)))
    assert [len(v.recipe.stages) for v in (untold, paca, progressive, full)] == [1, 1, 1, 2]
    assert {sum(stage.steps for stage in v.recipe.stages) for v in (untold, paca, progressive, full)} == {10}
    assert full.recipe.stages[0].trains == ("branches.audio.*",)
    assert full.told["adapter"].plan == "base"


def kept_poses(kind, drop, count=600):
    network = load(tiny.method("apoavatar", pose_dropout=kind, dropout=0.0)).network
    told = {"pose": torch.zeros(1, 3, 17, 32, 32), "pose_drop": drop}
    generator = torch.Generator().manual_seed(0)
    sigma, nulls = torch.tensor([0.5]), {"text": torch.zeros(1, 1, 1)}
    found = [
        network.randomised(told, sigma, nulls=nulls, generator=generator)["pose_keep"] for _ in range(count)
    ]
    return torch.cat(found).float()


def test_poses_are_dropped_by_loudness_by_frame_or_by_clip_at_one_rate():
    drop = torch.tensor([[0.1, 0.9, 0.5, 0.2, 0.8]])
    kept = {kind: kept_poses(kind, drop) for kind in ("loudness", "frames", "clip")}
    tolerance = 5 * (0.25 / 600) ** 0.5
    for kind, found in kept.items():
        assert found.shape == (600, 5), kind
        assert abs(found.mean() - 0.5) < tolerance, kind
    assert (kept["loudness"].mean(dim=0) - (1 - drop[0])).abs().max() < tolerance
    assert (kept["frames"].mean(dim=0) - 0.5).abs().max() < tolerance
    assert abs(torch.corrcoef(kept["frames"].T)[0, 1]) < 0.2
    assert (kept["clip"] == kept["clip"][:, :1]).all()


def test_full_supervision_holds_every_latent_frame_to_its_state():
    told = scene()
    terms = {}
    for kind in ("masked", "all"):
        method = load(tiny.method("physavatar", supervised=kind))
        latents, conditions = method.network.example(method.make, told, clip())
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
        batch = batch_of(method.network, latents, conditions, sigma=torch.tensor([0.05]), noise=noise, seed=2)
        with torch.no_grad():
            terms[kind] = method.network.losses(batch)
            drawn = method.network.drawn(batch, taps=[method.network.state_tap])
            predicted = method.network.states(drawn.taps[method.network.state_tap], latents)
    mask = batch.conditions["audio_mask"]
    assert 0 < mask.sum() < mask.numel()
    error = (predicted - conditions["states"]).square()
    assert terms["all"]["state"].item() == pytest.approx(error.mean().item(), rel=1e-5)
    some = state_loss(predicted, conditions["states"], mask)
    assert terms["masked"]["state"].item() == pytest.approx(some.item(), rel=1e-5)
    assert terms["all"]["flow"].item() == terms["masked"]["flow"].item()  # the same audio is hidden


def test_the_rows_of_the_other_proofs_differ_in_what_the_papers_say():
    poses = {v.name: v for v in apoavatar.proof(tiny.method("apoavatar"), steps=10).variants}
    assert [v.config.pose_dropout for v in poses.values()] == ["loudness", "clip", "frames", "loudness"]
    assert all({"pose", "pose_drop"} <= set(stage.without) for stage in poses["no-pose"].recipe.stages)
    assert all(not stage.without for stage in poses["refocusing"].recipe.stages)
    assert poses["refocusing"].recipe.stages[1].restores == ("backbone.*",)
    rows = {v.name: v for v in physavatar.proof(tiny.method("physavatar"), steps=10).variants}
    blocks = {name: v.config.state_layer for name, v in rows.items()}
    assert blocks == {"continuous": 2, "full": 2, "early": 1, "late": 3, "middle": 2}
    assert rows["full"].config.supervised == "all"
    assert rows["continuous"].recipe.stages[0].without == ("states",)
    orders = longform.proof(tiny.method("physavatar"), steps=10).variants
    assert [v.sampling["order"] for v in orders] == ["autoregressive", "interleaved"]
    assert all((v.config, v.recipe) == (rows["middle"].config, rows["middle"].recipe) for v in orders)


# From a corpus to a table.


def options(corpus, folder, **given):
    few = {"seeds": 1, "steps": 2, "frames": FRAMES, "training_clips": 3, "spans": 1, "clips": 2}
    return Options(corpus=corpus, runs=folder / "runs", out=folder / "docs", **few | given)


def test_a_span_holds_as_many_whole_actions_as_it_can(corpus):
    clip = Shards(corpus, split=BOTH)[0]
    assert best_span(clip, 34) is None
    first = best_span(clip, 17)  # 0.68 s: nod and shrug, and nothing of the raised hand
    assert 13 <= first <= 16
    held = held_out(corpus, tiny.method("actavatar"), frames=17, clips=3)
    assert len(held) == 3
    for one in held:
        assert [a.name for a in one.script] == ["nod", "shrug"]
        assert one.script[0].start == pytest.approx(0.7 - first / 25)
        assert one.scene.frames == len(one.frames) == 17
        assert np.array_equal(one.scene.photo, one.frames[0])
        assert one.phones[0].start == 0
        assert one.phones[-1].end == pytest.approx(0.68)


def test_held_out_clips_that_cannot_be_compared_are_refused(corpus):
    with pytest.raises(InputError, match="two at least"):
        held_out(corpus, tiny.method("actavatar"), frames=65, clips=3)
    with pytest.raises(InputError, match="two at least"):
        held_out(corpus, tiny.method("actavatar"), frames=17, clips=1)


def test_a_long_speech_is_all_that_a_person_says_and_then_again(corpus):
    config = tiny.method("physavatar")
    first, second = long_speeches(corpus, config, seconds=3.0, people=5)
    clips = Shards(corpus, split=BOTH)
    assert first.scene.frames == 75
    assert len(first.scene.speech.samples) == 48_000
    one, other, third = (clips[i].speech.samples for i in range(3))
    assert np.array_equal(second.scene.speech.samples, np.concatenate([other, third, other])[:48_000])
    assert np.array_equal(first.scene.speech.samples, np.concatenate([one] * 3)[:48_000])
    length = len(one) / 16_000
    starts = [phase.start for phase in first.scene.plan.phases]
    assert starts[:6] == pytest.approx([0.1, 0.7, 0.9, 0.1 + length, 0.7 + length, 0.9 + length])
    assert all(phone.end <= 3.0 for phone in first.phones)


def test_examples_that_are_told_otherwise_are_as_if_they_had_been_made_so(corpus, tmp_path):
    config = tiny.method("actavatar")
    source = Shards(corpus, split=TRAIN, fps=config.fps)
    cutter = Cutter.of(config, frames=FRAMES, spans=2)
    method, untold = load(config), load(replace(config, plan="global"))
    made_with = functools.partial(CachedExamples, source, folder=tmp_path, frames=FRAMES, spans=2)
    retold = Retold(made_with(method.network, method.make), source, untold, cutter)
    expected = made_with(untold.network, untold.make)
    assert len(retold) == len(expected) == 6
    for i in range(6):
        assert retold[i].name == expected[i].name
        assert retold[i].conditions.keys() == expected[i].conditions.keys()
        for key, value in expected[i].conditions.items():
            assert torch.allclose(retold[i].conditions[key].double(), value.double(), atol=2e-3), key
    assert retold.fingerprint != made_with(method.network, method.make).fingerprint


def test_a_proof_from_end_to_end_and_nothing_of_it_twice(corpus, eye, tmp_path, monkeypatch, capsys):
    AcceleratorState._reset_state(reset_partial_state=True)
    proof = actavatar.proof(tiny.method("actavatar"), steps=2)
    given = options(corpus, tmp_path)
    with pytest.raises(InputError, match="no variant 'pacca': choose one of global, paca"):
        prove(proof, replace(given, only="pacca"), read=eye)
    one = prove(proof, replace(given, only="paca"), read=eye)
    assert set(one["means"]) == {"paca", "truth"}
    assert {claim["verdict"] for claim in one["claims"]} == {"missing"}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*") if path.is_file()}

    record = prove(proof, given, read=eye)
    assert set(record["means"]) == {"global", "paca", "progressive", "two-stages", "truth"}
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    stages = [path.name for path in (tmp_path / "runs/trained").glob("two-stages-0-*/*-*")]
    assert sorted(stages) == ["1-adapter", "2-actions"]
    page = (tmp_path / "docs/actavatar.md").read_text()
    assert page in capsys.readouterr().out
    assert "| + two stages |" in page
    stored = json.loads((tmp_path / "docs/actavatar.json").read_text())
    assert stored["values"]["paca"]["0"].keys() == stored["truth"].keys()
    assert stored["values"]["paca"] == json.loads(json.dumps(one["values"]["paca"]))
    assert stored["settings"]["held-out clips"] == 2
    assert (tmp_path / "docs/actavatar.png").read_bytes()[:4] == b"\x89PNG"

    for seen in (tmp_path / "runs/seen").glob("paca-*"):  # as if it had been stopped in drawing
        seen.unlink()
    again = prove(proof, given, read=eye)
    assert repr(again["means"]) == repr(record["means"])
    drawn = [path for path in before if "drawn" in path.parts or "trained" in path.parts]
    assert len(drawn) > 4
    assert all(path.stat().st_mtime_ns == before[path] for path in drawn)

    def fail(*_):
        raise AssertionError("this was done before")

    monkeypatch.setattr(Bench, "_trained", fail)
    assert repr(prove(proof, given, read=eye)["means"]) == repr(record["means"])


def test_the_order_of_chunks_is_proved_on_the_weights_of_the_middle_block(corpus, eye, tmp_path):
    AcceleratorState._reset_state(reset_partial_state=True)
    config = tiny.method("physavatar")
    given = options(corpus, tmp_path, clips=5)
    prove(physavatar.proof(config, steps=2), replace(given, clips=2, only="middle"), read=eye)
    record = prove(longform.proof(config, steps=2, seconds=2.0), given, read=eye)
    assert len(list((tmp_path / "runs/trained").iterdir())) == 1
    assert set(record["means"]) == {"autoregressive", "interleaved"}
    videos = record["values"]["interleaved"][0]
    assert len(videos) == 2
    assert all(len(video["identity_by_second"]) == 2 for video in videos.values())
    assert (tmp_path / "docs/longform.png").is_file()
