"""Closures of lips: found where a mouth shuts in speech, and paired as a formula has it."""

import math

import numpy as np
import pytest

from vivavoce.evaluation.closures import SHUT, Timing, closures, dips, timing
from vivavoce.features.phones import Phone

FPS = 25.0
SPOKEN = [Phone("aa", 0.0, 4.0)]


def mouth(*shut, frames=100, gap=-0.03):
    """Open but for these spans of frames."""
    out = np.full(frames, 0.2)
    for begin, end in shut:
        out[begin:end] = gap
    return out


def test_a_closure_is_the_middle_of_a_stretch_of_shut_frames():
    found = closures(mouth((10, 12), (30, 31), (50, 55)), SPOKEN, FPS)
    np.testing.assert_allclose(found, [11 / 25, 30.5 / 25, 52.5 / 25])


def test_lips_that_nearly_meet_are_shut_and_others_are_not():
    assert len(closures(mouth((10, 12), gap=SHUT - 1e-6), SPOKEN, FPS)) == 1
    assert len(closures(mouth((10, 12), gap=SHUT), SPOKEN, FPS)) == 0


def test_stretches_at_pauses_and_ends_are_of_no_sound():
    phones = [Phone("aa", 0.0, 1.0), Phone("pau", 1.0, 2.0), Phone("aa", 2.0, 4.0)]
    # frames 25 to 49 are silent
    assert len(closures(mouth((23, 25)), phones, FPS)) == 0
    assert len(closures(mouth((20, 30)), phones, FPS)) == 0
    assert len(closures(mouth((30, 40)), phones, FPS)) == 0
    assert len(closures(mouth((22, 24)), phones, FPS)) == 1
    assert len(closures(mouth((50, 52)), phones, FPS)) == 0
    assert len(closures(mouth((51, 53)), phones, FPS)) == 1
    assert len(closures(mouth((0, 3), (98, 100)), phones, FPS)) == 0
    assert len(closures(mouth((1, 3), (97, 99)), phones, FPS)) == 2


def test_a_mouth_that_is_always_shut_meets_nothing():
    asked = closures(mouth((10, 12), (40, 42)), SPOKEN, FPS)
    found = timing(asked, closures(np.full(100, -0.1), SPOKEN, FPS))
    assert (found.asked, found.found, found.met) == (2, 0, 0)
    assert (found.recall, found.f1) == (0, 0)
    assert math.isnan(found.false)


def test_dips_are_told_by_their_moment_whether_or_not_lips_meet():
    times = np.arange(100)
    aperture = (
        0.3 - 0.2 * np.exp(-0.5 * ((times - 40) / 2) ** 2) - 0.04 * np.exp(-0.5 * ((times - 70) / 2) ** 2)
    )
    np.testing.assert_allclose(dips(aperture, SPOKEN, FPS), [40.5 / 25])
    assert len(closures(aperture, SPOKEN, FPS)) == 0
    assert len(dips(aperture, [Phone("pau", 0.0, 4.0)], FPS)) == 0


def test_each_closure_is_met_once_and_within_a_frame():
    asked = np.array([1.0, 2.0, 3.0])
    assert timing(asked, np.array([1.04, 1.96, 3.041])).met == 2
    assert timing(asked, np.array([0.98, 1.0, 1.02])) == Timing(3, 3, 1)
    assert timing(asked, asked, within=0.0).met == 3
    assert timing(np.zeros(0), asked) == Timing(0, 3, 0)


def test_pairs_are_as_many_as_can_be():
    """Against the largest matching there is, by scipy's own."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    rng = np.random.default_rng(0)
    for _ in range(40):
        asked, found = (np.sort(rng.uniform(0, 1.5, rng.integers(1, 30))) for _ in range(2))
        near = csr_array(np.abs(asked[:, None] - found) <= 0.04)
        best = (maximum_bipartite_matching(near) >= 0).sum()
        assert timing(asked, found).met == best


def test_shares_are_their_formulas():
    found = Timing(asked=8, found=5, met=4)
    assert found.recall == pytest.approx(0.5)
    assert found.false == pytest.approx(0.2)
    assert found.f1 == pytest.approx(2 * 0.5 * 0.8 / 1.3)
    assert math.isnan(Timing(0, 0, 0).f1)
    assert math.isnan(Timing(0, 2, 0).recall)
