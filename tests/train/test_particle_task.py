"""The deformer learns motion that is known: what its face hangs on, what is random, and that particles shut lips."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import motioned
from vivavoce.corpus.synth.motions import Motions
from vivavoce.errors import WeightsError
from vivavoce.losses.rigid import arap, knn_graph
from vivavoce.splat.deformer.config import MINIATURE
from vivavoce.train.moving import FACE_POINTS, HEAD, Span, jaw_shares, out_of_head
from vivavoce.train.particles import (
    ANGLES,
    ANGLES_MINIATURE,
    FILE,
    PARTICLES_MINIATURE,
    TOKENS,
    SpeakingParticles,
    load_particles,
    parted,
    particle_task,
)
from vivavoce.train.stage import Stage
from vivavoce.train.task import Task

TINY = replace(MINIATURE, width=16, hidden=16, heads=2, past=1, ahead=1, harmonics=2, history=2)
STAGE = Stage(name="motion", steps=2, batch=2, rate=1e-2, trains=("*",), frames=24)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return Motions(motioned.motions(tmp_path_factory.mktemp("motions"), each=((0, 0), (0, 1))))


def task_of(clips, **changes):
    return particle_task(STAGE, clips, device=CPU, **{"config": TINY, **changes})


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def shaken(task, seed=0):
    """With weights at which everything moves."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in task.module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return task


