"""A photo becomes an avatar that moves as its teacher does: whole, after stops, and for every mistake one sentence."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import taught
import torch

import vivavoce
from syllables import talk
from vivavoce import cli
from vivavoce.errors import InputError
from vivavoce.features.encoders import LogMelEncoder
from vivavoce.features.loudness import leveled
from vivavoce.media.footage import Footage
from vivavoce.media.provenance import read_provenance
from vivavoce.personal import pipeline, training
from vivavoce.personal.drive import at_rate, performance
from vivavoce.personal.folder import PERSONAL, read_motion
from vivavoce.personal.pipeline import WORK, personalize
from vivavoce.splat.avatar import load_avatar
from vivavoce.splat.driver import Driver

sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from sounds import write_wav

pytestmark = pytest.mark.filterwarnings("ignore")


def untouched(folder):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An avatar that was taught, though each stage of its making was stopped once; and what it was stopped in."""
    folder = tmp_path_factory.mktemp("made")
    photo = taught.photo(folder / "me.png")
    stops = []
    with pytest.MonkeyPatch.context() as patch:
        taught.only_tiny(patch)
        patch.setattr(pipeline, "fit_field", taught.fitted)
        patch.setattr(pipeline, "seen_keypoints", lambda frames: np.zeros((len(frames), 127, 3), np.float32))
        for module, name, call in (
            (pipeline, "create_avatar", 1),
            ("vivavoce.personal.data", "lossless_mp4", 2),
            (pipeline, "fit_field", 2),
            (training, "train", 1),
            (training, "train", 2),
            (pipeline, "add_motion", 1),
        ):
            stops.append(stopped(patch, module, name, call, photo, folder / "me"))
        personalize(photo, folder / "me", taught.options(), sizes=taught.sizes())
    return folder, stops


def stopped(patch, module, name, call, photo, out):  # noqa: PLR0917  # noqa: PLR0917
    """Stop in a call of a function, whose result is lost; what is there of finished stages before and after."""
    target = sys.modules[module] if isinstance(module, str) else module
    real, calls = getattr(target, name), []

    def once(*args, **options):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*args, **options)

    work = out.with_name(out.name + WORK)
    before = finished(work)
    with patch.context() as own:
        own.setattr(target, name, once)
        with pytest.raises(KeyboardInterrupt):
            personalize(photo, out, taught.options(), sizes=taught.sizes())
    after = finished(work)
    assert {path: after[path] for path in before} == before
    return len(after)


def finished(work):
    """The files of all stages that are whole."""
    whole = [r.parent for r in work.rglob("stage.json") if '"whole": true' in r.read_text()]
    return {path: told for folder in whole for path, told in untouched(folder).items()}


def test_every_stop_left_more_behind(made):
    _, stops = made
    assert stops == sorted(stops)
    assert stops[-1] > stops[0]


def test_what_is_whole_is_left_alone(made, monkeypatch):
    folder, _ = made
    taught.only_tiny(monkeypatch)
    monkeypatch.setattr(pipeline, "fit_field", None)
    work = untouched(folder / f"me{WORK}")
    personalize(folder / "me.png", folder / "me", taught.options(), sizes=taught.sizes())
    assert untouched(folder / f"me{WORK}") == work
    assert len(work) > 20


def test_the_clips_are_what_was_asked_for(made):
    clips = made[0] / f"me{WORK}" / "clips"
    assert sorted(path.name for path in clips.iterdir()) == ["motion-000", "motion-001", "open-000"]
    for name in ("motion-000", "motion-001", "open-000"):
        assert len(Footage(clips / name / "clip.mp4", name)) == taught.LENGTH
        assert (clips / name / "speech.wav").exists() == name.startswith("motion")
        assert not (clips / name / "job").exists()
    told = (clips / "open-000" / "plan.yaml").read_text()
    assert "engaging in a conversation with someone positioned" in " ".join(told.split())
    speech = [(clips / name / "speech.wav").read_bytes() for name in ("motion-000", "motion-001")]
    assert speech[0] != speech[1]


