"""Gaussians as the standard 3DGS .ply that every viewer of this format opens (Kerbl et al. 2023)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vivavoce.errors import InputError
from vivavoce.types import Gaussians

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic: colour = 0.5 + SH_C0 * f_dc."""

_FIELDS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
_LEAST_OPACITY = 1e-6


def write_ply(path: Path, gaussians: Gaussians) -> None:
    """Write float32 binary: scales as logarithms, opacities as logits, rotations as (w, x, y, z)."""
    from plyfile import PlyData, PlyElement

    opacities = np.clip(gaussians.opacities.astype(np.float64), _LEAST_OPACITY, 1 - _LEAST_OPACITY)
    columns = np.concatenate(
        [
            gaussians.means,
            np.zeros_like(gaussians.means),
            (gaussians.colors - 0.5) / SH_C0,
            np.log(opacities / (1 - opacities))[:, None],
            np.log(np.maximum(gaussians.scales, 1e-9)),
            gaussians.quats,
        ],
        axis=1,
    ).astype(np.float32)
    rows = np.ascontiguousarray(columns).view([(name, "<f4") for name in _FIELDS])[:, 0]
    PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(str(path))


def read_ply(path: Path) -> Gaussians:
    """Read a 3DGS .ply; higher spherical harmonics, if there are any, are left out.

    Raises InputError if the file is not one.
    """
    from plyfile import PlyData, PlyParseError

    try:
        rows = PlyData.read(str(path))["vertex"]
        columns = {name: np.asarray(rows[name], np.float32) for name in _FIELDS if not name.startswith("n")}
    except (PlyParseError, KeyError, ValueError, OSError) as error:
        raise InputError(
            f"{path} is not a readable 3D Gaussian .ply ({error}): make the avatar again."
        ) from error

    def stack(*names: str) -> np.ndarray:
        return np.stack([columns[n] for n in names], axis=1)

    quats = stack("rot_0", "rot_1", "rot_2", "rot_3")
    return Gaussians(
        means=stack("x", "y", "z"),
        quats=quats / np.linalg.norm(quats, axis=1, keepdims=True),
        scales=np.exp(stack("scale_0", "scale_1", "scale_2")),
        opacities=(1 / (1 + np.exp(-columns["opacity"].astype(np.float64)))).astype(np.float32),
        colors=(0.5 + SH_C0 * stack("f_dc_0", "f_dc_1", "f_dc_2")).astype(np.float32),
    )
