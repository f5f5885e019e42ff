"""Mouth and hands against speech: known inputs, known answers, and none where they have nothing to do with it."""

import numpy as np
import pytest

from vivavoce.evaluation.speech import (
    LAG,
    asked_aperture,
    correlation,
    gesture_correlation,
    loudness,
    mouth_correlation,
    shuffled,
)
from vivavoce.evaluation.tracks import BodyTrack
from vivavoce.features.phones import Phone
from vivavoce.splat.motion.targets import articulation_from_phones
from vivavoce.types import SPEECH_RATE

FPS, FRAMES = 25.0, 150


def _phones(seed, duration=FRAMES / FPS):
    """Random syllables of a consonant and a vowel after a pause."""
    rng, at, found = np.random.default_rng(seed), 0.4, []
    while at < duration - 0.4:
        for label in (rng.choice(["m", "t", "k", "s", "b"]), rng.choice(["aa", "iy", "uw", "eh", "ao"])):
            length = float(rng.uniform(0.07, 0.16))
            found.append(Phone(str(label), at, at + length))
            at += length
    return found


def _asked(phones):
    return articulation_from_phones(phones, FRAMES / FPS, FPS)[:, 0]


def test_a_mouth_that_does_what_is_asked_correlates_wholly():
    phones = _phones(0)
    found = mouth_correlation(0.3 * _asked(phones) + 0.02, phones, FPS)
    assert found.together == pytest.approx(1, abs=1e-6)
    assert (found.best, found.lag) == (found.together, 0)


@pytest.mark.parametrize("late", [-3, -1, 2, 3])
def test_a_mouth_that_is_late_is_found_by_its_lag(late):
    phones = _phones(1)
    found = mouth_correlation(np.roll(_asked(phones), late), phones, FPS)
    assert (found.lag, found.best) == (late, pytest.approx(1, abs=1e-6))
    assert found.together < 0.9


def test_a_mouth_that_is_later_than_that_is_wrong():
    phones = _phones(1)
    assert mouth_correlation(np.roll(_asked(phones), LAG + 4), phones, FPS).best < 0.7


def test_mouths_of_other_speech_correlate_at_about_zero():
    sounds = [_phones(seed) for seed in range(40)]
    mouths = [_asked(phones) for phones in sounds]
    own = [mouth_correlation(m, p, FPS).together for m, p in zip(mouths, sounds, strict=True)]
    partner = shuffled(len(sounds), seed=3)
    other = [mouth_correlation(mouths[i], sounds[k], FPS).together for i, k in enumerate(partner)]
    assert min(own) > 0.999
    assert abs(np.mean(other)) < 0.06


def test_pauses_do_not_count():
    """Otherwise two clips that begin with a second of silence would go together."""
    phones = [Phone("aa", 2.0, 2.3), Phone("m", 2.3, 2.4), Phone("aa", 2.4, 2.7)]
    asked = asked_aperture(phones, FPS, FRAMES)
    assert np.isnan(asked[:49]).all()
    assert np.isnan(asked[69:]).all()
    assert np.isfinite(asked[51:67]).all()
    mouth = _asked(phones)
    mouth[:45] = 1.0
    assert mouth_correlation(mouth, phones, FPS).together == pytest.approx(1, abs=1e-6)


def test_a_still_mouth_has_no_correlation():
    found = mouth_correlation(np.zeros(FRAMES), _phones(0), FPS)
    assert np.isnan([found.together, found.best]).all()


def test_frames_that_are_not_read_do_not_count():
    phones = _phones(2)
    mouth = _asked(phones).copy()
    mouth[40:60] = np.nan
    assert mouth_correlation(mouth, phones, FPS).together == pytest.approx(1, abs=1e-6)


def test_correlation_is_pearsons():
    a, b = np.random.default_rng(0).standard_normal((2, 50))
    a[3] = np.nan
    x, y = np.delete(a, 3), np.delete(b, 3)
    x, y = x - x.mean(), y - y.mean()
    assert correlation(a, b) == pytest.approx((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))
    assert np.isnan(correlation(a[2:5], b[2:5]))
    assert np.isnan(correlation(np.ones(9), b[:9]))


def test_nobody_gets_his_own_speech():
    for count in (2, 3, 17):
        partner = shuffled(count, seed=count)
        assert sorted(partner) == list(range(count))
        assert (partner != np.arange(count)).all()
    with pytest.raises(ValueError, match="1 clip"):
        shuffled(1)


def test_loudness_is_taken_over_half_a_second():
    samples = np.zeros(4 * SPEECH_RATE, np.float32)
    samples[2 * SPEECH_RATE :] = 0.5
    found = loudness(samples, FPS, 100)
    assert found[:43].max() < 1e-6
    np.testing.assert_allclose(found[57:99], 0.5, atol=1e-3)
    assert (np.diff(found[44:56]) > 0).all()


def _swelling(seed, seconds=12):
    """Noise of another loudness every second."""
    rng = np.random.default_rng(seed)
    levels = np.repeat(rng.uniform(0.02, 0.4, seconds), SPEECH_RATE)
    return (levels * rng.standard_normal(seconds * SPEECH_RATE)).astype(np.float32)


def _beating(samples):
    """Hands that swing as fast as the sound is loud."""
    frames = int(len(samples) / SPEECH_RATE * FPS)
    body = np.tile(np.array([0.36, 0.0]), (frames, 17, 1))
    body[:, [6, 10]] *= -1
    direction = np.sign(np.sin(2 * np.pi * np.arange(frames) / 16))
    body[:, [9, 10], 1] = 0.5 + 0.05 * np.cumsum(loudness(samples, FPS, frames) * direction)[:, None]
    return BodyTrack(FPS, body, {side: np.full((frames, 21, 2), np.nan) for side in ("left", "right")})


def test_hands_that_swing_with_the_loudness_correlate_with_it():
    found = [gesture_correlation(_beating(_swelling(seed)), _swelling(seed)) for seed in range(4)]
    assert min(found) > 0.8


def test_hands_that_swing_with_another_sound_correlate_at_about_zero():
    others = [gesture_correlation(_beating(_swelling(seed)), _swelling(seed + 100)) for seed in range(16)]
    assert abs(np.mean(others)) < 0.15


def test_hands_that_are_never_seen_have_no_correlation():
    track = _beating(_swelling(0))
    track.body[:, [9, 10]] = np.nan
    assert np.isnan(gesture_correlation(track, _swelling(0)))
