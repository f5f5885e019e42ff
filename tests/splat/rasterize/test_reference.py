"""The torch twin against closed forms, a dense float64 rendering of its own, and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vivavoce.splat.rasterize.reference import rasterize_reference
from vivavoce.types import Camera


def draw(means, covariances, opacities, colors, camera, **options):
    tensors = (torch.tensor(a, dtype=torch.float64) for a in (means, covariances, opacities, colors))
    return tuple(t.numpy() for t in rasterize_reference(*tensors, camera, **options))


def isotropic(*sigmas):
    return [[s * s, 0, 0, s * s, 0, s * s] for s in sigmas]


def test_one_gaussian_on_the_axis_has_the_closed_form_at_every_pixel():
    camera = Camera(9, 7, 50.0, 4.5, 3.5)
    image, alpha, depth = draw([[0, 0, 2]], isotropic(0.05), [0.8], [[1, 0.5, 0.25]], camera)
    variance = (50 * 0.05 / 2) ** 2 + 0.3
    for row in range(7):
        for column in range(9):
            value = 0.8 * math.exp(-((column - 4) ** 2 + (row - 3) ** 2) / (2 * variance))
            value = value if value >= 1 / 255 else 0.0
            assert alpha[row, column] == pytest.approx(value, abs=1e-12)
            assert image[row, column] == pytest.approx([value, value / 2, value / 4], abs=1e-12)
            assert depth[row, column] == pytest.approx(2 if value else 0)
    assert (alpha == 0).any()
    assert (alpha > 0).any()


def test_two_overlapping_gaussians_are_composited_front_to_back():
    camera = Camera(1, 1, 10.0, 0.5, 0.5)
    background = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    red, green = [1, 0, 0], [0, 1, 0]
    # the far one comes first in the arrays
    image, alpha, depth = draw(
        [[0, 0, 3], [0, 0, 1]], isotropic(1, 1), [0.5, 0.6], [green, red], camera, background=background
    )
    assert image[0, 0] == pytest.approx([0.6 + 0.2 * 0.1, 0.4 * 0.5 + 0.2 * 0.2, 0.2 * 0.3])
    assert alpha[0, 0] == pytest.approx(0.8)
    assert depth[0, 0] == pytest.approx((0.6 * 1 + 0.2 * 3) / 0.8)


def test_at_equal_depth_the_first_is_in_front():
    camera = Camera(1, 1, 10.0, 0.5, 0.5)
    image, _, _ = draw([[0, 0, 1]] * 2, isotropic(1, 1), [0.9, 0.9], [[1, 0, 0], [0, 1, 0]], camera)
    assert image[0, 0] == pytest.approx([0.9, 0.09, 0])


def test_alpha_is_held_below_one():
    _, alpha, _ = draw([[0, 0, 1]], isotropic(1), [1.0], [[1, 1, 1]], Camera(1, 1, 10.0, 0.5, 0.5))
    assert alpha[0, 0] == pytest.approx(0.99)


@pytest.mark.parametrize("z", [-1.0, 0.0, 0.0099])
def test_nothing_nearer_than_the_near_plane_is_drawn(z):
    background = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    camera = Camera(3, 2, 10.0, 1.5, 1.0)
    image, alpha, depth = draw([[0, 0, z]], isotropic(1), [0.9], [[1, 1, 1]], camera, background=background)
    assert image == pytest.approx(np.broadcast_to([0.1, 0.2, 0.3], (2, 3, 3)))
    assert (alpha == 0).all()
    assert (depth == 0).all()


def test_no_gaussians_leave_the_background():
    empty = torch.zeros(0, dtype=torch.float64)
    image, alpha, _ = rasterize_reference(
        empty.reshape(0, 3), empty.reshape(0, 6), empty, empty.reshape(0, 3), Camera(20, 3, 10.0, 10.0, 1.5)
    )
    assert image.shape == (3, 20, 3)
    assert not image.any()
    assert not alpha.any()


def dense(scene):
    """The picture by the rules, all pixels at once, with the Jacobian taken by central differences."""
    camera = scene.camera
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5

    def to_pixel(point):
        return np.array([camera.cx, camera.cy]) + camera.focal * point[:2] / point[2]

    image, light = np.zeros((camera.height, camera.width, 3)), np.ones((camera.height, camera.width))
    means, covariances, opacities, colors = (a.astype(np.float64) for a in scene.gaussians)
    for i in np.argsort(means[:, 2], kind="stable"):
        if means[i, 2] < 0.01:
            continue
        xx, xy, xz, yy, yz, zz = covariances[i]
        covariance = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        steps = 1e-6 * np.eye(3)
        jacobian = np.stack([(to_pixel(means[i] + s) - to_pixel(means[i] - s)) / 2e-6 for s in steps], 1)
        precision = np.linalg.inv(jacobian @ covariance @ jacobian.T + 0.3 * np.eye(2))
        offset = np.stack([x, y], -1) - to_pixel(means[i])
        alpha = opacities[i] * np.exp(-0.5 * np.einsum("hwi,ij,hwj->hw", offset, precision, offset))
        alpha = np.where(alpha < 1 / 255, 0, np.minimum(alpha, 0.99))
        image += (alpha * light)[..., None] * colors[i]
        light = light * (1 - alpha)
    return image + light[..., None] * scene.background


def test_a_cloud_matches_the_dense_rendering(cloud):
    """Off the axis, anisotropic, over several tiles; no mean lies so far out that its Jacobian is held."""
    image, _, _ = draw(*cloud.gaussians, cloud.camera, background=torch.from_numpy(cloud.background).double())
    assert np.abs(image - dense(cloud)).max() < 1e-5


def test_jacobian_is_held_far_outside_of_the_picture():
    """A Gaussian at 80 degrees is as wide on the picture as one at the greatest allowed x / z."""
    camera = Camera(10, 10, 10.0, 5.0, 5.0)
    x = math.tan(math.radians(80))
    covariance = [[0, 0, 0, 0, 0, 40.0]]
    _, alpha, _ = draw([[x, 0, 1]], covariance, [0.9], [[1, 1, 1]], camera)
    slope = (10 - 5 + 0.3 * 5) / 10
    variance = (10 * slope) ** 2 * 40 + 0.3
    expected = 0.9 * math.exp(-((9.5 - (10 * x + 5)) ** 2) / (2 * variance)) * math.exp(-0.25 / (2 * 0.3))
    assert alpha[4, 9] == pytest.approx(expected, rel=1e-9)
    assert expected > 0.2


def test_gradients_match_finite_differences():
    """All alphas lie well between cut-off and clamp, where the picture is smooth."""
    generator = torch.Generator().manual_seed(0)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    camera = Camera(4, 3, 20.0, 2.2, 1.4)
    root = uniform(-0.05, 0.05, 5, 3, 3) + 0.3 * torch.eye(3, dtype=torch.float64)
    rows, columns = torch.triu_indices(3, 3)
    inputs = [
        torch.cat([uniform(-0.1, 0.1, 5, 2), uniform(0.8, 1.5, 5, 1)], 1),
        (root @ root.transpose(1, 2))[:, rows, columns],
        uniform(0.2, 0.8, 5),
        uniform(0, 1, 5, 3),
        uniform(0, 1, 3, 4, 3),
    ]

    def picture(means, covariances, opacities, colors, background):
        return rasterize_reference(means, covariances, opacities, colors, camera, background=background)

    assert torch.autograd.gradcheck(picture, [t.requires_grad_() for t in inputs], atol=1e-6, rtol=1e-5)
