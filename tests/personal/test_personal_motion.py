"""The personal motion model in training: windows, clips without speech, and terms that pull where they should."""

from dataclasses import replace

import numpy as np
import pytest
import taught
import torch

from vivavoce.features.encoders import LogMelEncoder
from vivavoce.personal.body import keypoints, rest_of
from vivavoce.personal.data import Clip, Subject
from vivavoce.personal.examples import TaughtClip
from vivavoce.personal.motion import EmbeddingTask, Guess, PersonalTask
from vivavoce.personal.objectives import Objectives
from vivavoce.personal.refine import aligned_keypoints, pictures, rigid, terms
from vivavoce.personal.studio import Studio
from vivavoce.personal.teacher import Teacher
from vivavoce.personal.view import view_of
from vivavoce.splat.skeleton import JOINTS
from vivavoce.train.motion_model import MotionModel
from vivavoce.train.moving import FACE_POINTS, Body, places

SIZES = taught.sizes()
VIEW = (48, 48)


class Shown(Clip):
    """A clip whose frames are at hand."""

    def pictures(self, first=0, count=None):
        return SHOWN[self.name][first : first + count]


SHOWN: dict[str, np.ndarray] = {}


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    avatar = taught.avatar()
    subject = Subject(tmp_path_factory.mktemp("none") / "photo", None, view_of(avatar, *VIEW))
    return Studio(avatar, subject, Teacher(taught.TEACHER))


@pytest.fixture(scope="module")
def clips(studio, tmp_path_factory):
    """One that speaks, whose teacher drew the very avatar, and one that does not."""
    folder, rest = tmp_path_factory.mktemp("clips"), rest_of(studio.avatar)
    found = []
    for number, heard in enumerate((True, False)):
        field = taught.known_field(studio.avatar, taught.LENGTH, phase=2.0 * number)
        clip = Shown(folder / f"clip-{number}", heard, taught.LENGTH, 25.0)
        joints, face = torch.from_numpy(field.joints), torch.from_numpy(field.face)
        with torch.no_grad():
            drawn = studio.pictures(joints, face).clamp(0, 1)
            seen = keypoints(
                studio.face(joints, face),
                places(joints, face[:, list(FACE_POINTS)], Body.of(rest)),
                frozenset(),
                studio.subject.view.camera,
            )
        SHOWN[clip.name] = (drawn * 255).round().to(torch.uint8).numpy()
        riders = np.concatenate([field.face, np.zeros((taught.LENGTH, 1, 3), np.float32)], axis=1)
        audio = np.random.default_rng(number).normal(size=(taught.LENGTH, LogMelEncoder.width))
        told = (clip.name, "train", 25.0, (), audio.astype(np.float32), field.joints, riders, rest)
        found.append(TaughtClip(*told, clip, seen.numpy()))
    return found


@pytest.fixture
def model(clips):
    torch.manual_seed(0)
    model = MotionModel(SIZES.model)
    model.fit(clips)
    with torch.no_grad():  # as built it says zero, whatever it hears
        model.diffusion.transformer.motion_out.weight.normal_(0, 0.05)
        for block in model.diffusion.transformer.blocks:
            block.modulation.weight.normal_(0, 0.05)
    return model


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def guess_of(model, clip, studio, vectors, *, begin=10, count=5):
    task = PersonalTask(model, SIZES.motion[0], drawn=count)
    (shot,) = task.batch([clip], generators(0))
    shot = replace(shot, begin=begin, count=count)
    return Guess(model, shot.span, vectors, vectors, 0, shot=shot, studio=studio)


def test_a_window_and_its_drawn_frames_lie_in_the_clip(model, clips):
    task = PersonalTask(model, replace(SIZES.motion[0], frames=30), drawn=5)
    for seed in range(5):
        (shot,) = task.batch(clips[:1], generators(seed))
        assert len(shot.span.audio) == 30
        assert np.array_equal(shot.span.audio, clips[0].audio[shot.first : shot.first + 30])
        assert (13 if shot.opened else 0) <= shot.begin <= 30 - shot.count
    again = [task.batch(clips[:1], generators(7))[0] for _ in range(2)]
    assert (again[0].first, again[0].seed) == (again[1].first, again[1].seed)


