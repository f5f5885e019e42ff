"""The payload holds what the avatar is, within the precision that is promised."""

import gzip
import json
import struct

import numpy as np
import pytest

from vivavoce.splat.animate import motion_of
from vivavoce.splat.deform import deform
from vivavoce.splat.export.payload import pack, payload
from vivavoce.splat.layers import KINDS
from vivavoce.types import Binding


@pytest.fixture(scope="module")
def speaking(avatar, pose):
    t = np.linspace(0, 1, 4)
    return motion_of(avatar, pose(open=t, jaw=t, head_yaw=0.1 * t, blink=t), 25.0)


@pytest.fixture(scope="module")
def made(avatar, speaking):
    return payload(avatar, speaking)


def unpacked(data: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """What the viewer's reader does."""
    data = gzip.decompress(data)
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    arrays = {}
    for entry in header["arrays"]:
        assert (4 + length + entry["offset"]) % 4 == 0  # typed arrays start at multiples of their size
        at = 4 + length + entry["offset"]
        arrays[entry["name"]] = np.frombuffer(data, "<" + entry["kind"], entry["count"], at)
    return header["facts"], arrays


def test_arrays_of_any_length_are_found_again():
    arrays = {
        "a": np.arange(5, dtype=np.uint8),
        "b": np.arange(3, dtype=np.int16),
        "c": np.ones(2, np.float32),
    }
    facts, read = unpacked(pack({"who": "é", "n": 3}, arrays))
    assert facts == {"who": "é", "n": 3}
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_the_facts_are_those_of_the_avatar(avatar, speaking, made):
    facts, arrays = unpacked(made)
    assert facts["count"] == len(avatar.gaussians)
    assert facts["sizes"] == [int((avatar.kinds == k).sum()) for k in range(len(KINDS))]
    assert facts["frames"] == 4
    assert facts["camera"]["focal"] == avatar.lift.camera.focal
    assert facts["slots"] % 2 == 0
    x, y, z = facts["pivot"]
    assert abs(z - avatar.lift.distance) < 0.15  # in the head
    camera = avatar.lift.camera
    at = np.array([x, y]) / z * camera.focal + [camera.cx, camera.cy]
    assert np.abs(at - [228, 113]).max() < 40  # her face in the photo
    assert arrays["rest"].shape == (3 * facts["particles"],)
    assert facts["particles"] < len(avatar.particles)  # those on which nothing hangs are left out
    assert len(speaking.transforms[0]) == len(avatar.particles)


def test_gaussians_are_within_the_precision_promised(avatar, made):
    facts, arrays = unpacked(made)
    n = facts["count"]
    low, high = np.array(facts["low"]), np.array(facts["high"])
    centers = low + (high - low) * arrays["centers"].reshape(3, n).T / 65535
    assert np.abs(centers - avatar.gaussians.means).max() < 1e-5
    covariances = arrays["covariances"].view(np.float16).reshape(6, n).T.astype(np.float64) / facts["unit"]
    size = avatar.covariances[:, [0, 3, 5]].max(1, keepdims=True)
    assert (np.abs(covariances - avatar.covariances) / size).max() < 2**-11
    colors = arrays["colors"].view(np.float16).reshape(4, n).T
    np.testing.assert_allclose(colors[:, :3], avatar.gaussians.colors, atol=1e-3)
    np.testing.assert_allclose(colors[:, 3], avatar.gaussians.opacities, atol=3e-4)


def test_the_binding_that_is_read_moves_gaussians_alike(avatar, speaking, made):
    facts, arrays = unpacked(made)
    n, slots = facts["count"], facts["slots"]
    used = np.unique(avatar.binding.indices)
    steps = arrays["gradient_steps"].view(np.float16).astype(np.float32)
    weights = arrays["weights"].reshape(slots, n).T
    np.testing.assert_array_equal(weights.astype(int).sum(1), facts["one"])
    gradients = arrays["gradients"].reshape(slots, 3, n).transpose(2, 0, 1) * steps[:, None, None]
    read = Binding(
        used[arrays["indices"].reshape(slots, n).T].astype(np.int32),
        (weights / facts["one"]).astype(np.float32),
        np.ascontiguousarray(gradients - gradients.mean(1, keepdims=True)).astype(np.float32),
    )
    transforms = speaking.transforms[3]
    g = avatar.gaussians
    means, covariances = deform(g.means, avatar.covariances, read, transforms)
    wanted, turned = deform(g.means, avatar.covariances, avatar.binding, transforms)
    assert np.abs(means - wanted).max() < 1e-5  # a hundredth of a pixel
    size = np.linalg.norm(turned, axis=1)
    assert np.percentile(np.linalg.norm(covariances - turned, axis=1) / size, 99) < 0.03


def test_the_same_avatar_and_motion_give_the_same_bytes(avatar, speaking, made):
    assert payload(avatar, speaking) == made
