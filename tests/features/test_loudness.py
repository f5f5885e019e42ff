"""Loudness against the values that BS.1770 and EBU Tech 3341 state for tones."""

import numpy as np
import pytest

from vivavoce.features.loudness import TARGET, integrated_loudness, levelled


def tone(seconds, level, hz=997.0):
    """A sine whose peaks are at `level` dBFS."""
    return 10 ** (level / 20) * np.sin(2 * np.pi * hz * np.arange(int(seconds * 16000)) / 16000)


def test_a_full_scale_sine_of_997_hertz_has_minus_3_01():
    assert integrated_loudness(tone(5, 0)) == pytest.approx(-3.01, abs=0.02)
    assert integrated_loudness(tone(5, -20)) == pytest.approx(-23.01, abs=0.02)


def test_low_sounds_count_less_and_high_ones_more():
    assert integrated_loudness(tone(5, 0, 50)) < -5.0
    assert integrated_loudness(tone(5, 0, 4000)) == pytest.approx(-3.01 + 3.3, abs=0.3)


def test_pauses_do_not_count():
    """Tech 3341, case 3: -36, -23 and -36 for 10, 60 and 10 s are -23; silence is gated as well."""
    parts = [tone(10, -33), tone(60, -20), tone(10, -33)]
    assert integrated_loudness(np.concatenate(parts)) == pytest.approx(-23.0, abs=0.1)
    assert integrated_loudness(np.concatenate([tone(10, -20), np.zeros(160000)])) == pytest.approx(
        -23.0, abs=0.1
    )


@pytest.mark.parametrize("level", [-60.0, -20.0, 0.0])
def test_every_recording_comes_to_one_level(level):
    out = levelled(tone(2, level).astype(np.float32))
    assert out.dtype == np.float32
    assert integrated_loudness(out) == pytest.approx(TARGET, abs=1e-3)


def test_silence_and_short_sounds():
    silence = np.zeros(16000, np.float32)
    assert integrated_loudness(silence) == -np.inf
    assert levelled(silence) is silence
    assert integrated_loudness(np.zeros(0)) == -np.inf
    assert integrated_loudness(tone(0.1, 0)) == pytest.approx(-3.0, abs=0.3)
