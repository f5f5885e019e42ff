"""The motion diffusion learns motion that is known: its vectors mean motion, its terms are the losses they name."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from scipy.special import logsumexp

import motioned
from vivavoce.corpus.synth.motions import Motions
from vivavoce.errors import WeightsError
from vivavoce.splat.audiomotion.config import MINIATURE, PerceiverConfig
from vivavoce.splat.audiomotion.diffusion import MotionBatch, MotionDiffusion
from vivavoce.splat.audiomotion.windows import Layout
from vivavoce.splat.skeleton import JOINT
from vivavoce.train.audiomotion import (
    AUDIOMOTION_MINIATURE,
    MANY,
    TERMS,
    AudioMotionTask,
    audiomotion_task,
)
from vivavoce.train.machine import Machine
from vivavoce.train.motion_model import (
    FACE_FILE,
    MOTION_FILE,
    PROPORTIONS,
    FaceCode,
    MotionModel,
    proportions,
    rehung,
)
from vivavoce.train.moving import GROUPS, Body, Span, by_jaw, misplaced
from vivavoce.train.recipe import Recipe
from vivavoce.train.stage import Stage
from vivavoce.train.task import Task
from vivavoce.train.trainer import train

TINY = replace(
    MINIATURE,
    code=6,
    identity=PROPORTIONS,
    width=16,
    layers=1,
    heads=2,
    perceiver=PerceiverConfig(patch=10, latents=2, width=16, layers=1, heads=2, size=8),
    layout=Layout(length=40, overlap=20, ramp=10),
)
PLAIN = Stage(name="simple", steps=2, batch=2, rate=1e-2, trains=("diffusion.*",))
FULL = replace(PLAIN, name="full", losses={**GROUPS, "contrast": 0.1})
CPU = torch.device("cpu")
NAMES = (
    "diffusion.transformer.motion_out.bias",
    "diffusion.motion_encoder.mlp.2.weight",
    "diffusion.space.mean",
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return Motions(
        motioned.motions(tmp_path_factory.mktemp("motions"), each=((0, 0), (0, 1), (1, 1))), split=None
    )


@pytest.fixture(scope="module")
def task(clips):
    return audiomotion_task(FULL, clips, device=CPU, config=TINY)


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_it_is_a_task_and_begins_the_same_every_time(clips, task):
    assert isinstance(task, Task)
    again = audiomotion_task(FULL, clips, device=CPU, config=TINY)
    for (name, value), same in zip(
        task.module.state_dict().items(), again.module.state_dict().values(), strict=True
    ):
        assert torch.equal(value, same), name


def test_vectors_are_motion_and_back_whoever_moves(clips, task):
    for clip in (clips[0], clips[2]):
        span = Span.of(clip)
        vectors = task.module.vectors(span)
        assert vectors.shape == (51, TINY.channels)
        found = task.module.performed(vectors, span.body)
        torch.testing.assert_close(found.joints, span.joints, atol=1e-5, rtol=0)
        for group in ("hands", "surface"):
            wanted = getattr(span.places, group)
            torch.testing.assert_close(getattr(found.places, group), wanted, atol=1e-5, rtol=0)
        away = (found.places.face - span.places.face).norm(dim=-1)
        moves = (span.places.face - span.places.face.mean(0)).norm(dim=-1)
        assert away.mean() < 0.2 * moves.mean()  # six components of many


def test_statistics_are_those_of_the_clips(clips, task):
    vectors = torch.cat([task.module.vectors(Span.of(clips[i])) for i in range(3)]).double()
    space = task.module.diffusion.space
    moving = (space.deviation > 1.1e-3).numpy()
    assert moving.sum() > 100
    np.testing.assert_allclose(vectors.mean(0)[moving], 0, atol=2e-3)
    np.testing.assert_allclose(vectors.std(0, correction=0)[moving], 1, atol=5e-3)
    rest = np.mean([clips[i].rest.joints for i in range(3)], axis=0)
    np.testing.assert_allclose(space.rest, rest, atol=1e-6)


def test_motion_of_another_build_has_the_same_turns_and_displacements():
    generator = torch.Generator().manual_seed(0)
    rest, other = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(5, 4, 3, 3, generator=generator, dtype=torch.float64))[0]
    transforms = torch.cat([turn, torch.randn(5, 4, 3, 1, generator=generator, dtype=torch.float64)], -1)
    found = rehung(transforms.float(), rest.float(), other.float()).double()
    torch.testing.assert_close(found[..., :3], turn, atol=1e-6, rtol=0)
    was = (turn @ rest[..., None])[..., 0] + transforms[..., 3] - rest
    now = (turn @ other[..., None])[..., 0] + found[..., 3] - other
    torch.testing.assert_close(now, was, atol=1e-5, rtol=0)


def test_the_face_code_is_the_principal_components(clips):
    code = FaceCode(5)
    known = [clips[0], clips[1]]
    code.fit(known)
    spans = [Span.of(clip) for clip in known]
    left = [s.offsets - code.jaw[:, None] * by_jaw(s.joints, s.body.vertices) for s in spans]
    rows = torch.cat([part[::4] for part in left]).flatten(1).double().numpy()
    _, values, wanted = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    basis = code.basis.flatten(1).double().numpy()
    np.testing.assert_allclose(basis @ basis.T, np.eye(5), atol=1e-5)
    assert np.abs((basis * wanted[:5]).sum(1)) == pytest.approx(1, abs=1e-3)
    assert (basis[np.arange(5), np.abs(basis).argmax(1)] > 0).all()
    told = torch.cat([code.encode(s.joints, s.offsets, s.body)[::4] for s in spans])
    assert np.linalg.norm(told, axis=0) == pytest.approx(values[:5], rel=1e-3)
    with pytest.raises(ValueError, match="frames have no 400 components"):
        FaceCode(400).fit(known)


def test_proportions_are_lengths_against_the_mean_persons(clips):
    body = Body.of(clips[2].rest)
    found = proportions(body)
    arm = np.linalg.norm(
        clips[2].rest.joints[JOINT["left_elbow"]] - clips[2].rest.joints[JOINT["left_wrist"]]
    )
    assert found[4] == pytest.approx(10 * (arm / 0.248 - 1), abs=1e-3)
    assert found[6] == pytest.approx(10 * (clips[2].rest.mouth / 0.05 - 1), abs=1e-3)
    tall = replace(body, joints=1.1 * body.joints, mouth=1.1 * body.mouth)
    torch.testing.assert_close(proportions(tall), 1.1 * found + 1, atol=1e-4, rtol=0)
    assert found[:6].abs().max() < 3


def test_the_plain_stage_has_the_plain_loss_alone(clips, task):
    plain = AudioMotionTask(task.module, PLAIN)
    batch = plain.batch([clips[0], clips[1]], generators(1, 2))
    with torch.no_grad():
        terms = plain.losses(batch)
        noised = batch[1]
        data = task.module.vectors(noised.span)[None]
        wanted = task.module.diffusion.loss(
            MotionBatch(data, noised.span.audio[None], proportions(noised.span.body)[None]),
            generator=torch.Generator().manual_seed(noised.seed),
        )
    assert list(terms) == ["simple"]
    assert terms["simple"][1] == pytest.approx(wanted.loss.item(), rel=1e-5)
    assert noised.span.audio.shape[0] == 40


def test_the_full_stage_has_the_terms_that_it_names(clips, task):
    batch = task.batch([clips[0], clips[1]], generators(1, 2))
    with torch.no_grad():
        terms = task.losses(batch)
        noised = batch[0]
        data = task.module.vectors(noised.span)
        found = task.module.diffusion.loss(
            MotionBatch(data[None], noised.span.audio[None], proportions(noised.span.body)[None]),
            generator=torch.Generator().manual_seed(noised.seed),
        )
        performed = task.module.performed(found.estimate[0], noised.span.body)
    assert set(terms) == {"simple", "face", "hands", "surface", "contrast"}
    for name, wanted in misplaced(performed.places, noised.span.places, fps=25.0).items():
        assert terms[name][0] == pytest.approx(wanted.item(), rel=1e-4)


def test_the_contrast_is_among_all_patches(clips, task):
    batch = task.batch([clips[0], clips[1]], generators(3, 4))
    with torch.no_grad():
        found = task.losses(batch)["contrast"]
        m = task.module
        heard = torch.cat([m.diffusion.audio_encoder(b.span.audio[None])[0] for b in batch])
        seen = torch.cat([m.diffusion.motion_encoder(m.vectors(b.span)[None])[0] for b in batch])
    s = (heard @ seen.T).double().numpy() / 0.07
    each = 0.5 * (logsumexp(s, 1) + logsumexp(s, 0)) - s.diagonal()
    assert s.shape == (8, 8)
    np.testing.assert_allclose(found, each.reshape(2, 4).mean(1), rtol=1e-3)


def test_further_terms_have_a_place(clips, task):
    seen = []

    def stillness(estimates):
        seen.extend(estimates)
        return torch.stack([e.performed.joints.diff(dim=0).square().mean() for e in estimates])

    terms = {**TERMS, "stillness": stillness}
    more = AudioMotionTask(task.module, replace(PLAIN, losses={"stillness": 2.0}), terms=terms)
    found = more.losses(more.batch([clips[0]], generators(5)))
    assert set(found) == {"simple", "stillness"}
    assert found["stillness"].requires_grad
    assert 0 <= seen[0].step < 200
    assert "stillness" not in AudioMotionTask(task.module, PLAIN, terms=terms).losses(
        more.batch([clips[0]], generators(5))
    )


def test_what_is_random_comes_from_each_clips_generator(clips, task):
    both = task.batch([clips[0], clips[1]], generators(3, 4))
    (alone,) = task.batch([clips[1]], generators(4))
    assert alone.seed == both[1].seed != both[0].seed
    torch.testing.assert_close(alone.span.audio, both[1].span.audio)


def test_it_learns_a_clip(clips):
    """The noise of some steps and what is dropped aside, an estimate comes to be the clip's own motion."""
    task = audiomotion_task(FULL, clips, device=CPU, config=replace(TINY, width=32, dropout=0.0, given=0.0))
    measured = task.batch([clips[0]] * 6, generators(*range(6)))
    optimizer = torch.optim.Adam(task.module.parameters(), 3e-3)
    with torch.no_grad():
        before = {k: v.mean().item() for k, v in task.losses(measured).items()}
    for step in range(40):
        terms = task.losses(task.batch([clips[0], clips[1]], generators(100 + step, 200 + step)))
        loss = sum(FULL.losses.get(name, 1.0) * term.mean() for name, term in terms.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        after = {k: v.mean().item() for k, v in task.losses(measured).items()}
    assert after["simple"] < 0.6 * before["simple"]
    assert after["face"] < 0.7 * before["face"]
    assert after["hands"] < 0.5 * before["hands"]


def test_what_is_saved_performs_the_same(clips, task, tmp_path):
    task.save(tmp_path)
    model = MotionModel.load(tmp_path)
    body = Body.of(clips[2].rest)
    found, wanted = (m.perform(clips[2].audio, body, seed=3) for m in (model, task.module.eval()))
    assert found.joints.shape == (51, 55, 3, 4)
    torch.testing.assert_close(found.places.face, wanted.places.face)
    assert isinstance(MotionDiffusion.load(tmp_path / MOTION_FILE), MotionDiffusion)
    other = audiomotion_task(PLAIN, clips, device=CPU, config=TINY, seed=3)
    other.load(tmp_path)
    torch.testing.assert_close(
        other.module.diffusion.transformer.null, task.module.diffusion.transformer.null
    )
    task.module.train()


def test_parts_that_do_not_belong_together_are_refused(clips, task, tmp_path):
    task.save(tmp_path)
    less = audiomotion_task(PLAIN, clips, device=CPU, config=replace(TINY, code=4))
    (tmp_path / "less").mkdir()
    less.save(tmp_path / "less")
    (tmp_path / FACE_FILE).write_bytes((tmp_path / "less" / FACE_FILE).read_bytes())
    with pytest.raises(WeightsError, match=r"face\.safetensors"):
        MotionModel.load(tmp_path)
    with pytest.raises(WeightsError, match="holds no motion model"):
        MotionModel.load(tmp_path / "nowhere")


def test_the_trainer_goes_from_the_plain_stage_to_the_full_one(clips, tmp_path):
    AcceleratorState._reset_state(reset_partial_state=True)
    results = train(
        Recipe("audiomotion", (PLAIN, FULL)),
        lambda stage, device: audiomotion_task(stage, clips, device=device, config=TINY),
        data=lambda stage: clips,
        folder=tmp_path,
        machine=Machine(cpu=True, micro=2),
    )
    told = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert ["contrast" in line for line in told] == [False, False, True, True]
    begun = audiomotion_task(PLAIN, clips, device=CPU, config=TINY).module
    models = [begun, *(MotionModel.load(folder) for folder in results)]
    plain, full = (
        [(after.state_dict()[name] - before.state_dict()[name]).abs().max().item() for name in NAMES]
        for before, after in pairwise(models)
    )
    assert plain[0] > 1e-3 < full[0]
    # Nobody looks through the motion's encoder before there is a contrast: it only decays.
    assert plain[1] < 1e-3 < full[1]
    assert plain[2] == full[2] == 0


def test_the_recipe_is_the_papers_curriculum():
    plain, full = AUDIOMOTION_MINIATURE.stages
    assert not plain.losses
    assert set(full.losses) == set(TERMS)
    assert (MANY.layout.length, MANY.noise_steps, MANY.perceiver.patch) == (125, 200, 25)
