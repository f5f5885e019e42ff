"""Speech of an exact length from utterances of any."""

import numpy as np
import pytest

from vivavoce.corpus.synth.spoken import speak
from vivavoce.errors import InputError
from vivavoce.features.phones import PAUSE, Phone


class Beeps:
    """A voice that says one vowel a text, half a second long, at full scale."""

    name, paced, pitched = "beeps", True, True

    def speak(self, text, *, rate=1.0, pitch=1.0):
        samples = np.sin(np.arange(8000) * 0.3 * pitch).astype(np.float32)
        return samples, [Phone("aa", 0.0, 0.5)]


def test_speech_is_exactly_as_long_as_wanted_and_phones_fill_it():
    spoken = speak(Beeps(), ["one"] * 20, 3.0, np.random.default_rng(0))
    assert len(spoken.samples) == 48_000
    assert spoken.phones[0].start == 0
    assert spoken.phones[-1].end == pytest.approx(3.0)
    for before, after in zip(spoken.phones[:-1], spoken.phones[1:], strict=True):
        assert before.end == pytest.approx(after.start)
    assert {p.label for p in spoken.phones} == {PAUSE, "aa"}


def test_phones_lie_where_the_voice_is_heard():
    spoken = speak(Beeps(), ["one"] * 20, 3.0, np.random.default_rng(1))
    for phone in spoken.phones:
        part = spoken.samples[int(phone.start * 16_000) + 80 : int(phone.end * 16_000) - 800]
        if len(part) > 400:
            assert (np.abs(part).max() > 0.1) == (phone.label == "aa")


def test_effort_rises_and_falls_within_twelve_decibels():
    spoken = speak(Beeps(), ["one"] * 80, 20.0, np.random.default_rng(2))
    loud = [
        np.abs(spoken.samples[int(p.start * 16_000) : int(p.end * 16_000)]).max()
        for p in spoken.phones
        if p.label == "aa" and p.end - p.start > 0.4
    ]
    decibels = 20 * np.log10(np.array(loud))
    assert decibels.max() <= 0.01
    assert decibels.min() > -12.5
    assert np.ptp(decibels) > 5


def test_only_as_many_texts_are_spoken_as_are_needed():
    told = []

    def texts():
        for k in range(100):
            told.append(k)
            yield f"text {k}"

    spoken = speak(Beeps(), texts(), 2.0, np.random.default_rng(3))
    assert len(spoken.texts) < 5
    assert len(told) <= len(spoken.texts) + 1


def test_texts_that_end_too_early_are_told():
    with pytest.raises(InputError, match=r"The texts are 1\.\d s of speech, and 5 s are needed: give more"):
        speak(Beeps(), ["one", "two"], 5.0, np.random.default_rng(0))
