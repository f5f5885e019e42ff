"""Rigid motions: the exponential map of se(3), its inverse, composition, and unit quaternions; in any float dtype.

A twist (w, v) is a rotation vector in radians and then the translational part; a transform is [R | t] and takes x
to R x + t. Quaternions are (w, x, y, z). Everything is differentiable, at rest too, where the textbook's formulas
divide zero by zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial

import torch
from jaxtyping import Float
from torch import Tensor

_SMALL = 0.25  # rad^2, below which series replace quotients; six terms are then exact in float64
_TERMS = 6
_COTANGENT = (1 / 12, 1 / 720, 1 / 30240, 1 / 1209600, 1 / 47900160, 691 / 1307674368000)
"""Of (1 - (x / 2) cot(x / 2)) / x^2 in powers of x^2 (Bernoulli's numbers)."""


def exp(twists: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 3 4"]:
    """The rigid motion of a twist: R = exp(w^), t = V(w) v with V = integral of exp(s w^) over s in [0, 1].

    V averages rotations, so that |t| <= |v|. Any angle is allowed, beyond pi too.
    """
    w, v = twists.split(3, dim=-1)
    a, b, c = (k.unsqueeze(-1) for k in _coefficients((w * w).sum(-1)))
    W = hat(w)
    R = torch.eye(3, dtype=w.dtype, device=w.device) + a[..., None] * W + b[..., None] * (W @ W)
    turned = torch.linalg.cross(w, v)
    t = v + b * turned + c * torch.linalg.cross(w, turned)
    return torch.cat([R, t.unsqueeze(-1)], -1)


def log(transforms: Float[Tensor, "*b 3 4"]) -> Float[Tensor, "*b 6"]:
    """The twist of a rigid motion, with |w| <= pi; of the two at exactly pi, either.

    The rotation goes through its quaternion, which is as exact near pi as near 0.
    """
    w = rotation_vectors(quaternions(transforms[..., :3]))
    t = transforms[..., 3]
    s = (w * w).sum(-1, keepdim=True)
    small = s < _SMALL
    half = torch.where(small, 1.0, s).sqrt() / 2
    d = torch.where(small, _polynomial(s, _COTANGENT), (1 - half / half.tan()) / (4 * half * half))
    turned = torch.linalg.cross(w, t)
    v = t - turned / 2 + d * torch.linalg.cross(w, turned)
    return torch.cat([w, v], -1)


def compose(outer: Float[Tensor, "... 3 4"], inner: Float[Tensor, "... 3 4"]) -> Float[Tensor, "... 3 4"]:
    """The motion that does `inner` first and then `outer`."""
    R, t = outer[..., :3], outer[..., 3:]
    turned = R @ inner
    return torch.cat([turned[..., :3], turned[..., 3:] + t], -1)


def inverse(transforms: Float[Tensor, "*b 3 4"]) -> Float[Tensor, "*b 3 4"]:
    """The motion that undoes another."""
    back = transforms[..., :3].transpose(-1, -2)
    return torch.cat([back, -(back @ transforms[..., 3:])], -1)


def about(
    rotations: Float[Tensor, "*b 3 3"], centres: Float[Tensor, "... 3"], shifts: Float[Tensor, "*b 3"]
) -> Float[Tensor, "*b 3 4"]:
    """The motion that turns about a centre and then moves that centre by a shift: t = centre + shift - R centre."""
    t = centres + shifts - (rotations @ centres.unsqueeze(-1)).squeeze(-1)
    return torch.cat([rotations, t.unsqueeze(-1)], -1)


def hat(w: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The matrix w^ with w^ x = w x x."""
    x, y, z = w.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def quaternions(rotations: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Unit quaternions of rotation matrices, w >= 0."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in rotations.unbind(-2))
    x, y, z = zy - yz, xz - zx, yx - xy
    rows = [
        [1 + xx + yy + zz, x, y, z],
        [x, 1 + xx - yy - zz, xy + yx, xz + zx],
        [y, xy + yx, 1 - xx + yy - zz, yz + zy],
        [z, xz + zx, yz + zy, 1 - xx - yy + zz],
    ]
    # This is 4 q q^T; its row with the largest diagonal loses no digits, near pi either (Shepperd 1978).
    products = torch.stack([torch.stack(row, -1) for row in rows], -2)
    best = products.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = products.take_along_dim(best[..., None, None], -2).squeeze(-2)
    q = row / row.norm(dim=-1, keepdim=True)
    return torch.where(q[..., :1] < 0, -q, q)


def rotation_matrices(q: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation matrices of unit quaternions."""
    w, v = q[..., :1], q[..., 1:]
    W = hat(v)
    return torch.eye(3, dtype=q.dtype, device=q.device) + 2 * (w[..., None] * W + W @ W)


def rotation_vectors(q: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3"]:
    """Rotation vectors of unit quaternions with w >= 0; their length is the angle, at most pi."""
    w, v = q[..., :1], q[..., 1:]
    length = safe_length(v)
    return v * (2 * torch.atan2(length, w) / length)


def vector_quaternions(w: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4"]:
    """Unit quaternions of rotation vectors."""
    angle = safe_length(w)
    return torch.cat([(angle / 2).cos(), w * ((angle / 2).sin() / angle)], -1)


def safe_length(x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b 1"]:
    """The length of vectors, never quite 0, so that it may be divided by, and with the gradient 0 at 0."""
    return ((x * x).sum(-1, keepdim=True) + torch.finfo(x.dtype).tiny).sqrt()


def _coefficients(s: Float[Tensor, "*b"]) -> tuple[Float[Tensor, "*b"], ...]:
    """sin x / x, (1 - cos x) / x^2 and (x - sin x) / x^3 of s = x^2."""
    small = s < _SMALL
    x = torch.where(small, 1.0, s).sqrt()
    quotients = (x.sin() / x, 2 * ((x / 2).sin() / x) ** 2, (x - x.sin()) / x**3)
    series = [[(-1) ** k / factorial(2 * k + first) for k in range(_TERMS)] for first in (1, 2, 3)]
    return tuple(
        torch.where(small, _polynomial(s, near), far) for near, far in zip(series, quotients, strict=True)
    )


def _polynomial(x: Float[Tensor, "*b"], coefficients: Sequence[float]) -> Float[Tensor, "*b"]:
    total = torch.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = coefficient + x * total
    return total
