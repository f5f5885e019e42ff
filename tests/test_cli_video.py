"""The video family from the command line: its modes, its files, and one sentence for every mistake."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import tiny
import vivavoce
from portraits import portrait
from syllables import talk
from vivavoce import cli, methods
from vivavoce.features.pose import write_pose
from vivavoce.media.provenance import Provenance, read_provenance
from vivavoce.media.video import VideoWriter
from vivavoce.methods.load import add_lora, load, save_parts
from vivavoce.video import prepare
from vivavoce.video.plan import read_plan

sys.path.insert(0, str(Path(__file__).parent / "media"))
from sounds import write_wav

SECONDS = 0.8
FRAMES = 20
MADE = Provenance("splat", 5, {}, {})
NAMES = ("physavatar", "actavatar", "apoavatar")
analyze, ANALYZED = prepare._portrait, {}


def analyzed(photo, face):
    """The real analysis, once for a photo's bytes."""
    key = (photo.read_bytes(), face)
    if key not in ANALYZED:
        ANALYZED[key] = analyze(photo, face)
    return ANALYZED[key]


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """A folder with a photo, a speech and plans; the tiny methods under the miniatures' names."""
    monkeypatch.chdir(tmp_path)
    small = {config.name: config for config in map(tiny.method, NAMES)}
    monkeypatch.setattr(methods, "all_methods", lambda: dict(methods.METHODS) | small)
    monkeypatch.setattr(prepare, "_portrait", analyzed)
    Image.fromarray((portrait("smile") * 255 + 0.5).astype(np.uint8)).save("me.png")
    spoken = talk(SECONDS)
    start = int(spoken.pauses[0, 1] * 16_000)
    write_wav(Path("talk.wav"), spoken.samples[start : start + int(SECONDS * 16_000)], 16_000)
    Path("plan.yaml").write_text("base: A woman.\nphases:\n  - {start: 0, end: 0.5, text: nods}\n")
    Path("calm.yaml").write_text("base: A woman.\n")
    write_pose(Path("pose.npz"), standing(FRAMES), 25.0)
    return tmp_path


def standing(frames):
    points = np.random.default_rng(1).uniform(-0.8, 0.8, (1, 127, 3)).astype(np.float32)
    points[..., 2] = 1
    return np.repeat(points, frames, axis=0)


def generated(capfd, *args, out="out.mp4"):
    """The one path that the program prints; on standard error, that the weights are untrained."""
    assert cli.main(["generate", *args, "-o", out]) == 0
    printed, err = capfd.readouterr()
    assert printed == f"{out}\n"
    (line,) = err.splitlines()
    assert "draws with untrained weights" in line
    return Path(out)


def refusal(capfd, *args):
    """The last line on standard error, of exit code 2; nothing is left behind."""
    before = sorted(Path.cwd().rglob("*"))
    code = cli.main([str(a) for a in args])
    out, err = capfd.readouterr()
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    told = [line for line in err.splitlines() if "untrained" not in line]
    assert len(told) == 1
    assert told[0].startswith("vivavoce: ")
    assert sorted(Path.cwd().rglob("*")) == before
    return told[0]


def frames_in(file):
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def method(name):
    return ("--method", f"{name}-miniature")


@pytest.mark.parametrize("name", NAMES)
def test_a_photo_speaks_and_the_file_tells_how(inputs, capfd, name):
    made = generated(capfd, "me.png", "talk.wav", *method(name), "--seed", "3", "--text", "She is glad.")
    assert len(frames_in(made)) == FRAMES
    assert cli.main(["inspect", "out.mp4"]) == 0
    told = capfd.readouterr().out
    for part in (
        f"method {name}-miniature, seed 3",
        "steps          2",
        "guidance       text 5",
        "untrained",
    ):
        assert part in told
    plan = read_plan(Path("out.plan.yaml"), SECONDS)
    assert "She is glad." in plan.base
    assert bool(plan.phases) == (name != "physavatar")
    rows = json.loads(Path("out.drift.json").read_text())
    assert rows["seconds"]
    assert not Path("out.job").exists()


def test_words_alone_speak(inputs, capfd):
    made = generated(capfd, "talk.wav", *method("apoavatar"), "--text", "An old man in a garden")
    assert len(frames_in(made)) == FRAMES
    assert read_plan(Path("out.plan.yaml")).base == "An old man in a garden"
    assert set(read_provenance(made).inputs) == {"speech"}


