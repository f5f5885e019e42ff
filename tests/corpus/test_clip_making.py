"""A synthetic clip from its order to its files, and that what is written of it is what it shows."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from vivavoce.corpus.synth.attributes import sample
from vivavoce.corpus.synth.clip import Animator, Order, make_clip
from vivavoce.corpus.synth.orders import BOTH, PEOPLE, TRAIN, VOICES, Corpus, orders
from vivavoce.corpus.synth.text_sources import Grammar, held_out
from vivavoce.corpus.synth.voice import Voice
from vivavoce.corpus.synth.voices import HELD_OUT_VOICES, Embedded
from vivavoce.errors import InputError
from vivavoce.features.physical_state import LandmarkEncoder


def order(**changes) -> Order:
    plain = Order(
        person=3,
        attributes=sample(4, 1)[3],
        voice=Embedded(Voice("flite", "slt")),
        rate=1.0,
        pitch=1.0,
        kind="explanation",
        seed=11,
        split=TRAIN,
        seconds=2.04,
        width=96,
        height=96,
        fps=25.0,
    )
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def files():
    return make_clip(order(), texts=Grammar(), clips=Animator())


def arrays(data):
    with np.load(io.BytesIO(data)) as found:
        return {name: found[name] for name in found.files}


def frames_of(files):
    import av

    with av.open(io.BytesIO(files["mp4"])) as video:
        return np.stack([f.to_ndarray(format="rgb24") for f in video.decode(video=0)])


def test_a_clip_has_everything_that_is_known_of_it(files):
    assert set(files) == {"mp4", "wav", "json", "truth.npz", "features.npz"}
    assert frames_of(files).shape == (51, 96, 96, 3)
    truth = arrays(files["truth.npz"])
    shapes = {name: value.shape for name, value in truth.items()}
    assert shapes == {
        "keypoints": (51, 127, 3),
        "joints2d": (51, 55, 2),
        "joints3d": (51, 55, 3),
        "aperture": (51,),
        "head": (51, 3),
    }
    told = json.loads(files["json"])
    assert told["phones"][0][1] == 0
    assert told["phones"][-1][2] == pytest.approx(2.04, abs=1e-3)
    assert [end for _, _, end in told["phones"][:-1]] == pytest.approx(
        [start for _, start, _ in told["phones"][1:]], abs=2e-3
    )
    assert told["plan"]["base"].startswith(("A ", "An "))
    assert [phase["text"] for phase in told["plan"]["phases"]] == [a["text"] for a in told["actions"]]


def test_states_are_the_landmark_encoders_of_the_true_keypoints(files):
    truth, features = arrays(files["truth.npz"]), arrays(files["features.npz"])
    wanted = LandmarkEncoder().encode(truth["keypoints"])
    assert features["states"].dtype == np.float16
    assert np.abs(features["states"] - wanted).max() < 2e-3


def test_the_same_order_gives_the_same_bytes_and_another_seed_others(files):
    again = make_clip(order(), texts=Grammar(), clips=Animator())
    assert again == files
    other = make_clip(order(seed=12), texts=Grammar(), clips=Animator())
    assert other["mp4"] != files["mp4"]
    assert other["wav"] != files["wav"]


def test_the_sound_is_as_long_as_the_pictures_and_is_heard(files):
    from scipy.io import wavfile

    rate, samples = wavfile.read(io.BytesIO(files["wav"]))
    assert rate == 16_000
    assert len(samples) == round(2.04 * 16_000)
    assert np.abs(samples).max() > 1000


def test_projected_joints_are_the_joints_in_space(files):
    truth = arrays(files["truth.npz"])
    x, y, z = np.moveaxis(truth["joints3d"], -1, 0)
    # A pinhole: both axes of the picture are the same multiple of x / z and y / z.
    for seen, along in ((0, x / z), (1, y / z)):
        far = np.abs(along) > 0.02
        focal = truth["joints2d"][..., seen][far] / along[far]
        assert np.ptp(focal) < 1e-3
        # 0.52 statures of some 1.7 m at 2.6 m fill the picture.
        assert 2 * 2.6 / focal.mean() == pytest.approx(0.52 * 1.7, rel=0.1)
    assert 2.0 < z.mean() < 3.0


def test_the_mouth_opens_with_the_vowels_and_shuts_with_the_lips(files):
    truth, told = arrays(files["truth.npz"]), json.loads(files["json"])
    times = (np.arange(51) + 0.5) / 25
    labels = [next(p for p, start, end in told["phones"] if start <= t <= end) for t in times]
    vowels = {"aa", "ae", "ah", "ao", "aw", "ay", "eh", "ey", "ow", "oy"}
    opened = truth["aperture"][[label in vowels for label in labels]]
    paused = truth["aperture"][times < told["phones"][0][2] - 0.1]
    assert opened.mean() > 0.08
    assert paused.max(initial=0) < 0.02


def test_the_plan_of_a_corpus_holds_out_people_and_voices():
    made = orders(Corpus(people=20, hours=0.5, width=96, height=96, fps=25.0, seed=3))
    assert len(made) * 7.24 >= 1800 > (len(made) - 20) * 7.24
    trained = [o for o in made.values() if o.split == TRAIN]
    people = {o.person for o in made.values() if o.split in (PEOPLE, BOTH)}
    assert len(people) == 2
    assert not people & {o.person for o in trained}
    strange = {Embedded(voice).name for voice in HELD_OUT_VOICES}
    for one in made.values():
        assert (one.voice.name in strange) == (one.split in (VOICES, BOTH))
    assert {o.split for o in made.values()} == {TRAIN, PEOPLE, VOICES, BOTH}
    assert len({o.seed for o in made.values()}) == len(made)
    again = orders(Corpus(people=20, hours=0.5, width=96, height=96, fps=25.0, seed=3))
    assert again == made


def test_held_out_texts_are_spoken_in_held_out_clips_alone():
    for split, spared in ((TRAIN, False), (VOICES, True)):
        told = json.loads(make_clip(order(split=split, seconds=1.0), texts=Grammar(), clips=Still())["json"])
        assert held_out(told["text"]) == spared


class Still:
    """A clip of one grey picture, again and again."""

    def film(self, order, scripted):
        from vivavoce.corpus.synth.clip import Made

        return Made(np.full((25, 32, 32, 3), 128, np.uint8), None)


def test_a_clip_without_truth_has_no_such_files():
    files = make_clip(order(seconds=1.0), texts=Grammar(), clips=Still())
    assert set(files) == {"mp4", "wav", "json"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"people": 2}, "2 people are too few: 2 are held out, give 3 at least"),
        ({"hours": 0.0}, "0 hours make no corpus"),
        ({"width": 100}, "100x96 have no whole latents: give multiples of 16"),
        ({"fps": 0.5}, "0.5 frames a second are out of range"),
        ({"seed": -1}, "seed -1 is negative"),
    ],
)
def test_numbers_that_make_no_corpus_are_refused(change, sentence):
    plain = {"people": 5, "hours": 0.1, "width": 96, "height": 96, "fps": 25.0, "seed": 0}
    with pytest.raises(InputError, match=sentence):
        orders(Corpus(**(plain | change)))
