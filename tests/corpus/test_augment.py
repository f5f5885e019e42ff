import numpy as np
import pytest

from vivavoce.corpus.synth import augment
from vivavoce.features.phones import Phone
from vivavoce.types import SPEECH_RATE


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def buzz():
    """Half a second of a 120 Hz pulse train through two resonances, with silence on both sides."""
    from scipy import signal

    pulses = np.zeros(SPEECH_RATE // 2)
    pulses[:: SPEECH_RATE // 120] = 1
    for hertz in (700.0, 2400.0):
        pole = np.exp(-np.pi * 250 / SPEECH_RATE + 2j * np.pi * hertz / SPEECH_RATE)
        pulses = signal.lfilter([1], np.poly([pole, pole.conjugate()]).real, pulses)
    return np.pad(0.5 * pulses / np.abs(pulses).max(), 4000).astype(np.float32)


def delay(changed: np.ndarray, original: np.ndarray) -> float:
    """Seconds by which one energy envelope trails the other."""
    a, b = (np.convolve(x.astype(np.float64) ** 2, np.ones(160) / 160, "same") for x in (changed, original))
    return (np.correlate(a - a.mean(), b - b.mean(), "full").argmax() - (len(b) - 1)) / SPEECH_RATE


def envelope_peak(samples: np.ndarray, low: float, high: float) -> float:
    from scipy import signal

    hertz, power = signal.welch(samples, SPEECH_RATE, nperseg=256, nfft=2048)
    inside = (hertz > low) & (hertz < high)
    return float(hertz[inside][power[inside].argmax()])


def tilt(samples: np.ndarray, first: float, second: float) -> float:
    """Level around one frequency over that around another, dB."""
    from scipy import signal

    hertz, power = signal.welch(samples, SPEECH_RATE, nperseg=256, nfft=2048)
    levels = [10 * np.log10(power[np.abs(hertz - f) < 80].mean()) for f in (first, second)]
    return float(levels[0] - levels[1])


@pytest.mark.parametrize(
    "change",
    [
        lambda x, rng: augment.equalized(x, rng, 4.0),
        lambda x, rng: augment.in_room(x, rng, decay=0.2, direct_db=10.0),
        lambda x, rng: augment.with_noise(x, rng, 20.0),
        lambda x, rng: augment.band_limited(x, 300.0, 3400.0),
        lambda x, rng: augment.mu_law(x),
        lambda x, rng: augment.sparse_coded(x, 0.3),
        lambda x, rng: augment.clipped(x, 0.02),
        lambda x, rng: augment.respoken(x, rng, tract=1.1, breath=0.3),
        augment.random_recording,
    ],
)
def test_nothing_moves_in_time(change, buzz, rng):
    changed = change(buzz, rng)
    assert changed.dtype == np.float32
    assert changed.shape == buzz.shape
    assert abs(delay(changed, buzz)) < 0.003


def test_resampling_scales_labels_with_the_sound(buzz):
    faster, phones = augment.resampled(buzz, [Phone("a", 0.25, 0.75)], 1.25)
    assert len(faster) == pytest.approx(len(buzz) / 1.25, abs=2)
    assert phones == [Phone("a", 0.2, 0.6)]
    assert envelope_peak(faster, 2000, 4000) == pytest.approx(
        1.25 * envelope_peak(buzz, 2000, 4000), rel=0.05
    )


@pytest.mark.parametrize("tract", [0.88, 1.14])
def test_another_tract_moves_formants_not_pitch(buzz, rng, tract):
    changed = augment.respoken(buzz, rng, tract=tract, breath=0.0)
    assert tilt(changed, tract * 2400, 2400) > tilt(buzz, tract * 2400, 2400) + 6
    middle = changed[5000:11000].astype(np.float64)
    echo = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    assert 60 + echo[60:260].argmax() == pytest.approx(SPEECH_RATE // 120, abs=2)


def test_nothing_changed_gives_the_sound_back(buzz, rng):
    np.testing.assert_allclose(augment.respoken(buzz, rng, tract=1.0, breath=0.0), buzz, atol=1e-4)


def test_whispering_has_no_pitch(buzz, rng):
    middle = augment.respoken(buzz, rng, tract=1.0, breath=1.0)[5000:11000].astype(np.float64)
    echo = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    assert echo[110:160].max() < 0.3 * echo[0]


def test_noise_is_as_loud_as_asked(buzz, rng):
    added = augment.with_noise(buzz, rng, 10.0) - buzz
    assert 20 * np.log10(buzz.std() / added.std()) == pytest.approx(10, abs=1.5)


def test_a_room_rings_for_its_decay_time_and_sounds_at_once(rng):
    click = np.zeros(SPEECH_RATE, np.float32)
    click[100] = 1
    rung = augment.in_room(click, rng, decay=0.5, direct_db=0.0).astype(np.float64)
    assert np.abs(rung[:100]).max() < 1e-6
    assert rung[100] == pytest.approx(1, abs=1e-5)
    tail = (rung[101:] ** 2)[::-1].cumsum()[::-1]
    level = 10 * np.log10(tail / tail[0] + 1e-12)
    t5, t25 = (np.argmax(level < -db) / SPEECH_RATE for db in (5, 25))
    assert 3 * (t25 - t5) == pytest.approx(0.5, rel=0.15)


def test_mu_law_keeps_a_signal_to_noise_ratio_of_a_telephone(buzz):
    loud = buzz[5000:11000]
    error = augment.mu_law(loud) - loud
    assert 20 * np.log10(loud.std() / error.std()) > 30
    assert len(np.unique(augment.mu_law(loud))) <= 256
