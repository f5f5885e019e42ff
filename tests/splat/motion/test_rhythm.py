"""What the rhythm model promises: time, memory, limits, variety, and motion that belongs to the speech."""

import functools
import pickle

import numpy as np
import pytest

from syllables import talk
from vivavoce.errors import InputError
from vivavoce.splat.controls import RHYTHM
from vivavoce.splat.motion.rhythm import DELAY, RhythmModel, rhythm
from vivavoce.types import SPEECH_RATE

LOWER = {
    "brow_raise": -1,
    "blink": 0,
    "smile": -1,
    "breath": -1,
    "shoulders": 0,
    "hand_left": 0,
    "hand_right": 0,
}
HEAD = [RHYTHM.index(f"head_{axis}") for axis in ("yaw", "pitch", "roll")]
TORSO = [RHYTHM.index(f"torso_{axis}") for axis in ("yaw", "pitch", "roll")]
GAZE = [RHYTHM.index("gaze_x"), RHYTHM.index("gaze_y")]


@functools.cache
def speech(seconds=40.0, seed=0):
    return talk(seconds, seed)


@functools.cache
def motion(seed=0, expressiveness=1.0, fps=50.0):
    return rhythm(speech().samples, fps, seed=seed, expressiveness=expressiveness)


def channel(track, name):
    return track[:, RHYTHM.index(name)]


def blinks(track, fps=50.0):
    shut = channel(track, "blink") > 0.5
    return np.flatnonzero(shut[1:] & ~shut[:-1]) / fps


@pytest.mark.parametrize(("fps", "samples"), [(25.0, 40_000), (29.97, 16_001), (60.0, 100), (24.0, 0)])
def test_frames_cover_the_speech(fps, samples):
    track = rhythm(talk(2.6).samples[:samples], fps)
    assert track.shape == (np.ceil(samples * fps / SPEECH_RATE), len(RHYTHM))
    assert track.dtype == np.float32


@pytest.mark.parametrize("block", [333, 4_000, 50_000])
def test_blocks_do_not_change_the_motion(block):
    sound = speech().samples[: 10 * SPEECH_RATE]
    model = RhythmModel(25.0, 3)
    parts = [model.push(sound[i : i + block]) for i in range(0, len(sound), block)] + [model.finish()]
    np.testing.assert_array_equal(np.concatenate(parts), rhythm(sound, 25.0, seed=3))


def test_frames_come_within_the_promised_delay():
    sound = speech().samples[: 4 * SPEECH_RATE]
    for fps in (24.0, 25.0, 60.0):
        model, given = RhythmModel(fps), 0
        for end in range(160, len(sound), 160):
            given += len(model.push(sound[end - 160 : end]))
            # A hop of 10 ms is the grain of the analysis.
            assert given >= np.floor((end / SPEECH_RATE - DELAY - 0.01) * fps + 0.5)


def test_speech_beyond_the_delay_changes_nothing():
    sound = speech().samples[: 6 * SPEECH_RATE]
    changed = sound.copy()
    changed[3 * SPEECH_RATE :] = np.roll(sound, 9000)[3 * SPEECH_RATE :]
    known = int((3 - DELAY) * 50)
    before, after = rhythm(sound, 50.0), rhythm(changed, 50.0)
    np.testing.assert_array_equal(before[:known], after[:known])
    assert np.abs(before - after).max() > 0.01


def test_the_same_seed_moves_alike_and_another_does_not():
    sound = speech().samples[: 8 * SPEECH_RATE]
    np.testing.assert_array_equal(rhythm(sound, 50.0, seed=1), rhythm(sound, 50.0, seed=1))
    one, other = motion(0), motion(1)
    for name in ("head_yaw", "head_pitch", "head_roll", "gaze_x", "gaze_y", "blink", "torso_yaw", "smile"):
        assert abs(np.corrcoef(channel(one, name), channel(other, name))[0, 1]) < 0.6
    gaps = np.abs(blinks(one)[:, None] - blinks(other)[None]).min(axis=1)
    assert (gaps < 0.1).mean() < 0.4


@pytest.mark.parametrize("expressiveness", [0.0, 1.0, 2.0])
def test_every_channel_keeps_to_its_range(expressiveness):
    track = motion(0, expressiveness)
    for name, low in LOWER.items():
        assert channel(track, name).min() >= low
        assert channel(track, name).max() <= 1
    face = np.degrees(track[:, HEAD] + track[:, TORSO])
    assert np.abs(face).max() < 12
    assert np.abs(np.diff(np.degrees(track[:, HEAD]), axis=0)).max() * 50 < 140
    assert np.abs(np.diff(np.degrees(track[:, TORSO]), axis=0)).max() * 50 < 30


def test_head_moves_as_much_as_heads_of_speakers_do():
    spread = np.sqrt((np.degrees(np.concatenate([motion(s)[:, HEAD] for s in range(3)])) ** 2).mean(axis=0))
    assert 1.5 < spread[0] < 4
    assert 1.5 < spread[1] < 4
    assert 0.8 < spread[2] < 2.5


