"""The detector of actions on motion whose script is known, and what tracks are measured by."""

import functools

import numpy as np
import pytest

from acted import acted, heard
from vivavoce.corpus.synth.actions import ACTIONS, ScriptedAction, script
from vivavoce.evaluation.actions import (
    ACCEPTED,
    GROUPS,
    detect,
    gesture_size,
    hand_variance,
    hit_at_segment,
    recognised,
    temporal_correctness,
)
from vivavoce.evaluation.evidence import evidence
from vivavoce.evaluation.tracks import BodyTrack, measures, smooth, track_of

FPS, SECONDS, CLIPS = 25.0, 7.0, 20


def one(name: str, start: float = 1.0, length: float = 2.0) -> ScriptedAction:
    return ScriptedAction(name, name, start, start + length)


@functools.cache
def clip(seed: int):
    """A person who speaks and acts at random; the seeds are no seeds that the detector was tuned on."""
    done = script(np.random.default_rng([seed, 77]), SECONDS, density=0.5)
    return done, acted(done, SECONDS, seed=40_000 + seed)


@functools.cache
def track_with(name: str) -> BodyTrack:
    return track_of(acted([one(name)], 4.0, seed=41_000 + sum(name.encode())).keypoints(), FPS)


def blind(keypoints: np.ndarray, points: slice | list[int]) -> np.ndarray:
    out = keypoints.copy()
    out[:, points] = 0
    return out


def still(frames: int = 100) -> BodyTrack:
    """A person of shoulder width 0.6 who does not move."""
    body = np.full((frames, 17, 2), np.nan)
    at = {0: (0, -0.5), 1: (0.05, -0.6), 2: (-0.05, -0.6), 3: (0.13, -0.55), 4: (-0.13, -0.55), 5: (0.3, 0)}
    at |= {6: (-0.3, 0), 7: (0.36, 0.45), 8: (-0.36, 0.45), 9: (0.2, 0.6), 10: (-0.2, 0.6)}
    for k, place in at.items():
        body[:, k] = place
    return BodyTrack(FPS, body, {side: np.full((frames, 21, 2), np.nan) for side in ("left", "right")})


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("fingers", [True, False])
def test_scripted_actions_are_found_and_shuffled_scripts_are_not(noise, fingers):
    scripts = [clip(seed)[0] for seed in range(CLIPS)]
    seen = [clip(seed)[1].keypoints(noise, seed) for seed in range(CLIPS)]
    if not fingers:
        seen = [blind(points, slice(85, 127)) for points in seen]
    tracks = [track_of(points, FPS) for points in seen]
    assert len({a.name for done in scripts for a in done}) > 0.8 * len(ACTIONS)
    assert hit_at_segment(tracks, scripts) >= 0.97
    assert temporal_correctness(tracks, scripts) >= 0.95
    others = [*scripts[1:], scripts[0]]
    assert hit_at_segment(tracks, others) <= 0.12
    assert temporal_correctness(tracks, others) <= 0.12


@pytest.mark.parametrize("name", list(ACTIONS))
def test_each_action_is_found_where_it_is_and_only_there(name):
    track = track_with(name)
    assert recognised(track, name, 1.0, 3.0)
    assert not recognised(track, name, 3.3, 4.0)
    found = evidence(track)
    times = (np.arange(100) + 0.5) / FPS
    assert 1.3 < times[found[name].argmax()] < 2.9
    for other, values in found.items():
        assert (values >= 0).all()
        assert (values <= 1).all()
        if not ACTIONS[other].parts & ACTIONS[name].parts:
            assert values.max() < ACCEPTED, other
    scores = detect(track, 1.0, 3.0)
    for other in set(ACTIONS) - {name}:
        assert scores[other] < 0.8 * scores[name], other  # a hand passes other places on its way


@pytest.mark.parametrize(
    "name", ["raise_left_hand", "right_thumb_up", "lean_left", "tilt_head_right", "shake_head"]
)
def test_the_mirrored_picture_shows_the_other_side(name):
    track = track_with(name)
    pairs = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    flip = np.array([-1.0, 1.0])
    hands = {"left": track.hands["right"] * flip, "right": track.hands["left"] * flip}
    mirrored = evidence(BodyTrack(FPS, track.body[:, pairs] * flip, hands))
    for action, values in evidence(track).items():
        other = action.replace("left", "*").replace("right", "left").replace("*", "right")
        np.testing.assert_allclose(mirrored[other], values, atol=1e-9)


