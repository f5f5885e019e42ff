"""How agreement of readings and truth is told: by errors that are known."""

import numpy as np
import pytest

import filmed
from vivavoce.evaluation import agreement as module
from vivavoce.evaluation.agreement import agreement, told_apart
from vivavoce.evaluation.reader import Reading
from vivavoce.evaluation.tracks import BodyTrack


def _reading(identity):
    frames = len(identity)
    unseen = {side: np.full((frames, 21, 2), np.nan) for side in ("left", "right")}
    zeros = np.zeros(frames, np.float32)
    return Reading(
        BodyTrack(25.0, np.full((frames, 17, 2), np.nan), unseen),
        np.zeros((frames, 4, 2), np.float32),
        zeros,
        np.zeros((frames, 3), np.float32),
        np.asarray(identity, np.float32),
        zeros,
    )


def _looks(*directions):
    """A clip whose frames look a little different around a direction of its own."""
    rng = np.random.default_rng(0)
    for direction in directions:
        found = np.eye(64)[direction] + 0.05 * rng.standard_normal((5, 64))
        yield _reading(found / np.linalg.norm(found, axis=1, keepdims=True))


def test_people_who_look_different_are_told_apart():
    assert told_apart(list(_looks(0, 0, 1, 1, 2)), [7, 7, 8, 8, 9]) == 1


def test_people_who_look_the_same_are_told_apart_by_chance():
    assert told_apart(list(_looks(*[0] * 40)), [k // 2 for k in range(40)]) < 0.75


def test_without_two_clips_of_anybody_nothing_can_be_told():
    assert np.isnan(told_apart(list(_looks(0, 1, 2)), [1, 2, 3]))


def test_errors_are_percents_of_the_pictures_width():
    rng = np.random.default_rng(1)
    body = rng.uniform(-1, 1, (8, 17, 2))
    hands = {side: rng.uniform(-1, 1, (8, 21, 2)) for side in ("left", "right")}
    shifted = body + np.array([0.03, 0.04])
    shifted[:, [9, 10]] += np.array([0.03, 0.04])
    shifted[:4, 7] = np.nan
    found = module._places(
        [BodyTrack(25.0, shifted, {side: hand + 0.06 * np.eye(2)[0] for side, hand in hands.items()})],
        [BodyTrack(25.0, body, hands)],
    )
    assert found["face, % of width"] == pytest.approx(2.5)
    assert found["wrists, % of width"] == pytest.approx(5.0)
    assert found["wrists, 90th percentile"] == pytest.approx(5.0)
    assert found["fingertips, % of width"] == pytest.approx(3.0)
    assert found["points, % of width"] == pytest.approx(3.0)
    assert found["seen"] == pytest.approx(1 - 4 / 88)


def test_points_that_are_never_read_have_no_error():
    nowhere = BodyTrack(
        25.0, np.full((8, 17, 2), np.nan), {side: np.zeros((8, 21, 2)) for side in ("left", "right")}
    )
    found = module._places([nowhere], [nowhere])
    assert np.isnan([found["wrists, % of width"], found["wrists, 90th percentile"]]).all()
    assert found["fingertips, % of width"] == 0


def test_new_people_are_read_as_their_truth_says(tmp_path):
    clips = filmed.shards(tmp_path, (0, 1, 2))
    found = agreement([clips[i] for i in range(3)])
    assert found["clips"] == 3
    assert found["points, % of width"] < 1.5
    assert found["wrists, % of width"] < 3
    assert found["aperture"] > 0.7
    assert found["mouth and phones"] > found["mouth and phones, shuffled"] + 0.4
    assert found["seen"] > 0.9
    assert found["yaw, degrees"] < 3
