"""The planner without a model: phrases of known speech, accents against their absence, and what the photo shows."""

from itertools import pairwise

import numpy as np
import pytest

from syllables import talk
from vivavoce.features.portrait import Portrait
from vivavoce.types import SPEECH_RATE
from vivavoce.video.planner_embedded import MAX_PHASES, embedded_brief, embedded_phases, phrases


def person(*, hands: bool = False, bright: bool = False, close: bool = False) -> Portrait:
    """A face that looks straight out of a picture of 400 x 400, by its landmarks alone."""
    face = np.zeros((478, 3), np.float32) + np.array([200, 120, 0], np.float32)
    face[[33, 133, 61, 234, 93, 58], 0] -= 40
    face[[263, 362, 291, 454, 323, 288], 0] += 40
    half = 120 if close else 60
    face[10, 1], face[152, 1] = 120 - half, 120 + half
    matte = np.zeros((400, 400), np.float32)
    matte[60:, 100:300] = 1
    return Portrait(
        image=np.full((400, 400, 3), 0.8 if bright else 0.2, np.float32),
        crop=(0, 0, 400, 400),
        face=face,
        body=None,
        hands={"left": np.zeros((21, 3), np.float32)} if hands else {},
        matte=matte,
        faces_found=1,
        notes=(),
    )


def runs(*lengths: int) -> np.ndarray:
    """Hops of silence, speech, silence, ..., by their lengths."""
    return np.concatenate([np.full(n, i % 2 == 1) for i, n in enumerate(lengths)])


def test_phrases_are_the_stretches_between_pauses():
    assert phrases(runs(30, 150, 40, 200, 10)) == [(30, 180), (220, 420)]
    assert phrases(runs(0, 150)) == [(0, 150)]
    assert phrases(runs(100)) == []


def test_a_phrase_too_short_joins_its_nearer_neighbour():
    assert phrases(runs(10, 200, 50, 30, 20, 200)) == [(10, 210), (260, 510)]
    assert phrases(runs(10, 200, 20, 30, 50, 200)) == [(10, 260), (310, 510)]
    assert phrases(runs(10, 30)) == [(10, 40)]


def test_there_are_never_too_many():
    found = phrases(runs(*([40, 150] * 20)))
    assert len(found) == MAX_PHASES
    assert (found[0][0], found[-1][1]) == (40, 20 * 190)
    assert all(a[1] < b[0] for a, b in pairwise(found))


def test_the_phases_of_speech_lie_where_its_phrases_do():
    speech = talk(10.0, seed=3)
    plan = embedded_phases(person(), speech.samples)
    plan.check(len(speech.samples) / SPEECH_RATE)
    assert 1 < len(plan.phases) <= MAX_PHASES
    ends, starts = speech.pauses[1:, 0], speech.pauses[:-1, 1]
    for phase in plan.phases:
        assert np.abs(starts - phase.start).min() < 0.1
        assert np.abs(ends - phase.end).min() < 0.3  # a phrase ends once a closure would be over


def test_an_accented_phrase_is_livelier_than_a_flat_one():
    lively = talk(3.0, seed=1).samples
    at = np.arange(3 * SPEECH_RATE) / SPEECH_RATE
    carrier = sum(np.cos(2 * np.pi * 120 * k * at + k * k) / k for k in range(1, 30))
    flat = (0.03 * carrier * np.abs(np.sin(np.pi * at / 0.18)) ** 0.5).astype(np.float32)
    speech = np.concatenate([lively, flat])
    for hands, word in ((False, "nods on stressed words"), (True, "gestures on stressed words")):
        first, *_, last = embedded_phases(person(hands=hands), speech).phases
        assert word in first.text
        assert "keeps still" in last.text


@pytest.mark.parametrize("samples", [0, 16000])
def test_silence_has_a_plan_without_phases(samples: int):
    plan = embedded_phases(person(), np.zeros(samples, np.float32))
    assert plan.phases == ()
    assert "silence" in plan.base
    assert "[AUDIO]: silence" in embedded_brief(person(), np.zeros(samples, np.float32)).base


def test_the_photo_is_told():
    speech = talk(3.0).samples
    plain = embedded_phases(person(), speech).base
    other = embedded_phases(person(hands=True, bright=True, close=True), speech).base
    assert "head and shoulders, facing camera, hands out of view, dark background" in plain
    assert "close-up, facing camera, hands in view, bright background" in other


def test_a_brief_has_three_sections_and_at_most_80_words():
    brief = embedded_brief(person(), talk(4.0).samples)
    lines = brief.base.splitlines()
    assert [line.split(":")[0] for line in lines] == ["[AUDIO]", "[IMAGE]", "[VIDEO]"]
    assert all(3 <= len(line.split(",")) <= 5 for line in lines)
    assert sum(len(line.split()) - 1 for line in lines) <= 80
    assert brief.phases == ()
