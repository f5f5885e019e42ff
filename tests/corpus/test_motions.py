"""Motion without pictures is that of the clips with pictures, and comes back from its files as it was."""

import functools
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import motioned
from vivavoce.corpus.shards import read_index, write_shard
from vivavoce.corpus.synth import motions
from vivavoce.corpus.synth.animator import act
from vivavoce.corpus.synth.clip import Animator, make_clip
from vivavoce.corpus.synth.motions import CARRIERS, SURFACE, Motions, make_motion, rest_of, synthesise_motions
from vivavoce.corpus.synth.orders import BOTH, TRAIN, Corpus, orders
from vivavoce.corpus.synth.portrait import habit_of, look_of
from vivavoce.corpus.synth.text_sources import Grammar
from vivavoce.errors import InputError
from vivavoce.features.encoders import LogMelEncoder
from vivavoce.features.loudness import leveled
from vivavoce.splat.lhm.template import PARTS, part_of
from vivavoce.splat.skeleton import JOINT, JOINTS
from vivavoce.splat.template.person import build_person
from vivavoce.train.task import Examples


def person_of(order):
    return build_person(look_of(order.attributes, order.person), detail=14.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return motioned.motions(tmp_path_factory.mktemp("motions"))


@functools.cache
def filmed():
    """The clip of the first order as the corpus has it, with pictures."""
    return make_clip(motioned.order(0), texts=Grammar(), clips=Animator())


def test_sound_and_words_are_those_of_the_corpus():
    ours, theirs = motioned.files(0), filmed()
    assert set(ours) == {"json", "wav", "motion.npz"}
    assert ours["wav"] == theirs["wav"]
    assert ours["json"] == theirs["json"]


def test_the_face_opens_as_in_the_corpus(folder):
    with np.load(io.BytesIO(filmed()["truth.npz"])) as truth:
        wanted, head = truth["aperture"], truth["head"]
    clip = Motions(folder)[0]
    face = (
        np.einsum("tnab,nb->tna", clip.transforms[:, 55:523, :, :3], clip.rest.riders[:468])
        + clip.transforms[:, 55:523, :, 3]
    )
    down = face[:, 152] - face[:, 10]
    gap = np.einsum("ta,ta->t", face[:, 14] - face[:, 13], down) / np.linalg.norm(down, axis=1)
    np.testing.assert_allclose(np.maximum(gap / clip.rest.mouth, 0), wanted, atol=2e-3)
    assert wanted.max() > 0.1
    assert np.ptp(head) > 0.01


def test_every_particle_moves_as_it_was_acted(folder):
    order, clip = motioned.order(0), Motions(folder)[0]
    heard = []

    class Listening(motions._Rehearsal):
        def film(self, order, scripted):
            heard.append(scripted)
            return super().film(order, scripted)

    make_clip(order, texts=Grammar(), clips=Listening())
    (scripted,) = heard  # the stored sound has 16 bits: he acts to what the voice said
    person = person_of(order)
    acting = act(
        person,
        scripted.spoken.samples,
        scripted.spoken.phones,
        scripted.actions,
        habit=habit_of(order.person),
        fps=25.0,
        seed=order.seed,
    )
    wanted = acting.transforms.astype(float)
    wanted[..., 3] /= 1000
    assert clip.transforms.shape == wanted.shape == (51, 524, 3, 4)
    np.testing.assert_allclose(clip.transforms, wanted, atol=2e-5)
    np.testing.assert_allclose(clip.joints, wanted[:, :55], atol=1e-6)
    told = json.loads(motioned.files(0)["json"])
    assert [list(phone) for phone in clip.phones] == told["phones"]
    assert np.ptp(wanted[:, 55 + 14, :, 3] - wanted[:, JOINT["head"], :, 3], axis=0).max() > 2e-3


def test_riders_turn_with_their_joints():
    """What is stored of them could not tell another rotation."""
    order = motioned.order(1)
    person = person_of(order)
    rng = np.random.default_rng(0)
    controls = rng.uniform(-0.3, 0.6, (6, 23)).astype(np.float32)
    transforms = person.rig.transforms(controls)
    np.testing.assert_array_equal(transforms[:, 55:, :, :3], transforms[:, list(CARRIERS), :, :3])


def test_a_rest_is_the_persons_own(folder):
    order, clip = motioned.order(0), Motions(folder)[0]
    person = person_of(order)
    rest = clip.rest
    np.testing.assert_allclose(rest.joints * 1000, person.joints.positions, atol=1e-3)
    np.testing.assert_allclose(rest.riders[:468] * 1000, person.face[:468], atol=1e-3)
    np.testing.assert_allclose(rest.riders[468] * 1000, person.rig.tongue, atol=1e-3)
    np.testing.assert_allclose(rest.tips[1] * 1000, person.joints.tips["left_index"], atol=1e-3)
    np.testing.assert_allclose(rest.skin.sum(1), 1, atol=1e-6)
    counts = np.bincount(part_of(rest.skin), minlength=len(PARTS))
    assert dict(zip(PARTS, counts.tolist(), strict=True)) == SURFACE
    away = np.linalg.norm(person.means[None] / 1000 - rest.surface[:, None], axis=2)
    nearest = away.argmin(1)
    assert away.min(1).max() < 1e-6
    assert not person.inside[nearest].any()
    # none of them hangs on a particle of the face
    used = np.where(person.binding.weights[nearest] > 0, person.binding.indices[nearest], 0)
    assert used.max() < len(JOINTS)
    other = rest_of(person_of(motioned.order(1)))
    assert np.abs(other.joints - rest.joints).max() > 0.01


def test_features_are_the_encoders_of_the_leveled_sound(folder):
    from scipy.io import wavfile

    clip = Motions(folder)[1]
    rate, stored = wavfile.read(io.BytesIO(motioned.files(0, 1)["wav"]))
    wanted = LogMelEncoder().features(leveled(stored.astype(np.float32) / 32768), 25.0, np.arange(51))
    assert rate == 16000
    np.testing.assert_allclose(clip.audio, wanted, atol=1e-6)
    assert len(clip) == 51


def test_splits_are_told_apart(folder):
    assert isinstance(Motions(folder), Examples)
    names = {split: [c.name for c in Motions(folder, split=split)] for split in (TRAIN, BOTH, None)}
    assert [name.rpartition("/")[2] for name in names[TRAIN]] == ["0000-0000", "0000-0001"]
    assert [name.rpartition("/")[2] for name in names[BOTH]] == ["0001-0001", "0002-0001"]
    assert names[None] == names[TRAIN] + names[BOTH]
    assert len({Motions(folder, split=split).fingerprint for split in names}) == 3
    with pytest.raises(
        InputError, match=r"No clip in .* is of the split 'nobody': there is held-out people and v"
    ):
        Motions(folder, split="nobody")


def test_files_are_the_same_every_time_and_carry_no_time():
    again = make_motion(motioned.order(2, 1), texts=Grammar())
    assert again == motioned.files(2, 1)
    with zipfile.ZipFile(io.BytesIO(again["motion.npz"])) as archive:
        assert {member.date_time[0] for member in archive.infolist()} == {1980}


def test_a_corpus_is_made_of_its_orders(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        motions, "produce", lambda tasks, make, out, **given: asked.update(given, tasks=tasks, make=make)
    )
    corpus = Corpus(3, 0.01, 96, 96, 25.0, 7)
    assert synthesise_motions(corpus, tmp_path, workers=3) == tmp_path
    assert asked["tasks"] == orders(corpus)
    assert asked["workers"] == 3
    assert asked["settings"]["seed"] == 7
    first = replace(next(iter(asked["tasks"].values())), seconds=1.0)
    assert set(asked["make"](first)) == {"json", "wav", "motion.npz"}


def test_clips_without_motion_and_folders_without_clips_are_told(tmp_path):
    with pytest.raises(InputError, match="There is no index of shards"):
        Motions(tmp_path)
    folder = motioned.motions(tmp_path)
    bare = {name: data for name, data in motioned.files(0).items() if name != "motion.npz"}
    write_shard(folder / read_index(folder).shards[0].name, [("0000-0000", bare)])
    with pytest.raises(InputError, match="0000-0000 is damaged or holds no motion: make it again"):
        Motions(folder)[0]
