"""Controls become motion in metres, and light in the mouth."""

import numpy as np
import pytest

from vivavoce.splat.animate import motion_of, mouth_light
from vivavoce.splat.layers import KINDS


def test_motion_is_the_rigs_taken_into_space(avatar, pose):
    controls = pose(open=np.array([0.0, 0.5, 1.0]), head_yaw=np.array([0.0, 0.1, 0.2]))
    motion = motion_of(avatar, controls, 30.0)
    assert motion.fps == 30.0
    assert motion.transforms.shape == (3, len(avatar.particles), 3, 4)
    canvas = avatar.rig.transforms(controls).astype(np.float64)
    np.testing.assert_allclose(motion.transforms[..., :3], canvas[..., :3], atol=1e-6)
    # A particle's displacement in pixels at its own depth is its displacement on the canvas, in x and y.
    rest = avatar.rest.astype(np.float64)
    at = avatar.lift.points(rest)
    shift = np.einsum("tmab,mb->tma", motion.transforms[..., :3].astype(np.float64), at)
    shift += motion.transforms[..., 3] - at
    pixels = shift * (avatar.lift.camera.focal / at[:, 2])[:, None]
    drawn = np.einsum("tmab,mb->tma", canvas[..., :3], rest) + canvas[..., 3] - rest
    np.testing.assert_allclose(pixels, drawn, atol=5e-3)


def test_no_frames_make_no_motion(avatar, pose):
    motion = motion_of(avatar, pose()[:0], 25.0)
    assert len(motion.transforms) == len(motion.gains) == 0


def test_only_what_lies_behind_the_lips_is_shaded(avatar, pose):
    gains = motion_of(avatar, pose(open=np.linspace(0, 1, 5)), 25.0).gains
    inside = [KINDS.index(kind) for kind in ("upper_teeth", "lower_teeth", "tongue", "cavity")]
    outside = [k for k in range(len(KINDS)) if k not in inside]
    np.testing.assert_array_equal(gains[:, outside], 1)
    assert (gains[0, inside] < 0.8).all()
    assert (gains[:, inside] == gains[:, inside[:1]]).all()


def test_a_wider_opening_lets_more_light_in_and_rounding_less(pose):
    opened = mouth_light(pose(open=np.linspace(0, 1, 11)))
    assert (np.diff(opened, axis=0) >= 0).all()
    np.testing.assert_allclose(opened[-1], 1, atol=1e-6)
    rounded = mouth_light(pose(open=np.full(11, 0.4), round=np.linspace(0, 1, 11)))
    assert (np.diff(rounded, axis=0) < 0).all()
    assert opened.min() > 0.2


def test_the_first_colour_to_go_is_blue(pose):
    for light in mouth_light(pose(open=np.array([0.0, 0.1, 0.2]))):
        assert light[0] > light[1] > light[2]


def test_tracks_with_other_channels_are_refused(avatar):
    with pytest.raises(AssertionError):
        motion_of(avatar, np.zeros((2, 3), np.float32), 25.0)
