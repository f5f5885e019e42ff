"""An avatar folder gives back the same person, and says what is wrong when it cannot."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from vivavoce.errors import InputError
from vivavoce.splat.animate import motion_of
from vivavoce.splat.avatar import load_avatar, quats_and_scales, read_description, save_avatar
from vivavoce.splat.rasterize import covariance_from_quats_scales
from vivavoce.splat.render import Renderer


@pytest.fixture(scope="module")
def saved(avatar, tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatar")
    save_avatar(avatar, folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_a_saved_avatar_draws_the_same_picture(saved, avatar, pose):
    loaded = load_avatar(saved)
    controls = pose(open=0.7, jaw=0.5, head_yaw=0.15, blink=0.5, smile=0.3)
    frames = []
    for one in (avatar, loaded):
        renderer = Renderer(one, 256, 256, background=np.zeros((256, 256, 3), np.float32), threads=1)
        frames += [frame.astype(np.int32) for frame in renderer(motion_of(one, controls, 25.0))]
        renderer.close()
    # Through logarithms, logits and quaternions a level may flip at the borders of rounding.
    assert np.abs(frames[0] - frames[1]).max() <= 2
    assert (frames[0] != frames[1]).mean() < 0.02
    assert loaded.particles == avatar.particles
    assert loaded.photo_sha256 == avatar.photo_sha256
    assert loaded.notes == avatar.notes
    assert loaded.rig.skeleton.seen == avatar.rig.skeleton.seen
    assert loaded.lift == avatar.lift
    np.testing.assert_allclose(loaded.background, avatar.background.clip(0, 1), atol=0.5 / 255 + 1e-6)


def test_the_folder_holds_files_that_others_open(saved, avatar):
    description = json.loads((saved / "avatar.json").read_text())
    assert description == read_description(saved)
    assert description["gaussians"] == len(avatar.gaussians)
    assert {p.name for p in saved.iterdir()} == {*description["sha256"], "avatar.json"}
    with Image.open(saved / "background.png") as plate:
        assert plate.size == avatar.background.shape[1::-1]


@pytest.mark.parametrize("name", ["canonical.ply", "rig.safetensors", "background.png"])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(InputError, match=name):
        load_avatar(copy)


@pytest.mark.parametrize("name", ["canonical.ply", "rig.safetensors", "background.png"])
def test_an_altered_byte_is_noticed(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(bytes(data))
    with pytest.raises(InputError, match=f"{name} was altered"):
        load_avatar(copy)


def test_another_format_is_told(copy):
    description = json.loads((copy / "avatar.json").read_text())
    (copy / "avatar.json").write_text(json.dumps({**description, "format": 99}))
    with pytest.raises(InputError, match="format 99"):
        load_avatar(copy)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "{}", "null", '{"format": 2}', "\x00\x01", '{"format": 2, "sha256": 3}']
)
def test_a_damaged_description_is_told(copy, text):
    (copy / "avatar.json").write_text(text)
    with pytest.raises(InputError, match=r"avatar\.json is damaged"):
        load_avatar(copy)


@pytest.mark.parametrize(
    "key", ["camera", "pad", "face", "lips", "particles", "notes", "joints_seen", "metre"]
)
def test_a_description_that_lacks_something_is_told(copy, key):
    description = json.loads((copy / "avatar.json").read_text())
    del description[key]
    (copy / "avatar.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"avatar\.json is damaged"):
        load_avatar(copy)


def test_what_is_no_avatar_is_told(tmp_path):
    (tmp_path / "holiday.txt").write_text("hello")
    with pytest.raises(InputError, match=f"{tmp_path.name} is not an avatar"):
        load_avatar(tmp_path)
    with pytest.raises(InputError, match="gone is not an avatar"):
        load_avatar(tmp_path / "gone")


def test_rotations_and_scales_rebuild_the_covariances(avatar):
    rng = np.random.default_rng(0)
    turns = Rotation.random(200, random_state=0).as_matrix()
    scales = np.exp(rng.normal(-6, 1, (200, 3)))
    full = turns * (scales**2)[:, None] @ turns.swapaxes(1, 2)
    rows = full[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].astype(np.float32)
    for given in (rows, avatar.covariances[::50]):
        quats, found = quats_and_scales(given)
        np.testing.assert_allclose(np.linalg.norm(quats, axis=1), 1, atol=1e-6)
        rebuilt = covariance_from_quats_scales(quats, found)
        size = np.abs(given).max(1, keepdims=True)
        np.testing.assert_allclose(rebuilt / size, given / size, atol=2e-6)
    np.testing.assert_allclose(np.sort(quats_and_scales(rows)[1], 1), np.sort(scales, 1), rtol=1e-2)
