"""Scripted and co-speech motion: in time, smooth, within what bodies can do, and clear of the body."""

import numpy as np
import pytest

from acted import acted, speech
from vivavoce.corpus.synth.actions import ACTIONS, ScriptedAction, script
from vivavoce.corpus.synth.bodywork import ADDED, additions
from vivavoce.corpus.synth.coverbal import SpeechCues, beat_times, beats, habit, speech_cues
from vivavoce.corpus.synth.gestures import perform
from vivavoce.corpus.synth.poses import POSES, poses_of
from vivavoce.splat.skeleton import JOINT
from vivavoce.splat.template.joints import Build, rest_joints

HANDS = [name for name, action in ACTIONS.items() if {"left arm", "right arm"} & action.parts]


def one(name: str, start: float = 0.5, length: float = 2.0) -> list[ScriptedAction]:
    return [ScriptedAction(name, name, start, start + length)]


def scripted(seed: int, seconds: float = 10.0, fps: float = 100.0):
    done = script(np.random.default_rng(seed), seconds, density=0.5)
    return done, acted(done, seconds, seed=seed, fps=fps)


def speeds(path: np.ndarray, fps: float) -> tuple[float, float]:
    """Highest speed and acceleration, m/s and m/s^2."""
    velocity = np.diff(path, axis=0) * fps / 1000
    return (
        float(np.linalg.norm(velocity, axis=-1).max()),
        float(np.linalg.norm(np.diff(velocity, axis=0) * fps, axis=-1).max()),
    )


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 13])
def test_arms_move_as_fast_as_arms_do(seed):
    """Fast reaching peaks at 3 to 4 m/s at the wrist; nothing may jump."""
    _, person = scripted(seed)
    for side in ("left", "right"):
        speed, acceleration = speeds(person.at(f"{side}_wrist"), person.fps)
        assert speed < 3.5
        assert acceleration < 50
        speed, acceleration = speeds(person.at(f"{side}_elbow"), person.fps)
        assert speed < 3.6
        assert acceleration < 75
        speed, acceleration = speeds(person.hand(side)[:, 12], person.fps)
        assert speed < 6.0
        assert acceleration < 90
    for name, turns in person.performance.rotations.items():
        step = turns[:-1].swapaxes(1, 2) @ turns[1:]
        cosine = (np.trace(step, axis1=1, axis2=2) - 1) / 2
        assert np.arccos(np.clip(cosine, -1, 1)).max() * person.fps < 15, name


@pytest.mark.parametrize("seed", range(8, 13))
def test_hands_touch_neither_trunk_nor_head(seed):
    """Against ellipses of chest breadth and depth and a head's ellipsoid, 15 mm of hand around each joint."""
    _, person = scripted(seed, fps=25.0)
    b, trunk, head = person.build, JOINT["spine3"], JOINT["head"]
    shape = np.array([0.085 * b.girth, 0.07 * b.girth]) * b.stature
    for side in ("left", "right"):
        hand = person.hand(side)
        R, t = person.transforms[:, trunk, :, :3], person.transforms[:, trunk, :, 3]
        at = (hand - t[:, None]) @ R  # in the trunk's own axes
        chest = (at[..., 1] > person.joints["left_collar"][1]) & (at[..., 1] < person.joints["pelvis"][1])
        away = np.linalg.norm(at[..., [0, 2]] / (shape + 15), axis=2)
        assert away[chest].min(initial=9) > 1
        R, t = person.transforms[:, head, :, :3], person.transforms[:, head, :, 3]
        at = (hand - t[:, None]) @ R - person.joints["head"] - [0, -0.33 * b.face, 0]
        assert np.linalg.norm(at / (np.array([0.45, 0.65, 0.55]) * b.face + 15), axis=2).min() > 1


@pytest.mark.parametrize("seed", [1, 5])
def test_arms_rest_without_script_and_voice(seed):
    person = acted([], 3.0, seed=seed, talking=False)
    for side in ("left", "right"):
        wrist = person.at(f"{side}_wrist")
        assert np.ptp(wrist, axis=0).max() < 0.06 * 551
        assert (wrist[:, 0] * (1 if side == "left" else -1) > 20).all()
    assert all((added == 0).all() for added in person.performance.controls.values())
    assert set(person.performance.controls) == set(ADDED)


