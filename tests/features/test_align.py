import difflib
import sys
from itertools import pairwise

import numpy as np
import pytest

from vivavoce.corpus.synth.voice import Voice, synthesize
from vivavoce.errors import InputError
from vivavoce.features.align import align, words_of
from vivavoce.features.phones import PAUSE

TEXT = "Glue the sheet to the dark blue background."


@pytest.fixture(scope="module")
def spoken():
    return synthesize(TEXT, Voice("flite", "rms"))


def test_phones_are_found_where_the_synthesiser_put_them(spoken):
    samples, truth = spoken
    found = [p for p in align(samples, TEXT) if p.label != PAUSE]
    said = [p for p in truth if p.label != PAUSE]
    same = difflib.SequenceMatcher(None, [p.label for p in said], [p.label for p in found], autojunk=False)
    errors = [
        found[m.b + k].start - said[m.a + k].start for m in same.get_matching_blocks() for k in range(m.size)
    ]
    assert len(errors) > 0.7 * len(said)
    assert np.median(np.abs(errors)) < 0.012
    assert abs(np.median(errors)) < 0.006


def test_phones_cover_the_sound_without_gap(spoken):
    samples, _ = spoken
    phones = align(0.01 * samples, TEXT)
    assert phones[0].start == 0
    assert phones[-1].end == pytest.approx(len(samples) / 16000)
    assert all(a.end == pytest.approx(b.start) for a, b in pairwise(phones))


def test_words_keep_inner_apostrophes():
    assert words_of("It’s the man's -- 'well'!") == ["it's", "the", "man's", "well"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Glue the blarfinator", "'blarfinator'"),
        ("Room 101", "'101'"),
        ("Bücher", "'ü'"),
        ("...", "no words"),
        ("completely different words that go on and on " * 8, "cannot be found"),
    ],
)
def test_a_text_that_will_not_do_is_named(spoken, text, named):
    with pytest.raises(InputError, match=named):
        align(spoken[0], text)


def test_silence_has_no_text():
    with pytest.raises(InputError, match="cannot be found"):
        align(np.zeros(800, np.float32), "hello there")


def test_without_the_extra_the_way_out_is_said(monkeypatch, spoken):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(InputError, match=r"vivavoce\[align\]"):
        align(spoken[0], TEXT)
