"""The reader as it is shipped, on new people drawn here, and what it makes of pictures of any size."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from filmed import filmed
from vivavoce.corpus.clips import fitted
from vivavoce.errors import WeightsError
from vivavoce.evaluation.actions import gesture_size
from vivavoce.evaluation.likeness import likeness
from vivavoce.evaluation.reader import HEADER, WEIGHTS, load, pictures_of, read
from vivavoce.evaluation.reader_network import BODY_POINTS, HEAD_POINTS
from vivavoce.evaluation.speech import correlation, mouth_correlation
from vivavoce.evaluation.tracks import FACE, SHOULDERS, WRISTS, track_of

PEOPLE = (0, 2)


@pytest.fixture(scope="module", params=PEOPLE)
def clip(request):
    return filmed(request.param)


@pytest.fixture(scope="module")
def reading(clip):
    return read(clip.frames, clip.fps)


def _errors(clip, reading, points):
    """Percent of the picture's width."""
    true = track_of(clip.truth["keypoints"], clip.fps).body[:, points]
    return 50 * np.linalg.norm(reading.track.body[:, points] - true, axis=-1)


def test_points_are_read_where_they_are(clip, reading):
    assert np.median(_errors(clip, reading, FACE)) < 0.8
    assert np.median(_errors(clip, reading, SHOULDERS)) < 1.5
    assert np.nanmedian(_errors(clip, reading, WRISTS)) < 3.0


def test_left_is_the_persons_own(reading):
    body = reading.track.body
    assert (body[:, 5, 0] > body[:, 6, 0] + 0.2).all()
    assert (body[:, 3, 0] > body[:, 4, 0] + 0.05).all()


def test_the_lips_are_where_they_are(clip, reading):
    true = clip.truth["keypoints"][:, HEAD_POINTS[5:], :2]
    assert 50 * np.median(np.linalg.norm(reading.mouth - true, axis=-1)) < 0.8
    assert (reading.mouth[:, 0, 0] < reading.mouth[:, 1, 0]).all()


def test_the_mouth_opens_when_it_does(clip, reading):
    assert (reading.aperture >= 0).all()
    assert correlation(reading.aperture, clip.truth["aperture"]) > 0.7
    assert np.abs(reading.aperture - clip.truth["aperture"]).mean() < 0.06


def test_the_mouth_goes_with_what_is_said(clip, reading):
    assert mouth_correlation(reading.aperture, clip.phones, clip.fps).together > 0.6


def test_the_head_turns_as_it_does(clip, reading):
    assert np.degrees(np.abs(reading.head - clip.truth["head"])).mean() < 5


def _tiles(frames):
    """The frames' tiles of 16 pixels in another order."""
    tiles = frames.reshape(len(frames), 6, 16, 6, 16, 3).swapaxes(2, 3).reshape(len(frames), 36, 16, 16, 3)
    tiles = tiles[:, np.random.default_rng(0).permutation(36)]
    return tiles.reshape(len(frames), 6, 6, 16, 16, 3).swapaxes(2, 3).reshape(frames.shape)


def test_somebody_is_seen_surely_and_parts_of_somebody_are_not(clip, reading):
    assert reading.confidence.min() > 0.9
    assert read(_tiles(clip.frames), clip.fps).confidence.mean() < 0.5


def test_noise_is_nobody(clip, reading):
    noise = np.random.default_rng(0).integers(0, 256, clip.frames.shape).astype(np.uint8)
    found = read(noise, clip.fps)
    assert found.confidence.mean() < 0.6
    assert found.confidence.max() < reading.confidence.min()


def test_what_an_upper_body_does_not_show_is_not_seen(reading):
    assert np.isnan(reading.track.body[:, 11:]).all()
    for side, wrist in (("left", 9), ("right", 10)):
        np.testing.assert_array_equal(reading.track.hands[side][:, 0], reading.track.body[:, wrist])


def test_gestures_are_as_large_as_they_are():
    clip = filmed(0, seconds=6.0)
    true = gesture_size(track_of(clip.truth["keypoints"], clip.fps))
    assert correlation(gesture_size(read(clip.frames, clip.fps).track), true) > 0.7


def test_two_people_look_less_alike_than_one(reading):
    others = read(filmed(1).frames, 25.0)
    assert (reading.identity @ reading.identity[0]).min() > float(
        (others.identity @ reading.identity[0]).max()
    )
    np.testing.assert_allclose(np.linalg.norm(reading.identity, axis=1), 1, atol=1e-5)


def test_a_clip_is_like_itself_and_not_like_one_of_another_colour(clip, reading):
    alike = likeness(clip.frames, reading)
    assert alike.color.shape == (2,)
    assert alike.color[1] < 3
    assert alike.identity[1] > 0.9
    later = clip.frames.copy()
    later[25:, ..., 0] //= 2
    assert likeness(later, read(later, clip.fps)).color[1] > 10


def test_frames_are_read_alike_whatever_batch_they_are_in(clip, reading):
    alone = read(clip.frames[7:8], clip.fps)
    np.testing.assert_allclose(alone.aperture[0], reading.aperture[7], atol=1e-4)
    np.testing.assert_allclose(alone.track.body[0], reading.track.body[7], atol=1e-4)
    many = read(np.concatenate([clip.frames[:40]] * 3), clip.fps)
    np.testing.assert_allclose(many.aperture[80:], reading.aperture[:40], atol=1e-4)


def test_the_middle_of_a_wide_picture_is_read_in_the_widths_of_the_whole(clip, reading):
    """Bands at both sides make the picture 1.5 times as wide, and all half widths smaller."""
    wide = np.pad(clip.frames, ((0, 0), (0, 0), (24, 24), (0, 0)), mode="edge")
    np.testing.assert_allclose(read(wide, clip.fps).track.body * 1.5, reading.track.body, atol=1e-4)


def test_the_middle_of_a_high_picture_is_read(clip, reading):
    high = np.pad(clip.frames, ((0, 0), (30, 30), (0, 0), (0, 0)), mode="edge")
    np.testing.assert_allclose(read(high, clip.fps).track.body, reading.track.body, atol=1e-4)


def test_a_larger_picture_is_scaled(clip, reading):
    large = np.stack([fitted(frame, (240, 240)) for frame in clip.frames[:10]])
    found = read(large, clip.fps)
    assert pictures_of(large).shape == (10, 3, 96, 96)
    assert np.nanmedian(np.abs(found.track.body - reading.track.body[:10])) < 0.01


def test_pictures_are_in_minus_one_to_one():
    frames = np.zeros((1, 96, 96, 3), np.uint8)
    frames[0, 3, 5] = (255, 0, 51)
    found = pictures_of(frames)
    np.testing.assert_allclose(found[0, :, 3, 5], [1, -1, -0.6], atol=1e-6)


def test_no_frames_cannot_be_read():
    with pytest.raises(ValueError, match="no frames"):
        read(np.zeros((0, 96, 96, 3), np.uint8), 25.0)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"body.inlet.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="made for another model"):
        load(path)


def test_the_shipped_weights_are_small_and_tell_what_they_were_made_from():
    assert WEIGHTS.stat().st_size <= 4e6
    with safe_open(WEIGHTS, "pt") as file:
        told = json.loads(file.metadata()[HEADER])
    assert told["made by"].startswith("python recipes/reader.py")
    assert {"steps", "corpus seed", "people"} <= told.keys()
    assert len(BODY_POINTS) == load().body.heat.out_channels
