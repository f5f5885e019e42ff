"""Every operation on 16 lanes against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from vivavoce.splat.rasterize import lanes

A = np.linspace(-7.9, 1.1, 16, dtype=np.float32)
B = np.random.default_rng(0).normal(size=16).astype(np.float32)


@njit
def exp2(a, out):
    lanes.store(out, 0, lanes.exp2(lanes.load(a, 0)))


@njit
def arithmetic(a, b, out):
    x, y = lanes.load(a, 0), lanes.load(b, 0)
    lanes.store(out, 0, x + y)
    lanes.store(out, 16, x - np.float32(2))
    lanes.store(out, 32, np.float32(3) * y)
    lanes.store(out, 48, x / y)
    lanes.store(out, 64, lanes.fma(x, y, np.float32(1)))
    lanes.store(out, 80, lanes.absolute(x))
    lanes.store(out, 96, lanes.where_less(x, y, x, np.float32(5)))
    lanes.store(out, 112, lanes.spread(a, 3) + lanes.splat(np.float32(1)))


@njit
def reductions(a, b, out):
    x, y = lanes.load(a, 0), lanes.load(b, 0)
    lanes.add_totals(out, 1, x, y, x * y, np.float32(2))
    return lanes.greatest(x), lanes.bits_less(x, y)


@njit
def scalars(bits, a):
    return lanes.lowest_bit(bits), lanes.square_root(a)


@pytest.mark.parametrize("low", [-126.0, -8.0, -0.5, 100.0])
def test_exp2_has_the_stated_error(low):
    for start in np.linspace(low, low + 1, 50):
        exponents = (start + np.linspace(0, 1, 16)).astype(np.float32)
        powers = np.zeros(16, np.float32)
        exp2(exponents, powers)
        assert powers == pytest.approx(np.exp2(exponents.astype(np.float64)), rel=3e-6)


def test_arithmetic():
    out = np.zeros(128, np.float32)
    arithmetic(A, B, out)
    expected = [A + B, A - 2, 3 * B, A / B, A * B + 1, abs(A), np.where(A < B, A, 5), np.full(16, A[3] + 1)]
    assert out.reshape(8, 16) == pytest.approx(np.stack(expected), rel=1e-6, abs=1e-6)


def test_reductions():
    out = np.ones(6, np.float32)
    greatest, bits = reductions(A, B, out)
    assert greatest == A.max()
    assert bits == sum(1 << i for i in range(16) if A[i] < B[i])
    assert out == pytest.approx([1, 1 + A.sum(), 1 + B.sum(), 1 + (A * B).sum(), 33, 1], rel=1e-5)


@pytest.mark.parametrize("place", [0, 5, 63])
def test_lowest_bit_and_square_root(place):
    bit, root = scalars(np.uint64(1 << place | 1 << 63), 2.0)
    assert bit == place
    assert root == 2**0.5
