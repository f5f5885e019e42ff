"""From phones with times to the eight articulation channels: a speed-limited model of coarticulation.

Sources, and what each gives:

* dominance functions, how neighbours share a moment: Cohen & Massaro 1993, "Modeling coarticulation in
  synthetic visual speech"; vowels as the carrier on which consonants are superposed: Öhman 1966, JASA 39,
  151-168;
* consonants that leave lips or jaw free give way to their neighbours, sibilants hold the jaw high: Keating,
  Lindblom, Lubker & Kreiman 1994, J. Phonetics 22, 407-422;
* rounding begins up to about 200 ms before its vowel where the consonants between are indifferent: Perkell
  & Matthies 1992, JASA 91, 2911-2925;
* lips close towards a place beyond contact and are compressed there, closing faster than opening, lip
  speeds of 100-300 mm/s: Löfqvist & Gracco 1997, JSLHR 40, 877-893.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64

from vivavoce.features.phones import BILABIAL, LABIODENTAL, PAUSE, Phone
from vivavoce.splat.controls import ARTICULATION

# open, jaw, wide, round, tongue_up, tongue_out; strength of the lips' opening, of their spread or rounding
_SHAPES: dict[str, tuple[float, ...]] = {
    "aa": (0.62, 0.80, 0.00, 0.00, 0.0, 0.0, 1.0, 0.8), "ae": (0.56, 0.65, 0.35, 0.00, 0.0, 0.0, 1.0, 0.8),
    "a": (0.60, 0.75, 0.10, 0.00, 0.0, 0.0, 1.0, 0.8), "ah": (0.44, 0.48, 0.05, 0.00, 0.0, 0.0, 0.9, 0.6),
    "ao": (0.48, 0.60, 0.00, 0.50, 0.0, 0.0, 1.0, 1.0), "ax": (0.30, 0.32, 0.05, 0.00, 0.0, 0.0, 0.5, 0.3),
    "eh": (0.44, 0.48, 0.35, 0.00, 0.0, 0.0, 0.9, 0.8), "e": (0.34, 0.34, 0.50, 0.00, 0.0, 0.0, 0.9, 0.9),
    "er": (0.28, 0.30, 0.00, 0.45, 0.0, 0.0, 0.8, 0.8), "ih": (0.29, 0.30, 0.35, 0.00, 0.0, 0.0, 0.8, 0.7),
    "iy": (0.24, 0.20, 0.75, 0.00, 0.0, 0.0, 0.9, 1.0), "ix": (0.24, 0.24, 0.25, 0.00, 0.0, 0.0, 0.8, 0.7),
    "uh": (0.26, 0.28, 0.00, 0.55, 0.0, 0.0, 0.9, 0.9), "uw": (0.17, 0.20, 0.00, 0.95, 0.0, 0.0, 1.0, 1.2),
    "o": (0.30, 0.38, 0.00, 0.75, 0.0, 0.0, 1.0, 1.1), "ue": (0.18, 0.18, 0.00, 0.85, 0.0, 0.0, 1.0, 1.2),
    "oe": (0.32, 0.36, 0.00, 0.65, 0.0, 0.0, 1.0, 1.1),
    "p": (0.00, 0.18, 0.00, 0.00, 0.0, 0.0, 1.0, 0.1), "b": (0.00, 0.18, 0.00, 0.00, 0.0, 0.0, 1.0, 0.1),
    "m": (0.00, 0.20, 0.00, 0.00, 0.0, 0.0, 1.0, 0.1), "f": (0.08, 0.14, 0.10, 0.00, 0.0, 0.0, 1.0, 0.3),
    "v": (0.08, 0.14, 0.10, 0.00, 0.0, 0.0, 1.0, 0.3), "bh": (0.08, 0.22, 0.00, 0.10, 0.0, 0.0, 1.0, 0.2),
    "w": (0.10, 0.18, 0.00, 1.00, 0.0, 0.0, 1.1, 1.4), "r": (0.20, 0.20, 0.00, 0.55, 0.0, 0.0, 0.7, 0.9),
    "rr": (0.26, 0.26, 0.05, 0.00, 0.4, 0.0, 0.5, 0.1), "y": (0.22, 0.18, 0.55, 0.00, 0.0, 0.0, 0.8, 0.8),
    "th": (0.20, 0.18, 0.15, 0.00, 0.3, 1.0, 0.8, 0.3), "dh": (0.20, 0.18, 0.10, 0.00, 0.3, 0.8, 0.7, 0.2),
    "t": (0.19, 0.12, 0.12, 0.00, 1.0, 0.0, 0.5, 0.1), "d": (0.19, 0.14, 0.10, 0.00, 1.0, 0.0, 0.5, 0.1),
    "n": (0.20, 0.18, 0.10, 0.00, 1.0, 0.0, 0.5, 0.1), "dx": (0.24, 0.22, 0.08, 0.00, 0.8, 0.0, 0.3, 0.1),
    "l": (0.26, 0.26, 0.08, 0.00, 1.0, 0.0, 0.5, 0.1), "ny": (0.20, 0.18, 0.35, 0.00, 0.5, 0.0, 0.6, 0.4),
    "s": (0.15, 0.05, 0.30, 0.00, 0.7, 0.0, 0.9, 0.3), "z": (0.15, 0.06, 0.28, 0.00, 0.7, 0.0, 0.9, 0.3),
    "c": (0.16, 0.07, 0.40, 0.00, 0.5, 0.0, 0.9, 0.5), "sh": (0.20, 0.08, 0.00, 0.60, 0.5, 0.0, 0.9, 0.8),
    "zh": (0.20, 0.09, 0.00, 0.60, 0.5, 0.0, 0.9, 0.8), "ch": (0.20, 0.08, 0.00, 0.55, 0.8, 0.0, 0.9, 0.8),
    "jh": (0.20, 0.09, 0.00, 0.55, 0.8, 0.0, 0.9, 0.8), "k": (0.24, 0.22, 0.05, 0.00, 0.0, 0.0, 0.4, 0.1),
    "g": (0.24, 0.22, 0.05, 0.00, 0.0, 0.0, 0.4, 0.1), "ng": (0.24, 0.22, 0.05, 0.00, 0.0, 0.0, 0.4, 0.1),
    "x": (0.26, 0.26, 0.05, 0.00, 0.0, 0.0, 0.3, 0.1), "hh": (0.28, 0.28, 0.05, 0.00, 0.0, 0.0, 0.2, 0.05),
    "q": (0.25, 0.25, 0.05, 0.00, 0.0, 0.0, 0.1, 0.05), PAUSE: (0.00, 0.00, 0.00, 0.00, 0.0, 0.0, 0.5, 0.3),
}  # fmt: skip
_SHORT_PAUSE = (0.10, 0.12, 0.05, 0.0, 0.0, 0.0, 0.3, 0.1)

SHORT_PAUSE = 0.15
"""Seconds; a pause up to this long leaves the lips slightly parted."""
FASTEST_OPENING, FASTEST_CLOSING = 9.0, 11.0
"""Of the full gap (22 mm) a second: 200 and 240 mm/s; opening fully takes 110 ms."""
COMPRESSION = 0.15
"""How far beyond contact the lips aim in p, b, m, in units of the gap."""

# Seconds in which the dominance over each column of `_SHAPES` decays before a phone and after it.
_ANTICIPATION = np.array([0.055, 0.060, 0.090, 0.100, 0.035, 0.035])
_CARRYOVER = np.array([0.050, 0.055, 0.070, 0.070, 0.030, 0.030])
_CONTACT_SHARE = {"p": 0.60, "b": 0.80, "m": 0.95}  # of the phone; the rest is burst and aspiration
_FASTEST_SHAPING = 9.0  # a second, of every other channel
_SMOOTHING = 0.010  # seconds, standard deviation
_SPEED_WINDOW = 0.16
_REACH = 1.5  # seconds at which a phone's dominance has died away
_BLOCK = 2000  # moments blended at a time, so that an hour takes no more memory than a minute


def articulation_from_phones(
    phones: Sequence[Phone], duration: float, rate: float = 50.0
) -> Float32[np.ndarray, "t 8"]:
    """The articulation channels, in the order of `controls.ARTICULATION`, at (k + 0.5) / rate seconds.

    `duration` in seconds gives t = ceil(duration * rate) rows; moments outside all phones count as a pause.
    """
    fine = 200.0
    times = (np.arange(int(np.ceil(duration * fine)) + 1) + 0.5) / fine
    phones = _tidied(phones, duration)
    blend = _blend(phones, times)
    tuck = _plateaus(
        times, [(p.start - 0.005, p.end - 0.01) for p in phones if p.label in LABIODENTAL], rise=0.06
    )
    aperture = _aperture(phones, blend[:, 0], times, fine)
    press = np.clip(-aperture / COMPRESSION, 0, 1)
    aperture = np.maximum(aperture, 0)
    jaw = np.minimum(_speed_limited(blend[:, 1], fine, _FASTEST_SHAPING, _FASTEST_SHAPING), 0.45 + aperture)
    shaped = [_speed_limited(blend[:, c], fine, _FASTEST_SHAPING, _FASTEST_SHAPING) for c in (2, 3, 4, 5)]
    wide, rounded, tongue_up, tongue_out = (_smoothed(s, fine) for s in shaped)
    channels = {
        "open": aperture,
        "jaw": _smoothed(jaw, fine),
        "wide": wide,
        "round": rounded,
        "tuck": _smoothed(tuck, fine),
        "press": press,
        "tongue_up": tongue_up,
        "tongue_out": tongue_out,
    }
    wanted = (np.arange(int(np.ceil(duration * rate - 1e-6))) + 0.5) / rate
    columns = [np.interp(wanted, times, channels[name]) for name in ARTICULATION]
    return np.clip(np.stack(columns, 1), 0, 1).astype(np.float32)


def contacts(phones: Sequence[Phone]) -> list[tuple[float, float]]:
    """Start and end in seconds of every lip contact of p, b and m, release and aspiration left out."""
    return [
        (p.start, p.start + _CONTACT_SHARE[p.label] * (p.end - p.start))
        for p in phones
        if p.label in BILABIAL
    ]


def silences(phones: Sequence[Phone], duration: float) -> list[tuple[float, float]]:
    """Start and end in seconds of every pause longer than `SHORT_PAUSE`, neighbouring pauses taken as one."""
    return [
        (p.start, p.end)
        for p in _tidied(phones, duration)
        if p.label == PAUSE and p.end - p.start > SHORT_PAUSE
    ]


def _tidied(phones: Sequence[Phone], duration: float) -> list[Phone]:
    """In order, gaps filled with pauses, neighbouring pauses joined."""
    result: list[Phone] = []
    for phone in [*sorted(phones, key=lambda p: p.start), Phone(PAUSE, duration, duration)]:
        end = result[-1].end if result else 0.0
        if phone.start > end + 1e-6:
            result.append(Phone(PAUSE, end, phone.start))
        if phone.label == PAUSE and result and result[-1].label == PAUSE:
            result[-1] = result[-1]._replace(end=max(phone.end, result[-1].end))
        elif phone.end > phone.start:
            result.append(phone)
    return result


def _blend(phones: list[Phone], times: np.ndarray) -> Float64[np.ndarray, "t 6"]:
    """Dominance-weighted mean of the phones' shapes (Cohen & Massaro 1993, exponent 1)."""
    rows = [
        _SHORT_PAUSE if p.label == PAUSE and p.end - p.start <= SHORT_PAUSE else _SHAPES[p.label]
        for p in phones
    ]
    table, start, end = (
        np.array(rows),
        *(np.array([getattr(p, side) for p in phones]) for side in ("start", "end")),
    )
    blended = np.empty((len(times), 6))
    for first in range(0, len(times), _BLOCK):
        block = slice(first, first + _BLOCK)
        near = (end > times[block][0] - _REACH) & (start < times[block][-1] + _REACH)
        blended[block] = _blend_block(table[near], start[near, None], end[near, None], times[block])
    return blended


