"""The filter cascade against SciPy's, whole and in blocks."""

import numpy as np
from scipy.signal import butter, sosfilt

from vivavoce.features.biquads import VOICE_BAND, sections


def test_the_band_is_the_one_that_is_said():
    said = butter(2, (50, 1000), btype="bandpass", fs=16_000, output="sos")
    np.testing.assert_allclose(VOICE_BAND, said, rtol=1e-12)


def test_blocks_of_any_size_give_what_scipy_gives_for_the_whole():
    samples = np.random.default_rng(0).normal(size=5_000)
    state = np.zeros((len(VOICE_BAND), 2))
    cuts = np.split(samples, [1, 7, 640, 641, 3_000])
    heard = np.concatenate([sections(VOICE_BAND, cut, state) for cut in cuts])
    np.testing.assert_allclose(heard, sosfilt(VOICE_BAND, samples), atol=1e-10)


def test_the_samples_given_are_left_alone():
    samples = np.ones(10)
    sections(VOICE_BAND, samples, np.zeros((len(VOICE_BAND), 2)))
    assert (samples == 1).all()
