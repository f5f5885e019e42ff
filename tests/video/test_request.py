"""What is refused before anything heavy is loaded, each with one sentence; and what a request says of its clip."""

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import tiny
from vivavoce.config import GenerateOptions, VideoOptions
from vivavoce.errors import InputError, OutputError
from vivavoce.timing import frame_rate
from vivavoce.video.request import attention_block, checked

sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from sounds import speechlike, write_sound, write_wav

SECONDS = 1.2


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """A folder with files that are good enough to be checked."""
    monkeypatch.chdir(tmp_path)
    Path("me.png").write_bytes(b"a picture, for all that is known here")
    write_wav(Path("talk.wav"), speechlike(SECONDS, 16_000), 16_000)
    Path("pose.npz").write_bytes(b"a pose, for all that is known here")
    Path("plan.yaml").write_text("base: A woman speaks.\nphases:\n  - {start: 0, end: 1, text: nods}\n")
    return tmp_path


def request(name="apoavatar", photo="me.png", speech="talk.wav", out="out.mp4", **options):
    """The request of a tiny method; `options` of VideoOptions or of GenerateOptions."""
    video = {k: options.pop(k) for k in tuple(options) if k in VideoOptions.__dataclass_fields__}
    chosen = GenerateOptions(method=name, video=VideoOptions(**video), **options)
    photo = None if photo is None else Path(photo)
    return checked(tiny.method(name), photo, Path(speech), Path(out), chosen)


def refusal(*args, error=InputError, **options):
    """The sentence, one and ended; nothing is left behind."""
    before = sorted(Path.cwd().rglob("*"))
    with pytest.raises(error) as caught:
        request(*args, **options)
    assert sorted(Path.cwd().rglob("*")) == before
    told = str(caught.value)
    assert told.endswith(".")
    assert "\n" not in told
    return told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fps": 30.0}, "trained at 25 fps and draws no other, such as 30: leave --fps out"),
        ({"fps": 24.0}, "such as 24"),
        ({"size": 512}, "frames of 32x32: leave --size 512 out"),
        ({"background": "white"}, "leave --background"),
        ({"expressiveness": 0.5}, "leave --background and --expressiveness out"),
        ({"steps": 0}, "0 denoising steps make no video"),
        ({"steps": -3}, "-3 denoising steps"),
        ({"solver": "heun"}, "no solver 'heun': choose one of unipc, euler"),
        ({"order": "backwards"}, "no order of chunks 'backwards': choose one of interleaved, autoregressive"),
        ({"order": "interleaved"}, "cannot draw chunks between others"),
        ({"guidance": "text=5,smell=2"}, "no guidance by smell: it takes text, image, audio, pose"),
        ({"guidance": "text"}, "--guidance 'text' is no list of scales: write text=5,audio=4"),
        ({"guidance": "text=loud"}, "no list of scales"),
        ({"guidance": "text=nan"}, "guidance scale of 'text' is nan"),
        ({"guidance_order": "pose_first"}, "no guidance order 'pose_first': choose one of text_first, audio"),
        ({"cache": 1.5}, "cache threshold of 1.5 is out of bounds"),
        ({"cache": -0.1}, "out of bounds: give a number from 0 to 1"),
        ({"cache": float("nan")}, "out of bounds"),
        ({"show": ("keypoints",)}, "apoavatar-miniature has no 'keypoints' to show"),
        ({"show": ("attention",)}, "leave --show attention out"),
        ({"show": ("photo",)}, "has no 'photo' to show"),
        ({"photo": None}, "Without a photo apoavatar-miniature must be told who speaks"),
        ({"photo": "."}, "starts from a photo: give the picture file"),
        ({"photo": "none.png"}, "no photo at none.png"),
        ({"pose": Path("none.npz")}, "no pose at none.npz"),
        ({"weights": Path("none.safetensors")}, "no weight file at none.safetensors"),
        ({"plan": Path("none.yaml")}, "no plan at none.yaml"),
        ({"speech": "none.wav"}, "no recording at none.wav"),
        ({"speech": "."}, "is a folder, not a recording"),
    ],
)
def test_what_apoavatar_cannot_do(inputs, options, told):
    assert told in refusal(**options)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("physavatar", {"pose": Path("pose.npz")}, "physavatar-miniature takes no pose"),
        ("actavatar", {"pose": Path("pose.npz")}, "leave --pose out"),
        ("actavatar", {"photo": None}, "actavatar-miniature needs a photo of the person: give PHOTO before"),
        ("physavatar", {"photo": None, "text": "a man"}, "needs a photo"),
        ("actavatar", {"show": ("keypoints",)}, "actavatar-miniature has no 'keypoints' to show"),
        ("physavatar", {"show": ("attention:2",)}, "physavatar-miniature has no 'attention:2' to show"),
        ("physavatar", {"show": ("keypoints:3",)}, "has no 'keypoints:3' to show"),
        ("actavatar", {"order": "interleaved"}, "take --order autoregressive"),
        ("physavatar", {"guidance": "image=2"}, "no guidance by image: it takes text, audio"),
    ],
)
def test_what_others_cannot_do(inputs, name, options, told):
    assert told in refusal(name, **options)