def _blend_block(
    table: np.ndarray, start: np.ndarray, end: np.ndarray, times: np.ndarray
) -> Float64[np.ndarray, "t 6"]:
    targets, strengths = table[:, :6], table[:, [6, 6, 7, 7, 6, 6]]
    core = 0.25 * np.minimum(end - start, 0.2)
    before = np.maximum(start + core - times, 0)
    after = np.maximum(times - (end - core), 0)
    blended = np.empty((len(times), 6))
    for c in range(6):
        weight = strengths[:, c : c + 1] * np.exp(-before / _ANTICIPATION[c] - after / _CARRYOVER[c])
        blended[:, c] = (targets[:, c] @ weight) / (weight.sum(0) + 1e-9)
    return blended


def _aperture(
    phones: list[Phone], carrier: np.ndarray, times: np.ndarray, rate: float
) -> Float64[np.ndarray, " t"]:
    """The lip gap, negative where lips are compressed: consonants and pauses cut into the carrier."""
    gap = carrier.copy()
    for phone in phones:
        if phone.label in LABIODENTAL:
            inside = (times > phone.start) & (times < phone.end - 0.01)
            gap[inside] = np.minimum(gap[inside], _SHAPES[phone.label][0])
    for start, end in silences(phones, phones[-1].end):
        rest = (times > (start + 0.12 if start > 0 else 0)) & (
            times < (end - 0.08 if end < times[-1] - 0.01 else end + 1)
        )
        gap[rest] = 0.0
    for start, end in contacts(phones):
        # the way from contact to full compression and back lies inside the contact
        middle, half = 0.5 * (start + end), max(0.5 * (end - start) - COMPRESSION / FASTEST_CLOSING, 0.005)
        gap[np.abs(times - middle) <= half + 0.5 / rate] = -COMPRESSION
    return _smoothed(_speed_limited(gap, rate, FASTEST_OPENING, FASTEST_CLOSING), rate)


