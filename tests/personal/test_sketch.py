"""Sketches against the mean map of the Gaussians that each stands for, in float64, and against the avatar's frames."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from likeness import HEIGHT, WIDTH, acting, controls, likeness, shot
from vivavoce.personal.sketch import Sketch

SMALL = WIDTH // 2, HEIGHT // 2


@pytest.fixture(scope="module")
def sketch():
    return Sketch.of(likeness(), *SMALL)


@pytest.fixture(scope="module")
def lively():
    t = np.linspace(0, 1, 3)
    return acting(controls(open=t, jaw=t, head_yaw=0.15 * t, torso_roll=0.05 * t))[0]


def members(sketch, n):
    """The avatar's Gaussians that the sketch's n-th stands for, by brute force."""
    avatar, camera = likeness(), sketch.camera
    at = [
        camera.focal * m[:, :2] / m[:, 2:] for m in (avatar.gaussians.means, sketch.means[n : n + 1].numpy())
    ]
    pixels, own = (np.floor(p + np.array([camera.cx, camera.cy])) for p in at)
    return np.flatnonzero((pixels == own).all(1) & (avatar.kinds == int(sketch.kinds[n])))


def test_a_gaussian_is_as_large_as_all_that_it_stands_for_and_in_their_middle(sketch):
    avatar = likeness()
    assert len(sketch.means) < 0.35 * len(avatar.gaussians)
    for n in range(0, len(sketch.means), 251):
        group = members(sketch, n)
        assert 1 <= len(group) <= 12
        np.testing.assert_allclose(sketch.means[n], avatar.gaussians.means[group].mean(0), atol=1e-6)
        np.testing.assert_allclose(
            sketch.covariances[n], avatar.covariances[group].sum(0), rtol=1e-4, atol=1e-12
        )


def test_a_gaussian_moves_and_stretches_by_the_mean_weights_of_those_it_stands_for(sketch, lively):
    binding, T = likeness().binding, lively.transforms[2].astype(float)
    means, covariances = sketch.moved(torch.from_numpy(lively.transforms))
    for n in range(0, len(sketch.means), 251):
        group, x = members(sketch, n), sketch.means[n].double().numpy()
        y, J = np.zeros(3), np.zeros((3, 3))
        for g in group:
            for k, w, slope in zip(binding.indices[g], binding.weights[g], binding.gradients[g], strict=True):
                moved = T[k, :, :3] @ x + T[k, :, 3]
                y += w * moved / len(group)
                J += (w * T[k, :, :3] + np.outer(moved - x, slope)) / len(group)
        full = sketch.covariances[n].double().numpy()[[0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(3, 3)
        expected = (J @ full @ J.T)[np.triu_indices(3)]
        np.testing.assert_allclose(means[2, n], y, atol=2e-6)
        if np.linalg.norm(J) < 4:  # beyond it is held
            np.testing.assert_allclose(covariances[2, n], expected, atol=1e-4 * np.abs(expected).max())


def test_it_looks_as_the_avatar_does_from_afar(sketch, lively):
    wanted = [cv2.resize(frame, SMALL, interpolation=cv2.INTER_AREA) / 255 for frame in shot(lively)]
    found = sketch.draw(torch.from_numpy(lively.transforms), torch.from_numpy(lively.gains)).numpy()
    errors = ((found - np.stack(wanted)) ** 2).mean((1, 2, 3))
    assert (errors < 10**-2.6).all(), -10 * np.log10(errors)
    assert errors[0] < 10**-2.8
    # What moves shows far more: the frames are not near one another.
    assert ((wanted[0] - wanted[2]) ** 2).mean() > 4 * errors[2]


def test_gains_shade_their_kind_only(sketch):
    still = torch.eye(3, 4).repeat(1, len(likeness().rest), 1, 1)
    gains = torch.ones(1, 7, 3)
    lit = sketch.draw(still, gains)
    gains[:, 1] = 0  # the eyes
    dark = sketch.draw(still, gains)
    change = (lit - dark).abs().sum(-1)[0]
    assert 0 < (change > 0.02).float().mean() < 0.1
    assert dark.mean() < lit.mean()


def test_gradients_of_moving_are_those_of_finite_differences(sketch, lively):
    names = ("means", "covariances", "follow")
    precise = replace(sketch, **{name: getattr(sketch, name).double() for name in names})
    transforms = torch.from_numpy(lively.transforms[1:2].astype(float)).requires_grad_()

    def moved(transforms):
        means, covariances = precise.moved(transforms)
        return means, 1e5 * covariances  # else a step's effect would be lost beside the tolerance

    assert torch.autograd.gradcheck(moved, transforms, fast_mode=True, atol=1e-4)
