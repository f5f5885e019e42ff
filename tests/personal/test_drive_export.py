"""An avatar that was taught a motion is exported moving by it, as `generate` has it move; others as ever."""

import base64
import shutil
from pathlib import Path

import numpy as np
import pytest
import taught
import torch
from scipy.io import wavfile

import vivavoce
from likeness import likeness
from vivavoce import cli
from vivavoce.corpus.synth.motions import MovingClip
from vivavoce.errors import InputError
from vivavoce.features.encoders import LogMelEncoder
from vivavoce.features.loudness import leveled
from vivavoce.media.audio import open_speech
from vivavoce.personal.body import rest_of
from vivavoce.personal.drive import performance
from vivavoce.personal.folder import PERSONAL, add_motion, read_motion
from vivavoce.splat.avatar import load_avatar, save_avatar
from vivavoce.splat.export.page import read_page_provenance
from vivavoce.splat.export.payload import payload
from vivavoce.splat.export.posed import posed, within_photo
from vivavoce.splat.ply import read_ply
from vivavoce.train.motion_model import MotionModel
from vivavoce.types import Motion

FPS = 25.0
TOLD = {
    "teacher": taught.TEACHER.name,
    "clips": [2, 1],
    "encoder": {"kind": "log-mel", "name": LogMelEncoder.name, "source": None},
    "seed": 0,
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "ada"
    folder.mkdir()
    save_avatar(likeness(), folder)
    return folder


@pytest.fixture(scope="module")
def own(plain, tmp_path_factory):
    """The same with a motion of its own, by chance: a tiny network that has never been trained."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(plain, folder / "ada")
    torch.manual_seed(0)
    model = MotionModel(taught.sizes().model)
    field = taught.known_field(likeness(), taught.LENGTH)
    riders = np.concatenate([field.face, np.zeros((taught.LENGTH, 1, 3), np.float32)], axis=1)
    audio = np.zeros((taught.LENGTH, LogMelEncoder.width), np.float32)
    told = ("known", "train", FPS, (), audio, field.joints, riders, rest_of(likeness()))
    model.fit([MovingClip(*told)])
    with torch.no_grad():  # as built it says zero, whatever it hears
        model.diffusion.transformer.motion_out.weight.normal_(0, 0.3)
    (folder / "model").mkdir()
    model.save(folder / "model")
    add_motion(folder / "ada", folder / "model", TOLD)
    return folder / "ada"


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    t = np.arange(6400) / 16_000
    sound = 8000 * np.sin(2 * np.pi * 150 * t) * np.sin(2 * np.pi * 4 * t)
    path = tmp_path_factory.mktemp("speech") / "a.wav"
    wavfile.write(path, 16_000, sound.astype(np.int16))
    return path


def performed(own: Path, speech: Path, **options) -> Motion:
    """By the model in the folder, whole."""
    model, sound = read_motion(own).model(), leveled(open_speech(speech).read())
    options = {"fps": FPS, **options}
    parts = list(performance(load_avatar(own), model, LogMelEncoder(), sound, **options))
    joined = (np.concatenate([getattr(part, name) for part in parts]) for name in ("transforms", "gains"))
    return Motion(options["fps"], *joined)


def shown(path: Path) -> np.ndarray:
    return read_ply(path).means


def wanted(own: Path, motion: Motion, frame: int) -> np.ndarray:
    whole = within_photo(load_avatar(own))
    return posed(whole, motion.transforms[frame], motion.gains[frame]).means


def test_every_frame_is_that_of_its_own_motion(own, speech, tmp_path):
    motion = performed(own, speech, seed=3)
    assert vivavoce.export(own, tmp_path / "frames", speech=speech, seed=3) == tmp_path / "frames"
    files = sorted((tmp_path / "frames").iterdir())
    assert len(files) == len(motion.transforms) == 10
    for frame, file in enumerate(files):
        np.testing.assert_allclose(shown(file), wanted(own, motion, frame), atol=1e-6)
    assert np.abs(shown(files[0]) - shown(files[9])).max() > 1e-4
    assert np.abs(wanted(own, performed(own, speech), 5) - wanted(own, motion, 5)).max() > 1e-5


@pytest.mark.parametrize(("fps", "at", "frame"), [(25.0, 0.0, 0), (25.0, 0.28, 7), (60.0, 0.399, 23)])
def test_a_moment_is_the_frame_that_lasts_then(own, speech, tmp_path, fps, at, frame):  # noqa: PLR0917
    vivavoce.export(own, tmp_path / "a.ply", speech=speech, at=at, fps=fps, method="audioavatar")
    motion = performed(own, speech, fps=fps)
    np.testing.assert_allclose(shown(tmp_path / "a.ply"), wanted(own, motion, frame), atol=1e-6)


def test_a_page_plays_its_own_motion_and_tells_which(own, speech, tmp_path):
    page = tmp_path / "a.html"
    vivavoce.export(own, page, speech=speech, seed=5)
    motion = performed(own, speech, seed=5)
    assert base64.b64encode(payload(within_photo(load_avatar(own)), motion)).decode() in page.read_text()
    made = read_page_provenance(page)
    assert (made.method, made.seed) == ("audioavatar", 5)
    assert made.inputs["motion"] == ("motion.safetensors", read_motion(own).digest)
    assert set(made.inputs) == {"photo", "speech", "motion"}
    assert made.settings["teacher"] == taught.TEACHER.name
    assert made.settings["fps"] == FPS


def test_the_rules_are_taken_where_they_are_asked_for_or_nothing_was_taught(own, plain, speech, tmp_path):
    for name, folder, method in (("asked", own, "splat"), ("plain", plain, None), ("own", own, None)):
        vivavoce.export(folder, tmp_path / f"{name}.ply", speech=speech, at=0.2, method=method)
    asked, usual, other = ((tmp_path / f"{name}.ply") for name in ("asked", "plain", "own"))
    assert asked.read_bytes() == usual.read_bytes()
    assert np.abs(shown(other) - shown(asked)).max() > 1e-4
    vivavoce.export(own, tmp_path / "a.html", speech=speech, method="splat", expressiveness=1.5)
    made = read_page_provenance(tmp_path / "a.html")
    assert made.method == "splat"
    assert set(made.inputs) == {"photo", "speech"}
    assert made.settings == {"fps": FPS, "face": None, "expressiveness": 1.5, "text": None}


def test_a_damaged_motion_is_told_and_not_missed_at_rest(own, plain, speech, tmp_path):
    folder = tmp_path / "ada"
    shutil.copytree(own, folder)
    (folder / PERSONAL / "motion.safetensors").unlink()
    with pytest.raises(InputError, match=r"motion\.safetensors is missing or was altered"):
        vivavoce.export(folder, tmp_path / "frames", speech=speech)
    assert not (tmp_path / "frames").exists()
    for name, source in (("own", folder), ("plain", plain)):
        vivavoce.export(source, tmp_path / f"{name}.ply")
    assert (tmp_path / "own.ply").read_bytes() == (tmp_path / "plain.ply").read_bytes()


@pytest.mark.parametrize(
    ("folder", "options", "told"),
    [
        ("own", {"expressiveness": 1.5}, "--expressiveness does not change a motion that was taught"),
        ("own", {"text": "hello"}, "--text does not change a motion that was taught"),
        ("plain", {"method": "audioavatar"}, "ada has no motion of its own: make it with"),
        ("own", {"method": "physavatar"}, "--method physavatar moves no Gaussians: choose one of splat, "),
        ("own", {"method": "splat", "speech": None}, "--method splat moves nothing without a recording"),
        ("own", {"at": 0.4}, "has no moment 0.4 s"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(request, speech, tmp_path, folder, options, told):  # noqa: PLR0917
    source = request.getfixturevalue(folder)
    with pytest.raises(InputError, match=told):
        vivavoce.export(source, tmp_path / "a.ply", **{"speech": speech, "at": 0.1, **options})
    assert not list(tmp_path.iterdir())


def test_the_command_line_chooses_and_refuses_alike(own, speech, tmp_path, capsys):
    out = tmp_path / "a.html"
    command = ["export", str(own), str(speech), "-o", str(out)]
    assert cli.main([*command, "--method", "splat"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert read_page_provenance(out).method == "splat"
    assert cli.main(command) == 0
    assert read_page_provenance(out).method == "audioavatar"
    before = out.read_bytes()
    capsys.readouterr()
    assert cli.main([*command, "--expressiveness", "0.5"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("leave it out, or take --method splat.")
    assert out.read_bytes() == before
