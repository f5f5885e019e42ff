"""Blinks, gaze, breath, hands, brows and shoulders, each fed with cues of its own."""

import numpy as np

from vivavoce.splat.motion.beats import Brows, Hands, Shoulders
from vivavoce.splat.motion.blinks import Blinks
from vivavoce.splat.motion.breath import Breath
from vivavoce.splat.motion.cue import Cue
from vivavoce.splat.motion.gaze import Gaze

SILENT = Cue(0.0, False, 10.0, 0.0, 0.0, 0.0, False, False)
TALKING = SILENT._replace(speech=True, pause=0.0)


def cues(seconds, base=SILENT, **changes):
    """Cues 10 ms apart; `changes` maps a step to other fields, as s50={"accent": 1.0}."""
    for k in range(int(seconds * 100)):
        yield base._replace(time=k / 100, **changes.get(f"s{k}", {}))


def onsets(lids):
    return np.flatnonzero((lids[1:] > 0.5) & (lids[:-1] <= 0.5)) / 100


def test_blink_intervals_are_log_normal():
    blinks = Blinks(np.random.default_rng(0), 25.0)
    lids = np.array([blinks.step(cue, 0.0) for cue in cues(1200)])
    logs = np.log(np.diff(onsets(lids)))
    assert abs(np.exp(np.median(logs)) - 4.4) < 0.3
    assert abs(logs.std() - 0.45) < 0.06
    assert abs(((logs - logs.mean()) ** 3).mean() / logs.std() ** 3) < 0.25  # as symmetric as a normal


def test_lids_fall_fast_and_rise_slowly():
    blinks = Blinks(np.random.default_rng(1), 25.0)
    lids = np.array([blinks.step(cue, 0.0) for cue in cues(300)])
    for start in (onsets(lids)[:-1] * 100).astype(int):
        a = start - np.argmax(lids[start::-1] == 0)
        shut = a + np.argmax(lids[a + 1 :] >= 1 - 1e-9) + 1
        opens = shut + np.argmax(lids[shut:] < 1 - 1e-9)
        b = opens + np.argmax(lids[opens:] == 0)
        assert 6 <= shut - a <= 12
        assert 3 <= opens - shut <= 6
        assert 14 <= b - opens <= 27


def test_pauses_and_large_looks_bring_blinks_on():
    at = range(300, 30_000, 500)
    for shift, event in ((0.0, {"offset": True}), (8.0, {})):
        near = base = 0
        blinks = Blinks(np.random.default_rng(2), 25.0)
        steps = cues(305, **{f"s{k}": event for k in at})
        lids = np.array([blinks.step(cue, shift if k in at else 0.0) for k, cue in enumerate(steps)])
        for k in at:
            near += ((onsets(lids) * 100 >= k) & (onsets(lids) * 100 < k + 60)).sum()
            base += ((onsets(lids) * 100 >= k - 150) & (onsets(lids) * 100 < k - 90)).sum()
        assert near > 1.5 * base


def test_saccades_last_as_the_main_sequence_says():
    gaze = Gaze(np.random.default_rng(3), 1.0)
    path = np.array([gaze.step(cue, 0.0, 0.0) for cue in cues(400, TALKING)])
    sizes = path[:, 2]
    at_rest = (path[1:, :2] == path[:-1, :2]).all(axis=1)
    shifts = 1 + np.flatnonzero((sizes[1:] > 3) & at_rest)
    assert len(shifts) > 50
    for k in shifts[:-1]:
        moved = np.linalg.norm(path[k : k + 8, :2] - path[k, :2], axis=1)
        # Over after 25 ms + 2.4 ms a degree, rounded up to the clock.
        last = int(np.ceil((0.025 + 0.0024 * sizes[k]) * 100 - 1e-9))
        np.testing.assert_allclose(moved[last], sizes[k], rtol=1e-6)
        assert moved[last - 2] < 0.99 * sizes[k]


def test_gaze_leaves_the_camera_a_fifth_of_the_time_and_not_far():
    gaze = Gaze(np.random.default_rng(4), 1.0)
    path = np.array([gaze.step(cue, 0.0, 0.0) for cue in cues(600, TALKING)])[:, :2]
    away = np.linalg.norm(path, axis=1)
    assert 0.1 < (away > 1.4).mean() < 0.3
    assert away.max() < 9.2  # 8 degrees and the small saccades about it
    silent = Gaze(np.random.default_rng(4), 1.0)
    quiet = np.array([silent.step(cue, 0.0, 0.0) for cue in cues(600)])[:, :2]
    assert (np.linalg.norm(quiet, axis=1) > 1.4).mean() < 0.6 * (away > 1.4).mean()


def test_hesitation_turns_the_eyes_away():
    at = range(200, 50_000, 400)
    gaze = Gaze(np.random.default_rng(5), 1.0)
    steps = cues(505, TALKING, **{f"s{k}": {"offset": True} for k in at})
    path = np.linalg.norm(np.array([gaze.step(cue, 0.0, 0.0) for cue in steps])[:, :2], axis=1)
    after = np.mean([path[k + 10] > 1.4 for k in at])
    before = np.mean([path[k - 10] > 1.4 for k in at])
    assert after > before + 0.15


