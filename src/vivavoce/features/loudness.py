"""Speech at one loudness: its level by ITU-R BS.1770-4, and the gain that brings it to that of broadcasts.

A recording is read in blocks and never copied as a whole: it may be hours long and lie on disk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from vivavoce.features.biquads import sections
from vivavoce.types import SPEECH_RATE

TARGET = -23.0
"""LUFS that speech is brought to (EBU R 128)."""
MOST_GAIN = 30.0
"""dB; what is quieter by more is rather noise than speech."""

_STEP = SPEECH_RATE // 10  # gating blocks of 400 ms begin every 100 ms
_STEPS = 4
_CHUNK = 100 * _STEP  # samples filtered at once
_ABSOLUTE_GATE = -70.0  # LUFS
_RELATIVE_GATE = -10.0  # LU
_STANDARD_RATE = 48_000  # Hz, the one that BS.1770 tabulates its filters for


@dataclass(frozen=True, eq=False)
class Speech:
    """A recording and the gain that brings it to TARGET; one is another's equal only if it is the same."""

    samples: Float32[np.ndarray, " n"]
    """16 kHz mono in [-1, 1]; may be memory-mapped: multiply parts of it by `gain`, never the whole."""
    gain: float
    """Linear; peaks may exceed 1 with it."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / SPEECH_RATE


def leveled(samples: Float32[np.ndarray, " n"]) -> Speech:
    """The recording (16 kHz mono) with the gain from its integrated loudness to TARGET.

    The gain is at most MOST_GAIN, and 1 where nothing is loud enough to have a loudness.
    """
    loudness = integrated_loudness(samples)
    decibels = min(TARGET - loudness, MOST_GAIN) if np.isfinite(loudness) else 0.0
    return Speech(samples, 10 ** (decibels / 20))


def integrated_loudness(samples: Float32[np.ndarray, " n"]) -> float:
    """LUFS of a mono recording at 16 kHz by BS.1770-4: -inf where no block of 400 ms passes the gate.

    A recording shorter than one block is a block.
    """
    energy = _energy(samples)
    whole = len(samples) // _STEP
    if len(samples) < _STEPS * _STEP:
        blocks = energy.sum(keepdims=True) / max(len(samples), 1)
    else:
        blocks = np.convolve(energy[:whole], np.ones(_STEPS), "valid") / (_STEPS * _STEP)
    loud = blocks[blocks > _power(_ABSOLUTE_GATE)]
    if not len(loud):
        return -np.inf
    gate = _power(_level(loud.mean()) + _RELATIVE_GATE)
    return _level(loud[loud > gate].mean())


def k_weighting(rate: int) -> Float64[np.ndarray, "2 6"]:
    """The two filters of BS.1770 at a sample rate in Hz, as rows b0 b1 b2 a0 a1 a2: shelf, then high-pass.

    BS.1770 tabulates them for 48 kHz only. These are the bilinear transforms of the analogue filters that its tables
    come from, whose parameters De Man (2018), "Evaluation of implementations of the EBU R128 loudness measurement",
    gives.
    """
    gain = 10 ** (3.999843853973347 / 20)
    shelf = _second_order(rate, 1681.974450955533, 0.7071752369554196, (gain, gain**0.4996667741545416, 1.0))
    # The table's high-pass has b = 1, -2, 1: a little more than 1 for high frequencies, at every rate.
    high_pass = 38.13547087602444, 0.5003270373238773, (1.0, 0.0, 0.0)
    table = _second_order(_STANDARD_RATE, *high_pass)
    row = _second_order(rate, *high_pass)
    row[:3] /= table[0]
    return np.stack([shelf, row])


def _second_order(
    rate: int, frequency: float, q: float, numerator: tuple[float, float, float]
) -> Float64[np.ndarray, " 6"]:
    """(n2 s² + n1 s / Q + n0) / (s² + s / Q + 1) by the bilinear transform, with s = i kept at `frequency` in Hz."""
    k = np.tan(np.pi * frequency / rate)
    rows = [
        (n2 + n1 * k / q + n0 * k * k, 2 * (n0 * k * k - n2), n2 - n1 * k / q + n0 * k * k)
        for n2, n1, n0 in (numerator, (1.0, 1.0, 1.0))
    ]
    return np.concatenate(rows) / rows[1][0]


def _energy(samples: Float32[np.ndarray, " n"]) -> Float64[np.ndarray, " m"]:
    """Sums of squares of the weighted signal over each _STEP samples; the last may be over fewer."""
    filters = k_weighting(SPEECH_RATE)
    state = np.zeros((len(filters), 2))
    sums = []
    for start in range(0, len(samples), _CHUNK):
        weighted = sections(filters, samples[start : start + _CHUNK].astype(np.float64), state)
        sums.append(np.add.reduceat(weighted**2, np.arange(0, len(weighted), _STEP)))
    return np.concatenate(sums) if sums else np.zeros(0)


def _level(power: float) -> float:
    """LUFS of a mean square of the weighted signal (BS.1770-4, eq. 2)."""
    return float(-0.691 + 10 * np.log10(power))


def _power(level: float) -> float:
    return 10 ** ((level + 0.691) / 10)
