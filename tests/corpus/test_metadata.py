"""Real clips from VideoX-Fun's list: paths, sounds, texts, keypoints found once, and bad entries told."""

import json

import made
import numpy as np
import pytest

import tiny
from portraits import portrait
from vivavoce.corpus.clips import ClipError
from vivavoce.corpus.metadata import MetadataClips
from vivavoce.corpus.usable import usable
from vivavoce.errors import InputError
from vivavoce.features import pose
from vivavoce.features.physical_state import LandmarkEncoder

FRAMES = 20


def listed(folder, *entries, **options):
    path = folder / "metadata.json"
    path.write_text(json.dumps(entries))
    return MetadataClips(path, **options)


def entry(path="a.mp4", **changes):
    return {"file_path": path, "text": "A man speaks.", "type": "video", "width": 32, "height": 32} | changes


@pytest.fixture
def folder(tmp_path):
    """A video with its own sound, one without, and a recording."""
    own, other = tmp_path / "own.wav", tmp_path / "wavs" / "other.wav"
    other.parent.mkdir()
    own.write_bytes(made.wav_bytes(made.voice(FRAMES / 25, 1)))
    other.write_bytes(made.wav_bytes(made.voice(FRAMES / 25, 2)))
    made.write_video(tmp_path / "a.mp4", made.numbered(FRAMES), sound=own)
    made.write_video(tmp_path / "mute.mp4", made.numbered(FRAMES))
    return tmp_path


def found_once(monkeypatch):
    """Stands for mediapipe: keypoints that rise, and how often they were looked for."""
    calls, read = [], pose.read_pose

    def find(path, *, fps, frames):
        if path.suffix == ".npz":
            return read(path, fps=fps, frames=frames)
        calls.append((path.name, fps, frames))
        points = np.ones((frames, 127, 3), np.float32)
        points[..., :2] = np.linspace(-0.5, 0.5, frames)[:, None, None]
        return points

    monkeypatch.setattr(pose, "read_pose", find)
    return calls


def test_a_clip_is_its_video_sound_and_text(folder):
    clips = listed(folder, entry(), entry("mute.mp4", audio_path="wavs/other.wav", text="She nods."))
    assert len(clips) == 2
    own, other = clips[0], clips[1]
    assert own.name == "a.mp4"
    assert len(own) == len(other) == FRAMES
    assert own.frames(3, 2, size=(16, 16)).shape == (2, 16, 16, 3)
    assert np.round((own.frames(3, 1).mean() - 10) / 4) == 3
    assert (own.plan.base, other.plan.base, other.plan.phases) == ("A man speaks.", "She nods.", ())
    wanted = made.voice(FRAMES / 25, 2).astype(np.float32) / 32768
    np.testing.assert_allclose(other.speech.samples, wanted, atol=1e-6)
    heard = own.speech.samples[: len(wanted)]  # AAC keeps its course
    assert np.corrcoef(heard, made.voice(FRAMES / 25, 1)[: len(heard)])[0, 1] > 0.9