def test_the_motion_is_the_avatars_own(made, tmp_path):
    avatar = made[0] / "me"
    told = read_motion(avatar)
    assert (told.teacher, tuple(told.clips), told.seed) == (taught.TEACHER.name, (2, 1), 0)
    assert told.model().diffusion.config == taught.sizes().model
    other = tmp_path / "other"
    shutil.copytree(avatar, other)
    with (other / PERSONAL / "motion.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="was altered since it was made"):
        read_motion(other).model()
    (other / "canonical.ply").write_bytes(b"another")
    with pytest.raises(InputError, match="was made for another avatar"):
        read_motion(other)


@pytest.fixture(scope="module")
def acting(made):
    """What moves: the avatar, its model, and somebody's speech."""
    avatar = load_avatar(made[0] / "me")
    model = read_motion(made[0] / "me").model()
    torch.manual_seed(1)
    with torch.no_grad():  # two steps of training leave it almost still
        model.diffusion.transformer.motion_out.weight.normal_(0, 0.3)
    return avatar, model, talk(3.0).samples[: 3 * 16_000]


def performed(acting, **options):
    avatar, model, samples = acting
    parts = performance(avatar, model, LogMelEncoder(), leveled(samples), **{"fps": 25.0, **options})
    return np.concatenate([part.transforms for part in parts])


def test_the_motion_depends_on_the_seed_and_not_on_blocks(acting):
    whole = performed(acting)
    assert len(whole) == 75
    assert np.array_equal(performed(acting), whole)
    assert np.abs(performed(acting, block=7) - whole).max() < 1e-5
    assert np.abs(performed(acting, seed=1) - whole).max() > 1e-3


def test_it_is_another_motion_than_that_of_the_rules(acting):
    avatar, _, samples = acting
    driver = Driver(avatar, fps=25.0)
    rules = np.concatenate([part.transforms for part in (driver.push(samples), driver.finish())])
    own = performed(acting)
    assert own.shape == rules.shape
    assert np.abs(own - rules).max() > 1e-2


@pytest.mark.parametrize("times", [3, 5])
def test_other_frame_rates_show_the_same_motion(acting, times):
    own, other = performed(acting), performed(acting, fps=25.0 * times)
    assert len(other) == times * len(own)
    np.testing.assert_allclose(other[times // 2 :: times], own, atol=1e-5)  # the middles of frames coincide
    steps = [np.abs(np.diff(motion[..., 3], axis=0)).max() for motion in (own, other)]
    assert steps[1] < 1.5 * steps[0] / times


@pytest.mark.parametrize("cuts", [(75,), (1,) * 75, (30, 45), (2, 71, 2)])
def test_cuts_do_not_change_what_is_in_between(cuts):
    vectors = torch.arange(75.0)[:, None] ** 2
    found = torch.cat(list(at_rate(vectors.split(cuts), 25.0, 40.0, 120)))[:, 0]
    at = ((np.arange(120) + 0.5) * 25 / 40 - 0.5).clip(0, 74)
    np.testing.assert_allclose(found, np.interp(at, np.arange(75), np.arange(75.0) ** 2), rtol=1e-5)


def test_a_video_tells_that_the_motion_is_its_own(made, capsys, monkeypatch):
    folder = made[0]
    monkeypatch.chdir(folder)
    spoken = talk(1.0)
    start = int(spoken.pauses[0, 1] * 16_000)
    write_wav(Path("talk.wav"), spoken.samples[start : start + 12_800], 16_000)
    assert cli.main(["generate", "me", "talk.wav", "-o", "own.mp4", "--size", "64"]) == 0
    assert (
        cli.main(["generate", "me", "talk.wav", "-o", "rules.mp4", "--size", "64", "--method", "splat"]) == 0
    )
    own, rules = (read_provenance(Path(name)) for name in ("own.mp4", "rules.mp4"))
    assert (own.method, rules.method) == ("audioavatar", "splat")
    assert own.inputs["motion"] == ("motion.safetensors", read_motion(folder / "me").digest)
    assert own.settings["teacher"] == taught.TEACHER.name
    assert "motion" not in rules.inputs
    capsys.readouterr()
    assert cli.main(["generate", "me", "talk.wav", "-o", "no.mp4", "--expressiveness", "1.5"]) == 2
    assert "does not change a motion that was taught: leave it out" in capsys.readouterr().err


def test_a_folder_of_recordings_is_made_again_for_another_motion(made, tmp_path, monkeypatch):
    from vivavoce.batch import generate_any
    from vivavoce.config import GenerateOptions

    talks, videos = tmp_path / "talks", tmp_path / "videos"
    talks.mkdir()
    write_wav(talks / "one.wav", talk(1.0).samples[:16_000], 16_000)
    source = made[0] / "me"
    generate_any(source, talks, videos, GenerateOptions(size=64))
    first = (videos / "one.mp4").stat().st_mtime_ns
    generate_any(source, talks, videos, GenerateOptions(size=64))
    assert (videos / "one.mp4").stat().st_mtime_ns == first
    generate_any(source, talks, videos, GenerateOptions(size=64, method="splat"))
    assert (videos / "one.mp4").stat().st_mtime_ns != first


def refusal(capsys, *args):
    assert cli.main(["create", *map(str, args)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--personalize",), "Who teaches the avatar is not said"),
        (("--personalize", "--teacher", "splat"), "is no method of the video family"),
        (
            ("--personalize", "--teacher", "physavatar-miniature", "--motions", "0"),
            "--motions 0 teach nothing",
        ),
        (("--personalize", "--teacher", "physavatar-miniature", "--open-domain", "-1"), "--open-domain -1"),
        (
            ("--personalize", "--teacher", "physavatar-miniature", "--weights", "no.safetensors"),
            "no.safetensors",
        ),
        (("--teacher", "physavatar-miniature"), "is to teach nothing: say --personalize"),
    ],
)
def test_mistakes_are_one_sentence(capsys, tmp_path, monkeypatch, args, told):
    taught.only_tiny(monkeypatch)
    monkeypatch.chdir(tmp_path)
    photo = taught.photo(tmp_path / "me.png")
    assert told in refusal(capsys, photo, "-o", tmp_path / "me", *args)
    assert not (tmp_path / "me").exists()
    assert not (tmp_path / f"me{WORK}").exists()


def test_another_photos_avatar_is_not_replaced(made, monkeypatch, tmp_path):
    taught.only_tiny(monkeypatch)
    photo = taught.photo(tmp_path / "you.png", "shut")
    with pytest.raises(InputError, match="is the avatar of another photo"):
        vivavoce.create(photo, made[0] / "me", personalize=True, teacher=taught.TEACHER.name)


def test_a_motion_model_of_another_rate_is_no_beginning(made, monkeypatch, tmp_path):
    taught.only_tiny(monkeypatch)
    sizes = taught.sizes()
    slower = replace(sizes, model=replace(sizes.model, fps=30.0))
    with pytest.raises(
        InputError, match=r"was trained on frames a second 25\.0, and the teacher's are 30\.0"
    ):
        training.begun_from(slower, made[0] / "me" / PERSONAL)
    assert training.begun_from(sizes, made[0] / "me" / PERSONAL).model == sizes.model
