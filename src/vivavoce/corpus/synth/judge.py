"""How well predicted articulation follows the phones: the figures of `benchmarks/articulation.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32

from vivavoce.corpus.synth.utterances import Utterance
from vivavoce.splat.controls import ARTICULATION, INDEX
from vivavoce.splat.motion.targets import articulation_from_phones, contacts, silences

CLOSED = 0.05
"""Lip opening that counts as shut."""
TOLERANCE = 0.04
"""Seconds around a contact in which the lips must have met."""
LARGEST_LAG = 0.2

Track = Float32[np.ndarray, "_ 8"]


def score(predicted: Sequence[Track], utterances: Sequence[Utterance], rate: float) -> dict[str, float]:
    """Figures over a set, tracks sampled at (k + 0.5) / rate seconds:

    `r_<channel>` correlation with the targets; `closure_recall` share of p, b, m with lips shut within 40
    ms of the contact; `timing_median_ms`, `timing_p90_ms` error of the centre of the closing movement,
    missed ones included; `timing_bias_ms` its median with sign; `false_closures` share of frames shut where
    the target is clearly open; `silence_still` share of frames of silence (150 ms after it began, 150 ms
    before it ends) that are shut and do not move; `best_lag_ms` the shift of the prediction with the
    largest correlation; `r_shuffled` the correlation with the targets of other moments.
    """
    targets = [
        articulation_from_phones(u.phones, u.duration, rate)[: len(p)]
        for p, u in zip(predicted, utterances, strict=True)
    ]
    predicted = [p[: len(t)] for p, t in zip(predicted, targets, strict=True)]
    joined, truth = np.concatenate(predicted), np.concatenate(targets)
    result = {f"r_{name}": correlation(joined[:, i], truth[:, i]) for i, name in enumerate(ARTICULATION)}
    opening, opening_truth = (
        [track[:, INDEX["open"]] for track in tracks] for tracks in (predicted, targets)
    )
    result |= _closures(opening, opening_truth, utterances, rate)
    still = [_still(p, u, rate) for p, u in zip(opening, utterances, strict=True)]
    result["silence_still"] = float(np.concatenate(still).mean())
    result["best_lag_ms"] = 1e3 * best_lag(opening, opening_truth, rate)
    result["r_shuffled"] = _elsewhere(np.concatenate(opening), np.concatenate(opening_truth))
    return result


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r; 0 where one of the two does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 1e-6 and b.std() > 1e-6 else 0.0


def _elsewhere(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Mean correlation with the targets of other moments: the set turned around by 1/12 .. 11/12."""
    shifts = [len(truth) * k // 12 for k in range(1, 12)]
    return float(np.mean([correlation(predicted, np.roll(truth, shift)) for shift in shifts]))


def best_lag(predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray], rate: float) -> float:
    """Seconds by which the prediction comes late, from the largest correlation among whole-sample shifts."""
    reach = int(LARGEST_LAG * rate)
    scores = {}
    for lag in range(-reach, reach + 1):
        late, reference = max(lag, 0), max(-lag, 0)
        pairs = [
            (p[late : len(p) - reference], t[reference : len(t) - late])
            for p, t in zip(predicted, truth, strict=True)
        ]
        scores[lag] = correlation(*(np.concatenate(side) for side in zip(*pairs, strict=True)))
    return max(scores, key=scores.__getitem__) / rate


def _closures(
    predicted: Sequence[np.ndarray], truth: Sequence[np.ndarray], utterances: Sequence[Utterance], rate: float
) -> dict[str, float]:
    met, errors, false, clear = [], [], 0, 0
    for track, target, utterance in zip(predicted, truth, utterances, strict=True):
        near = np.zeros(len(track), bool)
        for start, end in contacts(utterance.phones):
            first, last = max(0, int((start - TOLERANCE) * rate)), int((end + TOLERANCE) * rate) + 1
            near[first:last] = True
            met.append(track[first:last].min() <= CLOSED)
            errors.append(_centre(track[first:last]) - _centre(target[first:last]))
        clearly_open = (target > 0.12) & ~near
        false += int((track[clearly_open] < CLOSED).sum())
        clear += int(clearly_open.sum())
    milliseconds = 1e3 * np.array(errors) / rate
    return {
        "closures": float(len(met)),
        "closure_recall": float(np.mean(met)),
        "timing_median_ms": float(np.median(np.abs(milliseconds))),
        "timing_p90_ms": float(np.percentile(np.abs(milliseconds), 90)),
        "timing_bias_ms": float(np.median(milliseconds)),
        "false_closures": false / max(clear, 1),
    }


def _centre(opening: np.ndarray) -> float:
    """Centre of a closing movement in samples: the mean time, weighted by how far below the window's peak."""
    return float(np.average(np.arange(len(opening)), weights=np.maximum(opening.max() - opening, 1e-4) ** 2))


def _still(opening: np.ndarray, utterance: Utterance, rate: float) -> Bool[np.ndarray, " n"]:
    """For each frame of silence: shut, and within 0.01 of the frame before."""
    times = (np.arange(len(opening)) + 0.5) / rate
    quiet = np.zeros(len(opening), bool)
    for start, end in silences(utterance.phones, utterance.duration):
        begin = start + 0.15 if start > 0 else 0.0
        finish = end - 0.15 if end < utterance.duration - 0.01 else end
        quiet |= (times > begin) & (times < finish)
    moved = np.abs(np.diff(opening, prepend=opening[:1]))
    return ((opening <= CLOSED) & (moved <= 0.01))[quiet]
