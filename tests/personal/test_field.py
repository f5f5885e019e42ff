"""The deformation field against known motion of an avatar that the project's own renderer has drawn."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from likeness import HEIGHT, WIDTH, acting, aperture, controls, degrees, likeness, shot
from vivavoce.errors import InputError, OutputError
from vivavoce.personal import field as module
from vivavoce.personal.field import Field, fit_field
from vivavoce.personal.posing import particle_motion
from vivavoce.personal.sightings import Watcher
from vivavoce.personal.tracing import FieldConfig, Tracer
from vivavoce.splat.skeleton import JOINT, JOINTS
from vivavoce.splat.topology import N_FACE

QUICK = FieldConfig(size=64, levels=((0.5, 8), (1.0, 12)), window=3)
HASTY = replace(QUICK, levels=((0.5, 2),), window=2)
HEAD = JOINT["head"]


@pytest.fixture(scope="module")
def film():
    """Six frames of known motion: the frames, the motion, and the offsets of the face."""
    t = np.arange(6)
    opened = np.array([0.0, 0.2, 0.6, 0.9, 0.4, 0.1])
    motion, face = acting(
        controls(
            **{"open": opened, "jaw": 0.8 * opened, "head_yaw": 0.2 * np.sin(t), "blink": t == 4},
            **{"head_roll": 0.08 * np.cos(t), "torso_yaw": 0.04 * t / 5, "gaze_x": 0.1},
        )
    )
    return shot(motion), motion, face


@pytest.fixture(scope="module")
def fitted(film):
    return fit_field(likeness(), film[0], 25.0, QUICK)


@pytest.fixture(scope="module")
def resting(film):
    """The field in which nothing moves, as a fit of no steps at frames without a face finds it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watcher, "__call__", lambda *_: None)
        return fit_field(likeness(), film[0], 25.0, replace(QUICK, levels=((1.0, 0),)))


def test_without_a_step_and_a_face_the_avatar_rests(resting):
    expected = np.broadcast_to(np.eye(3, 4), resting.joints.shape)
    np.testing.assert_allclose(resting.joints, expected, atol=1e-6)
    np.testing.assert_allclose(resting.face, 0, atol=1e-8)


def test_the_head_is_turned_as_it_was(film, fitted):
    _, motion, _ = film
    wanted = motion.transforms[:, HEAD, :, :3]
    away = degrees(fitted.joints[:, HEAD, :, :3], wanted)
    assert away.max() < 3
    assert away.mean() < 0.3 * degrees(np.broadcast_to(np.eye(3), wanted.shape), wanted).mean()


def test_the_mouth_opens_as_it_did(film, fitted):
    _, _, face = film
    assert np.corrcoef(aperture(fitted.face), aperture(face))[0, 1] > 0.95
    np.testing.assert_allclose(aperture(fitted.face), aperture(face), atol=0.12)


def test_the_faces_vertices_go_most_of_their_way(film, fitted):
    _, _, face = film
    missing = np.linalg.norm(fitted.face - face, axis=-1).mean()
    assert missing < 0.6 * np.linalg.norm(face, axis=-1).mean()


def test_the_avatar_comes_nearer_to_the_frames(film, fitted, resting):
    frames, _, _ = film
    assert (fitted.psnr > resting.psnr + 3).all()
    # The whole avatar, drawn at the frames' own size, and not just the sketch that was fitted.
    drawn = shot(particle_motion(likeness(), fitted.joints, fitted.face))
    still = shot(particle_motion(likeness(), resting.joints, resting.face))
    errors = [((pictures.astype(float) - frames) ** 2).mean((1, 2, 3)) for pictures in (drawn, still)]
    assert (errors[0] < 0.5 * errors[1]).all()


def test_joints_stay_rigid_and_those_out_of_sight_keep_their_parents_motion(fitted):
    R = fitted.joints[..., :3].astype(float)
    np.testing.assert_allclose(R @ R.swapaxes(-1, -2), np.broadcast_to(np.eye(3), R.shape), atol=1e-5)
    wrist, elbow = (fitted.joints[:, JOINT[f"left_{name}"], :, :3] for name in ("wrist", "elbow"))
    np.testing.assert_allclose(wrist, elbow, atol=1e-6)


def test_frames_in_which_no_face_is_found_are_fitted_by_their_colours(film, resting, monkeypatch):
    monkeypatch.setattr(Watcher, "__call__", lambda *_: None)
    frames, motion, _ = film
    found = fit_field(likeness(), frames[:3], 25.0, replace(QUICK, levels=((0.5, 32), (1.0, 4))))
    assert (found.psnr > resting.psnr[:3] + 2).all()
    assert degrees(found.joints[:, HEAD, :, :3], motion.transforms[:3, HEAD, :, :3]).mean() < 3


