"""The command line: one path on standard output, one sentence on standard error, the right exit code."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vivavoce
from vivavoce import cli
from vivavoce.media.image import write_png
from vivavoce.media.provenance import Provenance

sys.path.insert(0, str(Path(__file__).parent / "media"))
from sounds import speechlike, write_sound, write_wav

MADE = Provenance("splat", 5, {"photo": ("me.jpg", "ab" * 32)}, {"fps": 25.0})


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """A folder with usable inputs; there is no face in the photo."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((96, 96, 3), 127, np.uint8)).save("grey.png")
    write_wav(tmp_path / "talk.wav", speechlike(1, 16_000), 16_000)
    return tmp_path


def refusal(capfd, *args):
    """The one line that the program leaves on standard error, exit code 2."""
    before = sorted(Path.cwd().rglob("*"))
    code = cli.main([str(a) for a in args])
    out, err = capfd.readouterr()
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("vivavoce: ")
    assert sorted(Path.cwd().rglob("*")) == before
    return err


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        ("letter.jpg", "not a picture"),
        ("cut.jpg", "damaged or cut off"),
        ("empty.png", "is empty"),
        ("small.png", "40x40 pixels"),
        ("huge.png", "million"),
        ("none.png", "There is no photo at none.png"),
    ],
)
@pytest.mark.parametrize("command", ["create", "generate"])
def test_photos_that_cannot_be_used(inputs, capfd, command, photo, message):
    Path("letter.jpg").write_text("text\n" * 100)
    Image.effect_noise((300, 300), 50).save("whole.jpg")
    Path("cut.jpg").write_bytes(Path("whole.jpg").read_bytes()[:9000])
    Path("empty.png").touch()
    Image.new("RGB", (40, 40)).save("small.png")
    header = Path("small.png").read_bytes()
    chunk = b"IHDR" + (50_000).to_bytes(4, "big") * 2 + header[24:29]
    checksum = zlib.crc32(chunk).to_bytes(4, "big")
    Path("huge.png").write_bytes(header[:12] + chunk + checksum + header[33:])
    args = (photo, "-o", "avatar") if command == "create" else (photo, "talk.wav", "-o", "out.mp4")
    assert message in refusal(capfd, command, *args)


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        ("silent.wav", "is silent"),
        ("blip.wav", "0.05 s of sound"),
        ("nan.wav", "not finite"),
        ("mute.mp4", "no sound"),
        ("letter.txt", "sound"),
        ("empty.wav", "is empty"),
        ("none.wav", "There is no recording at none.wav"),
        ("nowhere/none.wav", "There is no recording at nowhere/none.wav"),
        ("void", "holds no recordings"),
    ],
)
def test_sounds_that_cannot_be_used(inputs, capfd, sound, message):
    from vivavoce.media.video import VideoWriter

    Path("void").mkdir()
    Path("letter.txt").write_text("text\n" * 100)
    Path("empty.wav").touch()
    write_wav(Path("silent.wav"), np.zeros(16_000), 16_000)
    write_wav(Path("blip.wav"), speechlike(0.05, 16_000), 16_000)
    broken = speechlike(1, 16_000)
    broken[7_000] = np.nan
    write_sound(Path("nan.wav"), broken, 16_000, "pcm_f32le")
    with VideoWriter(Path("mute.mp4"), 64, 64, 25.0, provenance=MADE) as writer:
        writer.write(np.zeros((64, 64, 3), np.uint8))
    assert message in refusal(capfd, "generate", "grey.png", sound, "-o", "out.mp4")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("nowhere/out.mp4", "does not exist"),
        ("out.gif", "choose one of .mov, .mp4, .webm"),
        ("folder.mp4", "is a folder"),
        ("locked/out.mp4", "Permission denied"),
        ("kept.mp4", "is read-only"),
    ],
)
def test_targets_that_cannot_be_written(inputs, capfd, out, message):
    Path("folder.mp4").mkdir()
    Path("locked").mkdir(mode=0o555)
    Path("kept.mp4").touch(mode=0o444)
    assert message in refusal(capfd, "generate", "grey.png", "talk.wav", "-o", out)


@pytest.mark.parametrize(
    ("option", "value", "bounds"),
    [
        ("--fps", "0", "1 to 120"),
        ("--fps", "nan", "1 to 120"),
        ("--fps", "500", "1 to 120"),
        ("--size", "10", "64 to 4096"),
        ("--size", "9999", "64 to 4096"),
        ("--expressiveness", "-0.5", "0 to 2"),
        ("--expressiveness", "2.5", "0 to 2"),
        ("--face", "0", "1 to 1000"),
        ("--seed", "-1", "0 to"),
        ("--text", " ", "text is empty"),
    ],
)
def test_values_out_of_bounds(inputs, capfd, option, value, bounds):
    told = refusal(capfd, "generate", "grey.png", "talk.wav", "-o", "out.mp4", option, value)
    assert bounds in told
    assert option in told


def test_inputs_are_not_overwritten(inputs, capfd):
    from vivavoce.media.video import VideoWriter

    with VideoWriter(Path("talk.mp4"), 64, 64, 25.0, sound=Path("talk.wav"), provenance=MADE) as writer:
        for _ in range(25):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    before = Path("talk.mp4").read_bytes()
    assert "one of the inputs" in refusal(capfd, "generate", "grey.png", "talk.mp4", "-o", "./talk.mp4")
    assert Path("talk.mp4").read_bytes() == before


