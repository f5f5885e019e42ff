"""Refocusing against the paper's equations, written out one frame at a time in plain floats."""

import math
from fractions import Fraction

import numpy as np
import pytest

from vivavoce.errors import InputError
from vivavoce.features.refocusing import (
    dropout,
    frame_loudness,
    latent_dropout,
    normalised,
    pose_dropout,
    rms,
)

CURVE = np.array([0.02, 0.05, 0.3, 0.6, 0.55, 0.2, 0.1, 0.05, 0.01, 0.0, 0.4, 0.9] * 5)
"""Sixty RMS values, 0.6 s: the hand-made loudness."""


def by_hand(levels, fps, frames):
    """Equations 2, 3 and 4 as they are printed."""
    s = []
    for t in range(frames):
        inside = [
            level
            for n, level in enumerate(levels)
            if Fraction(t) / fps <= Fraction(n, 100) < Fraction(t + 1) / fps
        ]
        s.append(math.log(sum(math.exp(8 * x) for x in inside) / len(inside)) / 8)
    ordered = sorted(s)

    def percentile(q):
        place = q / 100 * (len(ordered) - 1)
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])

    low, high = percentile(5), percentile(95)
    relative = [min(max((x - low) / (high - low + 1e-6), 0), 1) for x in s]
    return s, relative, [1 / (1 + math.exp(10 * (x - 0.5))) for x in relative]


@pytest.mark.parametrize(
    ("fps", "exact", "frames"),
    [(25.0, 25, 15), (24.0, 24, 14), (29.97, Fraction(30000, 1001), 17), (100.0, 100, 60)],
)
def test_the_three_equations(fps, exact, frames):
    s, relative, p = by_hand(CURVE, Fraction(exact), frames)
    loudness = frame_loudness(CURVE, fps, frames)
    np.testing.assert_allclose(loudness, s, rtol=1e-12)
    np.testing.assert_allclose(normalised(loudness), relative, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(dropout(normalised(loudness)), p, rtol=1e-9)


def test_a_value_on_the_border_belongs_to_the_later_frame():
    levels = np.zeros(12)
    levels[4] = 1.0  # centred at 0.04 s, where frame 1 begins at 25 fps
    loudness = frame_loudness(levels, 25.0, 3)
    assert loudness[0] == loudness[2] == 0
    assert loudness[1] == pytest.approx(math.log((math.exp(8) + 3) / 4) / 8)


def test_accents_count_for_more_than_their_mean():
    accent = frame_loudness(np.array([0.0, 0.0, 0.0, 0.8]), 25.0, 1)[0]
    assert 0.2 < accent < 0.8


def test_rms_of_known_sounds():
    times = np.arange(16000) / 16000
    sine = (0.5 * np.sin(2 * np.pi * 200 * times)).astype(np.float32)
    levels = rms(sine)
    assert len(levels) == 101
    np.testing.assert_allclose(levels, 0.5 / math.sqrt(2), atol=1e-3)
    step = np.concatenate([np.zeros(8000), np.ones(8000)]).astype(np.float32)
    assert rms(step)[48] == 0
    np.testing.assert_allclose(rms(step)[[49, 50, 51, 52]], np.sqrt([0.1, 0.5, 0.9, 1.0]))


def test_pose_is_kept_where_speech_is_loud():
    times = np.arange(32000) / 16000
    sound = (np.where(times < 1, 0.02, 0.5) * np.sin(2 * np.pi * 200 * times)).astype(np.float32)
    p = pose_dropout(sound, 25.0, 49)
    assert p[:24].min() > 0.99
    assert p[27:].max() < 0.01
    drop = latent_dropout(p)
    assert drop.shape == (13,)
    assert drop[:6].min() > 0.97
    assert drop[8:].max() < 0.03


def test_latents_are_dropped_with_the_mean_probability_of_their_frames():
    p = np.array([0.9, 0.0, 0.2, 0.4, 1.0, 0.1, 0.1, 0.5, 0.5])
    np.testing.assert_allclose(latent_dropout(p), [0.9, 0.4, 0.3])
    with pytest.raises(ValueError, match="8"):
        latent_dropout(p[:8])


def test_even_sound_silence_and_sound_that_ends_early():
    even = normalised(np.full(20, 0.3))
    assert np.all(even == 0)
    assert pose_dropout(np.zeros(16000, np.float32), 25.0, 25) == pytest.approx(1 / (1 + math.exp(-5)))
    assert len(pose_dropout(np.ones(15500, np.float32), 25.0, 25)) == 25
    with pytest.raises(InputError, match="120 fps"):
        pose_dropout(np.zeros(16000, np.float32), 120.0, 25)
