"""A folder of recordings: one video each, finished ones left alone, bad ones told at the end."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vivavoce
import vivavoce.splat.create
import vivavoce.splat.drive
from vivavoce import cli
from vivavoce.errors import InputError, OutputError
from vivavoce.media.audio import open_speech
from vivavoce.media.provenance import Provenance, read_provenance
from vivavoce.media.video import VideoWriter
from vivavoce.timing import frame_rate

sys.path.insert(0, str(Path(__file__).parent / "media"))
from sounds import speechlike, write_sound, write_wav


@pytest.fixture
def studio(tmp_path, monkeypatch):
    """Inputs, and stand-ins for the two paths that make an avatar and draw it; what they were asked for."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((96, 96, 3), 127, np.uint8)).save("me.png")
    Path("talks").mkdir()
    write_wav(Path("talks/a.wav"), speechlike(0.5, 16_000, 1), 16_000)
    write_wav(Path("talks/b.wav"), speechlike(0.5, 16_000, 2), 16_000)
    write_sound(Path("talks/b.mp3"), speechlike(0.5, 16_000, 3), 16_000, "libmp3lame")
    Path("talks/notes.txt").write_text("not a recording")
    Path("talks/.hidden.wav").write_text("nor this")
    asked = {"avatars": [], "videos": []}
    photo = hashlib.sha256(Path("me.png").read_bytes()).hexdigest()

    def create_avatar(source, out, *, face=None):
        asked["avatars"].append((source.name, out.name, face))
        out.mkdir()
        return out

    def generate(source, speech, out, *, size, fps, seed, background, expressiveness, text, face):
        sound = open_speech(speech)
        asked["videos"].append(out.name)
        settings = {"size": size, "background": background, "text": text, "face": face}
        settings |= {"fps": float(frame_rate(fps)), "expressiveness": expressiveness}
        inputs = {"photo": (source.name, photo), "speech": (speech.name, sound.sha256)}
        made = Provenance("splat", seed, inputs, settings)
        with VideoWriter(out, 64, 64, fps, sound=speech, provenance=made) as writer:
            writer.write(np.zeros((64, 64, 3), np.uint8))
        return out

    monkeypatch.setattr(vivavoce.splat.create, "create_avatar", create_avatar)
    monkeypatch.setattr(vivavoce.splat.drive, "generate", generate)
    return asked


def names(folder="out"):
    return sorted(path.name for path in Path(folder).iterdir())


def again(studio, told, **options):
    """The videos that a second run makes, with the warning that it gives."""
    studio["videos"].clear()
    with pytest.warns(UserWarning, match=told):
        vivavoce.generate("me.png", "talks", "out", **options)
    return studio["videos"]


def test_one_video_each_and_one_avatar_for_all(studio):
    assert vivavoce.generate("me.png", "talks", "out", face=2) == Path("out")
    assert names() == ["a.mp4", "b.mp3.mp4", "b.wav.mp4"]
    assert studio["avatars"] == [("me.png", "me.png", 2)]
    record = read_provenance(Path("out/a.mp4"))
    assert record.inputs["speech"] == ("a.wav", hashlib.sha256(Path("talks/a.wav").read_bytes()).hexdigest())
    assert record.inputs["photo"][0] == "me.png"


def test_finished_videos_are_kept_and_others_made(studio):
    vivavoce.generate("me.png", "talks", "out")
    avatars = len(studio["avatars"])
    assert again(studio, "3 of 3 videos were there already") == []
    assert len(studio["avatars"]) == avatars
    Path("out/a.mp4").unlink()
    Path("out/b.wav.mp4").write_bytes(b"cut off by something else")
    assert again(studio, "1 of 3") == ["a.mp4", "b.wav.mp4"]
    write_wav(Path("talks/a.wav"), speechlike(0.5, 16_000, 9), 16_000)
    assert again(studio, "2 of 3") == ["a.mp4"]


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"fps": 29.97}, {"size": 128}, {"expressiveness": 0.0}, {"background": "white"}]
)
def test_other_options_make_them_again_and_once(studio, changed):
    vivavoce.generate("me.png", "talks", "out")
    studio["videos"].clear()
    vivavoce.generate("me.png", "talks", "out", **changed)
    assert studio["videos"] == names()
    assert again(studio, "3 of 3", **changed) == []


def test_another_photo_or_version_makes_them_again(studio, monkeypatch):
    vivavoce.generate("me.png", "talks", "out")
    Image.fromarray(np.full((96, 96, 3), 90, np.uint8)).save("me.png")
    studio["videos"].clear()
    vivavoce.generate("me.png", "talks", "out")
    assert studio["videos"] == names()


def test_a_bad_recording_is_told_and_the_others_made(studio, capfd):
    write_wav(Path("talks/aa.wav"), np.zeros(16_000), 16_000)
    Path("talks/zz.flac").write_text("no sound")
    assert cli.main(["generate", "me.png", "talks", "-o", "out"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("vivavoce: talks/aa.wav is silent")
    assert lines[1].startswith("vivavoce: talks/zz.flac holds no sound")
    assert lines[2] == "vivavoce: 2 of 5 recordings gave no video, see above: aa.wav, zz.flac."
    assert names() == ["a.mp4", "b.mp3.mp4", "b.wav.mp4"]


def test_transparent_videos_are_webm(studio):
    vivavoce.generate("me.png", "talks", "out", background="transparent")
    assert names() == ["a.webm", "b.mp3.webm", "b.wav.webm"]


def test_a_full_disk_ends_it(studio, monkeypatch):
    def full(*args, **options):
        raise OutputError("the disk is full")

    monkeypatch.setattr(vivavoce.splat.drive, "generate", full)
    with pytest.raises(OutputError, match="full"):
        vivavoce.generate("me.png", "talks", "out")


def test_folders_that_cannot_be_used(studio):
    Path("empty").mkdir()
    Path("file").touch()
    for speech, out, options, kind, message in (
        ("empty", "out", {}, InputError, "no recordings"),
        ("talks", "file", {}, OutputError, "is a file"),
        ("talks", "nowhere/out", {}, OutputError, "does not exist"),
        ("talks", "talks", {}, OutputError, "among the recordings"),
        ("talks", "out", {"text": "hello"}, InputError, "one recording"),
    ):
        with pytest.raises(kind, match=message):
            vivavoce.generate("me.png", speech, out, **options)
    with pytest.raises(InputError, match="There is no photo"):
        vivavoce.generate("none.png", "talks", "out")
    assert names(".") == ["empty", "file", "me.png", "talks"]