def test_evidence_does_not_depend_on_size_and_place_in_the_picture():
    track = track_with("wave_right_hand")
    hands = {side: 0.4 * points - [0.3, -0.2] for side, points in track.hands.items()}
    moved = evidence(BodyTrack(FPS, 0.4 * track.body - [0.3, -0.2], hands))
    for name, values in evidence(track).items():
        np.testing.assert_allclose(moved[name], values, atol=1e-9)


def test_pictures_that_are_not_square_are_measured_in_square_pixels():
    square = acted([one("point_left_aside")], 4.0, seed=5).keypoints()
    tall = square.copy()
    tall[..., 1] /= 1.5  # the same view with more above and below
    measured = track_of(tall, FPS, aspect=1.5)
    np.testing.assert_allclose(measured.body, track_of(square, FPS).body, atol=1e-6)


def test_what_is_not_seen_is_not_recognised():
    points = acted([one("raise_left_hand")], 4.0, seed=6).keypoints()
    assert recognised(track_of(points, FPS), "raise_left_hand", 1.0, 3.0)
    assert detect(track_of(blind(points, [9]), FPS), 1.0, 3.0)["raise_left_hand"] == 0
    without_elbows = track_of(blind(points, [7, 8, *range(85, 127)]), FPS)
    assert recognised(without_elbows, "raise_left_hand", 1.0, 3.0)
    nothing = track_of(np.zeros_like(points), FPS)
    assert max(detect(nothing, 1.0, 3.0).values()) < 0.01
    assert np.isnan(nothing.width)
    gaps = points.copy()
    gaps[::4] = 0
    assert recognised(track_of(gaps, FPS), "raise_left_hand", 1.0, 3.0)


def test_somebody_still_does_nothing():
    track = still()
    assert max(detect(track, 0.0, 4.0).values()) < 0.2
    np.testing.assert_allclose(gesture_size(track), 0, atol=1e-9)
    assert hand_variance(track) == pytest.approx(0, abs=1e-12)
    assert hit_at_segment([track], [[one("nod")]]) == 0
    assert temporal_correctness([track], [[one("nod")]]) == 0


def test_without_phases_there_is_no_share():
    assert np.isnan(hit_at_segment([still()], [[]]))
    assert np.isnan(temporal_correctness([], []))


def test_a_window_without_frames_is_refused():
    with pytest.raises(ValueError, match=r"no frame of 100 at 25 fps lies between 5 s and 6 s"):
        detect(still(), 5.0, 6.0)


def test_measures_are_the_angles_and_places_they_are_called():
    track = still()
    angle = 0.2
    turn = np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )  # clockwise in the picture
    upright = measures(track)
    leaning = measures(BodyTrack(FPS, track.body @ turn.T, track.hands))
    np.testing.assert_allclose(leaning.torso_roll - upright.torso_roll, angle, atol=1e-9)
    np.testing.assert_allclose(leaning.head_roll, upright.head_roll, atol=1e-9)
    np.testing.assert_allclose(leaning.neck, upright.neck, atol=1e-9)
    for side in ("left", "right"):
        np.testing.assert_allclose(leaning.arms[side].wrist, upright.arms[side].wrist, atol=1e-9)
        np.testing.assert_allclose(upright.arms[side].wrist[0], [-1 / 6, -1.0])
        np.testing.assert_allclose(upright.arms[side].elbow[0], [0.1, -0.75])
    tilted = track.body.copy()
    tilted[:, :5] = tilted[:, :5] @ turn.T
    np.testing.assert_allclose(measures(BodyTrack(FPS, tilted, track.hands)).head_roll, angle, atol=1e-9)


def test_averages_are_over_what_is_seen():
    values = np.where(np.arange(60) % 3 == 0, np.nan, 2.0)
    values[40:] = np.nan
    averaged = smooth(values, FPS, 0.06)
    np.testing.assert_allclose(averaged[:38], 2.0)
    assert np.isnan(averaged[46:]).all()


