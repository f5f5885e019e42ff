"""Speech in, motion out: as many frames as the sound lasts, none too late, lips that open over two frames."""

import math

import numpy as np
import pytest

from vivavoce.splat.controls import ARTICULATION, INDEX
from vivavoce.splat.driver import Driver
from vivavoce.splat.skeleton import JOINTS
from vivavoce.types import SPEECH_RATE

UPPER, LOWER = (len(JOINTS) + point for point in (13, 14))  # the middle of the inner lips


def gap(avatar, transforms: np.ndarray) -> np.ndarray:
    """Distance of the inner lips in each frame, metres."""
    at = [transforms[:, i, :, :3] @ avatar.rest[i] + transforms[:, i, :, 3] for i in (UPPER, LOWER)]
    return np.linalg.norm(at[1] - at[0], axis=1)


def scripted(**channels: np.ndarray) -> np.ndarray:
    track = np.zeros((len(next(iter(channels.values()))), len(ARTICULATION)), np.float32)
    for name, values in channels.items():
        track[:, INDEX[name]] = values
    return track


def driven(driver: Driver, samples: np.ndarray, block: int) -> np.ndarray:
    parts = [driver.push(samples[i : i + block]) for i in range(0, len(samples), block)]
    return np.concatenate([m.transforms for m in (*parts, driver.finish())])


@pytest.fixture(scope="module")
def hum() -> np.ndarray:
    """1.5 s in which a loud hum comes and goes."""
    t = np.arange(int(1.5 * SPEECH_RATE)) / SPEECH_RATE
    return (0.3 * np.sin(2 * np.pi * 140 * t) * (np.sin(2 * np.pi * 1.5 * t) > 0)).astype(np.float32)


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 50.0])
def test_there_are_as_many_frames_as_the_sound_lasts(avatar, hum, fps):
    assert len(driven(Driver(avatar, fps=fps), hum, 4000)) == math.ceil(1.5 * fps)


def test_blocks_of_any_size_give_the_same_motion(avatar, hum):
    whole = driven(Driver(avatar, fps=25.0), hum, len(hum))
    for block in (77, 1600):
        np.testing.assert_allclose(driven(Driver(avatar, fps=25.0), hum, block), whole, atol=1e-4)


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_a_frame_is_settled_160_ms_after_its_end(avatar, hum, fps):
    driver, settled, heard = Driver(avatar, fps=fps), 0, 0.0
    for start in range(0, len(hum), 400):
        settled += len(driver.push(hum[start : start + 400]).transforms)
        heard = min(start + 400, len(hum)) / SPEECH_RATE
        assert settled >= math.floor((heard - 0.160) * fps)
        assert settled <= heard * fps
    assert heard == pytest.approx(1.5)


@pytest.mark.parametrize("wanted", [0.1, 0.3, 0.8])
def test_lips_take_more_than_one_frame_to_part_and_one_to_meet(avatar, wanted):
    opened = np.zeros(75)
    opened[25:50] = wanted
    silence = np.zeros(int(1.5 * SPEECH_RATE), np.float32)
    moved = driven(Driver(avatar, fps=25.0, script=scripted(open=opened)), silence, len(silence))
    apart = gap(avatar, moved) - gap(avatar, moved)[0]
    full = apart.max()
    assert np.diff(apart).max() < 0.75 * full
    part = np.flatnonzero(apart > 0.1 * full)[0]
    assert apart[part + 4] > 0.9 * full
    np.testing.assert_allclose(apart[-10:], 0, atol=0.02 * full)
    assert -np.diff(apart).min() > 0.45 * full  # closures are not slowed: p, b and m must be shut in time


def test_the_same_seed_gives_the_same_motion_and_another_seed_another(avatar, hum):
    one, same, other = (driven(Driver(avatar, fps=25.0, seed=s), hum, 8000) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
