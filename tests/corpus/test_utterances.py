import random

import numpy as np
import pytest

from vivavoce.corpus.synth import utterances
from vivavoce.corpus.synth.text import HARVARD
from vivavoce.corpus.synth.utterances import (
    HELD_OUT_ENGINE,
    HELD_OUT_VOICES,
    TEST_SETS,
    is_held_out,
    padded,
    random_utterance,
    random_voice,
)
from vivavoce.corpus.synth.voice import Voice
from vivavoce.features.phones import PAUSE, Phone
from vivavoce.types import SPEECH_RATE


def test_held_out_voices_and_engine_are_never_drawn():
    drawn = {random_voice(random.Random(i))[0] for i in range(5000)}
    assert not drawn & HELD_OUT_VOICES
    assert all(voice.engine != HELD_OUT_ENGINE for voice in drawn)
    assert len(drawn) > 500


def test_the_rule_names_text_voice_and_engine():
    seen = Voice("flite", "slt")
    assert not is_held_out("Good morning.", seen)
    assert is_held_out(HARVARD[3], seen)
    assert is_held_out("Good morning.", Voice("flite", "awb"))
    assert is_held_out("Good morning.", Voice("festival", "any"))
    assert all(is_held_out(HARVARD[0], voice) for voice in TEST_SETS.values())


def test_a_held_out_text_stops_the_making(monkeypatch):
    monkeypatch.setattr(utterances, "sentence", lambda *_: HARVARD[0])
    with pytest.raises(AssertionError, match="held out"):
        random_utterance(0)


@pytest.mark.parametrize("seed", range(8))
def test_an_utterance_is_whole_and_made_again_alike(seed):
    utterance = random_utterance(seed)
    again = random_utterance(seed)
    assert (utterance.text, utterance.voice) == (again.text, again.voice)
    assert utterance.duration == pytest.approx(again.duration, rel=0.01)  # espeak-ng's noise is not seeded
    assert [p.label for p in utterance.phones] == [p.label for p in again.phones]
    assert np.isfinite(utterance.samples).all()
    assert np.abs(utterance.samples).max() <= 1
    assert utterance.phones[0].label == utterance.phones[-1].label == PAUSE
    assert utterance.phones[-1].end == pytest.approx(len(utterance.samples) / SPEECH_RATE, abs=1e-3)
    ends = [p.end for p in utterance.phones]
    assert ends == sorted(ends)


def test_padding_moves_the_labels_with_the_sound():
    sound, phones = padded(np.ones(1600, np.float32), [Phone("a", 0.0, 0.1)], before=0.5, after=0.25)
    assert len(sound) == round(0.85 * SPEECH_RATE)
    assert sound[8000:9600].all()
    assert not sound[:8000].any()
    assert phones == [Phone(PAUSE, 0, 0.5), Phone("a", 0.5, 0.6), Phone(PAUSE, 0.6, 0.85)]