def _plateaus(
    times: np.ndarray, intervals: list[tuple[float, float]], rise: float
) -> Float64[np.ndarray, " t"]:
    """One inside every interval, falling linearly to zero over `rise` seconds on both sides."""
    height = np.zeros(len(times))
    for start, end in intervals:
        outside = np.maximum(np.maximum(start - times, times - end), 0)
        height = np.maximum(height, 1 - outside / rise)
    return height


def _speed_limited(
    track: np.ndarray, rate: float, opening: float, closing: float
) -> Float64[np.ndarray, " t"]:
    """The largest track below `track` that rises no faster than `opening` and falls no faster than `closing`.

    min over s of track(s) + opening * (t - s) for s < t and + closing * (s - t) for s > t: minima, the
    contacts, stay what and when they are, and the peaks between them give way, which is what fast speech
    does.
    """
    reach = int(_SPEED_WINDOW * rate)
    limited = track.copy()
    for k in range(1, reach + 1):
        limited[k:] = np.minimum(limited[k:], track[:-k] + opening * k / rate)
        limited[:-k] = np.minimum(limited[:-k], track[k:] + closing * k / rate)
    return limited


def _smoothed(track: np.ndarray, rate: float) -> Float64[np.ndarray, " t"]:
    reach = int(3 * _SMOOTHING * rate)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (rate * _SMOOTHING)) ** 2)
    return np.convolve(np.pad(track, reach, mode="edge"), kernel / kernel.sum(), "valid")
