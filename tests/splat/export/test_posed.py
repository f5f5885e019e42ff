"""A frame as Gaussians that stand by themselves is the frame that the deformer makes."""

import dataclasses

import numpy as np
import pytest

from vivavoce.splat.animate import motion_of
from vivavoce.splat.export.posed import posed, within_photo
from vivavoce.splat.layers import KINDS
from vivavoce.splat.lift import Lift
from vivavoce.splat.ply import read_ply, write_ply
from vivavoce.types import Camera


@pytest.fixture(scope="module")
def speaking(avatar, pose):
    return motion_of(
        avatar, pose(open=1.0, jaw=0.8, round=0.3, head_yaw=0.15, head_roll=-0.1, blink=0.5), 25.0
    )


def jacobians(avatar, transforms) -> np.ndarray:
    """dy/dx of every Gaussian by its definition, in float64."""
    R, t = transforms[..., :3].astype(np.float64), transforms[..., 3].astype(np.float64)
    x = avatar.gaussians.means.astype(np.float64)
    ids, w = avatar.binding.indices, avatar.binding.weights.astype(np.float64)
    moved = np.einsum("nkab,nb->nka", R[ids], x) + t[ids] - x[:, None]
    J = np.einsum("nk,nkab->nab", w, R[ids])
    J += np.einsum("nka,nkb->nab", moved, avatar.binding.gradients.astype(np.float64))
    size = np.linalg.norm(J, axis=(1, 2))
    return J * np.minimum(1, 4 / size)[:, None, None]


def matrices(quats) -> np.ndarray:
    """Rotations (w, x, y, z) as matrices: the columns are v + 2 w (u x v) + 2 u x (u x v)."""
    w, u = quats[:, 0].astype(np.float64), quats[:, 1:].astype(np.float64)
    columns = [
        v + 2 * w[:, None] * np.cross(u, v) + 2 * np.cross(u, np.cross(u, v)) for v in np.eye(3)[:, None]
    ]
    return np.stack(columns, -1)


def full(covariances) -> np.ndarray:
    return covariances.astype(np.float64)[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)


def test_rotations_and_scales_make_the_deformed_covariance(avatar, speaking):
    frame = posed(avatar, speaking.transforms[0], speaking.gains[0])
    J = jacobians(avatar, speaking.transforms[0])
    wanted = J @ full(avatar.covariances) @ J.transpose(0, 2, 1)
    R, s = matrices(frame.quats), frame.scales.astype(np.float64)
    made = R * (s**2)[:, None] @ R.transpose(0, 2, 1)
    size = np.linalg.norm(wanted, axis=(1, 2))
    assert (np.linalg.norm(made - wanted, axis=(1, 2)) / size).max() < 1e-3
    assert np.median(np.linalg.norm(made - wanted, axis=(1, 2)) / size) < 1e-5
    np.testing.assert_allclose(np.linalg.norm(frame.quats, axis=1), 1, atol=1e-6)
    assert (frame.scales >= 0).all()


def test_some_skin_is_stretched(avatar, speaking):
    """Else the test above would pass without the gradients of the weights."""
    stretch = np.linalg.svd(jacobians(avatar, speaking.transforms[0]), compute_uv=False)[:, 0]
    assert (stretch > 1.3).sum() > 100


def test_only_shaded_kinds_change_their_colour(avatar, speaking):
    frame = posed(avatar, speaking.transforms[0], speaking.gains[0])
    dark = KINDS.index("cavity")
    gains = speaking.gains[0, dark]
    assert gains.max() < 0.99
    these = avatar.kinds == dark
    np.testing.assert_allclose(frame.colors[these], avatar.gaussians.colors[these] * gains, rtol=1e-6)
    skin = avatar.kinds == KINDS.index("skin")
    np.testing.assert_array_equal(frame.colors[skin], avatar.gaussians.colors[skin])


def test_a_frame_goes_through_a_ply(avatar, speaking, tmp_path):
    frame = posed(avatar, speaking.transforms[0], speaking.gains[0])
    write_ply(tmp_path / "a.ply", frame)
    read = read_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(read.means, frame.means)
    np.testing.assert_allclose(read.scales, frame.scales, rtol=1e-5)
    np.testing.assert_allclose(read.colors, frame.colors, atol=1e-6)


def test_what_mirrors_the_photo_beyond_its_edge_is_left_out(avatar):
    cut, camera = within_photo(avatar), avatar.lift.camera

    def pixels(a) -> np.ndarray:
        return a.gaussians.means[:, :2] / a.gaussians.means[:, 2:] * camera.focal + [camera.cx, camera.cy]

    seen, all_seen = pixels(cut), pixels(avatar)
    size = [camera.width, camera.height]
    assert ((seen > -1e-3) & (seen < np.add(size, 1e-3))).all()
    inside = ((all_seen > 1e-3) & (all_seen < np.subtract(size, 1e-3))).all(1)
    assert inside.sum() <= len(cut.gaussians) < len(avatar.gaussians)
    assert (np.diff(cut.kinds) >= 0).all()
    for name in ("indices", "weights", "gradients"):
        assert len(getattr(cut.binding, name)) == len(cut.gaussians)


def test_a_body_that_goes_on_beyond_the_photo_is_kept(avatar):
    """A reconstruction from a photo of the head has legs: nothing is its mirror image where there is no pad."""
    camera = dataclasses.replace(avatar.lift.camera, width=200, height=200, cx=100.0, cy=100.0)
    assert isinstance(camera, Camera)
    whole = dataclasses.replace(avatar, lift=Lift(camera, 0, avatar.lift.metre))
    assert len(within_photo(whole).gaussians) == len(avatar.gaussians)
