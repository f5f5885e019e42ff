"""From a user's files to a scene: the photo around the face, the speech, whose plan it is, and what decides a job."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tiny
from portraits import portrait
from syllables import talk
from vivavoce.config import GenerateOptions, VideoOptions
from vivavoce.errors import InputError, OutputError
from vivavoce.features.portrait import Portrait
from vivavoce.features.pose import write_pose
from vivavoce.methods.load import load
from vivavoce.video import prepare
from vivavoce.video.plan import Plan, read_plan
from vivavoce.video.planner import BRIEF, PHASES, OmniModel
from vivavoce.video.planner_endpoint import Endpoint
from vivavoce.video.prepare import EYES_AT, framed, plan_file, planner_named, scene_of, settings_of
from vivavoce.video.request import checked

sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from sounds import speechlike, write_wav

analyze = prepare._portrait
SMILE: list[Portrait] = []


def smile():
    """The analysis of the photo that `inputs` writes, made once."""
    if not SMILE:
        SMILE.append(analyze(Path("me.png"), None))
    return SMILE[0]


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray((portrait("smile") * 255 + 0.5).astype(np.uint8)).save("me.png")
    spoken = talk(1.2)
    start = int(spoken.pauses[0, 1] * 16_000)
    write_wav(Path("talk.wav"), spoken.samples[start : start + 19_200], 16_000)
    Path("plan.yaml").write_text("base: A woman speaks.\nphases:\n  - {start: 0, end: 1, text: nods}\n")
    monkeypatch.setattr(prepare, "_portrait", lambda photo, face: smile())
    return tmp_path


def request(name="apoavatar", photo="me.png", **options):
    video = {k: options.pop(k) for k in tuple(options) if k in VideoOptions.__dataclass_fields__}
    chosen = GenerateOptions(method=name, video=VideoOptions(**video), **options)
    photo = None if photo is None else Path(photo)
    return checked(tiny.method(name), photo, Path("talk.wav"), Path("out.mp4"), chosen)


def standing(seconds, fps):
    """A pose that is seen all the time."""
    return np.full((round(seconds * fps), 127, 3), (0.25, 0.25, 1.0), np.float32)


def person(width, height, face_at):
    """A portrait whose pixels are their own coordinates, with its face's middle at a place."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([columns / width, rows / height, 0 * rows], axis=-1).astype(np.float32)
    face = np.zeros((478, 3), np.float32)
    face[:, :2] = face_at
    empty = np.zeros((height, width), np.float32)
    return Portrait(image, (0, 0, width, height), face, None, {}, empty, 1, ())


def corner(picture, width, height):
    """Where in the photo a framed picture's middle comes from, and how much of it is seen, in pixels."""
    x, y = picture[..., 0] / 255 * width, picture[..., 1] / 255 * height
    inner = slice(2, -2)
    step = (np.diff(x[0])[inner].mean(), np.diff(y[:, 0])[inner].mean())
    return (x.mean() + 0.5, y.mean() + 0.5), (step[0] * picture.shape[1], step[1] * picture.shape[0])


@pytest.mark.parametrize(
    ("size", "face_at", "frame", "middle", "seen"),
    [
        # a square of a photo that lies: as high as the photo, across the face
        ((400, 200), (150, 90), (32, 32), (150, 100), (200, 200)),
        ((400, 200), (20, 90), (32, 32), (100, 100), (200, 200)),  # the photo ends left of it
        ((400, 200), (395, 90), (32, 32), (300, 100), (200, 200)),
        # a square of one that stands: the face a bit above its middle
        ((200, 400), (100, 150), (32, 32), (100, 150 + (0.5 - EYES_AT) * 200), (200, 200)),
        ((200, 400), (100, 10), (32, 32), (100, 100), (200, 200)),
        ((200, 400), (100, 399), (32, 32), (100, 300), (200, 200)),
        # another shape than the photo's
        ((300, 300), (150, 150), (44, 80), (150, 150), (165, 300)),
        ((300, 300), (150, 150), (80, 44), (150, 150 + (0.5 - EYES_AT) * 165), (300, 165)),
        ((20, 20), (10, 10), (64, 64), (10, 10), (20, 20)),  # a photo smaller than the frame
    ],
)
def test_the_largest_part_around_the_face_is_framed(size, face_at, frame, middle, seen):
    picture = framed(person(*size, face_at), *frame)
    assert picture.shape == (frame[1], frame[0], 3)
    assert picture.dtype == np.uint8
    at, extent = corner(picture, *size)
    np.testing.assert_allclose(at, middle, atol=0.02 * max(size))
    np.testing.assert_allclose(extent, seen, rtol=0.05)