@pytest.mark.parametrize(
    "build", [Build(), Build(stature=1550.0, girth=1.3), Build(stature=1900.0, shoulders=1.1)]
)
def test_left_and_right_are_the_person_s_own_and_hands_go_where_they_are_told(build):
    def wrists(name: str) -> tuple[np.ndarray, np.ndarray]:
        person = acted(one(name), 3.0, build=build, talking=False, seed=1)
        return tuple(person.at(f"{side}_wrist")[37] for side in ("left", "right"))

    shoulder = rest_joints(build)["left_shoulder"]
    arm = 0.324 * build.stature
    (still_left, still_right) = wrists("nod")
    left, right = wrists("raise_left_hand")
    assert left[0] > shoulder[0] > 0
    assert left[1] < shoulder[1] - 0.1 * arm
    np.testing.assert_allclose(right, still_right, atol=0.05 * arm)
    left, right = wrists("point_right_at_camera")
    assert right[2] < -0.65 * arm
    assert abs(right[1] - shoulder[1]) < 0.15 * arm
    np.testing.assert_allclose(left, still_left, atol=0.05 * arm)
    left, right = wrists("point_left_aside")
    assert left[0] > shoulder[0] + 0.15 * arm
    left, right = wrists("hands_together")
    assert np.linalg.norm(left - right) < 0.15 * arm
    left, right = wrists("cross_arms")
    assert left[0] < -0.05 * arm
    assert right[0] > 0.05 * arm


@pytest.mark.parametrize("name", HANDS)
def test_an_arm_acts_within_its_window_alone(name):
    rest, person = (acted(s, 3.5, talking=False, seed=3) for s in ([], one(name, 0.8)))
    for side in ("left", "right"):
        away = np.linalg.norm(person.at(f"{side}_wrist") - rest.at(f"{side}_wrist"), axis=1)
        times = (np.arange(len(away)) + 0.5) / person.fps
        if f"{side} arm" in ACTIONS[name].parts:
            assert away[(times > 1.6) & (times < 2.0)].min() > 100
        else:
            assert away.max() < 1e-6
        # Clearance is kept a moment before and after.
        assert away[(times < 0.6) | (times > 3.0)].max() < 1e-6


def test_forearms_do_not_pass_through_each_other():
    for seed, build in enumerate((Build(), Build(girth=1.3), Build(girth=0.85, shoulders=0.9))):
        person = acted(one("cross_arms", length=1.6), 2.8, build=build, seed=seed)
        share = np.linspace(0, 1, 15)[:, None]
        bones = [
            person.at(f"{side}_elbow")[:, None] * (1 - share) + person.at(f"{side}_wrist")[:, None] * share
            for side in ("left", "right")
        ]
        assert np.linalg.norm(bones[0][:, :, None] - bones[1][:, None], axis=-1).min() > 0.03 * build.stature


def test_resting_hands_stay_while_the_chest_leans_over_them():
    rest, person = (acted(s, 3.0, build=Build(), talking=False, seed=1) for s in ([], one("lean_forward")))
    moved = person.at("left_wrist")[37] - rest.at("left_wrist")[37]
    assert np.linalg.norm(person.at("left_shoulder")[37] - rest.at("left_shoulder")[37]) > 70
    assert np.linalg.norm(moved) < 60


def test_shoulders_go_up_in_a_shrug_and_take_the_arms_along():
    rest, person = (acted(s, 3.0, build=Build(), talking=False, seed=1) for s in ([], one("shrug")))
    for side in ("left", "right"):
        lifts = [
            (rest.at(f"{side}_{j}") - person.at(f"{side}_{j}"))[37, 1] for j in ("shoulder", "elbow", "wrist")
        ]
        assert 35 < lifts[0] < 75
        np.testing.assert_allclose(lifts, lifts[0], atol=1)


HEAD_AND_TRUNK = {
    "tilt_head_left": ("head_roll", 1),
    "tilt_head_right": ("head_roll", -1),
    "lean_forward": ("torso_pitch", 1),
    "lean_left": ("torso_roll", 1),
    "lean_right": ("torso_roll", -1),
    "shrug": ("shoulders", 1),
}


@pytest.mark.parametrize(("name", "channel", "sign"), [(n, c, s) for n, (c, s) in HEAD_AND_TRUNK.items()])
def test_held_actions_go_to_their_own_side_and_come_back(name, channel, sign):
    times = np.arange(0, 3, 0.01)
    added = additions(one(name), times, np.random.default_rng(0))[channel] * sign
    assert (added >= -1e-12).all()
    assert added[(times <= 0.5) | (times >= 2.5)].max() < 1e-9
    assert added.argmax() / 100 == pytest.approx(1.2, abs=0.4)
    assert added.max() > {"shoulders": 0.8}.get(channel, 0.15)


