"""Does a label's time mean what is heard then? The constant lag of an engine's labels against its sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from vivavoce.features.phones import Phone
from vivavoce.features.speech import FRAME_RATE, log_mel

LAGS = np.arange(-0.05, 0.0501, 0.005)
_FLOOR = 9.0  # nats below an utterance's loudest band that still count; what lies deeper is silence


def label_lag(utterances: Sequence[tuple[Float32[np.ndarray, " _"], list[Phone]]]) -> float:
    """Seconds to add to the labels so that they explain the spectra best.

    For every lag the frames are grouped by label; the lag that leaves the least variance of the log-mel
    spectrum within the groups wins, refined by a parabola through its neighbours. Needs a few dozen
    utterances.
    """
    spread = np.array([_unexplained(utterances, lag) for lag in LAGS])
    best = int(np.clip(spread.argmin(), 1, len(LAGS) - 2))
    left, middle, right = spread[best - 1 : best + 2]
    return float(LAGS[best] + 0.5 * (LAGS[1] - LAGS[0]) * (left - right) / (left - 2 * middle + right))


def _unexplained(utterances: Sequence[tuple[np.ndarray, list[Phone]]], lag: float) -> float:
    """Mean squared distance of log-mel frames from the mean of their label."""
    groups: dict[str, list[np.ndarray]] = {}
    for samples, phones in utterances:
        mel = log_mel(samples)
        mel = np.maximum(mel, mel.max() - _FLOOR)
        starts = np.array([p.start for p in phones]) + lag
        times = (np.arange(len(mel)) + 0.5) / FRAME_RATE
        index = np.clip(np.searchsorted(starts, times, "right") - 1, 0, len(phones) - 1)
        for i, phone in enumerate(phones):
            groups.setdefault(phone.label, []).append(mel[index == i])
    joined = [np.concatenate(frames) for frames in groups.values()]
    within = sum(float(((g - g.mean(0)) ** 2).sum()) for g in joined if len(g))
    return within / sum(len(g) for g in joined)
