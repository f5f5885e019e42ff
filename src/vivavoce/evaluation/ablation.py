"""Ablations in numbers: a measure's spread over seeds, what one variant has more than another, and if a claim holds.

Values are (S, N): seeds by clips, NaN where a clip says nothing. All variants have the same clips and seeds, so that
they are compared clip by clip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

Values = Mapping[str, Mapping[str, Float64[np.ndarray, "S N"]]]
"""By variant, then by measure."""

CONFIDENCE = 0.95
_ARROWS = {"high": " ↑", "low": " ↓", None: ""}
_VERDICTS = {"yes": "yes", "mean": "in the mean only", "no": "no", "missing": "not measured yet"}


@dataclass(frozen=True)
class Measure:
    """A column of a table."""

    name: str
    title: str
    aim: Literal["high", "low"] | None = None
    digits: int = 3


@dataclass(frozen=True)
class Claim:
    """What a paper's table says: variant `more` has more of a measure than variant `less`."""

    measure: str
    more: str
    less: str
    paper: str
    """The paper's own numbers, as in "0.829 against 0.725"."""


@dataclass(frozen=True)
class Spread:
    """Of a measure over the seeds, each of which is the mean over its clips."""

    mean: float
    deviation: float
    """The sample's; NaN for one seed."""


@dataclass(frozen=True)
class Judgement:
    """What was measured of a claim."""

    difference: float
    """Of the two variants, mean over seeds and clips; above 0 where it is as claimed."""
    interval: tuple[float, float]
    """95 % of the mean over clips, by Student's t over their differences, each a mean over seeds; NaN for one clip."""
    seeds: tuple[float, ...]
    """The difference in each seed."""
    verdict: Literal["yes", "mean", "no", "missing"]
    """"yes": as claimed in every seed, and the interval leaves out 0. "mean": as claimed in the mean alone."""


def spread(values: Float64[np.ndarray, "S N"]) -> Spread:
    """Mean and standard deviation over seeds; NaN where nothing is known."""
    means = _over_clips(values)
    means = means[np.isfinite(means)]
    deviation = float(means.std(ddof=1)) if len(means) > 1 else float("nan")
    return Spread(float(means.mean()) if len(means) else float("nan"), deviation)


def judged(claim: Claim, values: Values) -> Judgement:
    """Whether a claim is seen in values. "missing" where one of its variants or measures is not there."""
    pair = [values.get(variant, {}).get(claim.measure) for variant in (claim.more, claim.less)]
    if pair[0] is None or pair[1] is None:
        return _missing()
    if pair[0].shape != pair[1].shape:
        raise ValueError(
            f"{claim.more} and {claim.less} are of {pair[0].shape} and {pair[1].shape} seeds and clips"
        )
    difference = pair[0] - pair[1]
    seeds = _over_clips(difference)
    seeds = tuple(float(seed) for seed in seeds[np.isfinite(seeds)])
    if not seeds:
        return _missing()
    mean, interval = float(np.mean(seeds)), _interval(_over_clips(difference.T))
    sure = all(seed > 0 for seed in seeds) and not interval[0] <= 0
    return Judgement(mean, interval, seeds, "yes" if sure else "mean" if mean > 0 else "no")


def table(
    measures: Sequence[Measure], titles: Mapping[str, str], values: Values, *, claims: Sequence[Claim]
) -> str:
    """Markdown: a row for each variant in `titles` (its name to what is written) that has values, then the claims."""
    head = ["variant", *(f"{measure.title}{_ARROWS[measure.aim]}" for measure in measures)]
    rows = [
        [title, *(_told(measure, values[name].get(measure.name)) for measure in measures)]
        for name, title in titles.items()
        if name in values
    ]
    claimed = ["claim", "paper", "difference", "95 % interval", "by seed", "reproduced"]
    columns = {measure.name: measure for measure in measures}
    told = [_judged_row(claim, columns[claim.measure], titles, judged(claim, values)) for claim in claims]
    return "\n".join([*_markdown(head, rows), "", *_markdown(claimed, told)])


def _judged_row(claim: Claim, measure: Measure, titles: Mapping[str, str], found: Judgement) -> list[str]:
    what = f"{measure.title}: {titles[claim.more]} above {titles[claim.less]}"
    if found.verdict == "missing":
        return [what, claim.paper, "", "", "", _VERDICTS["missing"]]
    digits = measure.digits
    low, high = (f"{end:+.{digits}f}" if math.isfinite(end) else "?" for end in found.interval)
    seeds = ", ".join(f"{seed:+.{digits}f}" for seed in found.seeds)
    return [
        what,
        claim.paper,
        f"{found.difference:+.{digits}f}",
        f"{low} .. {high}",
        seeds,
        _VERDICTS[found.verdict],
    ]


def _told(measure: Measure, values: Float64[np.ndarray, "S N"] | None) -> str:
    if values is None:
        return ""
    found = spread(values)
    if not math.isfinite(found.mean):
        return ""
    told = f"{found.mean:.{measure.digits}f}"
    return f"{told} ± {found.deviation:.{measure.digits}f}" if math.isfinite(found.deviation) else told


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _over_clips(values: Float64[np.ndarray, "S N"]) -> Float64[np.ndarray, " S"]:
    """Mean of each row over what is known in it; NaN for a row of which nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    return np.where(count, np.where(known, values, 0).sum(axis=1) / np.maximum(count, 1), np.nan)


def _interval(values: Float64[np.ndarray, " N"]) -> tuple[float, float]:
    """Of the mean of the values that are known."""
    from scipy.stats import t

    known = values[np.isfinite(values)]
    if len(known) < 2:
        return float("nan"), float("nan")
    half = float(t.ppf(0.5 + CONFIDENCE / 2, len(known) - 1)) * known.std(ddof=1) / math.sqrt(len(known))
    return float(known.mean() - half), float(known.mean() + half)


def _missing() -> Judgement:
    return Judgement(float("nan"), (float("nan"), float("nan")), (), "missing")
