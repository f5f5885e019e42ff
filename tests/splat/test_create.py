"""A photo becomes an avatar folder, as a whole or not at all."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portraits import portrait as picture_of
from vivavoce.errors import InputError, OutputError
from vivavoce.splat import create
from vivavoce.splat.avatar import EPS2D, Avatar, load_avatar
from vivavoce.splat.create import PAD, create_avatar, make_canvas
from vivavoce.splat.layers import KINDS


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray((picture_of("smile") * 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def quick(monkeypatch, avatar):
    """The same person every time, without reconstructing her."""
    monkeypatch.setattr(create, "build_avatar", lambda portrait, *, photo_sha256="": avatar)
    monkeypatch.setattr(create, "analyze", lambda image, alpha=None, *, face=None: _Nobody)


class _Nobody:
    notes = ()


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.mark.usefixtures("quick")
def test_an_avatar_folder_appears_where_it_is_asked_for(photo, tmp_path, avatar):
    out = tmp_path / "people" / "anna"
    assert create_avatar(photo, out) == out
    loaded = load_avatar(out)
    assert len(loaded.gaussians) == len(avatar.gaussians)
    assert [p.name for p in out.parent.iterdir()] == ["anna"]


@pytest.mark.usefixtures("quick")
def test_an_avatar_replaces_an_older_one(photo, tmp_path):
    out = tmp_path / "anna"
    create_avatar(photo, out)
    (out / "left over.txt").write_text("from before")
    create_avatar(photo, out)
    assert "left over.txt" not in contents(out)
    load_avatar(out)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("moment", ["canonical.ply", "avatar.json"])
def test_a_failure_while_saving_leaves_the_older_one(photo, tmp_path, monkeypatch, moment):
    out = tmp_path / "anna"
    create_avatar(photo, out)
    before = contents(out)
    real = create.save_avatar

    def full(avatar: Avatar, folder: Path) -> None:
        if moment == "avatar.json":
            real(avatar, folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(create, "save_avatar", full)
    with pytest.raises(OutputError, match="No space left on device"):
        create_avatar(photo, out)
    assert contents(out) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["anna", "photo.png"]


@pytest.mark.usefixtures("quick")
def test_a_failure_while_moving_into_place_leaves_the_older_one(photo, tmp_path, monkeypatch):
    out = tmp_path / "anna"
    create_avatar(photo, out)
    before = contents(out)
    real = Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if (self / "avatar.json").is_file() and self.name.startswith(".") and not self.name.endswith(".old"):
            raise PermissionError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutputError, match="Permission denied"):
        create_avatar(photo, out)
    assert contents(out) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["anna", "photo.png"]


def test_a_target_that_is_a_file_is_told(photo, tmp_path):
    (tmp_path / "anna").write_text("a diary")
    with pytest.raises(OutputError, match="anna is a file"):
        create_avatar(photo, tmp_path / "anna")
    assert (tmp_path / "anna").read_text() == "a diary"


def test_a_folder_with_other_things_is_told_and_kept(photo, tmp_path):
    folder = tmp_path / "holiday"
    folder.mkdir()
    (folder / "beach.txt").write_text("sand")
    with pytest.raises(OutputError, match="other things"):
        create_avatar(photo, folder)
    assert contents(folder) == {"beach.txt": b"sand"}


@pytest.mark.usefixtures("quick")
def test_a_place_that_cannot_be_written_is_told(photo, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="anna"):
        create_avatar(photo, tmp_path / "file" / "anna")


def test_a_photo_that_is_none_is_told(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"notes\.txt"):
        create_avatar(tmp_path / "notes.txt", tmp_path / "anna")
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_the_canvas_holds_the_photo_and_a_margin(portrait, canvas):
    h, w = portrait.matte.shape
    assert canvas.matte.shape == (h + 2 * PAD, w + 2 * PAD)
    inside = np.s_[PAD:-PAD, PAD:-PAD]
    np.testing.assert_allclose(canvas.matte[inside], portrait.matte, atol=1e-6)
    solid = portrait.matte > 0.999
    np.testing.assert_allclose(canvas.image[inside][solid], portrait.image[solid], atol=0.02)
    np.testing.assert_allclose(canvas.face, portrait.face + np.array([PAD, PAD, 0]), atol=1e-4)
    # Beyond the edge the picture goes on without a seam.
    np.testing.assert_array_equal(canvas.image[PAD - 1], canvas.image[PAD])
    np.testing.assert_array_equal(canvas.matte[:, -PAD], canvas.matte[:, -PAD - 1])


def test_large_photos_are_worked_on_at_a_fixed_size(portrait):
    from dataclasses import replace

    import cv2

    big = cv2.resize(portrait.image, (1536, 1024), interpolation=cv2.INTER_CUBIC)
    scale = np.array([3.0, 2.0, 6**0.5], np.float32)
    matte = cv2.resize(portrait.matte, (1536, 1024))
    canvas, width, height = make_canvas(
        replace(portrait, image=big, matte=matte, face=portrait.face * scale, body=None)
    )
    assert (width, height) == (768, 512)
    np.testing.assert_allclose(canvas.face[:, 1], portrait.face[:, 1] + PAD, atol=1e-3)
    np.testing.assert_allclose(canvas.face[:, 0], portrait.face[:, 0] * 1.5 + PAD, atol=1e-3)


def test_the_avatar_is_ordered_for_drawing_and_finite(avatar):
    assert (np.diff(avatar.kinds) >= 0).all()
    for kind in range(len(KINDS)):
        depth = avatar.gaussians.means[avatar.kinds == kind, 2]
        assert len(depth) > 50
        assert (np.diff(depth) >= 0).all()
    for array in (avatar.covariances, avatar.gaussians.colors, avatar.binding.gradients, avatar.rest):
        assert np.isfinite(array).all()
    assert avatar.binding.indices.max() < len(avatar.particles) == len(avatar.rest)
    assert 0 < EPS2D < 0.3