@pytest.mark.parametrize("number", [0, 1])
def test_speech_counts_only_where_something_is_said(model, clips, number):
    task = PersonalTask(model, replace(SIZES.motion[0], losses={"contrast": 1.0}))
    shots = task.batch(clips, generators(1, 2))
    found = task.losses(shots)
    span = replace(shots[number].span, audio=shots[number].span.audio + 3)
    other = task.losses([replace(s, span=span) if s is shots[number] else s for s in shots])
    same = torch.isclose(found["simple"], other["simple"], rtol=1e-6)
    assert same.tolist() == [number == 1, True]
    assert found["contrast"][1] == 0
    assert model.diffusion.config.dropout < 1


def test_the_embedding_is_pulled_together_by_the_cosine(model, clips):
    task = EmbeddingTask(model, replace(SIZES.embedding, losses={}))
    shots = task.batch([clips[0]], generators(1))
    found = task.losses(shots)
    audio = model.diffusion.audio_encoder(shots[0].span.audio[None])[0]
    motion = model.diffusion.motion_encoder(model.vectors(shots[0].span)[None])[0]
    cosine = [float((a @ m / a.norm() / m.norm()).detach()) for a, m in zip(audio, motion, strict=True)]
    assert len(cosine) == 2
    assert float(found["cosine"].detach()) == pytest.approx(1 - np.mean(cosine), abs=1e-5)


def test_what_was_told_is_acted_again(model, clips):
    guess = guess_of(
        model,
        clips[0],
        None,
        model.vectors(PersonalTask(model, SIZES.motion[0]).batch(clips[:1], generators(0))[0].span),
    )
    joints, offsets = model.acted(guess.vectors, guess.body)
    np.testing.assert_allclose(joints.detach(), clips[0].joints, atol=1e-4)
    away = np.abs(offsets.detach().numpy() - clips[0].riders[:, :468])
    assert away.max() < 0.2 * np.abs(clips[0].riders).max()  # four components


def test_terms_are_least_where_the_clip_is_met(model, clips, studio):
    clip = clips[0]
    span = PersonalTask(model, SIZES.motion[0]).batch([clip], generators(0))[0].span
    true = model.vectors(span)
    met = guess_of(model, clip, studio, true)
    missed = guess_of(model, clip, studio, torch.zeros_like(true))
    for term in (aligned_keypoints, lambda guesses: pictures(guesses, perceptual=0.1)):
        least, more = float(term([met])), float(term([missed]))
        assert 0 <= least < 0.3 * more
    assert float(aligned_keypoints([met])) < 1e-4


def test_a_rigid_motion_costs_no_strain(model, clips, studio):
    still = np.broadcast_to(np.eye(3, 4, dtype=np.float32), (taught.LENGTH, len(JOINTS), 3, 4)).copy()
    still[..., 0, 3] = 0.001
    calm = replace(clips[0], joints=still, riders=np.zeros_like(clips[0].riders))
    rests = MotionModel(SIZES.model)
    rests.fit([calm, calm])
    span = PersonalTask(rests, SIZES.motion[0]).batch([calm], generators(0))[0].span
    assert float(rigid([guess_of(rests, calm, studio, rests.vectors(span))])) < 2e-5  # nearer is farther
    true = model.vectors(PersonalTask(model, SIZES.motion[0]).batch(clips[:1], generators(0))[0].span)
    assert float(rigid([guess_of(model, clips[0], studio, true)])) > 1e-4


def test_refinement_lowers_its_own_loss_on_a_known_clip(model, clips, studio):
    objectives = Objectives(simple=0.0, score=0.0, trajectory=0.0)
    stage = replace(SIZES.refined, losses=objectives.losses)
    task = PersonalTask(model, stage, terms=terms(objectives), drawn=5, studio=studio)
    assert set(task.terms) == {"keypoints", "pictures", "rigid"}
    batch = task.batch(clips[:1], generators(3))
    optimizer = torch.optim.Adam(model.diffusion.transformer.parameters(), lr=3e-3)
    totals = []
    for _ in range(9):
        loss = sum(objectives.losses.get(name, 1.0) * term.sum() for name, term in task.losses(batch).items())
        totals.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert totals[-1] < 0.9 * totals[0]


def test_a_weight_of_zero_switches_a_term_off():
    assert set(Objectives(score=0.0, trajectory=0.0).losses) == {"simple", "keypoints", "pictures", "rigid"}
    assert Objectives(simple=0.0).losses["simple"] == 0
