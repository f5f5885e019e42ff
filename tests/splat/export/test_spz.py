"""What is written as .spz is read by the format's description, and by its authors' own library."""

import gzip
import math
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from vivavoce.errors import OutputError
from vivavoce.splat.export.page import VIEWER
from vivavoce.splat.export.spz import SCALES, write_spz
from vivavoce.types import Gaussians

LIBRARY = VIEWER / "node_modules" / "@adobe" / "spz" / "dist" / "spz.js"


def some(count: int = 200, reach: float = 1.0) -> Gaussians:
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(count, 4))
    quats[:4] = np.eye(4)[:count]  # each component the largest in turn, the others nothing
    quats[4:5] = -1.0  # all alike
    return Gaussians(
        means=(reach * rng.uniform(-1, 1, (count, 3))).astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=np.exp(rng.uniform(-9.9, -3, (count, 3))).astype(np.float32),
        opacities=np.r_[0.0, 1.0, rng.uniform(0, 1, count)][:count].astype(np.float32),
        colors=rng.uniform(-0.4, 1.4, (count, 3)).astype(np.float32),
    )


def decoded(path: Path) -> dict:
    """A reader after the description, number by number, with y and z turned back to ours."""
    data = gzip.decompress(path.read_bytes())
    magic, version, n, degree, bits, flags, reserved = struct.unpack_from("<IIIBBBB", data)
    assert (magic, version, degree, flags, reserved) == (0x5053474E, 3, 0, 0, 0)
    assert len(data) == 16 + n * (9 + 1 + 3 + 3 + 4)
    at = 16
    positions = [
        int.from_bytes(data[at + 3 * i : at + 3 * i + 3], "little", signed=True) for i in range(3 * n)
    ]
    at += 9 * n
    alphas, colors = list(data[at : at + n]), list(data[at + n : at + 4 * n])
    scales = list(data[at + 4 * n : at + 7 * n])
    words = struct.unpack_from(f"<{n}I", data, at + 7 * n)
    flip = np.array([1, -1, -1])
    return {
        "bits": bits,
        "means": np.reshape(positions, (n, 3)) / 2**bits * flip,
        "opacities": np.array(alphas) / 255,
        "colors": 0.5 + 0.28209479177387814 * (np.reshape(colors, (n, 3)) / 255 - 0.5) / 0.15,
        "scales": np.exp(np.reshape(scales, (n, 3)) / 16 - 10),
        "quats": np.array([quaternion(word) for word in words]) * [1, *flip],
    }


def quaternion(word: int) -> list[float]:
    """(w, x, y, z): the last component stands in the lowest ten bits, and so on."""
    xyzw, largest = [0.0] * 4, word >> 30
    for component in (3, 2, 1, 0):
        if component != largest:
            size = (word & 511) / 511 * math.sqrt(0.5)
            xyzw[component] = -size if word & 512 else size
            word >>= 10
    xyzw[largest] = math.sqrt(1 - sum(v * v for v in xyzw))
    return [xyzw[3], *xyzw[:3]]


