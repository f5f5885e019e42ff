"""The path of the video family: a photo and a speech become a clip, of any length, also after being killed."""

import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import tiny
from vivavoce.config import GenerateOptions, VideoOptions
from vivavoce.errors import InputError
from vivavoce.features.portrait import Portrait
from vivavoce.media.provenance import read_provenance
from vivavoce.methods.load import load
from vivavoce.video import drift, prepare
from vivavoce.video import generate as path
from vivavoce.video.generate import generate
from vivavoce.video.plan import read_plan
from vivavoce.video.request import checked

sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from sounds import decode, speechlike, write_wav

PLAN = "# mine\nbase: A woman speaks.\nphases:\n  - {start: 0, end: 0.5, text: nods}\n"
UNTRAINED = "ignore:.* draws with untrained weights"
pytestmark = pytest.mark.filterwarnings(UNTRAINED)
SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(["vivavoce.video.generate", "vivavoce.methods.load", "av", "pytest", "cv2"])


look = drift._look


def as_it_is(photo, face=None):
    """A stand-in for the photo's analysis, which is heavier than all else here."""
    image = np.asarray(Image.open(photo).convert("RGB"), np.float32) / 255
    height, width = image.shape[:2]
    middle = np.full((478, 3), height / 2, np.float32)
    matte = np.zeros((height, width), np.float32)
    return Portrait(image, (0, 0, width, height), middle, None, {}, matte, 1, ())


def unseen(picture):
    """A stand-in for the search for a face in a frame."""
    return drift._Look(np.zeros(3), 1.0, None, None)


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """A folder with a photo, a speech of 0.8 s and a plan; no face is looked for."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC).save("me.png")
    write_wav(Path("talk.wav"), speechlike(0.8, 16_000), 16_000)
    Path("plan.yaml").write_text(PLAN)
    monkeypatch.setattr(prepare, "_portrait", as_it_is)
    monkeypatch.setattr(drift, "_look", unseen)
    return tmp_path


def speak(name="physavatar", out="out.mp4", speech="talk.wav", photo="me.png", config=None, **options):
    """A clip by a tiny method; `options` of VideoOptions or of GenerateOptions."""
    options = {"plan": Path("plan.yaml")} | options
    video = {k: options.pop(k) for k in tuple(options) if k in VideoOptions.__dataclass_fields__}
    config = config or tiny.method(name)
    chosen = GenerateOptions(method=config.name, video=VideoOptions(**video), **options)
    photo = None if photo is None else Path(photo)
    request = checked(config, photo, Path(speech), Path(out), chosen)
    return generate(request, lambda: load(config))


def frames_in(file):
    with av.open(str(file)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def aside(folder, out, seconds, changes):
    """What runs in a process of its own; leaves its peak memory (KiB) in a file."""
    os.chdir(folder)
    prepare._portrait, drift._look = as_it_is, unseen
    speak(out=out, speech=f"{seconds}.wav", config=tiny.method("physavatar", **changes))
    Path(f"{out}.peak").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def started(folder, out, seconds=2, **changes):
    write_wav(folder / f"{seconds}.wav", speechlike(seconds, 16_000), 16_000)
    process = SPAWN.Process(target=aside, args=(folder, out, seconds, changes))
    process.start()
    return process


def killed(process, when):
    """`kill -9` as soon as `when`; the process must still be at work then."""
    deadline = time.monotonic() + 60
    while not when():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def test_a_killed_job_goes_on_to_the_same_bytes(inputs):
    """Once killed in the middle of drawing, once in the middle of writing."""
    drawing = started(inputs, "drawing.mp4")
    killed(drawing, lambda: len(list(Path("drawing.job").glob("chunk-*"))) >= 2)
    writing = started(inputs, "writing.mp4")
    killed(writing, lambda: list(inputs.glob(".vivavoce-*.mp4")))
    kept = {name: sorted(Path(f"{name}.job").glob("chunk-*")) for name in ("drawing", "writing")}
    assert 2 <= len(kept["drawing"]) < len(kept["writing"]) == 4
    assert not any(Path(f"{name}.mp4").exists() for name in kept)
    before = {file: file.stat().st_mtime_ns for file in kept["writing"]}
    with pytest.raises(
        InputError, match=r"drawing.job holds a video that was not finished: go on with --res"
    ):
        speak(out="drawing.mp4", speech="2.wav")
    whole = speak(out="whole.mp4", speech="2.wav").read_bytes()
    assert {file: file.stat().st_mtime_ns for file in kept["writing"]} == before
    for name in kept:
        assert speak(out=f"{name}.mp4", speech="2.wav", resume=True).read_bytes() == whole, name
        assert not Path(f"{name}.job").exists()


def test_memory_does_not_grow_with_the_speech(inputs):
    few = {"fps": 5.0, "steps": 1, "scales": {"text": 1.0, "audio": 1.0}}
    for process in [started(inputs, f"{seconds}.mp4", seconds, **few) for seconds in (10, 60)]:
        process.join(60)
        assert process.exitcode == 0
    short, long = (int(Path(f"{seconds}.mp4.peak").read_text()) for seconds in (10, 60))
    assert long <= 1.1 * short
    assert len(frames_in("60.mp4")) == 300


def test_frames_are_let_go_as_they_are_written(inputs, monkeypatch):
    """However long the clip: a few wait for the encoder, and those of the latent at hand."""
    alive, most = weakref.WeakSet(), []
    real = path.frames_of

    class Told(np.ndarray):
        """One that can be counted: numpy's own cannot be hashed."""

        __hash__ = object.__hash__

    def counted(*args):
        for frame in real(*args):
            told = frame.view(Told)
            alive.add(told)
            most.append(len(alive))
            yield told
            del told

    monkeypatch.setattr(path, "frames_of", counted)
    write_wav(Path("talk.wav"), speechlike(2, 16_000), 16_000)
    speak(steps=1)
    assert len(most) == 50
    assert max(most) <= 2