def test_pipes_are_not_files(inputs, capfd):
    os.mkfifo("pipe.wav")
    assert "not an ordinary file" in refusal(capfd, "generate", "grey.png", "pipe.wav", "-o", "o.mp4")


def test_transparent_needs_a_container_that_can(inputs, capfd):
    args = ("generate", "grey.png", "talk.wav", "-o", "out.mp4", "--background", "transparent")
    assert "transparent" in refusal(capfd, *args)


def test_a_program_of_its_own_says_the_same(inputs):
    Path("letter.jpg").write_text("text\n" * 100)
    command = [sys.executable, "-m", "vivavoce.cli", "create", "letter.jpg", "-o", "avatar"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("vivavoce: letter.jpg is not a picture")
    assert run.stderr.count("\n") == 1


def test_path_on_standard_output_and_options_passed_on(inputs, capfd, monkeypatch):
    import vivavoce.splat.create
    import vivavoce.splat.drive

    calls = []

    def fake(*args, **options):
        calls.append((args, options))
        return args[-1]

    monkeypatch.setattr(vivavoce.splat.create, "create_avatar", fake)
    monkeypatch.setattr(vivavoce.splat.drive, "generate", fake)
    assert cli.main(["create", "grey.png", "-o", "ada", "--face", "2"]) == 0
    assert capfd.readouterr() == ("ada\n", "")
    options = ["--size", "256", "--fps", "30", "--seed", "4", "--background", "white", "--face", "1"]
    options += ["--expressiveness", "0.5", "--text", "hello there"]
    assert cli.main(["generate", "ada", "talk.wav", "--out", "o.mp4", *options]) == 0
    assert capfd.readouterr() == ("o.mp4\n", "")
    assert vivavoce.generate("ada", "talk.wav", "o.mp4", fps=50) == Path("o.mp4")
    defaults = {"size": None, "fps": 25.0, "seed": 0, "background": "photo", "expressiveness": 1.0}
    defaults |= {"text": None, "face": None}
    chosen = {"size": 256, "fps": 30.0, "seed": 4, "background": "white", "expressiveness": 0.5}
    chosen |= {"text": "hello there", "face": 1}
    assert calls == [
        ((Path("grey.png"), Path("ada")), {"face": 2}),
        ((Path("ada"), Path("talk.wav"), Path("o.mp4")), chosen),
        ((Path("ada"), Path("talk.wav"), Path("o.mp4")), defaults | {"fps": 50.0}),
    ]


def test_ctrl_c_is_one_line_and_130(inputs, capfd, monkeypatch):
    import vivavoce.splat.drive

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(vivavoce.splat.drive, "generate", interrupted)
    assert cli.main(["generate", "ada", "talk.wav", "-o", "o.mp4"]) == 130
    assert capfd.readouterr() == ("", "vivavoce: stopped.\n")


def test_warnings_are_one_line_each(inputs, capfd):
    write_wav(Path("whole.wav"), speechlike(2, 16_000), 16_000)
    Path("cut.wav").write_bytes(Path("whole.wav").read_bytes()[:40_000])
    assert cli.main(["generate", "none.png", "cut.wav", "-o", "o.mp4"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first == "vivavoce: cut.wav is cut off: the 1.2 s that are there are used."
    assert "none.png" in second


def test_inspect_tells_how_a_file_was_made(inputs, capfd):
    write_png(Path("made.png"), np.zeros((8, 8, 3), np.uint8), provenance=MADE)
    assert cli.main(["inspect", "made.png"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    for part in ("AI-generated", "trainedAlgorithmicMedia", vivavoce.__version__, "seed 5", "me.jpg"):
        assert part in out
    for other in ("grey.png", "talk.wav"):
        assert "no record" in refusal(capfd, "inspect", other)
    assert "no file at none.png" in refusal(capfd, "inspect", "none.png")
    assert "is not an avatar" in refusal(capfd, "inspect", ".")


def test_inspect_tells_about_an_avatar(inputs, capfd):
    from vivavoce.splat.avatar import FORMAT

    Path("ada").mkdir()
    camera = {"width": 512, "height": 640, "focal": 900.0, "cx": 256.0, "cy": 320.0}
    record = {
        "format": FORMAT,
        "gaussians": 12,
        "particles": ["a", "b"],
        "photo_sha256": "cd" * 32,
        "sha256": {},
    }
    Path("ada/avatar.json").write_text(json.dumps(record | {"camera": camera, "notes": ["2 faces found."]}))
    assert cli.main(["inspect", "ada"]) == 0
    out, _ = capfd.readouterr()
    for part in ("12 Gaussians on 2 particles", "512x640", "cd" * 32, "2 faces found."):
        assert part in out
    Path("ada/avatar.json").write_text(json.dumps({"format": FORMAT, "sha256": {}}))
    assert "camera" in refusal(capfd, "inspect", "ada")


def test_help_and_misuse(inputs, capfd):
    for args, code in ((["--help"], 0), (["generate", "--help"], 0), (["generate", "a"], 2), (["sing"], 2)):
        with pytest.raises(SystemExit) as left:
            cli.main(args)
        assert left.value.code == code
    assert "Traceback" not in capfd.readouterr().err
    assert sorted(os.listdir()) == ["grey.png", "talk.wav"]
