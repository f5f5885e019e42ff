"""What the proofs measure of a clip: much where it does what it was asked for, nothing where nothing is seen."""

import warnings
from dataclasses import replace

import actavatar
import apoavatar
import longform
import numpy as np
import physavatar
import pytest
from heldout import Held
from proof import Shown

from acted import acted, speech
from test_methods import scene
from vivavoce.corpus.synth.actions import script
from vivavoce.evaluation.reader import Reading
from vivavoce.evaluation.speech import asked_aperture
from vivavoce.evaluation.tracks import BodyTrack, track_of
from vivavoce.features.loudness import leveled
from vivavoce.features.phones import Phone

FRAMES, FPS = 100, 25.0
ACTIONS = ("raise_left_hand", "wave_right_hand", "lean_left", "hands_together", "tilt_head_right")


def phones(seed):
    """Open and shut mouths of random length."""
    ends = np.cumsum(np.random.default_rng(seed).uniform(0.06, 0.25, 100))
    ends = ends[ends < FRAMES / FPS]
    labels = np.random.default_rng([seed, 1]).choice(["aa", "iy", "m", "s", "uw"], len(ends))
    return tuple(Phone(str(label), a, b) for label, a, b in zip(labels, [0.0, *ends[:-1]], ends, strict=True))


def asked(seed):
    """What a person is to do and say; the same seed, the same."""
    rng = np.random.default_rng(seed)
    told = replace(scene(frames=FRAMES), speech=leveled(speech(FRAMES / FPS, seed % 4)))
    return Held(
        str(seed), told, tuple(script(rng, FRAMES / FPS, density=0.6, names=ACTIONS)), phones(seed), None
    )


def shown(seed, *, like=None):
    """Who does what is asked of `seed`, or of `like`; the other clip is the next one."""
    done = asked(seed if like is None else like)
    track = track_of(acted(done.script, FRAMES / FPS, seed=int(done.key)).keypoints(), FPS)
    reading = Reading(
        track,
        np.zeros((FRAMES, 4, 2), np.float32),
        asked_aperture(done.phones, FPS, FRAMES),
        np.zeros((FRAMES, 3), np.float32),
        np.eye(64, dtype=np.float32)[[0] * FRAMES],
        np.ones(FRAMES, np.float32),
    )
    return Shown(asked(seed), asked(seed + 1), np.full((FRAMES, 8, 8, 3), 90, np.uint8), reading)


def test_who_does_what_is_asked_is_told_from_who_does_something_else():
    seeds = range(0, 24, 2)
    right = [actavatar.measured(shown(seed)) for seed in seeds]
    wrong = [actavatar.measured(shown(seed, like=seed + 100)) for seed in seeds]
    for name in ("hit", "hit_grouped", "time", "mouth"):
        assert np.mean([found[name] for found in right]) > 0.8, name
        assert abs(np.mean([found[name] for found in wrong])) < 0.35, name
    assert [found["mouth"] for found in right] == pytest.approx([1.0] * len(right))
    assert abs(np.mean([found["mouth_other"] for found in right])) < 0.3


def test_what_is_not_seen_goes_with_nothing():
    one = shown(1)
    hands = {side: np.full((FRAMES, 21, 2), np.nan) for side in ("left", "right")}
    unseen = BodyTrack(FPS, np.full((FRAMES, 17, 2), np.nan), hands)
    still = np.zeros(FRAMES, np.float32)
    nobody = replace(one, reading=replace(one.reading, track=unseen, aperture=still))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # means of nothing
        found = [proof.measured(nobody) for proof in (actavatar, apoavatar, physavatar)]
    for measured in found:
        told = {
            name: value
            for name, value in measured.items()
            if name not in ("confidence", "likeness", "sharpness")
        }
        assert told == dict.fromkeys(told, 0.0)


def test_gestures_are_measured_against_the_loudness_that_the_person_beats_with():
    found = [apoavatar.measured(shown(seed)) for seed in range(0, 16, 2)]
    assert all(measured["size"] > 0 for measured in found)
    assert all(-1 <= measured["gesture"] <= 1 for measured in found)
    assert np.mean([measured["gesture"] for measured in found]) > 0


def test_drift_is_told_by_the_last_quarter_and_second_by_second():
    one = shown(2)
    frames = one.frames.copy()
    frames[75:] = 150
    found = longform.measured(replace(one, frames=frames))
    assert found["color_by_second"][:3] == pytest.approx([0, 0, 0])
    assert found["color"] == found["color_by_second"][3] > 10
    assert found["identity"] == pytest.approx(1)


def test_the_nearest_true_frame_is_found_whenever_it_was():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (5, 8, 8, 3), np.uint8)
    assert physavatar.nearest_psnr(truth[::-1], truth) > 58  # only rounding is left
    noisy = (truth.astype(int) + rng.choice([-4, 4], truth.shape)).clip(0, 255).astype(np.uint8)
    errors = [np.square(noisy[i].astype(float) - truth[i]).mean() for i in (3, 1, 4)]
    expected = np.mean([10 * np.log10(255**2 / error) for error in errors])
    assert physavatar.nearest_psnr(noisy[[3, 1, 4]], truth) == pytest.approx(expected)