def test_a_photo_of_the_frames_size_comes_as_it_is(inputs):
    pixels = np.asarray(Image.open("me.png"))
    assert np.array_equal(framed(smile(), 512, 512), pixels)


def test_a_scene_holds_the_whole_video(inputs):
    write_pose(Path("pose.npz"), standing(1.2, 50), 50.0)
    scene = scene_of(request(plan=Path("plan.yaml"), pose=Path("pose.npz"), text="She is glad."))
    assert scene.photo.shape == (32, 32, 3)
    assert (scene.frames, scene.fps) == (30, 25.0)
    assert scene.plan.base == "A woman speaks. She is glad."
    assert [phase.text for phase in scene.plan.phases] == ["nods"]
    assert scene.pose.shape == (30, 127, 3)
    assert scene.embeddings is None


@pytest.mark.parametrize(("name", "phased"), [("physavatar", False), ("actavatar", True)])
def test_without_a_plan_the_embedded_planner_makes_one_of_the_methods_form(inputs, name, phased):
    scene = scene_of(request(name, text="She waves."))
    assert bool(scene.plan.phases) == phased
    assert "She waves." in scene.plan.base
    assert ("[AUDIO]" in scene.plan.base) != phased
    scene.plan.check(1.2)


@pytest.mark.parametrize(
    ("options", "base", "phases"),
    [
        ({"text": "A man speaks."}, "A man speaks.", 0),
        ({"plan": Path("plan.yaml")}, "A woman speaks.", 1),
        ({"plan": Path("plan.yaml"), "text": "It rains."}, "A woman speaks. It rains.", 1),
    ],
)
def test_without_a_photo_the_words_are_the_plan(inputs, monkeypatch, options, base, phases):
    monkeypatch.setattr(prepare, "_portrait", None)
    scene = scene_of(request(photo=None, **options))
    assert scene.photo is None
    assert scene.plan.base == base
    assert len(scene.plan.phases) == phases


def test_notes_on_the_photo_are_told(inputs, monkeypatch):
    monkeypatch.setattr(prepare, "_portrait", analyze)
    found = replace(smile(), notes=("5 faces found: the largest speaks.",))
    monkeypatch.setattr("vivavoce.features.portrait.analyze", lambda *args, **options: found)
    with pytest.warns(UserWarning, match="5 faces found"):
        scene_of(request(plan=Path("plan.yaml")))


def test_a_photo_without_a_face_is_refused(inputs, monkeypatch):
    monkeypatch.setattr(prepare, "_portrait", analyze)
    Image.fromarray((portrait("landscape") * 255).astype(np.uint8)).save("me.png")
    with pytest.raises(InputError, match="face"):
        scene_of(request())


@pytest.mark.parametrize("seconds", [0.8, 1.6])
def test_a_pose_of_another_length_is_refused(inputs, seconds):
    write_pose(Path("pose.npz"), standing(seconds, 25), 25.0)
    with pytest.raises(InputError, match=rf"pose.npz lasts {seconds:.2f} s and the clip 1.20 s: cut"):
        scene_of(request(pose=Path("pose.npz"), plan=Path("plan.yaml")))


class Says(OmniModel):
    """A planner that always says the same, and has an inside."""

    def __init__(self, words):
        self.words = words

    def answer(self, question):
        return self.words

    def embeddings(self, question, answer):
        return torch.full((1, 3, 8), float(len(answer)))


