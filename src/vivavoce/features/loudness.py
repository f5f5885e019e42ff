"""The loudness of a recording in LUFS, and its level made the same for every recording (ITU-R BS.1770-4)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Float64

from vivavoce.types import SPEECH_RATE

TARGET = -23.0
"""LUFS at which speech encoders hear speech, in training and in use (EBU R 128)."""

_BLOCK, _STEP = 2 * SPEECH_RATE // 5, SPEECH_RATE // 10  # 400 ms every 100 ms
_OFFSET = -0.691  # so that a full-scale sine of 997 Hz has -3.01 LUFS
_SILENCE, _BELOW_MEAN = -70.0, 10.0  # LUFS and LU of the two gates
_SHELF = (1681.974450955533, 3.999843853973347, 0.7071752369554196)  # Hz, dB, Q: the head
_HIGH_PASS = (38.13547087602444, 0.5003270373238773)  # Hz, Q: low sounds are heard less


def levelled(samples: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """The recording (mono, SPEECH_RATE) at TARGET; it may exceed 1. Silence stays as it is."""
    found = integrated_loudness(samples)
    return samples if found == -np.inf else samples * np.float32(10 ** ((TARGET - found) / 20))


def integrated_loudness(samples: Float[np.ndarray, " n"]) -> float:
    """Gated loudness of a mono recording at SPEECH_RATE in LUFS; -inf where no block is above -70.

    A recording shorter than one block of 400 ms is one block.
    """
    from scipy.signal import sosfilt

    if not len(samples):
        return -np.inf
    weighted = np.asarray(sosfilt(_k_weighting(), samples.astype(np.float64)))
    energy = np.concatenate([[0.0], np.cumsum(weighted**2)])
    length = min(_BLOCK, len(samples))
    starts = np.arange(0, len(samples) - length + 1, _STEP)
    power = (energy[starts + length] - energy[starts]) / length
    heard = power[power > _power(_SILENCE)]
    if not len(heard):
        return -np.inf
    heard = heard[heard > _power(_lufs(heard.mean()) - _BELOW_MEAN)]
    return _lufs(heard.mean())


def _lufs(power: float) -> float:
    return _OFFSET + 10 * float(np.log10(power))


def _power(lufs: float) -> float:
    return 10 ** ((lufs - _OFFSET) / 10)


def _k_weighting() -> Float64[np.ndarray, "2 6"]:
    """The standard's two filters for this rate, as its coefficients for 48 kHz are made from analogue ones."""
    rate = SPEECH_RATE
    frequency, gain, q = _SHELF
    k, high = np.tan(np.pi * frequency / rate), 10 ** (gain / 20)
    band = high**0.4996667741545416
    norm = 1 + k / q + k * k
    shelf = [high + band * k / q + k * k, 2 * (k * k - high), high - band * k / q + k * k]
    shelf = [*(b / norm for b in shelf), 1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
    frequency, q = _HIGH_PASS
    k = np.tan(np.pi * frequency / rate)
    norm = 1 + k / q + k * k
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
    return np.array([shelf, high_pass])
