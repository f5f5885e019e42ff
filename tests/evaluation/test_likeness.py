"""Drift of colour and looks second by second, in pictures whose colours are known."""

import numpy as np
import pytest

from vivavoce.evaluation.likeness import likeness
from vivavoce.evaluation.reader import Reading
from vivavoce.evaluation.tracks import BodyTrack
from vivavoce.video.drift import mean_lab

FPS, SIZE = 10.0, 96
HEAD, TRUNK = (slice(10, 34), slice(36, 60)), (slice(44, 90), slice(26, 70))


def _reading(frames):
    body = np.full((frames, 17, 2), np.nan)
    body[:, 3:5] = [[0.12, -0.55], [-0.12, -0.55]]
    body[:, 5:7] = [[0.35, -0.15], [-0.35, -0.15]]
    unseen = {side: np.full((frames, 21, 2), np.nan) for side in ("left", "right")}
    identity = np.zeros((frames, 64), np.float32)
    identity[:, 0] = 1
    zeros = np.zeros(frames, np.float32)
    return Reading(
        BodyTrack(FPS, body, unseen),
        np.zeros((frames, 4, 2), np.float32),
        zeros,
        np.zeros((frames, 3), np.float32),
        identity,
        zeros,
    )


def _frames(seconds):
    """Head and trunk of two greys before another colour each second."""
    frames = np.zeros((int(seconds * FPS), SIZE, SIZE, 3), np.uint8)
    for t, frame in enumerate(frames):
        frame[:] = 20 * int(t / FPS)
        frame[HEAD], frame[TRUNK] = 180, 90
    return frames


def test_the_background_may_change():
    found = likeness(_frames(3), _reading(30))
    np.testing.assert_allclose(found.color, 0, atol=1e-9)
    np.testing.assert_allclose(found.identity, 1)


def test_a_change_of_colour_is_the_mean_of_both_parts():
    frames = _frames(3)
    frames[20:, HEAD[0], HEAD[1]] = (200, 150, 150)
    change = np.linalg.norm(
        mean_lab(np.full((1, 1, 3), (200, 150, 150), np.uint8)) - mean_lab(np.full((1, 1, 3), 180, np.uint8))
    )
    np.testing.assert_allclose(likeness(frames, _reading(30)).color, [0, 0, change / 2], atol=1e-6)


def test_a_hand_before_the_trunk_for_a_moment_does_not_count():
    frames = _frames(2)
    frames[14:16, TRUNK[0], TRUNK[1]] = (220, 180, 160)
    np.testing.assert_allclose(likeness(frames, _reading(20)).color, 0, atol=1e-9)


def test_lost_contrast_is_told():
    frames = _frames(2).astype(np.float64)
    stripes = 30.0 * (np.arange(SIZE) % 2 - 0.5)[:, None, None]
    frames[:10] += stripes
    frames[10:] += 0.5 * stripes
    np.testing.assert_allclose(
        likeness(frames.clip(0, 255).astype(np.uint8), _reading(20)).contrast, [1, 0.5], atol=0.1
    )


def test_other_looks_are_the_cosine_of_the_mean():
    reading = _reading(20)
    reading.identity[10:] = 0
    reading.identity[10:, :2] = (0.6, 0.8)
    np.testing.assert_allclose(likeness(_frames(2), reading).identity, [1, 0.6], atol=1e-6)


def test_what_becomes_of_somebody_who_is_lost_counts():
    reading, frames = _reading(30), _frames(3)
    reading.track.body[10:] = np.nan
    frames[20:] = 0
    found = likeness(frames, reading).color
    np.testing.assert_allclose(found[:2], 0, atol=1e-9)
    greys = [mean_lab(np.full((1, 1, 3), grey, np.uint8))[0] for grey in (180, 90)]
    assert found[2] == pytest.approx(np.mean(greys), abs=0.1)


def test_who_is_never_seen_has_no_colour():
    reading = _reading(20)
    reading.track.body[:] = np.nan
    found = likeness(_frames(2), reading)
    assert np.isnan(found.color).all()
    assert np.isnan(found.contrast).all()


def test_less_than_a_second_has_no_likeness():
    with pytest.raises(ValueError, match="less than a second"):
        likeness(_frames(1)[:9], _reading(9))
