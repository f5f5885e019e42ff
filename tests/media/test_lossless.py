"""Frames in memory, exactly."""

import io

import av
import numpy as np
import pytest

from vivavoce.media.lossless import lossless_mp4


def frames(count=30, height=48, width=64):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (height, width, 3))
    return [((base + 3 * k) % 256).astype(np.uint8) for k in range(count)]


def test_every_pixel_comes_back():
    given = frames()
    with av.open(io.BytesIO(lossless_mp4(given, 25.0))) as video:
        found = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert video.streams.video[0].average_rate == 25
    assert len(found) == len(given)
    assert all(np.array_equal(a, b) for a, b in zip(found, given, strict=True))


def test_the_same_frames_give_the_same_bytes():
    assert lossless_mp4(frames(), 23.976) == lossless_mp4(frames(), 23.976)


def test_nothing_makes_no_video():
    with pytest.raises(ValueError, match="needs a frame"):
        lossless_mp4([], 25.0)