@pytest.mark.parametrize(("name", "channel"), [("nod", "head_pitch"), ("shake_head", "head_yaw")])
@pytest.mark.parametrize("length", [1.2, 2.2])
def test_nods_and_shakes_swing_more_than_once_as_fast_as_heads_do(name, channel, length):
    times = np.arange(0, 4, 0.01)
    added = additions(one(name, 0.5, length), times, np.random.default_rng(0))[channel]
    assert np.abs(added[(times <= 0.5) | (times >= 0.5 + length)]).max() < 1e-9
    extremes = np.flatnonzero(np.diff(np.sign(np.diff(added[51:-1]))) != 0)
    assert len(extremes) >= 3
    assert np.ptp(added) > 0.25
    assert np.abs(np.gradient(added, 0.01)).max() < 5.5
    if name == "nod":
        assert added.min() > -1e-9
    else:
        assert added.min() == pytest.approx(-added.max(), rel=0.05)


def test_poses_belong_to_actions_that_need_the_arm():
    for name, action in ACTIONS.items():
        assert {f"{side} arm" for side in poses_of(name)} == action.parts & {"left arm", "right arm"}
    names = {pattern.format(side=side) for pattern in POSES for side in ("left", "right")}
    assert names <= set(ACTIONS)


def test_an_arm_cannot_do_two_things_at_once():
    both = [*one("raise_left_hand", 0.5), *one("open_both_palms", 2.0)]
    with pytest.raises(ValueError, match=r"open_both_palms at 2 s needs an arm that is still busy"):
        acted(both, 5.0, talking=False)


def test_the_same_seed_gives_the_same_motion():
    joints, done = rest_joints(Build()), one("wave_left_hand")
    cues = speech_cues(speech(3.0, 1), 25.0, 75)

    def motion(seed: int):
        rng = np.random.default_rng(seed)
        return perform(joints, done, cues=cues, habit=habit(rng), fps=25.0, frames=75, rng=rng)

    first, again, other = motion(1), motion(1), motion(2)
    assert all((first.rotations[name] == again.rotations[name]).all() for name in first.rotations)
    assert any((first.rotations[name] != other.rotations[name]).any() for name in first.rotations)
    for turns in first.rotations.values():
        np.testing.assert_allclose(
            turns @ turns.swapaxes(1, 2), np.broadcast_to(np.eye(3), turns.shape), atol=1e-9
        )


def test_motion_does_not_depend_on_the_frame_rate():
    """Frame k shows (k + 0.5) / fps: at thrice the rate, every third frame shows the same time."""
    done = one("raise_right_hand")
    slow, fast = (acted(done, 3.0, fps=fps, seed=4, talking=False) for fps in (20.0, 60.0))
    np.testing.assert_allclose(slow.at("right_wrist"), fast.at("right_wrist")[1::3], atol=3)


def test_beats_lie_on_accents_and_grow_with_loudness():
    fps, times = 25.0, (np.arange(250) + 0.5) / 25.0
    at, height = np.array([1.0, 2.2, 3.4, 5.0, 7.0]), np.array([0.3, 0.9, 0.5, 1.0, 0.15])
    loudness = (height * np.exp(-(((times[:, None] - at) / 0.12) ** 2))).sum(axis=1)
    cues = SpeechCues(loudness, (1.05, 3.3))
    np.testing.assert_allclose(beat_times(cues, fps)[:4], [1.05, 2.2, 3.3, 5.0], atol=0.03)
    moved = beats(cues, fps, times, np.random.default_rng(0))
    tops = [moved[np.abs(times - t) < 0.2].max(axis=0) for t in at]
    np.testing.assert_array_equal(np.argsort([top[0] for top in tops]), np.argsort(height))
    assert (moved >= 0).all()
    assert moved[(times > 5.6) & (times < 6.4)].max() < 1e-9, "in silence hands rest"
    extreme = times[np.abs(times - 2.2) < 0.3][moved[np.abs(times - 2.2) < 0.3, 0].argmax()]
    assert extreme == pytest.approx(2.2, abs=0.06)


def test_silence_has_no_beats():
    cues = speech_cues(np.zeros(48_000, np.float32), 25.0, 75)
    assert cues.loudness.max() == 0
    assert len(beat_times(cues, 25.0)) == 0


def test_people_differ_in_their_habits():
    habits = [habit(np.random.default_rng(seed)) for seed in range(300)]
    both = np.mean([h.rests == ("belly", "belly") for h in habits])
    assert 0.65 < both < 0.87
    assert all("belly" in h.rests for h in habits), "somebody's hands would never be seen"
    assert np.mean([h.size[1] >= h.size[0] for h in habits]) > 0.6
    assert np.ptp([h.size.max() for h in habits]) > 0.05
    assert max(np.abs(h.offset).max() for h in habits) < 0.05