@pytest.mark.parametrize("fps", [23.976, 24.0, 25.0, 29.97, 30.0])
@pytest.mark.parametrize(("rate", "samples"), [(16_000, 9_601), (44_100, 23_333)])
def test_the_sound_is_the_recording_to_the_sample(inputs, fps, rate, samples):
    write_wav(Path("odd.wav"), speechlike(1, rate)[:samples], rate)
    exact = {23.976: Fraction(24_000, 1001), 29.97: Fraction(30_000, 1001)}.get(fps, Fraction(int(fps)))
    speak(speech="odd.wav", config=tiny.method("actavatar", fps=fps, steps=1))
    with av.open("out.mp4") as container:
        assert container.streams.video[0].average_rate == exact
        track = container.streams.audio[0]
        assert (track.rate, track.time_base, track.duration) == (rate, Fraction(1, rate), samples)
        packets = [packet for packet in container.demux(track) if packet.size]
    assert packets[-1].pts + packets[-1].duration == samples
    heard, _, start = decode(Path("out.mp4"))
    assert start == 0
    assert (
        samples <= len(heard) < samples + 1024
    )  # AAC decodes whole frames; what is behind the end is not played
    frames = len(frames_in("out.mp4"))
    assert frames == round(Fraction(samples, rate) * exact)
    assert abs(frames / exact - Fraction(samples, rate)) <= 1 / (2 * exact)


def test_the_same_seed_gives_the_same_file_and_another_another(inputs):
    one, same, other = (speak(out=f"{i}.mp4", seed=seed).read_bytes() for i, seed in enumerate((3, 3, 4)))
    assert one == same
    assert one != other
    assert not np.array_equal(frames_in("0.mp4"), frames_in("2.mp4"))


CHOICES = (
    ({"steps": 3}, {"steps": 3}),
    ({"solver": "euler"}, {"solver": "euler"}),
    ({"guidance": "text=2,audio=4"}, {"guidance": "text 2, audio 4"}),
    ({"guidance_order": "audio_first"}, {"guidance": "audio 2, text 5"}),
    ({"cache": 1.0}, {"cache": 1.0}),
    ({"order": "autoregressive"}, {"order": "autoregressive"}),
)


def test_what_is_chosen_is_told_by_the_file_and_seen(inputs):
    usual = {"fps": 25.0, "size": 32, "steps": 2, "solver": "unipc", "guidance": "text 5, audio 2"}
    usual |= {"order": "interleaved", "cache": None, "face": None, "plan": "A woman speaks."}
    usual["untrained"] = "base, the method's own parts"
    write_wav(Path("talk.wav"), speechlike(1.4, 16_000), 16_000)  # three chunks, so that orders differ
    made = read_provenance(speak(out="plain.mp4"))
    assert (made.method, made.seed, made.settings) == ("physavatar-miniature", 0, usual)
    plain = frames_in("plain.mp4")
    for options, told in CHOICES:
        assert read_provenance(speak(out="changed.mp4", **options)).settings == usual | told
        # Untrained audio adds nothing, and so its place in the order changes nothing but rounding.
        if "guidance_order" not in options:
            assert not np.array_equal(plain, frames_in("changed.mp4")), options


def test_a_wish_is_told_by_the_file_and_seen(inputs):
    plain, wished = (speak("actavatar", out=f"{text}.mp4", text=text) for text in (None, "It rains."))
    assert read_provenance(wished).settings["plan"] == "A woman speaks. It rains."
    assert not np.array_equal(frames_in(plain), frames_in(wished))


