"""Loudness, pitch, pauses and accents of sounds in which they are known."""

from dataclasses import fields

import numpy as np
import pytest

from syllables import harmonics, talk
from vivavoce.features.prosody import HOP, LOOK_AHEAD, ProsodyStream, prosody
from vivavoce.types import SPEECH_RATE

ARRAYS = ("level", "voicing", "pitch", "loudness", "pitch_height", "speech", "pause", "accent")


def noise(count, level_db, seed=0):
    return 10 ** (level_db / 20) * np.random.default_rng(seed).standard_normal(count)


def matched(found, true, within=0.06):
    """Shares of the true times found and of the found ones true."""
    gaps = np.abs(found[:, None] - true[None])
    return (gaps.min(axis=0) <= within).mean(), (gaps.min(axis=1) <= within).mean()


def test_level_is_the_root_mean_square_in_decibels():
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(SPEECH_RATE) / SPEECH_RATE)
    np.testing.assert_allclose(prosody(tone).level[5:-5], 20 * np.log10(0.1 / np.sqrt(2)), atol=0.05)


def test_a_constant_in_the_sound_is_not_heard():
    speech = talk(6.0)
    shifted, plain = prosody(speech.samples + np.float32(0.2)), prosody(speech.samples)
    np.testing.assert_array_equal(shifted.speech[20:], plain.speech[20:])
    np.testing.assert_allclose(shifted.accent[20:], plain.accent[20:], atol=0.05)


def test_one_hop_is_given_for_every_ten_milliseconds():
    frames = prosody(np.zeros(10 * HOP + 1))
    assert len(frames) == 11
    np.testing.assert_allclose(frames.times, 0.005 + 0.01 * np.arange(11))


def test_speech_of_no_length_has_no_hops():
    assert len(prosody(np.zeros(0))) == 0


@pytest.mark.parametrize("block", [1, 777, 16_000])
def test_blocks_do_not_change_the_result(block):
    sound = talk(2.0 if block == 1 else 8.0).samples
    sound = sound[:4000] if block == 1 else sound
    whole, stream = prosody(sound), ProsodyStream()
    parts = [stream.push(sound[i : i + block]) for i in range(0, len(sound), block)] + [stream.finish()]
    assert [f.name for f in fields(whole)] == ["start", *ARRAYS]
    for name in ARRAYS:
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))
    ends = np.cumsum([len(part) for part in parts])
    assert [part.start for part in parts[1:]] == ends[:-1].tolist()


def test_a_hop_waits_for_the_look_ahead_and_no_longer():
    sound = talk(3.0).samples
    stream, given = ProsodyStream(), 0
    for end in range(HOP, len(sound), HOP):
        frames = stream.push(sound[end - HOP : end])
        given += len(frames)
        assert (given + 0.5) * 0.01 + LOOK_AHEAD > end / SPEECH_RATE  # the next hop could not be known
        if given:
            assert (given - 0.5) * 0.01 + LOOK_AHEAD <= end / SPEECH_RATE + 1e-9


def test_the_future_beyond_the_look_ahead_changes_nothing():
    sound = talk(4.0).samples
    changed = sound.copy()
    cut = 2 * SPEECH_RATE
    changed[cut:] = harmonics(np.full(len(sound) - cut, 300.0))
    known = int((2.0 - LOOK_AHEAD) * 100 - 0.5) + 1
    for name in ARRAYS:
        np.testing.assert_array_equal(
            getattr(prosody(sound), name)[:known], getattr(prosody(changed), name)[:known]
        )


@pytest.mark.parametrize("f0", [100.0, 210.0])
def test_accents_are_found_where_syllables_are_louder_and_higher(f0):
    speech = talk(40.0, f0=f0)
    frames = prosody(speech.samples)
    recall, precision = matched(frames.times[frames.accent > 0], speech.accents)
    assert recall > 0.85
    assert precision > 0.75


def test_accents_withstand_noise_and_a_soft_recording():
    speech = talk(30.0, seed=1)
    soft = prosody(0.1 * speech.samples)
    noisy = prosody(speech.samples + noise(len(speech.samples), -44))
    for frames in (soft, noisy):
        recall, precision = matched(frames.times[frames.accent > 0], speech.accents)
        assert min(recall, precision) > 0.7


def test_stronger_syllables_make_stronger_accents():
    speech = talk(30.0, seed=2)
    frames = prosody(speech.samples)
    times, strength = frames.times[frames.accent > 0], frames.accent[frames.accent > 0]
    true = np.abs(times[:, None] - speech.accents[None]).min(axis=1) <= 0.06
    assert strength[true].mean() > strength[~true].mean() + 0.05
    assert strength.max() <= 1


def test_pitch_of_a_voice_that_starts_and_stops():
    speech = talk(10.0, f0=150.0)
    frames = prosody(speech.samples)
    voiced = frames.pitch[frames.pitch > 0]
    assert len(voiced) > 0.6 * len(frames)
    assert np.mean(np.abs(np.log2(voiced / 150)) > 0.7) < 0.02


def test_pauses_are_as_long_as_the_silence():
    speech = talk(20.0, seed=3)
    frames = prosody(speech.samples)
    for start, end in speech.pauses[1:-1]:
        last = frames.pause[int(end * 100) - 1]
        assert abs(last - (end - start)) < 0.06
        assert not frames.speech[int(end * 100) - 1]
    inside = np.zeros(len(frames), bool)
    for start, end in speech.pauses:
        inside[int(100 * start) : int(100 * end)] = True
    assert frames.speech[~inside].mean() > 0.97


@pytest.mark.parametrize("level", [-60, -35, -15])
def test_steady_noise_is_no_speech(level):
    frames = prosody(noise(5 * SPEECH_RATE, level))
    assert not frames.speech.any()
    assert not frames.accent.any()


def test_breath_between_phrases_is_a_pause():
    """Breathing in is heard on close microphones, 20 dB and more below the voice."""
    speech = talk(12.0, seed=4)
    sound = speech.samples.copy()
    voice = 20 * np.log10(np.sqrt((sound[np.abs(sound) > 0] ** 2).mean()))
    for start, end in speech.pauses[1:-1]:
        a, b = int((start + 0.05) * SPEECH_RATE), int((end - 0.05) * SPEECH_RATE)
        sound[a:b] += noise(b - a, voice - 24)
    frames = prosody(sound)
    for _, end in speech.pauses[1:-1]:
        assert frames.pause[int(end * 100) - 2] > 0.2


def test_normalised_loudness_and_pitch_have_unit_spread():
    frames = prosody(talk(60.0, seed=5).samples)
    voiced = frames.pitch > 0
    for values in (frames.loudness[voiced], frames.pitch_height[voiced]):
        later = values[len(values) // 3 :]
        assert abs(later.mean()) < 0.2
        assert 0.6 < later.std() < 1.3