def test_a_pose_file_is_followed(inputs, capfd):
    free = frames_in(generated(capfd, "me.png", "talk.wav", *method("apoavatar"), "--plan", "plan.yaml"))
    args = ("me.png", "talk.wav", *method("apoavatar"), "--plan", "plan.yaml", "--pose", "pose.npz")
    posed = generated(capfd, *args, out="posed.mp4")
    assert read_provenance(posed).inputs["pose"][0] == "pose.npz"
    assert "pose 1" in read_provenance(posed).settings["guidance"]
    assert frames_in(posed).shape == free.shape


def film(file, pictures, fps=25.0):
    with VideoWriter(file, *pictures[0].shape[1::-1], fps, provenance=MADE) as writer:
        for picture in pictures:
            writer.write(picture)


def test_a_driving_video_is_followed(inputs, capfd):
    film(Path("dance.mp4"), [np.asarray(Image.open("me.png"))] * 4, fps=5.0)
    args = ("me.png", "talk.wav", *method("apoavatar"), "--plan", "plan.yaml", "--pose", "dance.mp4")
    assert len(frames_in(generated(capfd, *args))) == FRAMES


def test_keypoints_are_drawn_over_the_same_frames(inputs, capfd, monkeypatch):
    from vivavoce.features import pose

    written, seen = [], []
    real = VideoWriter.write

    def write(writer, frame):
        written.append(frame.copy())
        real(writer, frame)

    def bar(frame, keypoints):
        """In place of the skeleton, which an untrained network may put anywhere."""
        seen.append(keypoints.shape)
        return np.concatenate([np.full_like(frame[:8], 255), frame[8:]])

    monkeypatch.setattr(VideoWriter, "write", write)
    monkeypatch.setattr(pose, "draw_over", bar)
    args = ("me.png", "talk.wav", *method("physavatar"), "--plan", "calm.yaml")
    generated(capfd, *args)
    assert seen == []
    generated(capfd, *args, "--show", "keypoints", out="shown.mp4")
    assert seen == [(127, 3)] * FRAMES
    plain, shown = np.split(np.stack(written), 2)
    assert (shown[:, :8] == 255).all()
    assert np.array_equal(shown[:, 8:], plain[:, 8:])


def test_attention_by_phase_is_plotted_beside_the_clip(inputs, capfd):
    args = ("me.png", "talk.wav", *method("actavatar"), "--plan", "plan.yaml")
    plain = generated(capfd, *args).read_bytes()
    shown = generated(capfd, *args, "--show", "attention:1", out="shown.mp4")
    assert np.array_equal(frames_in(shown), frames_in("out.mp4"))
    assert shown.read_bytes() == plain
    with Image.open("shown.attention.png") as plot:
        assert min(plot.size) > 100
    assert not Path("out.attention.png").exists()


def test_weights_that_were_saved_are_drawn_with_and_described(inputs, capfd):
    save_parts(load(tiny.method("actavatar")).network, Path("act.safetensors"))
    assert cli.main(["weights", "act.safetensors"]) == 0
    told = capfd.readouterr().out
    for part in ("actavatar-miniature", "25", "32x32", "log-mel"):
        assert part in told
    args = ["generate", "me.png", "talk.wav", *method("actavatar"), "--weights", "act.safetensors"]
    assert cli.main([*args, "--plan", "plan.yaml", "-o", "out.mp4"]) == 0
    assert "untrained weights (base)" in capfd.readouterr().err
    assert read_provenance(Path("out.mp4")).inputs["weights"][0] == "act.safetensors"
    assert read_provenance(Path("out.mp4")).settings["untrained"] == "base"


@pytest.mark.parametrize("name", ["physavatar", "actavatar"])
def test_a_plan_is_written_for_people_and_read_back(inputs, capfd, name):
    args = ["plan", "me.png", "talk.wav", "-o", "new.yaml", *method(name), "--text", "She waves."]
    assert cli.main(args) == 0
    assert capfd.readouterr() == ("new.yaml\n", "")
    plan = read_plan(Path("new.yaml"), SECONDS)
    assert "She waves." in plan.base
    assert bool(plan.phases) == (name == "actavatar")
    generated(capfd, "me.png", "talk.wav", *method(name), "--plan", "new.yaml")
    assert read_plan(Path("out.plan.yaml")) == plan


