"""A stream through a cascade of second-order filter sections.

SciPy has the same, behind an import that takes as long as drawing a hundred frames.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float64
from numba import njit

VOICE_BAND = np.array(
    [
        (
            0.02734515201919621,
            0.05469030403839242,
            0.02734515201919621,
            1.0,
            -1.4947402999484987,
            0.6066145227945848,
        ),
        (1.0, -2.0, 1.0, 1.0, -1.9724900300122559, 0.9729071523256264),
    ]
)
"""Butterworth band-pass of order 2, 50 to 1000 Hz at 16 kHz, as rows b0 b1 b2 a0 a1 a2 (scipy.signal.butter).

Below 60 Hz there is rumble; above 1 kHz formants and breath weaken the correlation at the period.
"""


def sections(
    filters: Float64[np.ndarray, "S 6"], samples: Float64[np.ndarray, " n"], state: Float64[np.ndarray, "S 2"]
) -> Float64[np.ndarray, " n"]:
    """`samples` through all filters, one after the other (direct form II transposed); `state` is carried on."""
    out = samples.copy()
    _filter(filters, out, state)
    return out


@njit(nogil=True, cache=True)
@no_type_check
def _filter(filters, samples, state):
    for s in range(len(filters)):
        b0, b1, b2, _, a1, a2 = filters[s]
        first, second = state[s]
        for i in range(len(samples)):
            x = samples[i]
            y = b0 * x + first
            first = b1 * x - a1 * y + second
            second = b2 * x - a2 * y
            samples[i] = y
        state[s, 0], state[s, 1] = first, second