@pytest.mark.parametrize(
    ("phases", "told"),
    [
        ("- {start: 1, end: 0.5, text: nods}", "line 3: the phase runs backwards (start 1 s, end 0.5 s)"),
        ("- {start: 0.5, end: 0.5, text: nods}", "line 3: the phase is empty"),
        (
            "- {start: 0, end: 0.5, text: nods}\n  - {start: 0.6, end: 9, text: waves}",
            "line 4: the phase from 0.6 s to 9 s reaches beyond the clip of 1.20 s",
        ),
        (
            "- {start: 0.6, end: 1, text: nods}\n  - {start: 0, end: 1, text: waves}",
            "line 4: the phase starts at 0 s, before the one above it",
        ),
        ("- {start: 0, end: 1, text: nods, speed: 2}", "line 3: `speed` is no field"),
    ],
)
def test_plans_are_refused_with_their_line(inputs, phases, told):
    Path("plan.yaml").write_text(f"base: A woman speaks.\nphases:\n  {phases}\n")
    assert told in refusal(plan=Path("plan.yaml"))


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("folder.mp4", "folder.mp4 is a folder"),
        ("nowhere/out.mp4", "does not exist"),
        ("out.gif", "choose one of .mov, .mp4, .webm"),
    ],
)
def test_targets_that_cannot_be_written(inputs, out, told):
    Path("folder.mp4").mkdir()
    assert told in refusal(out=out, error=OutputError)


def test_six_hours_are_the_most(inputs, monkeypatch):
    import vivavoce.video.request as module

    monkeypatch.setattr(module, "MAX_SECONDS", 1.0)
    assert "cut it into parts" in refusal()


def test_a_job_that_is_there_needs_resume(inputs):
    Path("out.job").mkdir()
    request()  # an empty folder is no job
    Path("out.job/job.json").write_text("{}")
    told = refusal()
    assert told == ("out.job holds a video that was not finished: go on with --resume, or remove the folder.")
    assert request(resume=True).job == Path("out.job")


@pytest.mark.parametrize(
    ("show", "block"),
    [((), None), (("attention",), 2), (("attention:",), 2), (("attention:0",), 0), (("attention:3",), 3)],
)
def test_the_block_whose_attention_is_shown(inputs, show, block):
    assert attention_block(request("actavatar", show=show)) == block


@pytest.mark.parametrize("block", ["4", "-1", "two", "1.5", "²"])
def test_blocks_that_are_not_there(inputs, block):
    with pytest.raises(InputError, match=r"no block .*: give one from 0 to 3\."):
        attention_block(request("actavatar", show=(f"attention:{block}",)))


def test_the_methods_own_size_and_rate_may_be_said(inputs):
    assert request(fps=25.0).frames == 30
    big = replace(tiny.method("actavatar"), width=64, height=96)
    checked(big, Path("me.png"), Path("talk.wav"), Path("o.mp4"), GenerateOptions(size=64))
    ntsc = tiny.method("actavatar", fps=29.97)
    checked(ntsc, Path("me.png"), Path("talk.wav"), Path("o.mp4"), GenerateOptions(fps=30_000 / 1001))


@pytest.mark.parametrize("fps", [23.976, 24.0, 25.0, 29.97, 30.0])
@pytest.mark.parametrize(
    ("rate", "samples"), [(16_000, 16_001), (44_100, 44_099), (8_000, 12_345), (48_000, 9_601)]
)
def test_picture_and_sound_agree_to_half_a_frame(inputs, fps, rate, samples):
    write_wav(Path("odd.wav"), speechlike(2, rate)[:samples], rate)
    config = tiny.method("actavatar", fps=fps)
    made = checked(config, Path("me.png"), Path("odd.wav"), Path("o.mp4"), GenerateOptions())
    exact = {23.976: Fraction(24_000, 1001), 29.97: Fraction(30_000, 1001)}.get(fps, Fraction(int(fps)))
    assert frame_rate(config.fps) == exact
    duration = Fraction(samples, rate)
    assert made.seconds == duration
    assert made.frames == round(duration * exact)
    assert abs(made.frames / exact - duration) <= 1 / (2 * exact)


def test_the_sound_of_a_film_is_taken(inputs):
    write_sound(Path("film.mp4"), speechlike(1, 44_100), 44_100, "aac", video=True)
    made = request(speech="film.mp4")
    assert made.frames in (25, 26)  # AAC rounds up to its frames


def test_inputs_are_told_with_their_digests(inputs):
    import hashlib

    made = request(plan=Path("plan.yaml"), pose=Path("pose.npz"))
    expected = {"photo": "me.png", "plan": "plan.yaml", "pose": "pose.npz", "speech": "talk.wav"}
    assert made.inputs() == {
        role: (name, hashlib.sha256(Path(name).read_bytes()).hexdigest()) for role, name in expected.items()
    }
    assert "photo" not in request(photo=None, text="A man speaks.").inputs()


def test_options_reach_the_sampling(inputs):
    made = request(
        steps=3, solver="euler", guidance="audio=1.5, text=2", guidance_order="audio_first", cache=0.1, seed=9
    ).sampling
    assert (made.steps, made.solver, made.cache, made.seed, made.order) == (
        3,
        "euler",
        0.1,
        9,
        "autoregressive",
    )
    assert made.chain.links == (("audio", 1.5), ("text", 2.0), ("image", 2.0), ("pose", 1.0))
    assert request("physavatar", order="autoregressive").sampling.order == "autoregressive"
    assert request("physavatar").sampling.order == "interleaved"


def test_names_beside_the_clip(inputs):
    made = request(out="take.2.mp4")
    assert made.beside("plan.yaml") == Path("take.2.plan.yaml")
    assert made.job == Path("take.2.job")
