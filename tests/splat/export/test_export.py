"""`export` by the suffix of what is asked for, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.io import wavfile

from vivavoce import cli
from vivavoce.errors import InputError, OutputError
from vivavoce.media.audio import open_speech
from vivavoce.splat.animate import motion_of
from vivavoce.splat.avatar import load_avatar, save_avatar
from vivavoce.splat.drive import Acting, motions_of
from vivavoce.splat.driver import Driver
from vivavoce.splat.export import command
from vivavoce.splat.export.command import export, export_acting
from vivavoce.splat.export.page import read_page_provenance
from vivavoce.splat.export.posed import posed, within_photo
from vivavoce.splat.ply import read_ply

HEAD, TAIL = slice(4), slice(4, None)


@pytest.fixture(scope="module")
def folder(avatar, tmp_path_factory):
    made = tmp_path_factory.mktemp("avatar")
    save_avatar(avatar, made)
    return made


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    t = np.arange(6400) / 16_000
    sound = 8000 * np.sin(2 * np.pi * 150 * t) * np.sin(2 * np.pi * 4 * t)
    path = tmp_path_factory.mktemp("speech") / "a.wav"
    wavfile.write(path, 16_000, sound.astype(np.int16))
    return path


def test_without_speech_the_avatar_at_rest_is_written(avatar, folder, tmp_path):
    assert export(folder, tmp_path / "a.ply") == tmp_path / "a.ply"
    read = read_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(read.means, within_photo(avatar).gaussians.means)
    export(folder, tmp_path / "a.SPZ")
    assert (tmp_path / "a.SPZ").stat().st_size < 0.25 * (tmp_path / "a.ply").stat().st_size


def test_a_moment_and_all_frames_are_the_motion_of_the_driver(avatar, folder, speech, tmp_path):
    driver = Driver(avatar, fps=25.0, seed=3)
    motions = list(motions_of(driver, open_speech(speech)))
    poses = [pose for m in motions for pose in zip(m.transforms, m.gains, strict=True)]
    wanted = posed(within_photo(avatar), *poses[7])
    export(folder, tmp_path / "frames", speech=speech, seed=3)
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == [f"frame_{k:05d}.ply" for k in range(10)]
    export(folder, tmp_path / "a.ply", speech=speech, seed=3, at=0.28)
    for path in (tmp_path / "frames" / "frame_00007.ply", tmp_path / "a.ply"):
        read = read_ply(path)
        np.testing.assert_allclose(read.means, wanted.means, atol=1e-7)
        np.testing.assert_allclose(read.scales, wanted.scales, rtol=1e-4)


def test_a_page_says_what_it_was_made_from(avatar, folder, speech, tmp_path):
    export(folder, tmp_path / "a.html", speech=speech, seed=5, fps=12.5)
    made = read_page_provenance(tmp_path / "a.html")
    assert made is not None
    assert made.seed == 5
    assert made.inputs["photo"][1] == avatar.photo_sha256
    assert made.inputs["speech"] == ("a.wav", open_speech(speech).sha256)
    assert made.settings["fps"] == 12.5


def test_another_way_of_moving_is_exported_and_told(avatar, folder, speech, pose, tmp_path):
    motion = motion_of(avatar, pose(open=np.linspace(0, 1, 10), head_yaw=0.1), 25.0)
    halves = [replace(motion, transforms=motion.transforms[s], gains=motion.gains[s]) for s in (HEAD, TAIL)]
    score = {"score": ("dance.txt", "1" * 64)}
    acting = Acting("dance", lambda moved, sound: iter(halves), {"tempo": 3}, score)
    options = {"speech": speech, "fps": 25.0, "seed": 2, "face": None}
    export_acting(folder, tmp_path / "a.ply", acting, at=0.24, **options)
    wanted = posed(within_photo(avatar), motion.transforms[6], motion.gains[6])
    np.testing.assert_allclose(read_ply(tmp_path / "a.ply").means, wanted.means, atol=1e-7)
    export_acting(folder, tmp_path / "a.html", acting, at=None, **options)
    made = read_page_provenance(tmp_path / "a.html")
    assert (made.method, made.seed) == ("dance", 2)
    assert made.settings == {"fps": 25.0, "face": None, "tempo": 3}
    assert made.inputs["score"] == score["score"]
    assert set(made.inputs) == {"photo", "speech", "score"}


@pytest.mark.parametrize(
    ("name", "spoken", "at", "told"),
    [
        ("a.html", False, None, "a.html is to talk"),
        ("frames", False, None, "frames is to talk"),
        ("a.ply", False, 1.0, "1 s is of no recording"),
        ("a.spz", True, None, "say which in seconds"),
        ("a.html", True, 0.1, "whole recording"),
        ("a.ply", True, 0.4, "lasts 0.40 s"),
        ("a.ply", True, -1.0, "no moment -1 s"),
    ],
)
def test_what_does_not_go_together_is_told(request, tmp_path, name, spoken, at, told):  # noqa: PLR0917
    folder, speech = request.getfixturevalue("folder"), request.getfixturevalue("speech")
    with pytest.raises(InputError, match=told):
        export(folder, tmp_path / name, speech=speech if spoken else None, at=at)
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written_are_told(folder, speech, tmp_path):
    with pytest.raises(OutputError, match=r"\.html, \.ply, \.spz"):
        export(folder, tmp_path / "a.obj")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").touch()
    with pytest.raises(OutputError, match="something in it"):
        export(folder, tmp_path / "full", speech=speech)
    with pytest.raises(OutputError, match="does not exist"):
        export(folder, tmp_path / "gone" / "frames", speech=speech)


def test_a_page_of_long_speech_is_refused(folder, speech, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "LONGEST", 0.3)
    with pytest.raises(InputError, match="cut it into parts"):
        export(folder, tmp_path / "a.html", speech=speech)


def test_the_command_line_writes_and_refuses_in_one_sentence(folder, speech, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(folder), "-o", "ada.ply"]) == 0
    assert capfd.readouterr().out == "ada.ply\n"
    np.testing.assert_array_equal(read_ply(tmp_path / "ada.ply").means, rest_of(folder))
    for args, sentence in (
        ([], "0 inputs are given"),
        ([folder, speech, speech], "3 inputs are given"),
        ([folder, speech, "--fps", "500"], "--fps 500 is out of bounds"),
        ([folder, speech], "no does not exist: create it first"),
    ):
        out = "no/a.html"
        assert cli.main(["export", *map(str, args), "-o", out]) == 2
        told = capfd.readouterr().err
        assert told.count("\n") == 1
        assert sentence in told


def rest_of(folder):
    return within_photo(load_avatar(folder)).gaussians.means
