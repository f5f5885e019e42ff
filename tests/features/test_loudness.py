"""Integrated loudness against BS.1770 written anew with SciPy, and the gain that follows from it."""

import tracemalloc

import numpy as np
import pytest
import soxr
from scipy.signal import bilinear, freqz, lfilter

from vivavoce.features.loudness import Speech, integrated_loudness, k_weighting, leveled
from vivavoce.types import SPEECH_RATE

SHELF_48 = [1.53512485958697, -2.69169619938640, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585]
HIGH_PASS_48 = [1, -2, 1, 1, -1.99004745483398, 0.99007225036621]
"""Tables 1 and 2 of BS.1770-4."""


def sine(hertz: float, seconds: float, level: float = 0.0) -> np.ndarray:
    time = np.arange(round(seconds * SPEECH_RATE)) / SPEECH_RATE
    return (10 ** (level / 20) * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def babble(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise in syllables and phrases of changing level, a little coloured."""
    rng = np.random.default_rng(seed)
    count = round(seconds * SPEECH_RATE)
    time = np.arange(count) / SPEECH_RATE
    noise = lfilter([1], [1, -0.9], rng.normal(size=count)) * 0.05
    return (noise * np.sin(np.pi * 3.33 * time) ** 2 * np.sin(np.pi * 0.13 * time) ** 2).astype(np.float32)


def gated(weighted: np.ndarray, rate: int) -> float:
    """Equations 2 to 7 of BS.1770-4, block by block."""
    length, step = rate * 4 // 10, rate // 10
    powers = [np.mean(weighted[i : i + length] ** 2) for i in range(0, len(weighted) - length + 1, step)]
    levels = -0.691 + 10 * np.log10(np.array(powers) + 1e-30)
    powers = np.array(powers)
    gate = -0.691 + 10 * np.log10(powers[levels > -70].mean()) - 10
    return -0.691 + 10 * np.log10(powers[(levels > -70) & (levels > gate)].mean())


def prewarped(hertz: float) -> float:
    return 2 * SPEECH_RATE * np.tan(np.pi * hertz / SPEECH_RATE)


def reference(samples: np.ndarray) -> float:
    """The analogue filters through scipy.signal.bilinear, in double precision."""
    w, q, gain = prewarped(1681.974450955533), 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    shelf = bilinear([gain, gain**0.4996667741545416 * w / q, w * w], [1, w / q, w * w], SPEECH_RATE)
    w, q = prewarped(38.13547087602444), 0.5003270373238773
    high_pass = bilinear([1, 0, 0], [1, w / q, w * w], SPEECH_RATE)
    peak = sum(np.abs(HIGH_PASS_48[:3])) / sum(np.abs(HIGH_PASS_48[3:]))  # response at half the sample rate
    return gated(peak * lfilter(*high_pass, lfilter(*shelf, samples.astype(np.float64))), SPEECH_RATE)


def test_the_filters_at_48_khz_are_the_standards_tables():
    np.testing.assert_allclose(k_weighting(48_000), [SHELF_48, HIGH_PASS_48], atol=1e-10)


def test_the_filters_weigh_frequencies_at_16_khz_as_at_48():
    hertz = np.geomspace(30, 7000, 50)

    def decibels(rate, rows):
        return sum(20 * np.log10(abs(freqz(row[:3], row[3:], hertz, fs=rate)[1])) for row in rows)

    ours = decibels(SPEECH_RATE, k_weighting(SPEECH_RATE))
    np.testing.assert_allclose(ours, decibels(48_000, [SHELF_48, HIGH_PASS_48]), atol=0.07)


def test_a_full_scale_sine_reads_as_the_standard_says():
    assert integrated_loudness(sine(997, 5)) == pytest.approx(-3.01, abs=0.06)
    assert integrated_loudness(sine(997, 5, -20)) == pytest.approx(-23.01, abs=0.06)


@pytest.mark.parametrize("seconds", [0.4, 0.45, 3.3, 25.05])
def test_loudness_is_the_formula_in_double_precision(seconds):
    sound = babble(seconds, 1) if seconds > 1 else sine(440, seconds, -30)
    assert integrated_loudness(sound) == pytest.approx(reference(sound), abs=1e-5)


def test_loudness_at_16_khz_is_that_of_the_same_sound_at_48():
    sound = babble(12, 2)
    fine = soxr.resample(sound.astype(np.float64), SPEECH_RATE, 48_000)
    for row in (SHELF_48, HIGH_PASS_48):
        fine = lfilter(row[:3], row[3:], fine)
    assert integrated_loudness(sound) == pytest.approx(gated(fine, 48_000), abs=0.05)


def test_silence_and_a_far_quieter_part_do_not_count():
    loud = sine(1000, 4, -20)
    alone = integrated_loudness(loud)
    for quiet in (np.zeros(20 * SPEECH_RATE, np.float32), sine(1000, 20, -40)):
        joined = np.concatenate([loud, quiet])
        # 3 of 40 blocks hold some of both: three quarters, a half and a quarter of the power.
        assert integrated_loudness(joined) == pytest.approx(alone + 10 * np.log10(38.5 / 40), abs=0.02)
    near = np.concatenate([loud, sine(1000, 20, -28)])
    assert integrated_loudness(near) == pytest.approx(reference(near), abs=1e-5)
    assert integrated_loudness(near) < alone - 4


@pytest.mark.parametrize("samples", [0, 1, 100, 6399, 6400, 100_000])
def test_digital_silence_has_no_loudness_and_is_left_as_it_is(samples):
    silent = np.zeros(samples, np.float32)
    assert integrated_loudness(silent) == -np.inf
    assert leveled(silent).gain == 1


def test_below_the_absolute_gate_there_is_no_loudness():
    assert integrated_loudness(sine(1000, 2, -68)) == -np.inf
    assert integrated_loudness(sine(1000, 2, -66)) == pytest.approx(-69.0, abs=0.1)


def test_what_is_shorter_than_a_block_is_a_block():
    short = sine(1000, 0.25, -10)
    assert integrated_loudness(short) == pytest.approx(-13.0, abs=0.15)
    assert leveled(short).duration == 0.25


def test_a_recording_12_db_quieter_has_the_same_leveled_samples():
    sound = babble(6, 3)
    first, second = leveled(sound), leveled(0.25 * sound)
    assert first.samples is sound
    np.testing.assert_allclose(second.gain * second.samples, first.gain * sound, rtol=1e-6, atol=0)
    assert integrated_loudness((first.gain * sound).astype(np.float32)) == pytest.approx(-23, abs=1e-4)


def test_gain_has_a_limit_upwards_only():
    assert leveled(sine(1000, 2, -60)).gain == pytest.approx(10**1.5)
    assert leveled(sine(1000, 2)).gain == pytest.approx(0.1, rel=0.01)


def test_two_recordings_with_the_same_samples_are_two():
    sound = babble(1)
    assert Speech(sound, 1.0) != Speech(sound, 1.0)
    assert len({Speech(sound, 1.0), Speech(sound, 1.0)}) == 2


def test_a_long_recording_on_disk_is_read_in_blocks(tmp_path):
    path = tmp_path / "long.f32"
    np.tile(babble(10, 4), 60).tofile(path)  # 10 minutes, 38 MB
    mapped = np.memmap(path, np.float32, "r")
    tracemalloc.start()
    speech = leveled(mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8e6
    assert speech.gain == pytest.approx(leveled(babble(10, 4)).gain, rel=0.01)