def test_phases_in_the_wrong_order_are_not_correct_in_time():
    first, second = one("raise_left_hand", 0.5, 1.8), one("left_hand_on_chest", 3.0, 1.8)
    track = track_of(acted([first, second], 5.5, seed=3).keypoints(), FPS)
    assert temporal_correctness([track], [[first, second]]) == 1
    swapped = [
        ScriptedAction(second.name, "", first.start, first.end),
        ScriptedAction(first.name, "", second.start, second.end),
    ]
    assert temporal_correctness([track], [swapped]) == 0
    whole = [ScriptedAction(second.name, "", 0.2, 2.6), ScriptedAction(first.name, "", 2.6, 5.4)]
    assert temporal_correctness([track], [whole]) == 0
    # On its way to point, the hand passes the place of a thumb up, in time but not the clearest.
    pointing = track_with("point_left_at_camera")
    assert evidence(pointing)["left_thumb_up"].max() > ACCEPTED
    assert temporal_correctness([pointing], [[one("left_thumb_up")]]) == 0
    # Both strokes lie in these windows, but the one that should be over comes after the other.
    late = [ScriptedAction(second.name, "", 0.1, 0.4), ScriptedAction(first.name, "", 0.5, 5.4)]
    assert temporal_correctness([track], [late]) == 0


def test_the_same_action_twice_is_two_strokes():
    phases = [one("nod", 0.5, 1.4), one("nod", 3.5, 1.4)]
    track = track_of(acted(phases, 5.5, seed=2).keypoints(), FPS)
    assert temporal_correctness([track], [phases]) == 1
    assert hit_at_segment([track], [phases]) == 1


def test_groups_hold_what_fingers_tell_apart():
    members = [name for group in GROUPS for name in group]
    assert len(members) == len(set(members)) == 8
    assert set(members) <= set(ACTIONS)
    track = track_with("left_thumb_up")
    assert not recognised(track, "point_left_at_camera", 1.0, 3.0)
    assert recognised(track, "point_left_at_camera", 1.0, 3.0, grouped=True)
    assert not recognised(track, "point_right_at_camera", 1.0, 3.0, grouped=True)
    wrong = [[one("point_left_at_camera")]]
    assert hit_at_segment([track], wrong) == 0
    assert hit_at_segment([track], wrong, grouped=True) == 1


def test_gesture_size_is_the_speed_of_both_wrists_seen_from_the_shoulders():
    track = still(200)
    times = np.arange(200) / FPS
    radius, rate = 0.12, 1.0
    circle = radius * np.stack([np.cos(2 * np.pi * rate * times), np.sin(2 * np.pi * rate * times)], axis=1)
    body = track.body.copy()
    body[:, 9] += circle
    # A Gaussian average of 60 ms takes exp(-(2 pi f s)^2 / 2) of a circle's radius away.
    kept = np.exp(-0.5 * (2 * np.pi * rate * 0.06) ** 2)
    expected = 2 * np.pi * rate * radius / 0.6 * kept
    size = gesture_size(BodyTrack(FPS, body, track.hands))
    np.testing.assert_allclose(size[20:-20], expected, rtol=0.02)
    body[:, 10] -= circle
    np.testing.assert_allclose(
        gesture_size(BodyTrack(FPS, body, track.hands))[20:-20], 2 * expected, rtol=0.02
    )
    drift = np.stack([0.2 * times, 0.0 * times], axis=1)[:, None]
    moved = gesture_size(BodyTrack(FPS, body + drift, track.hands))
    np.testing.assert_allclose(moved[30:-30], 2 * expected, rtol=0.02)
    body[:, [9, 10]] = np.nan
    assert np.isnan(gesture_size(BodyTrack(FPS, body, track.hands))).all()


def test_hand_variance_is_that_of_a_known_motion():
    track = still(400)
    swing = 0.06 * np.sin(2 * np.pi * np.arange(400) / 40)
    body = track.body.copy()
    body[:, 9, 0] += swing
    # One of two wrists swings by a tenth of the shoulders' width: (0.1^2 / 2) / 2.
    assert hand_variance(BodyTrack(FPS, body, track.hands)) == pytest.approx(0.0025, rel=1e-6)
    body[:, [9, 10]] = np.nan
    assert np.isnan(hand_variance(BodyTrack(FPS, body, track.hands)))


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_gestures_grow_with_loudness_where_nothing_is_scripted(noise):
    window, sizes, loud = round(0.5 * FPS), [], []
    for seed in range(6):
        size = gesture_size(track_of(acted([], SECONDS, seed=seed).keypoints(noise, seed), FPS))
        for kept, values in ((sizes, size), (loud, heard(SECONDS, FPS, seed % 4).loudness)):
            means = values[: len(size) // window * window].reshape(-1, window).mean(axis=1)
            kept.append((means - means.mean()) / means.std())
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(sizes, loud, strict=True)]
    assert np.mean(correlations) > 0.65
    shuffled = [np.corrcoef(a, b)[0, 1] for a, b in zip(sizes, loud[1:] + loud[:1], strict=True)]
    assert np.mean(shuffled) < np.mean(correlations) - 0.3
