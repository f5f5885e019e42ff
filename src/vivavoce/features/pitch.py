"""Fundamental frequency of voiced sound, one estimate per window."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from vivavoce.types import SPEECH_RATE

LOWEST, HIGHEST = 60.0, 500.0
"""Hz; from a deep male voice to an excited child."""
WINDOW = 640
"""Samples: 40 ms, two and a half periods of the lowest voice."""

_FFT = 1024  # WINDOW plus the longest lag, without wrapping around
_LAGS = int(SPEECH_RATE / LOWEST) + 2  # one beyond the longest, so that its peak has two neighbours
_SHORTEST = int(SPEECH_RATE / HIGHEST)
_FIRST_PEAK = 0.9  # of the highest one; lower values find harmonics, higher ones subharmonics
_SILENCE = 1e-10  # mean square of -100 dBFS


def periodicity(
    windows: Float64[np.ndarray, "T 640"],
) -> tuple[Float64[np.ndarray, " T"], Float64[np.ndarray, " T"]]:
    """F0 in Hz and clarity (0 noise .. 1 perfectly periodic) of windows of sound at SPEECH_RATE.

    McLeod & Wyvill, "A smarter way to find pitch" (2005): the normalised square difference function n(lag) =
    2 r(lag) / m(lag), in which r is the autocorrelation of the window and m the energy of the two overlapping
    parts; the first of its maxima that comes near the highest one, refined by a parabola. r and m are both
    symmetric about the window's centre, so that a glide is read there whatever its lag. F0 is 0 where no lag
    correlates.
    """
    nsdf = _normalised_autocorrelation(windows)
    inner = nsdf[:, 1:-1]
    peaks = (inner > nsdf[:, :-2]) & (inner >= nsdf[:, 2:]) & (inner > 0)
    # What is left of the lobe about lag 0 is no period.
    peaks &= np.logical_or.accumulate(inner < 0, axis=1)
    peaks[:, : _SHORTEST - 1] = False
    heights = np.where(peaks, inner, 0.0)
    first = np.argmax(peaks & (heights >= _FIRST_PEAK * heights.max(axis=1, keepdims=True)), axis=1) + 1
    rows = np.arange(len(windows))
    before, at, after = (nsdf[rows, first + shift] for shift in (-1, 0, 1))
    curvature = before - 2 * at + after
    offset = 0.5 * (before - after) / np.where(curvature < 0, curvature, -1.0)
    found = peaks.any(axis=1)
    hz = np.where(found, SPEECH_RATE / (first + offset), 0.0)
    clarity = np.where(found, np.clip(at - 0.25 * (before - after) * offset, 0.0, 1.0), 0.0)
    return hz, clarity


def _normalised_autocorrelation(windows: Float64[np.ndarray, "T 640"]) -> Float64[np.ndarray, "T L"]:
    spectrum = np.fft.rfft(windows, _FFT)
    correlation = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, _FFT)[:, :_LAGS]
    energy = np.cumsum(windows**2, axis=1)
    total = energy[:, -1:]
    lags = np.arange(1, _LAGS)
    overlap = np.empty((len(windows), _LAGS))
    overlap[:, :1] = 2 * total
    overlap[:, 1:] = energy[:, WINDOW - 1 - lags] + total - energy[:, lags - 1]
    return 2 * correlation / (overlap + WINDOW * _SILENCE)
