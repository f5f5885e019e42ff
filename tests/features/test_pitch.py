"""F0 of sounds whose F0 is known."""

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from syllables import harmonics
from vivavoce.features.pitch import WINDOW, periodicity
from vivavoce.types import SPEECH_RATE


def windows(sound):
    centres = np.arange(WINDOW, len(sound) - WINDOW, 160)
    return centres, np.stack([sound[c - WINDOW // 2 : c + WINDOW // 2] for c in centres])


@pytest.mark.parametrize(("low", "high"), [(65.0, 130.0), (100.0, 300.0), (480.0, 200.0)])
def test_follows_a_glide_within_a_per_cent(low, high):
    f0 = low * (high / low) ** np.linspace(0, 1, 2 * SPEECH_RATE)
    centres, sound = windows(harmonics(f0))
    hz, clarity = periodicity(sound)
    # The value at a window's centre lies between two samples.
    np.testing.assert_allclose(hz, (f0[centres - 1] + f0[centres]) / 2, rtol=0.01)
    assert clarity.min() > 0.9


@pytest.mark.parametrize("f0", [70.0, 110.0, 155.0, 220.0, 330.0, 470.0])
def test_keeps_the_octave_in_noise(f0):
    rng = np.random.default_rng(0)
    sound = harmonics(np.full(3 * SPEECH_RATE, f0)) + 10 ** (-8 / 20) * rng.standard_normal(3 * SPEECH_RATE)
    hz, _ = periodicity(windows(sound)[1])
    assert np.mean(np.abs(np.log2(hz / f0)) > 0.3) < 0.02
    assert np.median(np.abs(hz / f0 - 1)) < 0.01


def test_hears_the_fundamental_that_a_telephone_leaves_out():
    f0 = np.full(SPEECH_RATE, 140.0)
    telephone = butter(6, (300, 3400), btype="bandpass", fs=SPEECH_RATE, output="sos")
    hz, _ = periodicity(windows(sosfilt(telephone, harmonics(f0)))[1])
    np.testing.assert_allclose(hz, 140.0, rtol=0.01)


def test_a_pure_tone_is_its_own_pitch():
    tone = np.sin(2 * np.pi * 441.0 * np.arange(SPEECH_RATE) / SPEECH_RATE)
    np.testing.assert_allclose(periodicity(windows(tone)[1])[0], 441.0, rtol=1e-3)


def test_noise_and_silence_are_not_periodic():
    rng = np.random.default_rng(1)
    band = butter(2, (50, 1000), btype="bandpass", fs=SPEECH_RATE, output="sos")
    _, clarity = periodicity(windows(sosfilt(band, rng.standard_normal(5 * SPEECH_RATE)))[1])
    assert np.percentile(clarity, 99) < 0.6
    hz, clarity = periodicity(np.zeros((3, WINDOW)))
    assert not hz.any()
    assert not clarity.any()