def test_eyes_counter_rotate_the_head():
    gaze = Gaze(np.random.default_rng(6), 0.0)
    turns = 6 * np.sin(np.arange(1000) / 30)
    path = np.array([gaze.step(c, float(y), float(-y))[:2] for c, y in zip(cues(10), turns, strict=True)])
    assert np.corrcoef(path[:, 0], turns)[0, 1] < -0.97
    assert np.abs(path[:, 0] + turns).max() < 2
    assert np.abs(path[:, 1] - turns).max() < 2


def test_breath_at_rest_is_fifteen_a_minute_and_goes_in_faster_than_out():
    breath = Breath(np.random.default_rng(7))
    air = np.array([breath.step(cue) for cue in cues(600)])
    rising = np.diff(air) > 0
    count = ((air[1:] > 0) & (air[:-1] <= 0)).sum()
    assert 12 <= count / 10 <= 20
    assert 0.35 < rising.mean() < 0.48
    assert np.abs(air).max() < 0.5


def test_speech_lets_air_out_and_a_pause_takes_it_in_quickly():
    breath = Breath(np.random.default_rng(8))
    pause = {f"s{k}": {"speech": False, "pause": 0.15 + (k - 500) / 100} for k in range(500, 600)}
    pause["s500"]["offset"] = True
    air = np.array([breath.step(cue) for cue in cues(12, TALKING, **pause)])
    assert (np.diff(air[50:500]) <= 0).all()
    low, high = air[505], air[500:600].max()
    assert high > low + 0.6
    rise = np.flatnonzero((air[500:] > low + 0.1 * (high - low)) & (air[500:] < low + 0.9 * (high - low)))
    assert 0.25 < (rise[rise < 100].max() - rise.min()) / 100 < 0.75
    assert (np.diff(air[700:]) <= 0).all()


def accented(seconds, every=80, strength=0.9):
    steps = {f"s{k}": {"accent": strength} for k in range(100, int(seconds * 100) - 300, every)}
    return cues(seconds, TALKING, **steps), [int(name[1:]) for name in steps]


def test_beats_top_soon_after_their_accents_and_the_hands_go_down_again():
    tops, lags = 0, []
    for seed in range(12):
        hands = Hands(np.random.default_rng(seed), 1.0)
        steps, at = accented(20)
        path = np.array([hands.step(cue) for cue in steps])
        assert not path[:100].any()
        assert path[-1].max() < 1e-6
        both = path.max(axis=1)
        for k in at[1:]:
            lag = both[k : k + 40].argmax()
            if both[k + lag] > both[k] + 0.15:
                tops, lags = tops + 1, [*lags, lag]
    assert tops > 60
    assert 10 <= np.median(lags) <= 18  # 0.05 to 0.1 s less by the look-ahead that cues run ahead
    assert max(lags) <= 36


def test_people_gesture_with_the_left_the_right_and_both():
    shares = []
    for seed in range(24):
        hands = Hands(np.random.default_rng(seed), 1.0)
        path = np.array([hands.step(cue) for cue in accented(8)[0]])
        shares.append(path[:, 1].sum() / path.sum())
    right, left = np.mean(np.array(shares) > 0.9), np.mean(np.array(shares) < 0.1)
    assert right > 0.15
    assert left > 0.15
    assert right + left < 1


def test_without_accents_nothing_beats():
    rng = np.random.default_rng(9)
    hands, brows, shoulders = Hands(rng, 2.0), Brows(rng, 2.0), Shoulders(rng, 2.0)
    for cue in cues(60, TALKING):
        assert hands.step(cue) == (0.0, 0.0)
        assert abs(brows.step(cue)) < 0.5
        assert shoulders.step(cue, 0.0) < 0.05


def test_brows_rise_at_some_accents_more_often_at_high_ones():
    raised = {}
    for pitch in (0.0, 2.0):
        count = total = 0
        for seed in range(10):
            brows = Brows(np.random.default_rng(seed), 1.0)
            steps, at = accented(20, every=150, strength=0.5)
            path = np.array([brows.step(c._replace(pitch=pitch if c.accent else 0.0)) for c in steps])
            count += sum(path[k + 15] > path[k - 1] + 0.25 for k in at)
            total += len(at)
        raised[pitch] = count / total
    assert 0.1 < raised[0.0] < 0.4
    assert raised[2.0] > raised[0.0] + 0.1


def test_shoulders_follow_the_breath():
    shoulders = Shoulders(np.random.default_rng(10), 1.0)
    air = np.sin(np.arange(1000) / 60)
    path = np.array([shoulders.step(c, float(a)) for c, a in zip(cues(10), air, strict=True)])
    assert np.corrcoef(path, air)[0, 1] > 0.99
    assert 0 <= path.min() < path.max() < 0.12
