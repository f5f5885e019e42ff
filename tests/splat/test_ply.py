"""The .ply of an avatar is the standard one of 3D Gaussian splatting."""

import numpy as np
import pytest
from plyfile import PlyData

from vivavoce.errors import InputError
from vivavoce.splat.ply import read_ply, write_ply
from vivavoce.types import Gaussians


@pytest.fixture
def gaussians() -> Gaussians:
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(50, 4))
    return Gaussians(
        means=rng.normal(size=(50, 3)).astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=np.exp(rng.normal(-6, 1, (50, 3))).astype(np.float32),
        opacities=np.r_[rng.uniform(0.02, 0.98, 48), 0.0, 1.0].astype(np.float32),
        colors=rng.uniform(-0.1, 1.1, (50, 3)).astype(np.float32),
    )


def test_what_is_written_is_read(tmp_path, gaussians):
    write_ply(tmp_path / "a.ply", gaussians)
    read = read_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(read.means, gaussians.means)
    np.testing.assert_allclose(read.quats, gaussians.quats, atol=1e-6)
    np.testing.assert_allclose(read.scales, gaussians.scales, rtol=1e-5)
    np.testing.assert_allclose(read.opacities, gaussians.opacities, atol=2e-6)
    np.testing.assert_allclose(read.colors, gaussians.colors, atol=1e-6)


def test_the_fields_are_those_of_3dgs(tmp_path, gaussians):
    """The properties and their order in the authors' own files; activations as in their renderer."""
    write_ply(tmp_path / "a.ply", gaussians)
    data = PlyData.read(str(tmp_path / "a.ply"))
    (vertex,) = data.elements
    names = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
    assert vertex.name == "vertex"
    assert [p.name for p in vertex.properties] == names.split()
    assert {p.val_dtype for p in vertex.properties} == {"f4"}
    assert not data.text
    assert data.byte_order == "<"
    np.testing.assert_array_equal(vertex["y"], gaussians.means[:, 1])
    np.testing.assert_allclose(np.exp(vertex["scale_2"]), gaussians.scales[:, 2], rtol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-vertex["opacity"])), gaussians.opacities, atol=2e-6)
    np.testing.assert_allclose(
        0.5 + vertex["f_dc_0"] / (2 * np.sqrt(np.pi)), gaussians.colors[:, 0], atol=1e-6
    )
    np.testing.assert_array_equal(vertex["rot_0"], gaussians.quats[:, 0])
    assert np.isfinite(vertex["opacity"]).all()


@pytest.mark.parametrize("damage", ["empty", "text", "short", "no scales"])
def test_what_is_no_gaussian_ply_is_told(tmp_path, gaussians, damage):
    path = tmp_path / "a.ply"
    write_ply(path, gaussians)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "text": b"hello\nworld\n",
            "short": whole[: len(whole) // 2],
            "no scales": whole.replace(b"scale_1", b"width_1"),
        }[damage]
    )
    with pytest.raises(InputError, match=r"a\.ply"):
        read_ply(path)


def test_a_missing_ply_is_told(tmp_path):
    with pytest.raises(InputError, match=r"gone\.ply"):
        read_ply(tmp_path / "gone.ply")
