"""Pieces of surface, covered with points at even distances: what the body is tiled with Gaussians by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Float

Points = Float[np.ndarray, "N 3"]

COVER = 0.62
"""Standard deviation of Gaussians in distances between them: less would show gaps, more would blur."""


@dataclass(frozen=True)
class Patch:
    """N points of a surface in template space (mm): where, and which way is out."""

    points: Points
    normals: Points
    sigmas: Float[np.ndarray, " N"]
    """Standard deviation of a Gaussian that covers its share of the surface, mm."""
    colors: Points
    """RGB in [0, 1], without light."""

    def __len__(self) -> int:
        return len(self.points)

    def kept(self, mask: np.ndarray) -> Patch:
        """The points where `mask` is true."""
        return Patch(*(getattr(self, f.name)[mask] for f in fields(self)))

    def colored(self, colors: np.ndarray) -> Patch:
        """The same surface in other colours, one for all points or one each."""
        return replace(self, colors=np.broadcast_to(colors, self.points.shape).astype(float))


def tube(
    axis: Float[np.ndarray, "K 3"],
    radii: Float[np.ndarray, "K 2"],
    side: Float[np.ndarray, " 3"],
    spacing: float,
    *,
    squareness: float = 2.0,
) -> Patch:
    """A tube around a bent axis with elliptic cross-sections, open at its ends.

    `radii` are half widths along `side` and across it at each point of the axis; between them they are
    interpolated linearly. A `squareness` above 2 makes superellipses (Gardner 1965), as a chest is.
    """
    lengths = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(axis, axis=0), axis=1))]
    rings = []
    count = max(2, round(lengths[-1] / spacing) + 1)
    for k, at in enumerate(np.linspace(0, lengths[-1], count)):
        a, b = (float(np.interp(at, lengths, radii[:, i])) for i in (0, 1))
        around = max(6, round(2 * np.pi * np.sqrt((a * a + b * b) / 2) / spacing))
        # Every second ring is turned by half a step, so that no lines of gaps arise.
        ring = _superellipse(a, b, 2 / squareness, (np.arange(around) + 0.5 * (k % 2)) / around)
        rings.append(np.c_[np.full(around, at), ring])
    t, x, y, nx, ny = np.concatenate(rings).T
    centre = np.stack([np.interp(t, lengths, axis[:, i]) for i in range(3)], 1)
    along = _tangents(axis, lengths, t)
    u = side - (along @ side)[:, None] * along
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    v = np.cross(along, u)
    normals = nx[:, None] * u + ny[:, None] * v
    # A tube that widens looks forward less, one that narrows more: the slope of the radius tilts the normal.
    slope = np.gradient(radii.mean(1), lengths) if len(axis) > 1 else np.zeros(len(axis))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    normals -= np.interp(t, lengths, slope)[:, None] * along
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return plain(centre + x[:, None] * u + y[:, None] * v, normals, spacing)


def ellipsoid(centre: Float[np.ndarray, " 3"], radii: Float[np.ndarray, " 3"], spacing: float) -> Patch:
    """An ellipsoid with axes along x, y and z, covered by a Fibonacci lattice (Gonzalez 2010)."""
    a, b, c = radii
    p = 1.6075  # Thomsen's approximation of the area
    area = 4 * np.pi * (((a * b) ** p + (a * c) ** p + (b * c) ** p) / 3) ** (1 / p)
    count = max(12, round(area / spacing**2))
    k = np.arange(count) + 0.5
    y = 1 - 2 * k / count
    around = np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - y * y)
    unit = np.stack([r * np.cos(around), y, r * np.sin(around)], 1)
    normals = unit / radii
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return plain(centre + unit * radii, normals, spacing)


def plain(points: Points, normals: Points, spacing: float) -> Patch:
    """A black patch of points that are `spacing` mm apart."""
    return Patch(points, normals, np.full(len(points), COVER * spacing), np.zeros_like(points))


def joined(patches: list[Patch]) -> Patch:
    """Patches as one."""
    return Patch(*(np.concatenate([getattr(p, f.name) for p in patches]) for f in fields(Patch)))


def gradient_of(
    weights: Callable[[Points], Float[np.ndarray, "N J"]], points: Points, step: float = 0.5
) -> Float[np.ndarray, "N J 3"]:
    """The spatial gradient of smooth weights (1/mm), by central differences."""
    shifts = step * np.eye(3)
    return np.stack(
        [(weights(points + shift) - weights(points - shift)) / (2 * step) for shift in shifts], -1
    )


def _superellipse(
    a: float, b: float, power: float, shares: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 4"]:
    """Points and outward directions at shares of a superellipse's circumference."""
    angle = np.linspace(0, 2 * np.pi, 721)
    c, s = np.cos(angle), np.sin(angle)
    x, y = a * np.sign(c) * np.abs(c) ** power, b * np.sign(s) * np.abs(s) ** power
    length = np.r_[0.0, np.cumsum(np.hypot(np.diff(x), np.diff(y)))]
    x, y = (np.interp(shares * length[-1], length, along) for along in (x, y))
    grow = 2 / power - 1
    normal = np.stack(
        [np.sign(v) * (np.abs(v) / max(r, 1e-6)) ** grow / max(r, 1e-6) for v, r in ((x, a), (y, b))], 1
    )
    return np.c_[x, y, normal]


def _tangents(
    axis: Float[np.ndarray, "K 3"], lengths: Float[np.ndarray, " K"], t: Float[np.ndarray, " N"]
) -> Points:
    along = np.gradient(axis, lengths, axis=0)
    along = np.stack([np.interp(t, lengths, along[:, i]) for i in range(3)], 1)
    return along / np.linalg.norm(along, axis=1, keepdims=True)