def fitted(task, clips, steps=45):
    optimizer = torch.optim.Adam(task.module.parameters(), 1e-2)
    for step in range(steps):
        terms = task.losses(task.batch([clips[0]], generators(step)))
        loss = sum(task.weights[name] * term.mean() for name, term in terms.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return task


def test_it_is_a_task_and_begins_the_same_every_time(clips):
    task, again = task_of(clips), task_of(clips)
    assert isinstance(task, Task)
    other = task_of(clips, seed=1)
    for (name, value), same in zip(
        task.module.state_dict().items(), again.module.state_dict().values(), strict=True
    ):
        assert torch.equal(value, same), name
    assert not torch.equal(task.module.avatar, other.module.avatar)


def test_untrained_it_stays_at_rest(clips):
    span = Span.of(clips[0])
    with torch.no_grad():
        found = task_of(clips).module(span.audio, span.body)
    body = span.body
    torch.testing.assert_close(found.places.face, body.face.expand(51, -1, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.places.hands, body.hands.expand(51, -1, -1), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.places.surface, body.surface.expand(51, -1, -1), atol=1e-5, rtol=0)


def test_a_face_by_joints_hangs_on_head_and_jaw_alone(clips):
    model = shaken(task_of(clips, config=replace(TINY, motion="joint angles"))).module
    span = Span.of(clips[1], frames=5)
    with torch.no_grad():
        found = model(span.audio, span.body)
    share = jaw_shares([clips[0], clips[1]]).double().numpy()[list(FACE_POINTS)]
    joints, face = found.joints.double().numpy(), span.body.face.double().numpy()
    ends = [face @ joints[:, j, :, :3].swapaxes(1, 2) + joints[:, j, None, :, 3] for j in (15, 22)]
    wanted = (1 - share[:, None]) * ends[0] + share[:, None] * ends[1]
    np.testing.assert_allclose(out_of_head(found.joints, found.places.face), wanted, atol=1e-5)


def test_residuals_are_added_in_space_where_tokens_are(clips):
    task = shaken(task_of(clips))
    span = Span.of(clips[0], frames=5)
    with torch.no_grad():
        found = task.module(span.audio, span.body)
        task.module.residuals = False
        bare = task.module(span.audio, span.body)
        m, body = task.module, span.body
        away = (body.face - body.face.mean(0)) - (m.home - m.home.mean(0))
        avatar = m.avatar + m.aside(100 * away[list(TOKENS)])
        subject = m.deformer.prepare(avatar[None], m.template[None], body.joints[None])
        offsets = m.deformer(span.audio[None], subject).residuals.offsets[0]
    moved = out_of_head(found.joints, found.places.face) - out_of_head(bare.joints, bare.places.face)
    for token, place in enumerate(TOKENS):  # a point with a token of its own reads that one
        torch.testing.assert_close(moved[:, place], offsets[:, token], atol=2e-4, rtol=0.02)
    assert moved.norm(dim=-1).max() > 1e-3
    torch.testing.assert_close(found.places.surface, bare.places.surface)


def test_lips_that_touch_read_tokens_of_their_own_side(clips):
    model = task_of(clips).module
    assert {FACE_POINTS[TOKENS[t]] for t in range(20)} == {*FACE_POINTS[:20]}
    torch.testing.assert_close(model.weights_read.sum(1), torch.ones(len(FACE_POINTS)))
    upper, lower = FACE_POINTS.index(82), FACE_POINTS.index(87)
    shares = model.jaw[[TOKENS[t] for t in model.tokens_read.flatten().tolist()]].view(-1, 3)
    reads = (model.weights_read * shares).sum(1)
    assert reads[upper] < 0.1
    assert reads[lower] > 0.9
    closed = model.home
    assert (closed[upper] - closed[lower]).norm() < 0.003
    opened = parted(closed, model.jaw)
    assert (opened[upper] - opened[lower]).norm() > 0.02


def test_the_losses_are_those_of_the_points(clips):
    task = shaken(task_of(clips))
    batch = task.batch([clips[0], clips[1]], generators(1, 2))
    with torch.no_grad():
        terms = task.losses(batch)
        second = task.losses(batch[1:])
        heard = batch[1]
        found = task.module(heard.span.audio, heard.span.body, first=heard.first)
    assert set(terms) == set(task.weights) == {"face", "hands", "surface", "arap"}
    for name, term in terms.items():
        assert term.shape == (2,)
        assert term[1] == pytest.approx(second[name][0].item(), rel=1e-5)
    body, wanted = heard.span.body, heard.span.places.hands.double()
    error = (found.places.hands.double() - wanted).numpy()
    total = sum((np.diff(error, n, axis=0) ** 2).sum(-1).mean() for n in range(3))
    assert terms["hands"][1] == pytest.approx(total, rel=1e-4)
    rest = torch.cat([body.face, body.surface]).double()
    near = knn_graph(torch.cat([parted(body.face, task.module.jaw), body.surface]), 6)
    moved = torch.cat([out_of_head(found.joints, found.places.face), found.places.surface], 1)
    wanted = arap(rest, moved[heard.rigid].double(), near).mean()
    assert terms["arap"][1] == pytest.approx(wanted.item(), rel=1e-3)


def test_what_is_random_comes_from_each_clips_generator(clips):
    task = task_of(clips)
    both = task.batch([clips[0], clips[1]], generators(3, 4))
    (alone,) = task.batch([clips[1]], generators(4))
    assert alone.first == both[1].first
    torch.testing.assert_close(alone.span.audio, both[1].span.audio)
    torch.testing.assert_close(alone.rigid, both[1].rigid)
    many = task.batch([clips[0]] * 40, generators(*range(40)))
    firsts = [heard.first for heard in many]
    assert min(firsts) < 20
    assert 100 < max(firsts) < 125
    assert len({round(float(heard.span.audio.sum()), 3) for heard in many}) > 6


def test_particles_learn_a_face_that_joint_angles_cannot(clips):
    left = {}
    for motion in ("particles", "joint angles"):
        task = task_of(clips, config=replace(TINY, motion=motion))
        batch = task.batch([clips[0]], generators(99))
        start = task.losses(batch)["face"].item()
        left[motion] = fitted(task, clips).losses(batch)["face"].item() / start
    assert left["particles"] < 0.4
    assert left["particles"] < 0.6 * left["joint angles"]


def test_gradients_reach_speech_tokens_and_body(clips):
    task = task_of(clips, config=TINY)
    fitted(task, clips, steps=2)
    names = {
        name for name, p in task.module.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert {"avatar", "template", "aside.weight", "deformer.driving.to_token.0.weight"} <= names
    assert "deformer.head.to_residuals.offsets.3.weight" in names
    # nobody looks at colours here
    assert "deformer.head.to_residuals.colors.3.weight" not in names


@pytest.mark.parametrize("residuals", [True, False])
def test_what_is_saved_performs_the_same(clips, tmp_path, residuals):
    task = shaken(task_of(clips, residuals=residuals))
    task.save(tmp_path)
    model = load_particles(tmp_path / FILE)
    assert isinstance(model, SpeakingParticles)
    span = Span.of(clips[0], frames=6)
    with torch.no_grad():
        found, wanted = (m(span.audio, span.body, first=3).places for m in (model, task.module))
    torch.testing.assert_close(found.face, wanted.face)
    other = task_of(clips, residuals=residuals, seed=5)
    other.load(tmp_path)
    torch.testing.assert_close(other.module.avatar, task.module.avatar)


def test_other_weights_are_refused(clips, tmp_path):
    task_of(clips).save(tmp_path)
    with pytest.raises(WeightsError):
        task_of(clips, config=replace(TINY, motion="joint angles")).load(tmp_path)
    with pytest.raises(WeightsError, match="holds no particle deformer"):
        load_particles(tmp_path / "nothing.safetensors")


def test_a_head_that_turns_carries_its_face(clips):
    """In the head's frame, the true face does not know of the head's turns."""
    clip = clips[0]
    turned = clip.joints.copy()
    turned[:, HEAD] = np.eye(4)[:3]
    joints = np.where(np.arange(55)[None, :, None, None] == HEAD, turned, clip.joints)
    found = Span.of(replace(clip, joints=joints.astype(np.float32))).places.face
    torch.testing.assert_close(found, Span.of(clip).places.face)


def test_the_recipes_differ_in_their_motion_alone():
    (ours,), (theirs,) = PARTICLES_MINIATURE.stages, ANGLES_MINIATURE.stages
    assert ours == theirs
    assert PARTICLES_MINIATURE.method != ANGLES_MINIATURE.method
    assert replace(ANGLES, motion="particles") == MINIATURE
