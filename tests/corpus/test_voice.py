from itertools import pairwise

import numpy as np
import pytest

from vivavoce.corpus.synth.voice import Voice, synthesize
from vivavoce.errors import InputError
from vivavoce.features.phones import LABELS, PAUSE
from vivavoce.types import SPEECH_RATE

TEXT = "A happy baby papa may open a map."
VOICES = [
    Voice("flite", "slt"),
    Voice("flite", "kal16"),
    Voice("espeak", "en-us"),
    Voice("espeak", "en-gb-scotland+f3"),
    Voice("festival", "ked_diphone"),
]


def level(samples: np.ndarray, start: float, end: float) -> float:
    part = samples[int(start * SPEECH_RATE) : int(end * SPEECH_RATE)].astype(np.float64)
    return 10 * np.log10((part**2).mean() + 1e-10)


@pytest.fixture(scope="module", params=VOICES, ids=lambda v: f"{v.engine}-{v.name}")
def spoken(request):
    return synthesize(TEXT, request.param)


def test_phones_fill_the_sound(spoken):
    samples, phones = spoken
    assert phones[0].start == 0
    assert phones[-1].end == pytest.approx(len(samples) / SPEECH_RATE)
    assert all(a.end == pytest.approx(b.start) for a, b in pairwise(phones))
    assert {p.label for p in phones} <= set(LABELS)
    assert sum(p.label == "p" for p in phones) >= 5
    assert np.abs(samples).max() <= 1


def test_the_labels_of_voiceless_stops_hold_their_silence(spoken):
    samples, phones = spoken
    depths = []
    for before, stop in pairwise(phones):
        if stop.label == "p" and before.label not in (PAUSE, "p"):
            length = stop.end - stop.start
            closure = level(samples, stop.start + 0.2 * length, stop.start + 0.5 * length)
            depths.append(level(samples, before.start, before.end) - closure)
    assert np.median(depths) > 15


def test_pauses_at_the_ends_are_silent(spoken):
    samples, phones = spoken
    loudest = level(samples, 0, len(samples) / SPEECH_RATE)
    for phone in (phones[0], phones[-1]):
        if phone.label == PAUSE and phone.end - phone.start > 0.08:
            assert level(samples, phone.start + 0.02, phone.end - 0.03) < loudest - 20


@pytest.mark.parametrize(
    "voice", [Voice("flite", "rms"), Voice("espeak", "de+m3"), Voice("festival", "kal_diphone")]
)
def test_rate_shortens_speech(voice):
    slow, fast = (len(synthesize("one two three four", voice, rate=rate)[0]) for rate in (0.8, 1.3))
    assert 1.3 < slow / fast < 2.1


def fundamental(samples: np.ndarray) -> float:
    middle = samples[len(samples) // 3 :][:6400].astype(np.float64)
    echo = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    return SPEECH_RATE / (40 + echo[40:260].argmax())


@pytest.mark.parametrize("voice", [Voice("flite", "slt"), Voice("espeak", "en-us+m3")])
def test_pitch_raises_the_voice(voice):
    low, high = (fundamental(synthesize("Mary, oh Mary", voice, pitch=p)[0]) for p in (0.75, 1.25))
    assert high > 1.2 * low


@pytest.mark.parametrize(
    ("voice", "pitch", "named"),
    [
        (Voice("hal", "9000"), 1.0, "hal"),
        (Voice("espeak", "xx-yy"), 1.0, "xx-yy"),
        (Voice("festival", "ked_diphone"), 1.2, "pitch"),
    ],
)
def test_what_an_engine_cannot_do_is_said(voice, pitch, named):
    with pytest.raises(InputError, match=named):
        synthesize("hello", voice, pitch=pitch)


def test_a_missing_engine_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="flite is not installed"):
        synthesize("hello", Voice("flite", "slt"))
