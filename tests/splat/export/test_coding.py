"""Motion that was made small is the motion that it was, to a twentieth of a millimetre."""

import warnings

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vivavoce.splat.export import coding
from vivavoce.splat.export.coding import LEVER, SHADE, TOLERANCE, CodedMotion, code_motion
from vivavoce.types import Motion

REST = np.random.default_rng(0).uniform(-0.3, 0.3, (12, 3)).astype(np.float32)


def motion(rotvecs: np.ndarray, shifts: np.ndarray, gains: np.ndarray | None = None) -> Motion:
    """Particles that turn by rotvecs (T, M, 3) about their rest positions and are shifted by (T, M, 3)."""
    frames, count = rotvecs.shape[:2]
    R = Rotation.from_rotvec(rotvecs.reshape(-1, 3)).as_matrix().reshape(frames, count, 3, 3)
    t = REST[:count] + shifts - np.einsum("tmab,mb->tma", R, REST[:count])
    if gains is None:
        gains = np.ones((frames, 7, 3))
    return Motion(25.0, np.concatenate([R, t[..., None]], -1).astype(np.float32), gains.astype(np.float32))


def lively(frames: int, particles: int = 12, seed: int = 1) -> Motion:
    """Sums of slow waves, a few of which all particles share."""
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(frames)[:, None] * rng.uniform(0.05, 0.6, 6) + rng.uniform(0, 6, 6))
    gains = 0.75 + 0.25 * waves[:, :1, None] * np.ones((1, 7, 3))
    turns = np.einsum("tw,wmc->tmc", waves, 0.1 * rng.normal(size=(6, particles, 3)))
    return motion(turns, np.einsum("tw,wmc->tmc", waves, 0.01 * rng.normal(size=(6, particles, 3))), gains)


def restored(coded: CodedMotion, particles: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where rest positions go, rotations, and gains, by the formula in float64."""
    x = coded.mean + np.einsum(
        "k,kt,kd->td",
        coded.steps.astype(np.float64),
        coded.strengths.astype(np.float64),
        coded.shapes.astype(np.float64),
    )
    parts = x[:, : 7 * particles].reshape(len(x), particles, 7)
    R = Rotation.from_quat(parts[..., 3:].reshape(-1, 4)).as_matrix().reshape(len(x), particles, 3, 3)
    return REST[:particles] + parts[..., :3], R, x[:, 7 * particles :].reshape(len(x), -1, 3) / SHADE


def check(coded: CodedMotion, wanted: Motion) -> None:
    particles = wanted.transforms.shape[1]
    places, R, gains = restored(coded, particles)
    T = wanted.transforms.astype(np.float64)
    truth = np.einsum("tmab,mb->tma", T[..., :3], REST[:particles]) + T[..., 3]
    assert np.abs(places - truth).max() <= TOLERANCE + 1e-6
    apart = Rotation.from_matrix((R @ T[..., :3].swapaxes(-1, -2)).reshape(-1, 3, 3)).magnitude()
    assert apart.max() <= 4 * TOLERANCE / LEVER  # half an angle is a component; four of them may be off
    assert np.abs(gains - wanted.gains).max() <= TOLERANCE / SHADE + 1e-6


@pytest.mark.parametrize("frames", [1, 2, 50, 400])
def test_what_is_coded_is_within_the_tolerance(frames):
    wanted = lively(frames)
    check(code_motion(wanted, REST), wanted)


def test_movements_that_particles_share_are_told_once():
    wanted = lively(400)
    coded = code_motion(wanted, REST)
    assert len(coded.steps) < 60  # of 400: rotations are nearly linear in the six waves
    assert coded.strengths.shape == (len(coded.steps), 400)


def test_what_does_not_move_needs_no_shapes():
    still = motion(np.zeros((10, 3, 3)), np.zeros((10, 3, 3)))
    coded = code_motion(still, REST[:3])
    assert coded.shapes.shape == (0, 7 * 3 + 21)
    check(coded, still)


def test_a_particle_may_turn_all_the_way_round():
    """A quaternion and its negative are one rotation: between frames the sign is that of the nearer one."""
    turns = np.zeros((100, 1, 3))
    turns[:, 0, 2] = np.linspace(0, 4 * np.pi, 100)
    wanted = motion(turns, np.zeros((100, 1, 3)))
    coded = code_motion(wanted, REST[:1])
    check(coded, wanted)
    assert len(coded.steps) <= 8


def test_noise_is_told_frame_by_frame():
    rng = np.random.default_rng(3)
    wanted = motion(rng.normal(size=(20, 2, 3)), rng.normal(size=(20, 2, 3)))
    coded = code_motion(wanted, REST[:2])
    check(coded, wanted)
    assert len(coded.steps) >= 12


def test_motion_that_is_too_rich_is_told(monkeypatch):
    rng = np.random.default_rng(3)
    monkeypatch.setattr(coding, "MOST", 2)
    with pytest.warns(UserWarning, match=r"2 shapes .* off by up to [\d.]+ mm"):
        code_motion(motion(rng.normal(size=(20, 2, 3)), rng.normal(size=(20, 2, 3))), REST[:2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code_motion(motion(np.zeros((5, 1, 3)), np.zeros((5, 1, 3))), REST[:1])