def test_expressiveness_scales_motion_but_not_blinks():
    still, calm, lively = (motion(0, e) for e in (0.0, 1.0, 2.0))
    for name in ("head_yaw", "head_pitch", "brow_raise", "torso_pitch"):
        a, b, c = (channel(track, name).std() for track in (still, calm, lively))
        assert a < 0.35 * b
        assert c > 1.4 * b
    assert not channel(still, "hand_right").any()
    rates = [len(blinks(track)) for track in (still, calm, lively)]
    assert max(rates) < 1.5 * min(rates)
    assert channel(still, "breath").std() > 0.1


@pytest.mark.parametrize("silent", [False, True])
def test_people_blink_eight_to_twenty_five_times_a_minute(silent):
    for seed in range(3):
        track = rhythm(np.zeros(40 * SPEECH_RATE, np.float32), 50.0, seed=seed) if silent else motion(seed)
        assert 8 <= 60 * len(blinks(track)) / (len(track) / 50) <= 25


@pytest.mark.parametrize("fps", [24.0, 25.0, 30.0])
def test_every_blink_has_a_frame_with_shut_eyes(fps):
    lids = channel(rhythm(speech().samples, fps, seed=2), "blink")
    peaks = [lids[i] for i in range(1, len(lids) - 1) if lids[i - 1] < lids[i] >= lids[i + 1]]
    assert len(peaks) > 5
    assert min(peaks) > 0.98


def test_silence_leaves_breath_blinks_and_a_little_sway():
    track = rhythm(np.zeros(60 * SPEECH_RATE, np.float32), 50.0, seed=1)
    assert not track[:, -2:].any()
    head = np.degrees(track[:, HEAD])
    assert head.std(axis=0).min() > 0.1
    assert np.abs(np.diff(head, axis=0)).max() * 50 < 12
    breath = channel(track, "breath")
    assert 12 <= ((breath[1:] > 0) & (breath[:-1] <= 0)).sum() <= 20
    assert np.degrees(track[:, GAZE]).std() > 0.2


def test_the_head_nods_at_accents_and_not_in_between():
    """Averaged over accents, the head goes down by more than a degree and is lowest 20 to 140 ms on."""
    accents, fps = speech().accents, 50.0
    lags = np.arange(-10, 20)
    responses, elsewhere = [], []
    rng = np.random.default_rng(0)
    for seed in range(3):
        pitch = np.degrees(channel(motion(seed), "head_pitch"))
        rows = (accents[(accents > 1) & (accents < accents[-1] - 1)] * fps).astype(int)
        responses.append(pitch[rows[:, None] + lags])
        shifted = (rows + rng.integers(50, len(pitch) - 100)) % (len(pitch) - 50) + 25
        elsewhere.append(pitch[shifted[:, None] + lags])
    mean, control = (np.concatenate(r).mean(axis=0) for r in (responses, elsewhere))
    assert mean.max() - mean[:8].mean() > 1
    assert 0.02 <= lags[mean.argmax()] / fps <= 0.14
    assert np.ptp(control) < 0.5 * np.ptp(mean)


def test_nothing_jumps_where_blocks_meet():
    sound, fps, block = speech().samples[: 20 * SPEECH_RATE], 50.0, 3_200
    model, parts = RhythmModel(fps), []
    for i in range(0, len(sound), block):
        parts.append(model.push(sound[i : i + block]))
    track = np.concatenate([*parts, model.finish()])
    acceleration = np.abs(np.diff(track, 2, axis=0))
    near = np.zeros(len(acceleration), bool)
    for end in np.cumsum([len(part) for part in parts])[:-1]:
        near[max(0, end - 2) : end + 1] = True
    above = acceleration[near] > np.percentile(acceleration[~near], 99, axis=0)
    assert above.mean() < 0.025


def test_eyes_stay_on_the_camera_while_the_head_turns():
    track = motion()
    face = np.degrees(track[:, HEAD[:2]] + track[:, TORSO[:2]])
    look = np.degrees(track[:, GAZE]) + face
    assert (np.linalg.norm(look, axis=1) < 2).mean() > 0.7
    assert np.linalg.norm(look, axis=1).max() < 10
    steady = np.linalg.norm(look, axis=1) < 2
    for axis in (0, 1):
        assert np.corrcoef(track[steady, GAZE[axis]], face[steady, axis])[0, 1] < -0.8


def test_memory_does_not_grow_with_the_speech():
    model, sizes = RhythmModel(25.0), []
    for _ in range(6):
        model.push(speech().samples[: 10 * SPEECH_RATE])
        sizes.append(len(pickle.dumps(model)))
    assert max(sizes) < 1.1 * min(sizes)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ((0.0,), "0"),
        ((float("nan"),), "nan"),
        ((25.0, 0, 2.5), "2.5"),
        ((25.0, 0, -0.1), "-0.1"),
        ((25.0, -1), "-1"),
    ],
)
def test_impossible_settings_are_refused_by_value(arguments, value):
    with pytest.raises(InputError, match=value):
        RhythmModel(*arguments)