def test_methods_are_listed(inputs, capfd, monkeypatch):
    monkeypatch.setattr("vivavoce.methods.table.all_methods", lambda: {"tiny": tiny.method("physavatar")})
    assert cli.main(["methods"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    for part in ("physavatar-miniature", "32x32", "LoRA", "audio", "2 steps"):
        assert part in out


def test_python_calls_take_names_of_files(inputs):
    with pytest.warns(UserWarning, match="untrained"):
        made = vivavoce.generate(
            "me.png", "talk.wav", "out.mp4", method="apoavatar-miniature", plan="plan.yaml", pose="pose.npz"
        )
    assert set(read_provenance(made).inputs) == {"photo", "speech", "plan", "pose"}


BAD = {
    "three inputs": ("me.png", "talk.wav", "more.wav", *method("actavatar")),
    "no inputs": (*method("actavatar"),),
    "unknown method": ("me.png", "talk.wav", "--method", "sadtalker"),
    "another rate": ("me.png", "talk.wav", *method("actavatar"), "--fps", "30"),
    "another size": ("me.png", "talk.wav", *method("actavatar"), "--size", "512"),
    "background": ("me.png", "talk.wav", *method("actavatar"), "--background", "white"),
    "solver": ("me.png", "talk.wav", *method("actavatar"), "--solver", "heun"),
    "order": ("me.png", "talk.wav", *method("actavatar"), "--order", "random"),
    "interleaved": ("me.png", "talk.wav", *method("actavatar"), "--order", "interleaved"),
    "guidance": ("me.png", "talk.wav", *method("actavatar"), "--guidance", "smell=3"),
    "no scales": ("me.png", "talk.wav", *method("actavatar"), "--guidance", "text:3"),
    "guidance order": ("me.png", "talk.wav", *method("actavatar"), "--guidance-order", "pose_first"),
    "no steps": ("me.png", "talk.wav", *method("actavatar"), "--steps", "0"),
    "cache": ("me.png", "talk.wav", *method("actavatar"), "--cache", "2"),
    "no phases": ("me.png", "talk.wav", *method("actavatar"), "--plan", "calm.yaml", "--show", "attention"),
    "no block": ("me.png", "talk.wav", *method("actavatar"), "--plan", "plan.yaml", "--show", "attention:9"),
    "no keypoints": ("me.png", "talk.wav", *method("actavatar"), "--show", "keypoints"),
    "no pose": ("me.png", "talk.wav", *method("physavatar"), "--pose", "pose.npz"),
    "no photo": ("talk.wav", *method("actavatar")),
    "nobody": ("talk.wav", *method("apoavatar")),
    "splat with steps": ("me.png", "talk.wav", "--steps", "4"),
    "splat without photo": ("talk.wav",),
    "no face": ("grey.png", "talk.wav", *method("actavatar"), "--plan", "plan.yaml"),
    "silent": ("me.png", "silent.wav", *method("actavatar")),
    "a folder": ("me.png", "talks", *method("actavatar")),
    "an avatar": ("talks", "talk.wav", *method("actavatar")),
    "no such device": (
        "me.png",
        "talk.wav",
        *method("actavatar"),
        "--plan",
        "plan.yaml",
        "--device",
        "cuda:7",
    ),
    "no device": ("me.png", "talk.wav", *method("actavatar"), "--plan", "plan.yaml", "--device", "toaster"),
    "short pose": ("me.png", "talk.wav", *method("apoavatar"), "--plan", "plan.yaml", "--pose", "short.npz"),
    "short film": ("me.png", "talk.wav", *method("apoavatar"), "--plan", "plan.yaml", "--pose", "short.mp4"),
    "long plan": ("me.png", "talk.wav", *method("actavatar"), "--plan", "long.yaml"),
    "backward plan": ("me.png", "talk.wav", *method("actavatar"), "--plan", "back.yaml"),
    "empty phase": ("me.png", "talk.wav", *method("actavatar"), "--plan", "empty.yaml"),
    "other weights": ("me.png", "talk.wav", *method("apoavatar"), "--weights", "act.safetensors"),
    "other base": ("me.png", "talk.wav", *method("actavatar"), "--weights", "base.safetensors"),
    "other rate of weights": ("me.png", "talk.wav", *method("actavatar"), "--weights", "fps.safetensors"),
    "no weights": ("me.png", "talk.wav", *method("actavatar"), "--weights", "talk.wav"),
    "no network": ("me.png", "talk.wav", "--method", "physavatar", "--plan", "calm.yaml", "--device", "cpu"),
}
TOLD = {
    "three inputs": "3 inputs are given",
    "no inputs": "0 inputs are given",
    "unknown method": "no method 'sadtalker': choose one of actavatar, ",
    "another rate": "leave --fps out",
    "another size": "leave --size 512 out",
    "background": "leave --background",
    "solver": "no solver 'heun': choose one of unipc, euler",
    "order": "no order of chunks 'random'",
    "interleaved": "take --order autoregressive",
    "guidance": "no guidance by smell",
    "no scales": "is no list of scales",
    "guidance order": "no guidance order 'pose_first'",
    "no steps": "0 denoising steps",
    "cache": "threshold of 2 is out of bounds",
    "no phases": "no phases whose attention could be shown",
    "no block": "no block 9: give one from 0 to 3",
    "no keypoints": "no 'keypoints' to show",
    "no pose": "takes no pose",
    "no photo": "needs a photo",
    "nobody": "describe the person with --text",
    "splat with steps": "--steps is for the methods of the video family",
    "splat without photo": "no photo: give PHOTO before SPEECH",
    "no face": "face",
    "silent": "silent.wav is silent",
    "a folder": "talks is a folder, not a recording",
    "an avatar": "starts from a photo",
    "no such device": "no device 'cuda:7' here",
    "no device": "no device 'toaster' here",
    "short pose": "short.npz lasts 0.40 s and the clip 0.80 s",
    "short film": "short.mp4 lasts 0.40 s and the clip 0.80 s",
    "long plan": "long.yaml, line 3: the phase from 0 s to 9 s reaches beyond the clip of 0.80 s",
    "backward plan": "back.yaml, line 3: the phase runs backwards",
    "empty phase": "empty.yaml, line 3: the phase is empty",
    "other weights": "method 'actavatar-miniature', not 'apoavatar-miniature'",
    "other base": "base.safetensors was made for",
    "other rate of weights": "fps 30, not 25",
    "no weights": "talk.wav",
    "no network": "is not on this machine",
}


def spoiled(case):
    """The files that only a bad case needs."""
    phase = {"long": "start: 0, end: 9", "back": "start: 0.5, end: 0.2", "empty": "start: 0.2, end: 0.2"}
    for name, times in phase.items():
        Path(f"{name}.yaml").write_text(f"base: A woman.\nphases:\n  - {{{times}, text: nods}}\n")
    Image.new("RGB", (200, 200), (127, 127, 127)).save("grey.png")
    write_wav(Path("silent.wav"), np.zeros(16_000), 16_000)
    write_wav(Path("more.wav"), np.zeros(16_000), 16_000)
    Path("talks").mkdir()
    if case.startswith("short"):
        write_pose(Path("short.npz"), standing(10), 25.0)
        film(Path("short.mp4"), [np.zeros((64, 64, 3), np.uint8)] * 10)
    config = tiny.method("actavatar")
    deeper = replace(config, transformer=dict(config.transformer) | {"num_layers": 5})
    wanted = {"other weights": ("act", config), "other base": ("base", deeper)}
    wanted["other rate of weights"] = ("fps", tiny.method("actavatar", fps=30.0))
    if case in wanted:
        name, config = wanted[case]
        save_parts(load(config).network, Path(f"{name}.safetensors"))


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_sentence(inputs, capfd, monkeypatch, case):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    spoiled(case)
    told = refusal(capfd, "generate", *BAD[case], "-o", "out.mp4")
    assert TOLD[case] in told
    assert told.endswith(".")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("plan", "me.png", "talk.wav", "-o", "plan.txt"), "choose one of .yaml, .yml"),
        (("plan", "none.png", "talk.wav", "-o", "new.yaml"), "no photo at none.png"),
        (("plan", "me.png", "talk.wav", "-o", "new.yaml", "--method", "mine"), "no method 'mine'"),
        (("plan", "me.png", "talk.wav", "-o", "talks"), "talks is a folder"),
        (("weights", "talk.wav"), "talk.wav"),
        (("weights", "none.safetensors"), "none.safetensors"),
        (("generate", "me.png", "talk.wav", *method("actavatar"), "-o", "talks"), "talks is a folder"),
        (("generate", "me.png", "talk.wav", *method("actavatar"), "-o", "me.png"), "one of the inputs"),
    ],
)
def test_mistakes_elsewhere_are_one_sentence_too(inputs, capfd, args, told):
    Path("talks").mkdir()
    assert told in refusal(capfd, *args)


def test_an_interrupted_clip_says_how_to_go_on(inputs, capfd, monkeypatch):
    from vivavoce.video import generate as path

    args = ["generate", "me.png", "talk.wav", *method("actavatar"), "--plan", "plan.yaml", "-o", "out.mp4"]

    def stopped(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(path, "frames_of", stopped)
        assert cli.main(args) == 130
    _, err = capfd.readouterr()
    assert "What is finished is kept in out.job: go on with --resume." in err
    assert "go on with --resume" in refusal(capfd, *args)
    assert "seed (0, now 1)" in refusal(capfd, *args, "--resume", "--seed", "1")
    assert cli.main([*args, "--resume"]) == 0
    assert not Path("out.job").exists()


def test_lora_is_part_of_physavatars_file(inputs, capfd):
    network = load(tiny.method("physavatar")).network
    add_lora(network)
    save_parts(network, Path("phys.safetensors"))
    assert cli.main(["weights", "phys.safetensors"]) == 0
    assert "physavatar-miniature" in capfd.readouterr().out