def test_paths_start_from_the_lists_folder_or_another(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("lists")
    listed(folder, entry())[0].check()
    listed(elsewhere, entry(), root=folder)[0].check()
    listed(elsewhere, entry(str(folder / "a.mp4")))[0].check()
    with pytest.raises(ClipError, match=r"The clip a\.mp4 cannot be used: There is no video at .*a\.mp4"):
        listed(elsewhere, entry())[0].check()


def test_pictures_are_left_out_with_a_notice(folder):
    with pytest.warns(UserWarning, match=r"2 of 3 entries in .*metadata\.json are pictures"):
        clips = listed(folder, entry("x.jpg", type="image"), entry(), {"file_path": "y.png", "text": ""})
    assert [clips[i].name for i in range(len(clips))] == ["a.mp4"]
    with pytest.warns(UserWarning, match="1 of 1"), pytest.raises(InputError, match="names no videos"):
        listed(folder, entry("x.jpg", type="image"))


def test_an_entry_without_a_type_is_what_its_name_says(folder):
    assert len(listed(folder, {"file_path": "a.mp4", "text": "He speaks."})) == 1


def test_a_video_without_any_sound_is_told_by_name(folder):
    clip = listed(folder, entry("mute.mp4"))[0]
    with pytest.raises(ClipError, match=r"The clip mute\.mp4 cannot be used: .*has a picture but no sound"):
        clip.check()


def test_a_clip_without_a_text_is_told_by_name(folder):
    for text in ("", "  ", None):
        with pytest.raises(ClipError, match=r"The clip a\.mp4 cannot be used: it has no text"):
            listed(folder, entry(text=text))[0].check()


def test_keypoints_are_found_once_and_kept(folder, monkeypatch):
    calls = found_once(monkeypatch)
    clip = listed(folder, entry())[0]
    clip.check()
    clip.check(tiny.method("actavatar"))
    assert not calls  # a method that is not trained on them does not pay for them
    clip.check(tiny.method("apoavatar"))
    clip.check(tiny.method("physavatar"))
    points = listed(folder, entry())[0].keypoints()
    assert calls == [("a.mp4", 25.0, FRAMES)]
    np.testing.assert_allclose(points[:, 5, 1], np.linspace(-0.5, 0.5, FRAMES), atol=1e-6)
    (kept,) = folder.glob("a.*.pose.npz")
    made.write_video(folder / "a.mp4", made.numbered(FRAMES + 1), sound=folder / "own.wav")
    listed(folder, entry())[0].keypoints()
    assert len(calls) == 2  # another video under the old name
    assert kept.exists()


def test_keypoints_may_be_kept_elsewhere(folder, monkeypatch, tmp_path_factory):
    calls, poses = found_once(monkeypatch), tmp_path_factory.mktemp("poses")
    for _ in range(2):
        listed(folder, entry(), poses=poses)[0].keypoints()
    assert len(calls) == 1
    assert len(list(poses.iterdir())) == 1
    assert not list(folder.glob("*.npz"))


def test_at_a_methods_rate_keypoints_go_with_the_frames(folder, monkeypatch):
    found_once(monkeypatch)
    clip = listed(folder, entry(), fps=24.0)[0]
    wanted = [int((t + 0.5) * 25 / 24) for t in range(len(clip))]
    assert len(clip) == round(FRAMES / 25 * 24)
    np.testing.assert_allclose(clip.keypoints()[:, 0, 0], np.linspace(-0.5, 0.5, FRAMES)[wanted], atol=1e-6)
    scene = clip.scene(tiny.method("physavatar", fps=24.0), first=2, count=5)
    np.testing.assert_allclose(scene.states, LandmarkEncoder().encode(clip.keypoints()[2:7]), atol=1e-6)


def test_keypoints_of_a_person_are_found_in_the_pictures(tmp_path):
    whole = portrait("smile")
    picture = (whole[: len(whole) // 2 * 2, : whole.shape[1] // 2 * 2] * 255).astype(np.uint8)
    (tmp_path / "own.wav").write_bytes(made.wav_bytes(made.voice(0.2)))
    made.write_video(tmp_path / "a.mp4", [picture] * 5, sound=tmp_path / "own.wav")
    clip = listed(tmp_path, entry())[0]
    face = clip.keypoints()[:, 17:85]
    assert face[..., 2].all()
    assert np.abs(face[..., :2]).max() < 1
    assert np.ptp(face, axis=0).max() < 0.05


def test_a_digest_is_of_video_sound_and_text(folder):
    one = listed(folder, entry())[0].digest
    assert listed(folder, entry())[0].digest == one
    assert listed(folder, entry(text="Another."))[0].digest != one
    assert listed(folder, entry(audio_path="wavs/other.wav"))[0].digest != one
    assert listed(folder, entry("mute.mp4"))[0].digest != one


def test_a_broken_video_does_not_end_a_run(folder):
    data = (folder / "a.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    clips = listed(folder, *[entry()] * 9, entry("cut.mp4"))
    good, bad = usable(clips, tiny.method("actavatar"), most_bad=0.1)
    assert len(good) == 9
    assert list(bad) == ["cut.mp4"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[", "is no JSON"),
        ("{}", "is no list of clips"),
        ("[]", "is no list of clips"),
        ('[{"text": "x"}]', "Entry 0 of .* has no file_path"),
        ('[{"file_path": "a.mp4", "text": 3}]', "The text of entry 0 of .* is no text"),
        ('[{"file_path": "a.mp4", "type": "sound"}]', "Entry 0 of .* is of the type 'sound'"),
    ],
)
def test_a_list_that_cannot_be_used_is_told(tmp_path, text, told):
    path = tmp_path / "metadata.json"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        MetadataClips(path)
    with pytest.raises(InputError, match="There is no list of clips at"):
        MetadataClips(tmp_path / "none.json")
