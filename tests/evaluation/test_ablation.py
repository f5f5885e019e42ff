"""What ablations are told by: spread over seeds, differences clip by clip, verdicts, the table."""

import math

import numpy as np
import pytest
from scipy import stats

from vivavoce.evaluation.ablation import Claim, Measure, judged, spread, table

HIT = Measure("hit", "Hit", "high")
AHEAD = Claim("hit", "new", "old", "0.9 against 0.5")


def values(new, old):
    return {"new": {"hit": np.array(new)}, "old": {"hit": np.array(old)}}


def test_a_spread_is_over_seeds_and_leaves_out_what_is_not_known():
    rng = np.random.default_rng(0)
    known = rng.random((3, 7))
    found = spread(known)
    assert found.mean == pytest.approx(known.mean())
    assert found.deviation == pytest.approx(np.std(known.mean(axis=1), ddof=1))
    gappy = known.copy()
    gappy[1, 2:] = np.nan
    assert spread(gappy).mean == pytest.approx(
        np.mean([known[0].mean(), known[1, :2].mean(), known[2].mean()])
    )
    assert math.isnan(spread(known[:1]).deviation)
    assert math.isnan(spread(np.full((2, 3), np.nan)).mean)


def test_a_difference_has_student_s_interval_over_clips():
    rng = np.random.default_rng(1)
    old = rng.random((2, 12))
    new = old + 0.1 + 0.05 * rng.standard_normal((2, 12))
    found = judged(AHEAD, values(new, old))
    expected = stats.ttest_1samp((new - old).mean(axis=0), 0).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert found.difference == pytest.approx((new - old).mean())
    assert found.seeds == pytest.approx((new - old).mean(axis=1))


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [((0.3, 0.2), "yes"), ((0.3, -0.1), "mean"), ((-0.3, -0.2), "no"), ((0.0, 0.0), "no")],
)
def test_a_claim_holds_only_where_every_seed_and_the_interval_agree(shift, verdict):
    wobble = 0.01 * np.array([[1.0, -1.0, 0.5, -0.5]] * 2)
    assert judged(AHEAD, values(np.array(shift)[:, None] + wobble, np.zeros((2, 4)))).verdict == verdict


def test_a_difference_within_the_spread_of_clips_is_in_the_mean_only():
    new = np.array([[1.0, -0.8, 0.9, -0.7]] * 2)
    assert judged(AHEAD, values(new, np.zeros((2, 4)))).verdict == "mean"


def test_a_claim_about_what_is_not_there_is_not_measured():
    assert judged(AHEAD, {"new": {"hit": np.zeros((1, 2))}}).verdict == "missing"
    assert judged(AHEAD, values(np.full((1, 2), np.nan), np.zeros((1, 2)))).verdict == "missing"
    with pytest.raises(ValueError, match="seeds and clips"):
        judged(AHEAD, values(np.zeros((1, 2)), np.zeros((2, 2))))


def test_a_table_has_a_row_for_each_variant_that_is_there_and_for_each_claim():
    told = table(
        [HIT],
        {"old": "base", "new": "ours", "none": "never"},
        values([[0.9], [0.7]], [[0.5], [0.5]]),
        claims=[AHEAD],
    )
    lines = told.splitlines()
    assert lines[0] == "| variant | Hit ↑ |"
    assert lines[2:4] == ["| base | 0.500 ± 0.000 |", "| ours | 0.800 ± 0.141 |"]
    assert "never" not in told
    assert lines[-1] == "| Hit: ours above base | 0.9 against 0.5 | +0.300 | ? .. ? | +0.400, +0.200 | yes |"
