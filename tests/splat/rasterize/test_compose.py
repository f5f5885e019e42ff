"""From float pictures to bytes."""

from __future__ import annotations

import numpy as np

from vivavoce.splat.rasterize.compose import compose, compose_transparent


def picture(seed=0, height=5, width=7):
    rng = np.random.default_rng(seed)
    alpha = rng.uniform(0, 1, (height, width)).astype(np.float32)
    alpha[0, :3] = [0, 1, 1 / 255]
    color = rng.uniform(0, 1, (height, width, 3)).astype(np.float32)
    return color, alpha, rng.uniform(0, 1, (height, width, 3)).astype(np.float32)


def test_over_a_background_to_the_nearest_byte():
    color, alpha, background = picture()
    out = np.zeros(color.shape, np.uint8)
    compose(alpha[..., None] * color, 1 - alpha, background, out)
    over = 255 * (alpha[..., None] * color + (1 - alpha[..., None]) * background)
    assert np.abs(out - over).max() <= 0.5 + 1e-3


def test_what_overshoots_is_clipped():
    rgb = np.array([[[-0.5, 1.5, 1.0]]], np.float32)
    out = np.zeros((1, 1, 3), np.uint8)
    compose(rgb, np.zeros((1, 1), np.float32), np.zeros((1, 1, 3), np.float32), out)
    assert out.tolist() == [[[0, 255, 255]]]


def test_transparent_pixels_are_straight():
    color, alpha, _ = picture()
    out = np.zeros((*alpha.shape, 4), np.uint8)
    compose_transparent(alpha[..., None] * color, 1 - alpha, out)
    assert np.abs(out[..., 3] - 255 * alpha).max() <= 0.5 + 1e-3
    assert out[0, 0].tolist() == [0, 0, 0, 0]
    assert np.abs(out[..., :3] - 255 * color)[alpha > 0].max() <= 0.5 + 1e-2