def test_the_encoder_leaves_alone_what_gives_other_bytes_now_and_then(inputs):
    """x264's AVX-512 code: one clip in some dozens differs. On processors without it there is nothing to see."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture(local=False) as said:
            speak()
    finally:
        av.logging.set_level(level)
    (used,) = (message for _, _, message in said if "using cpu capabilities" in message)
    assert "AVX512" not in used


def test_inputs_are_told_by_the_file(inputs):
    made = read_provenance(speak(seed=5))
    assert made.seed == 5
    assert {role: name for role, (name, _) in made.inputs.items()} == {
        "photo": "me.png",
        "plan": "plan.yaml",
        "speech": "talk.wav",
    }
    for part in ("untrained", "method physavatar-miniature, seed 5", "text 5, audio 2"):
        assert part in made.describe()


def test_a_clip_comes_with_its_plan_and_its_drift_and_nothing_else(inputs, monkeypatch):
    monkeypatch.setattr(drift, "_look", look)
    before = set(os.listdir())
    assert speak("actavatar", text="She is glad.") == Path("out.mp4")
    assert set(os.listdir()) - before == {"out.mp4", "out.plan.yaml", "out.drift.json"}
    plan = read_plan(Path("out.plan.yaml"), 0.8)
    assert plan.base == "A woman speaks. She is glad."
    assert [phase.text for phase in plan.phases] == ["nods"]
    assert len(json.loads(Path("out.drift.json").read_text())["seconds"]) >= 1


def test_a_plan_that_lies_where_the_clips_own_belongs_stays_as_it_is(inputs):
    Path("plan.yaml").rename("out.plan.yaml")
    speak(plan=Path("out.plan.yaml"))
    assert Path("out.plan.yaml").read_text() == PLAN


def test_untrained_weights_are_told(inputs):
    with pytest.warns(UserWarning, match=r"untrained weights \(base and the method's own parts\)"):
        speak()


def test_a_job_of_other_settings_is_refused_and_stays(inputs, monkeypatch):
    def stopped(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(path, "frames_of", stopped)
        with (
            pytest.raises(KeyboardInterrupt),
            pytest.warns(UserWarning, match=r"kept in out.job: go on with"),
        ):
            speak()
    kept = sorted(os.listdir("out.job"))
    assert "chunk-0000.safetensors" in kept
    for options, told in (
        ({"seed": 1}, r"seed \(0, now 1\)"),
        ({"steps": 3}, r"steps \(2, now 3\)"),
        ({"text": "It rains."}, "plan"),
        ({"guidance": "text=3"}, "guidance"),
    ):
        with pytest.raises(InputError, match=f"begun with other settings: {told}"):
            speak(resume=True, **options)
    write_wav(Path("talk.wav"), speechlike(0.8, 16_000, seed=1), 16_000)
    with pytest.raises(InputError, match="inputs"):
        speak(resume=True)
    assert sorted(os.listdir("out.job")) == kept


def test_a_plan_that_the_weights_cannot_read_leaves_no_job(inputs):
    phases = "".join("  - {start: 0, end: 0.8, text: nods}\n" for _ in range(9))
    Path("plan.yaml").write_text(f"base: A woman speaks.\nphases:\n{phases}")
    before = sorted(os.listdir())
    with pytest.raises(InputError, match="The plan has 9 phases and the weights know 8: join some of them"):
        speak("actavatar")
    Path("plan.yaml").write_text("base: " + "very " * 900 + "long\n")
    with pytest.raises(InputError, match="tokens long and the model reads 160"):
        speak("actavatar")
    assert sorted(os.listdir()) == before


def test_a_clip_whose_drawing_fails_later_is_gone_on_with(inputs, monkeypatch):
    real = path.draw

    def full(*args, **rest):
        real(*args, **rest)
        raise InputError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(path, "draw", full)
        with pytest.raises(InputError, match="disk is full"):
            speak()
    speak(resume=True)
    assert Path("out.mp4").read_bytes() == speak(out="again.mp4").read_bytes()
    assert not Path("out.job").exists()


def test_resume_of_nothing_is_a_beginning(inputs):
    assert speak(out="a.mp4", resume=True).read_bytes() == speak(out="b.mp4").read_bytes()


def test_a_plan_too_long_for_a_late_chunk_is_told_before_the_first_is_drawn(inputs, monkeypatch):
    monkeypatch.setattr(path, "draw", lambda *args, **rest: pytest.fail("a chunk was drawn"))
    late = "".join(f"  - {{start: {0.7 + i / 1000}, end: 0.8, text: nods}}\n" for i in range(9))
    Path("plan.yaml").write_text(f"base: A woman speaks.\nphases:\n{late}")
    with pytest.raises(InputError, match="The plan has 9 phases and the weights know 8"):
        speak("actavatar")
    assert not Path("out.job").exists()