def test_a_planners_own_reading_comes_with_its_plan(inputs, monkeypatch):
    words = "[AUDIO]: calm voice [IMAGE]: woman in orange [VIDEO]: nods"
    monkeypatch.setattr(prepare, "planner_named", lambda name, model: Says(words))
    scene = scene_of(request("physavatar", planner="some/where"))
    assert "woman in orange" in scene.plan.base
    assert torch.equal(scene.embeddings, torch.full((1, 3, 8), float(len(scene.plan.base))))
    written = scene_of(request("physavatar", planner="some/where", plan=Path("plan.yaml")))
    assert written.plan.base == "A woman speaks."
    assert torch.equal(written.embeddings, torch.full((1, 3, 8), float(len("A woman speaks."))))


def test_planners_by_name(monkeypatch):
    from vivavoce.video.planner_omni import OmniThinker

    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    assert planner_named("embedded") is None
    there = planner_named("http://localhost:8000/v1", "qwen")
    assert isinstance(there, Endpoint)
    assert (there.model, there.server.key) == ("qwen", "secret")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert planner_named("https://host/v1").server.key is None
    monkeypatch.setattr(OmniThinker, "load", Says)
    assert planner_named("Qwen/Qwen2.5-Omni-7B").words == "Qwen/Qwen2.5-Omni-7B"


@pytest.mark.parametrize("form", [BRIEF, PHASES], ids=["brief", "phases"])
def test_a_plan_file_is_read_back_within_the_speech(inputs, form):
    made = plan_file(Path("me.png"), Path("talk.wav"), Path("new.yaml"), form=form, wishes=["She waves."])
    plan = read_plan(made, 1.2)
    assert "She waves." in plan.base
    assert bool(plan.phases) == (form is PHASES)


def test_a_plan_goes_where_it_can(inputs):
    given = (Path("me.png"), Path("talk.wav"))
    with pytest.raises(OutputError, match=r"choose one of \.yaml, \.yml"):
        plan_file(*given, Path("plan.txt"), form=PHASES)
    with pytest.raises(InputError, match="no photo at"):
        plan_file(Path("none.png"), Path("talk.wav"), Path("new.yaml"), form=PHASES)
    assert not Path("new.yaml").exists()


def settings(request, **scene):
    made = scene_of(request)
    method = load(request.config)
    return json.loads(json.dumps(settings_of(request, replace(made, **scene), method)))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, set()),
        ({"steps": 3}, {"steps"}),
        ({"solver": "euler"}, {"solver"}),
        ({"guidance": "text=2"}, {"guidance"}),
        ({"guidance_order": "audio_first"}, {"guidance"}),
        ({"seed": 1}, {"seed"}),
        ({"cache": 0.1}, {"cache"}),
        ({"face": 1}, {"face"}),
        ({"text": "It rains."}, {"plan"}),
        ({"plan": None}, {"plan", "inputs"}),
        ({"photo": None}, {"inputs"}),
        ({"encoder": "elsewhere"}, {"encoder"}),
        ({"name": "actavatar"}, {"method", "weights", "guidance"}),
        ({"resume": True, "planner_model": "other"}, set()),
    ],
)
def test_what_decides_a_chunk_decides_its_job(inputs, changes, names):
    plain = {"plan": Path("plan.yaml")}
    one, other = settings(request(**plain)), settings(request(**plain | changes))
    assert {name for name in one if one[name] != other[name]} == names


def test_other_weights_and_another_recording_are_another_job(inputs):
    made = request(plan=Path("plan.yaml"))
    scene, method = scene_of(made), load(made.config)
    one = settings_of(made, scene, method)
    with torch.no_grad():
        next(method.network.parts["pose"].parameters()).add_(1e-3)
    two = settings_of(made, scene, method)
    assert one["weights"] != two["weights"]
    assert two == one | {"weights": two["weights"]}
    write_wav(Path("talk.wav"), speechlike(1.2, 16_000), 16_000)
    other = request(plan=Path("plan.yaml"))
    assert settings_of(other, scene, method)["inputs"] != one["inputs"]
    assert settings_of(made, replace(scene, plan=Plan(base="-")), method)["plan"] != one["plan"]
