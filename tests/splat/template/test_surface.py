"""Patches of surface against the equations of what they cover."""

from itertools import pairwise

import numpy as np
import pytest

from vivavoce.splat.template.surface import COVER, ellipsoid, gradient_of, joined, tube

X = np.array([1.0, 0.0, 0.0])
DOWN = np.array([[0.0, 0.0, 0.0], [0.0, 100.0, 0.0]])


def nearest(points):
    far = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(len(points))
    return far.min(1)


def test_an_elliptic_tube_lies_on_its_ellipse_and_looks_outwards():
    patch = tube(DOWN, np.array([[30.0, 20.0], [30.0, 20.0]]), X, 5.0)
    x, _, z = patch.points.T
    assert np.allclose((x / 30) ** 2 + (z / 20) ** 2, 1, atol=2e-3)
    outwards = np.stack([x / 30**2, 0 * x, z / 20**2], 1)
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    assert (patch.normals * outwards).sum(1).min() > 0.999


def test_the_points_of_a_tube_are_evenly_spaced():
    for squareness in (2.0, 3.0):
        patch = tube(DOWN, np.array([[40.0, 25.0], [40.0, 25.0]]), X, 5.0, squareness=squareness)
        far = nearest(patch.points)
        assert far.min() > 3.5
        assert far.max() < 6.0
        assert np.allclose(patch.sigmas, COVER * 5.0)


def test_a_superellipse_is_squarer():
    patch = tube(DOWN, np.array([[40.0, 40.0], [40.0, 40.0]]), X, 4.0, squareness=4.0)
    x, _, z = patch.points.T
    assert np.allclose((x / 40) ** 4 + (z / 40) ** 4, 1, atol=0.02)


def test_the_normals_of_a_cone_lean_with_its_slope():
    patch = tube(DOWN, np.array([[30.0, 30.0], [20.0, 20.0]]), X, 5.0)
    # A cone that narrows by 10 mm over 100 downwards looks down by atan(0.1).
    assert np.allclose(patch.normals[:, 1], np.sin(np.arctan(0.1)), atol=2e-3)


def test_a_tube_follows_a_bent_axis():
    axis = np.array([[0.0, 0, 0], [0, 50, 0], [50, 100, 0]])
    patch = tube(axis, np.full((3, 2), 5.0), np.array([0.0, 0.0, 1.0]), 3.0)
    to_axis = [
        min(
            np.linalg.norm(p - (a + np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1) * (b - a)))
            for a, b in pairwise(axis)
        )
        for p in patch.points
    ]
    assert max(to_axis) < 5.01
    assert np.median(to_axis) == pytest.approx(5.0, abs=0.05)


def test_an_ellipsoid_lies_on_its_equation_and_has_a_point_for_each_share_of_its_area():
    radii = np.array([30.0, 50.0, 20.0])
    patch = ellipsoid(np.array([1.0, 2.0, 3.0]), radii, 4.0)
    unit = (patch.points - [1, 2, 3]) / radii
    assert np.allclose((unit**2).sum(1), 1)
    gradient = unit / radii
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    assert np.allclose(patch.normals, gradient)
    # The area by brute force over latitude and longitude.
    v, u = np.meshgrid(np.linspace(0, np.pi, 801), np.linspace(0, 2 * np.pi, 801), indexing="ij")
    surface = np.stack([np.sin(v) * np.cos(u), np.cos(v), np.sin(v) * np.sin(u)], -1) * radii
    du, dv = np.diff(surface, axis=1)[:-1], np.diff(surface, axis=0)[:, :-1]
    area = np.linalg.norm(np.cross(du, dv), axis=-1).sum()
    assert len(patch) * 16 == pytest.approx(area, rel=0.02)


def test_parts_are_kept_colored_and_joined():
    ball = ellipsoid(np.zeros(3), np.full(3, 10.0), 2.0)
    half = ball.kept(ball.points[:, 2] < 0).colored(np.array([1.0, 0.0, 0.0]))
    both = joined([half, ball])
    assert len(both) == len(half) + len(ball)
    assert (half.points[:, 2] < 0).all()
    assert (both.colors[: len(half)] == (1, 0, 0)).all()
    assert (both.colors[len(half) :] == 0).all()


def test_the_gradient_of_weights_is_that_of_a_known_function():
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))

    def weights(p):
        return np.stack([p[:, 0] ** 2, p[:, 1] * p[:, 2]], 1)

    found = gradient_of(weights, points)
    x, y, z = points.T
    zero = 0 * x
    assert np.allclose(found[:, 0], np.stack([2 * x, zero, zero], 1))
    assert np.allclose(found[:, 1], np.stack([zero, z, y], 1))
