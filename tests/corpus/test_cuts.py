"""Which spans of clips become examples."""

from dataclasses import replace

import numpy as np
import pytest

import tiny
from vivavoce.corpus.cuts import Cutter
from vivavoce.errors import InputError

PHYS, ACT = tiny.method("physavatar"), tiny.method("actavatar")


def test_each_equal_part_of_a_clip_gives_a_span():
    cutter = Cutter.of(ACT, frames=17, spans=4, seed=3)
    for count in (20, 30, 100, 1000):
        firsts = [cut.first for cut in cutter.cuts("clip", count)]
        room = count - 16
        for k, first in enumerate(firsts):
            assert k * room / 4 - 1 < first < (k + 1) * room / 4


def test_spans_are_anywhere_and_end_with_the_clip_at_the_latest():
    cutter = Cutter.of(ACT, frames=17, spans=1)
    firsts = np.array([cutter.cuts(f"clip {i}", 30)[0].first for i in range(2000)])
    counts = np.bincount(firsts, minlength=14)
    assert len(counts) == 14
    assert counts.min() > 2000 / 14 - 5 * np.sqrt(2000 / 14)
    assert counts.max() < 2000 / 14 + 5 * np.sqrt(2000 / 14)


def test_a_clip_as_long_as_a_span_gives_one():
    (cut,) = Cutter.of(ACT, frames=17, spans=3).cuts("clip", 17)
    assert cut.first == 0
    with pytest.raises(InputError, match="The clip short has 16 frames, and 17 are needed"):
        Cutter.of(ACT, frames=17, spans=3).cuts("short", 16)


def test_the_same_seed_and_name_give_the_same_spans():
    cutter = Cutter.of(PHYS, frames=17, spans=4, seed=3)
    assert cutter.cuts("a", 300) == Cutter.of(PHYS, frames=17, spans=4, seed=3).cuts("a", 300)
    assert cutter.cuts("a", 300) != cutter.cuts("b", 300)
    assert cutter.cuts("a", 300) != replace(cutter, seed=4).cuts("a", 300)


def test_the_photo_is_what_a_video_begins_with_or_any_other_frame():
    for cut in Cutter.of(ACT, frames=17, spans=9).cuts("a", 300):
        assert cut.photo == cut.first
    photos = [cut.photo for cut in Cutter.of(PHYS, frames=17, spans=200).cuts("a", 300)]
    assert len(set(photos)) > 100
    assert 0 <= min(photos) < 20
    assert 280 < max(photos) < 300


def test_spans_without_meaning_are_refused():
    with pytest.raises(InputError, match=r"Examples of 16 frames have no whole latents: .* 1, 5, 9"):
        Cutter.of(ACT, frames=16, spans=1)
    with pytest.raises(InputError, match="9 of which are given, leave nothing"):
        Cutter.of(PHYS, frames=9, spans=1)
    Cutter.of(ACT, frames=9, spans=1)
    with pytest.raises(InputError, match="0 examples"):
        Cutter.of(ACT, frames=9, spans=0)
