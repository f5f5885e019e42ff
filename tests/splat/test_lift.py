"""From the canvas into space, checked by a pinhole camera and by the EWA projection of covariances."""

import numpy as np
import pytest

from vivavoce.splat.layers import KINDS, Layer
from vivavoce.splat.lift import THICKNESS, Lift, lift_layers, make_lift
from vivavoce.splat.skeleton import rotation
from vivavoce.types import Binding, Camera

PAD = 24


@pytest.fixture(scope="module")
def lift() -> Lift:
    return make_lift(640, 480, PAD, 1.7)


def project(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Pixels of the unpadded picture."""
    return camera.focal * points[:, :2] / points[:, 2:] + [camera.cx, camera.cy]


def projected_covariances(covariances: np.ndarray, means: np.ndarray, camera: Camera) -> np.ndarray:
    """J S J^T, J the derivative of the projection at the mean (Zwicker et al. 2002)."""
    S = covariances[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3).astype(np.float64)
    x, y, z = means.astype(np.float64).T
    J = np.zeros((len(means), 2, 3))
    J[:, 0, 0] = J[:, 1, 1] = camera.focal / z
    J[:, 0, 2], J[:, 1, 2] = -camera.focal * x / z**2, -camera.focal * y / z**2
    return J @ S @ J.swapaxes(1, 2)


def layer(rng: np.random.Generator, kind: str, count: int, slope: float, near: float = 0.0) -> Layer:
    """Gaussians all over the canvas, or only within `near` pixels of its middle."""
    spread = np.array([near or 320, near or 240])
    xy = np.array([320, 240]) + PAD + rng.uniform(-1, 1, (count, 2)) * spread
    gradients = rng.normal(0, 0.1, (count, 2, 3))
    gradients[..., 2] = 0
    return Layer(
        kind,
        np.c_[xy, rng.normal(0, 40, count)].astype(np.float32),
        rng.uniform(0.5, 3, count).astype(np.float32),
        rng.random((count, 3), np.float32),
        rng.random(count, np.float32),
        Binding(
            np.tile(np.array([[3, 5]], np.int32), (count, 1)),
            np.full((count, 2), 0.5, np.float32),
            gradients.astype(np.float32),
        ),
        rng.uniform(-slope, slope, (count, 2)).astype(np.float32),
    )


def test_points_project_back_to_their_pixels(lift):
    canvas = np.random.default_rng(0).uniform([0, 0, -200], [688, 528, 200], (500, 3))
    space = lift.points(canvas)
    np.testing.assert_allclose(project(space, lift.camera), canvas[:, :2] - PAD, atol=1e-9)
    assert (np.argsort(space[:, 2]) == np.argsort(canvas[:, 2])).all()


def test_a_millimetre_is_a_millimetre_at_the_face(lift):
    one, other = lift.points(np.array([[100.0, 100.0, 0.0], [101.7, 100.0, 0.0]]))
    assert np.linalg.norm(other - one) == pytest.approx(1e-3)
    behind = lift.points(np.array([[PAD + 320.0, PAD + 240.0, 1.7]]))[0]
    np.testing.assert_allclose(behind, [0, 0, lift.distance + 1e-3], atol=1e-12)
    assert 0.3 < lift.distance < 3  # a head of 23 cm that fills a third to all of a picture


def test_gaussians_look_round_and_as_wide_as_drawn(lift):
    """Near the optical axis perspective tilts nothing: the screen sees s^2 I, and thickness adds little."""
    made = layer(np.random.default_rng(1), "skin", 200, slope=0.0, near=20)
    lifted = lift_layers([made], lift)
    seen = projected_covariances(lifted.covariances, lifted.means, lift.camera)
    wanted = made.sigmas[np.argsort(made.points[:, 2], kind="stable")] ** 2
    np.testing.assert_allclose(
        seen / wanted[:, None, None], np.broadcast_to(np.eye(2), seen.shape), atol=1e-3
    )


def test_slanted_gaussians_still_look_round(lift):
    made = layer(np.random.default_rng(2), "skin", 300, slope=1.5, near=60)
    lifted = lift_layers([made], lift)
    order = np.argsort(made.points[:, 2], kind="stable")
    seen = projected_covariances(lifted.covariances, lifted.means, lift.camera)
    ratio = seen / (made.sigmas[order] ** 2)[:, None, None]
    # Thickness shows at the slanted side, and perspective turns the surface by up to 4 degrees.
    np.testing.assert_allclose(ratio, np.broadcast_to(np.eye(2), seen.shape), atol=THICKNESS**2 + 0.25)
    assert np.median(np.abs(ratio - np.eye(2))) < 0.05


def test_gaussians_lie_flat_in_the_surface(lift):
    made = layer(np.random.default_rng(3), "skin", 100, slope=1.0)
    lifted = lift_layers([made], lift)
    slopes = made.slopes[np.argsort(made.points[:, 2], kind="stable")]
    S = lifted.covariances[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3).astype(np.float64)
    values, vectors = np.linalg.eigh(S)
    normal = np.c_[-slopes, np.ones(len(slopes))]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs((vectors[:, :, 0] * normal).sum(1)), 1, atol=1e-3)
    np.testing.assert_allclose(np.sqrt(values[:, 0] / values[:, 1]), THICKNESS, rtol=1e-2)


def test_gradients_in_space_are_finite_differences(lift):
    """A weight linear in canvas x and y, told in space: w(X) = a . pixel(X)."""
    rng = np.random.default_rng(4)
    points = lift.points(rng.uniform([0, 0, -100], [688, 528, 100], (100, 3)))
    slopes = rng.normal(0, 1, (100, 2, 3))
    slopes[..., 2] = 0
    gradients = lift.gradients(slopes, points)
    step = 1e-5
    for axis in range(3):
        ahead, behind = (project(points + s * step * np.eye(3)[axis], lift.camera) for s in (1, -1))
        expected = np.einsum("nkd,nd->nk", slopes[..., :2], (ahead - behind) / (2 * step))
        np.testing.assert_allclose(gradients[..., axis], expected, rtol=1e-5, atol=1e-3)


def test_turning_a_particle_about_itself_stays_that_turn(lift):
    rng = np.random.default_rng(5)
    rest = rng.uniform([0, 0, -100], [688, 528, 100], (8, 3)).astype(np.float32)
    R = rotation(*rng.uniform(-0.5, 0.5, (3, 8)))
    t = rest - np.einsum("mab,mb->ma", R, rest)
    canvas = np.concatenate([R, t[..., None]], 2)[None].astype(np.float32)
    lifted = lift.transforms(canvas, rest)[0].astype(np.float64)
    at = lift.points(rest.astype(np.float64))
    np.testing.assert_allclose(lifted[:, :, :3], R, atol=1e-6)
    moved = np.einsum("mab,mb->ma", lifted[:, :, :3], at) + lifted[:, :, 3]
    np.testing.assert_allclose(moved, at, atol=2e-6)


def test_moving_a_particle_across_the_canvas_moves_its_picture_as_far(lift):
    rng = np.random.default_rng(6)
    rest = rng.uniform([0, 0, -100], [688, 528, 100], (50, 3)).astype(np.float32)
    shift = np.c_[rng.normal(0, 10, (50, 2)), np.zeros(50)]
    canvas = np.concatenate([np.tile(np.eye(3), (50, 1, 1)), shift[..., None]], 2)[None].astype(np.float32)
    lifted = lift.transforms(canvas, rest)[0].astype(np.float64)
    at = lift.points(rest.astype(np.float64))
    moved = np.einsum("mab,mb->ma", lifted[:, :, :3], at) + lifted[:, :, 3]
    expected = project(at, lift.camera) + shift[:, :2]
    np.testing.assert_allclose(project(moved, lift.camera), expected, atol=2e-3)


def test_layers_are_joined_front_to_back_kind_by_kind(lift):
    rng = np.random.default_rng(7)
    made = [layer(rng, kind, 40, 0.5) for kind in ("backing", "skin", "eyes", "cavity", "eyes")]
    lifted = lift_layers(made, lift)
    assert len(lifted.means) == 200
    assert (np.diff(lifted.kinds) >= 0).all()
    for kind in KINDS:
        depth = lifted.means[lifted.kinds == KINDS.index(kind), 2]
        assert (np.diff(depth) >= 0).all()
    # Every Gaussian takes its colour, opacity and binding along.
    for one in made:
        where = project(lift.points(one.points.astype(np.float64)), lift.camera)
        found = project(lifted.means.astype(np.float64), lift.camera)
        at = np.argmin(np.linalg.norm(found[None] - where[:, None], axis=2), 1)
        np.testing.assert_array_equal(lifted.colors[at], one.colors)
        np.testing.assert_array_equal(lifted.opacities[at], one.opacities)
        np.testing.assert_array_equal(lifted.binding.indices[at], one.binding.indices)
