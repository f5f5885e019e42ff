"""Frames, latent frames and windows: counts against the rule written out, frame by frame."""

from fractions import Fraction

import numpy as np
import pytest

from vivavoce.timing import (
    fitting_frames,
    frame_count,
    frame_rate,
    frames_of_latents,
    latent_frames,
    mirrored,
    mirrored_windows,
    video_frames,
)


def latent_of(frame: int) -> int:
    """Frame 0 alone, then four by four."""
    return 0 if frame == 0 else 1 + (frame - 1) // 4


def test_81_frames_are_21_latents():
    assert latent_frames(81) == 21
    assert video_frames(21) == 81


@pytest.mark.parametrize("latents", [1, 2, 5, 21, 32])
def test_every_frame_lies_in_the_latent_that_claims_it(latents):
    table = frames_of_latents(latents)
    assert table.shape == (latents, 4)
    for latent, frames in enumerate(table):
        assert {latent_of(f) for f in frames} == {latent}
    assert set(table.ravel()) == set(range(video_frames(latents)))
    assert list(table[0]) == [0, 0, 0, 0]


def test_only_whole_latents_are_clips():
    for frames in (0, -3, 2, 80):
        with pytest.raises(ValueError, match="frames"):
            latent_frames(frames)
    with pytest.raises(ValueError, match="latent"):
        video_frames(0)


@pytest.mark.parametrize("frames", range(1, 40))
def test_the_fitting_clip_is_the_shortest_that_is_long_enough(frames):
    fitting = fitting_frames(frames)
    assert fitting - 4 < frames <= fitting
    latent_frames(fitting)


@pytest.mark.parametrize(("count", "reach"), [(1, 2), (2, 2), (3, 2), (7, 2), (5, 9), (4, 0)])
def test_windows_are_mirrored_like_numpys_reflection(count, reach):
    padded = np.pad(np.arange(count), reach, mode="reflect") if count > 1 else np.zeros(2 * reach + 1, int)
    expected = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    np.testing.assert_array_equal(mirrored_windows(count, reach), expected)


def test_mirroring_goes_back_and_forth_without_repeating_the_outermost():
    there_and_back = [0, 1, 2, 3, 2, 1]
    np.testing.assert_array_equal(mirrored(np.arange(-12, 12), 4), there_and_back * 4)
    shaped = mirrored(np.array([[-2, -1, 0], [4, 5, 6]]), 5)
    np.testing.assert_array_equal(shaped, [[2, 1, 0], [4, 3, 2]])
    np.testing.assert_array_equal(mirrored(np.array([-3, 0, 7]), 1), [0, 0, 0])
    np.testing.assert_array_equal(mirrored(np.arange(-3, 4), 2), [1, 0, 1, 0, 1, 0, 1])
    with pytest.raises(ValueError, match="at least one frame, not 0"):
        mirrored(np.array([0]), 0)


def test_windows_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        mirrored_windows(0, 2)


@pytest.mark.parametrize("fps", [23.976, 24.0, 25.0, 29.97, 30.0, 59.94])
def test_picture_and_sound_differ_by_at_most_half_a_frame(fps):
    for seconds in np.random.default_rng(0).uniform(0.1, 7000, 300):
        frames = frame_count(float(seconds), fps)
        assert abs(frames / frame_rate(fps) - Fraction(float(seconds))) <= Fraction(1, 2) / frame_rate(fps)