def angles(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Between rotations, in degrees; q and -q are one."""
    dots = np.abs((one.astype(np.float64) * other).sum(1))
    return np.degrees(2 * np.arccos(np.minimum(dots, 1)))


def check(read: dict, wanted: Gaussians, step: float) -> None:
    assert np.abs(read["means"] - wanted.means).max() <= step / 2 + 1e-7
    assert np.abs(read["opacities"] - wanted.opacities).max() <= 0.5 / 255 + 1e-6
    assert np.abs(read["colors"] - wanted.colors).max() <= 0.5 * 0.2821 / 0.15 / 255 + 1e-6
    assert np.abs(np.log(read["scales"] / wanted.scales)).max() <= 1 / 32 + 1e-5
    assert angles(read["quats"], wanted.quats).max() < 0.3


def test_every_value_is_off_by_half_a_step_at_most(tmp_path):
    gaussians = some()
    write_spz(tmp_path / "a.spz", gaussians)
    read = decoded(tmp_path / "a.spz")
    assert read["bits"] == 20
    check(read, gaussians, 2.0**-20)


@pytest.mark.parametrize(("reach", "bits"), [(7.9, 20), (8.1, 19), (1000.0, 13)])
def test_far_away_positions_have_fewer_fractional_bits(tmp_path, reach, bits):
    gaussians = some(reach=reach)
    gaussians.means[0, 0] = reach
    write_spz(tmp_path / "a.spz", gaussians)
    read = decoded(tmp_path / "a.spz")
    assert read["bits"] == bits
    check(read, gaussians, 2.0**-bits * 1.2)  # float32 has 24 bits itself


def test_y_is_up_and_z_comes_towards_the_viewer(tmp_path):
    """Ours: y down, z away. A half turn about x leads from one to the other, and turns covariances along."""
    gaussians = some(1)
    gaussians.means[:] = [[0.1, 0.2, 1.5]]
    gaussians.quats[:] = [[0.8, 0.0, 0.6, 0.0]]
    write_spz(tmp_path / "a.spz", gaussians)
    data = gzip.decompress((tmp_path / "a.spz").read_bytes())
    raw = [int.from_bytes(data[16 + 3 * i : 19 + 3 * i], "little", signed=True) / 2**20 for i in range(3)]
    np.testing.assert_allclose(raw, [0.1, -0.2, -1.5], atol=1e-6)
    np.testing.assert_allclose(quaternion(struct.unpack("<I", data[-4:])[0]), [0.8, 0, -0.6, 0], atol=2e-3)


def test_what_cannot_be_told_becomes_the_nearest_that_can(tmp_path):
    gaussians = some(3)
    gaussians.scales[:] = [[0.0, 1e-9, 1e9]] * 3
    gaussians.colors[:] = [[-9.0, 9.0, 0.5]] * 3
    write_spz(tmp_path / "a.spz", gaussians)
    read = decoded(tmp_path / "a.spz")
    np.testing.assert_allclose(read["scales"][0], [SCALES[0], SCALES[0], SCALES[1]], rtol=1e-6)
    assert read["colors"][0, 0] < -0.4
    assert read["colors"][0, 1] > 1.4


def test_the_same_gaussians_give_the_same_bytes(tmp_path):
    for name in ("a.spz", "b.spz"):
        write_spz(tmp_path / name, some())
    assert (tmp_path / "a.spz").read_bytes() == (tmp_path / "b.spz").read_bytes()


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(OutputError, match=r"a\.spz"):
        write_spz(tmp_path / "gone" / "a.spz", some())


@pytest.mark.skipif(
    not (shutil.which("node") and LIBRARY.exists()), reason=f"needs node, and `npm ci` in {VIEWER}"
)
def test_the_authors_library_reads_the_same(tmp_path):
    gaussians = some(500)
    write_spz(tmp_path / "a.spz", gaussians)
    reader = Path(__file__).with_name("read_spz.mjs")
    command = ["node", reader, LIBRARY, tmp_path / "a.spz", tmp_path / "columns"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    values = np.fromfile(tmp_path / "columns", np.float32)
    means, scales, quats, alphas, colors = np.split(values, np.cumsum([3 * 500, 3 * 500, 4 * 500, 500]))
    alphas = np.clip(alphas.astype(np.float64), -50, 50)  # infinite at 0 and 1
    read = {
        "means": means.reshape(-1, 3),
        "scales": np.exp(scales.reshape(-1, 3)),
        "quats": quats.reshape(-1, 4)[:, [3, 0, 1, 2]],
        "opacities": 1 / (1 + np.exp(-alphas)),
        "colors": 0.5 + 0.28209479177387814 * colors.reshape(-1, 3),
    }
    check(read, gaussians, 2.0**-20)