def test_a_window_looks_back_and_never_ahead(film):
    frames = film[0]
    whole, begun, later = (
        fit_field(likeness(), f, 25.0, HASTY) for f in (frames[:4], frames[:2], frames[2:4])
    )
    np.testing.assert_array_equal(begun.joints, whole.joints[:2])
    np.testing.assert_array_equal(begun.face, whole.face[:2])
    assert np.abs(later.face - whole.face[2:]).max() > 1e-5


def test_what_is_weighed_as_smooth_jerks_less(film):
    """Over the borders of windows too."""

    def jerks(weight):
        config = replace(HASTY, levels=((0.5, 12),), weights=replace(HASTY.weights, smooth=weight))
        return np.abs(np.diff(fit_field(likeness(), film[0][:4], 25.0, config).face, n=2, axis=0)).mean()

    assert jerks(1.0) < 0.6 * jerks(0.0)


@pytest.fixture
def windows(monkeypatch):
    """How many frames each window that is fitted has."""
    counts, fit = [], Tracer.fit

    def counted(self, frames, before):
        counts.append(len(frames))
        return fit(self, frames, before)

    monkeypatch.setattr(Tracer, "fit", counted)
    return counts


def test_a_fit_that_was_stopped_goes_on_and_finds_the_same(film, tmp_path, windows, monkeypatch):
    frames, folder = film[0][:5], tmp_path / "windows"
    whole = fit_field(likeness(), frames, 25.0, HASTY)
    assert windows == [2, 2, 1]
    write, written = module._write, []

    def stopped(path, *rest):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, *rest)

    monkeypatch.setattr(module, "_write", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit_field(likeness(), frames, 25.0, HASTY, folder=folder)
    monkeypatch.setattr(module, "_write", write)
    del windows[:]
    found = fit_field(likeness(), frames, 25.0, HASTY, folder=folder)
    assert windows == [1]
    for name in ("joints", "face", "psnr"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    fit_field(likeness(), frames, 25.0, HASTY, folder=folder)
    assert windows == [1]


def test_windows_of_other_frames_or_settings_and_damaged_ones_are_not_taken(film, tmp_path, windows):
    frames = film[0][:2]
    fit_field(likeness(), frames, 25.0, HASTY, folder=tmp_path)
    fit_field(likeness(), frames[::-1].copy(), 25.0, HASTY, folder=tmp_path)
    fit_field(likeness(), frames, 30.0, HASTY, folder=tmp_path)
    fit_field(likeness(), frames, 25.0, replace(HASTY, rate=0.01), folder=tmp_path)
    assert windows == [2] * 4
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:100])
    fit_field(likeness(), frames, 25.0, HASTY, folder=tmp_path)
    assert windows == [2] * 5


def test_what_cannot_be_fitted_is_refused_in_a_sentence(film, tmp_path):
    frames = film[0][:1]
    with pytest.raises(InputError, match=f"64x108 pixels have another aspect ratio.*{WIDTH}x{HEIGHT}"):
        fit_field(likeness(), np.ascontiguousarray(frames[:, :, :64]), 25.0)
    with pytest.raises(InputError, match="no frames"):
        fit_field(likeness(), frames[:0], 25.0)
    for fps in (float("nan"), float("inf"), 0.0, -25.0):
        with pytest.raises(InputError, match=f"cannot have {fps} frames a second"):
            fit_field(likeness(), frames, fps)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        fit_field(likeness(), frames, 25.0, HASTY, folder=tmp_path / "file")


def test_a_field_is_read_as_it_was_written(fitted, tmp_path):
    fitted.save(tmp_path / "field.safetensors")
    found = Field.load(tmp_path / "field.safetensors")
    assert found.fps == 25.0
    assert found.joints.shape == (6, len(JOINTS), 3, 4)
    assert found.face.shape == (6, N_FACE, 3)
    for name in ("joints", "face", "psnr"):
        np.testing.assert_array_equal(getattr(found, name), getattr(fitted, name))


def test_a_file_that_holds_no_field_is_refused_in_a_sentence(fitted, tmp_path):
    path = tmp_path / "field.safetensors"
    with pytest.raises(InputError, match="holds no deformation field"):
        Field.load(path)
    save_file({"joints": fitted.joints}, path)
    with pytest.raises(InputError, match="holds no deformation field"):
        Field.load(path)
    replace(fitted, face=np.full_like(fitted.face, np.nan)).save(path)
    assert np.isnan(load_file(path)["face"]).all()
    with pytest.raises(InputError, match="not finite"):
        Field.load(path)
