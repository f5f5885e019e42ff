"""Training clips out of shards: what of them is shown, heard and known, at any rate and size; and bad ones told."""

import json

import made
import numpy as np
import pytest

import tiny
from vivavoce.corpus.clips import ClipError, fitted
from vivavoce.corpus.shard_clips import Shards
from vivavoce.corpus.shards import BEGUN, write_shard
from vivavoce.corpus.usable import usable
from vivavoce.errors import InputError
from vivavoce.features.loudness import leveled
from vivavoce.features.physical_state import LandmarkEncoder

FRAMES = 21
SECONDS = FRAMES / 25


def source(folder, samples, **options):
    """Shards with these samples, two in each."""
    items = list(samples.items())
    for i in range(0, len(items), 2):
        write_shard(folder / f"shard-{i // 2:06d}.tar", items[i : i + 2])
    return Shards(folder, **options)


def clip_of(folder, files, **options):
    write_shard(folder / "one.tar", [("a", files)])
    return Shards(folder / "one.tar", **options)[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A sample's files; nobody changes them."""
    return made.sample(tmp_path_factory.mktemp("files"), FRAMES)


@pytest.fixture
def clip(tmp_path, files):
    return clip_of(tmp_path, files)


def greys(frames):
    """The numbers that pictures of `made.numbered` tell."""
    return np.round((frames.mean(axis=(1, 2, 3)) - 10) / 4).astype(int).tolist()


def test_frames_are_those_that_were_asked_for(clip):
    assert len(clip) == FRAMES
    assert clip.fps == 25.0
    assert greys(clip.frames()) == list(range(FRAMES))
    assert greys(clip.frames(7, 5)) == [7, 8, 9, 10, 11]
    assert clip.frames(20, 1).shape == (1, made.SIZE, made.SIZE, 3)
    for span in ((-1, 2), (20, 2), (3, 0)):
        with pytest.raises(ValueError, match="has frames 0 to 20"):
            clip.frames(*span)


def test_at_another_rate_a_frame_shows_what_is_seen_at_its_middle(tmp_path, files):
    clip = clip_of(tmp_path, files, fps=24.0)
    assert len(clip) == round(SECONDS * 24)
    wanted = [int((t + 0.5) * 25 / 24) for t in range(len(clip))]
    assert greys(clip.frames()) == wanted
    assert greys(clip.frames(5, 3)) == wanted[5:8]
    rise = np.linspace(-0.5, 0.5, FRAMES)
    np.testing.assert_allclose(clip.keypoints()[:, 0, 0], rise[wanted], atol=1e-6)
    np.testing.assert_allclose(clip.states()[:, 9], rise[wanted], atol=1e-3)
    np.testing.assert_allclose(clip.truth["aperture"], rise[wanted], atol=1e-6)
    assert clip.truth["camera"].shape == (3,)
    assert clip.features["states"].shape == (len(clip), 1024)


def test_the_speech_is_the_wavs(clip):
    wanted = made.voice(SECONDS).astype(np.float32) / 32768
    np.testing.assert_allclose(clip.speech.samples, wanted, atol=1e-6)
    assert clip.speech.gain == pytest.approx(leveled(wanted).gain)


def test_flac_is_heard_as_well(tmp_path, files):
    import av

    samples = made.voice(SECONDS)
    with av.open(str(tmp_path / "a.flac"), "w") as out:
        stream = out.add_stream("flac", rate=made.RATE, layout="mono", format="s16")
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.int16), format="s16", layout="mono")
        frame.sample_rate = made.RATE
        out.mux([*stream.encode(frame), *stream.encode(None)])
    clip = clip_of(tmp_path, broken({**files, "flac": (tmp_path / "a.flac").read_bytes()}, wav=None))
    np.testing.assert_allclose(clip.speech.samples, samples.astype(np.float32) / 32768, atol=1e-6)


def test_a_scene_is_a_span_in_its_own_time(clip):
    scene = clip.scene(tiny.method("apoavatar"), first=5, count=9)
    assert (scene.frames, scene.fps) == (9, 25.0)
    assert greys(scene.photo[None]) == [5]
    assert scene.photo.shape == (32, 32, 3)
    np.testing.assert_array_equal(scene.speech.samples, clip.speech.samples[5 * 640 : 14 * 640])
    assert scene.speech.gain == clip.speech.gain
    assert [(p.text, p.start, round(p.end, 6)) for p in scene.plan.phases] == [("raises a hand", 0.0, 0.36)]
    np.testing.assert_array_equal(scene.pose, clip.keypoints()[5:14])
    assert scene.states is None
    assert greys(clip.scene(tiny.method("apoavatar"), first=5, count=9, photo=0).photo[None]) == [0]


def test_a_scene_has_what_its_method_is_trained_on(clip):
    scenes = {name: clip.scene(tiny.method(name)) for name in ("physavatar", "actavatar", "apoavatar")}
    has = {name: (scene.pose is not None, scene.states is not None) for name, scene in scenes.items()}
    assert has == {"physavatar": (False, True), "actavatar": (False, False), "apoavatar": (True, False)}
    assert scenes["physavatar"].states.shape == (FRAMES, 1024)
    assert scenes["actavatar"].frames == FRAMES


def test_speech_of_a_span_covers_its_frames_at_every_rate(tmp_path, files):
    clip = clip_of(tmp_path, files, fps=24.0)
    scene = clip.scene(tiny.method("apoavatar", fps=24.0), first=3, count=5)
    begin = int(3 * 16000 / 24)
    np.testing.assert_array_equal(scene.speech.samples, clip.speech.samples[begin : -(-8 * 16000 // 24)])
    with pytest.raises(ValueError, match="has 25 fps, and the clips are at 24"):
        clip.scene(tiny.method("apoavatar"))


def test_pictures_are_cut_around_their_middle():
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = 200
    assert fitted(picture, (32, 32)).min() > 190
    assert fitted(picture, (16, 32)).shape == (32, 16, 3)
    assert fitted(picture, (80, 40)) is picture
    assert fitted(picture, None) is picture
    high = fitted(picture.transpose(1, 0, 2).copy(), (40, 40))
    assert high.shape == (40, 40, 3)
    assert high.min() == 200


def test_keypoints_lie_on_the_same_spots_of_a_cut_picture(tmp_path, files):
    wide = made.sample(tmp_path, FRAMES, size=(64, 32))
    clip = clip_of(tmp_path, {name: data for name, data in wide.items() if name != "features.npz"})
    whole, cut = clip.keypoints(), clip.keypoints((32, 32))
    np.testing.assert_allclose(cut[..., 0], 2 * whole[..., 0], atol=1e-6)
    np.testing.assert_array_equal(cut[..., 1:], whole[..., 1:])
    np.testing.assert_allclose(clip.states((32, 32)), LandmarkEncoder().encode(cut), atol=1e-5)
    np.testing.assert_array_equal(clip.keypoints((128, 64)), whole)


def test_points_that_are_cut_off_are_not_seen(tmp_path, files):
    wide = made.sample(tmp_path, FRAMES, size=(64, 32))
    points = np.ones((FRAMES, 127, 3), np.float32)
    points[:, 0, :2], points[:, 1, :2], points[:, 2] = (0.6, 0.1), (-0.4, 0.9), 0
    cut = clip_of(tmp_path, {**wide, "truth.npz": made.npz_bytes(keypoints=points)}).keypoints((32, 32))
    np.testing.assert_allclose(cut[5, :3], [(0, 0, 0), (-0.8, 0.9, 1), (0, 0, 0)], atol=1e-6)


def test_pictures_without_loss_come_back_exactly(tmp_path, files):
    from vivavoce.media.lossless import lossless_mp4

    pictures = np.random.default_rng(0).integers(0, 256, (FRAMES, 32, 32, 3), np.uint8)
    clip = clip_of(tmp_path, {**files, "mp4": lossless_mp4(pictures, 25.0)})
    np.testing.assert_array_equal(clip.frames(), pictures)
    np.testing.assert_array_equal(clip.frames(9, 2, size=(32, 32)), pictures[9:11])


def test_states_of_whole_pictures_are_not_taken_for_cut_ones(tmp_path):
    clip = clip_of(tmp_path, made.sample(tmp_path, FRAMES, size=(64, 32)))
    assert clip.states((32, 16)).shape == (FRAMES, 1024)
    with pytest.raises(ClipError, match=r"states are of whole pictures, which frames of \(32, 32\) cut"):
        clip.states((32, 32))


def test_splits_are_chosen(tmp_path, files):
    splits = ["train", "held-out people", "train", "held-out voices"]
    samples = {
        f"{i}": {**files, "json": json.dumps({**json.loads(files["json"]), "split": split}).encode()}
        for i, split in enumerate(splits)
    }
    assert len(source(tmp_path, samples)) == 4
    people = Shards(tmp_path, split="held-out people")
    assert [people[i].name for i in range(len(people))] == ["shard-000000.tar/1"]
    assert [clip.key for clip in map(Shards(tmp_path, split="train").__getitem__, (0, 1))] == ["0", "2"]
    with pytest.raises(InputError, match="split 'test': there is held-out people, held-out voices, train"):
        Shards(tmp_path, split="test")


def test_a_pattern_chooses_shards(tmp_path, files):
    source(tmp_path, {f"{i}": files for i in range(4)})
    assert len(Shards(tmp_path / "shard-*1.tar")) == 2
    with pytest.raises(InputError, match="There are no shards at"):
        Shards(tmp_path / "other-*.tar")
    (tmp_path / BEGUN).write_text("{}")
    with pytest.raises(InputError, match="are unfinished"):
        Shards(tmp_path)


def broken(files, **changes):
    """The sample with files changed, or left out where None."""
    return {name: data for name, data in {**files, **changes}.items() if data is not None}


def meta(files, **changes):
    return json.dumps({**json.loads(files["json"]), **changes}).encode()


def bad_samples(files, folder):
    keypoints = np.zeros((FRAMES, 127, 3), np.float32)
    keypoints[3, 4, 1] = np.nan
    cut = files["mp4"][: len(files["mp4"]) * 2 // 3]
    truth, features = "truth.npz", "features.npz"
    noise = np.random.default_rng(0).integers(0, 256, (FRAMES, 64, 64, 3), np.uint8)
    hurt = bytearray(made.video_bytes(folder, list(noise)))
    for i in range(len(hurt) // 2, len(hurt) // 2 + 2000):
        hurt[i] ^= 0x55
    return {
        r"its \.mp4 is cut off": broken(files, mp4=cut),
        r"its \.mp4 is damaged at \d\.\d\d s": broken(files, mp4=bytes(hurt)),
        r"its \.mp4 is not a video": broken(files, mp4=b"no video"),
        r"it has no \.mp4": broken(files, mp4=None),
        r"it has no \.wav": broken(files, wav=None),
        r"a\.wav is silent": broken(files, wav=made.wav_bytes(np.zeros(20000, "<i2"))),
        r"its sound \(0\.50 s\) is shorter than its video \(0\.84 s\)": broken(
            files, wav=made.wav_bytes(made.voice(0.5))
        ),
        r"it has no \.json": broken(files, json=None),
        r"its \.json is damaged": broken(files, json=b"{"),
        r"its \.json is no table": broken(files, json=b"[]"),
        r"its \.json has no plan that can be used \('plan'\)": broken(files, json=b"{}"),
        r"its \.json has no plan that can be used \(1 validation": broken(
            files, json=meta(files, plan={"base": " "})
        ),
        r"its keypoints in \.truth\.npz are not all finite": broken(
            files, **{truth: made.npz_bytes(keypoints=keypoints)}
        ),
        r"its keypoints have the shape \(20, 127, 3\), not \(21, 127, 3\)": broken(
            files, **{truth: made.npz_bytes(keypoints=np.zeros((20, 127, 3), np.float32))}
        ),
        r"its \.features\.npz is damaged": broken(files, **{features: files[features][:300]}),
        r"its states in \.features\.npz are not all finite": broken(
            files, **{features: made.npz_bytes(states=np.full((FRAMES, 1024), np.inf, np.float16))}
        ),
        r"its physical states have the shape \(21, 3\)": broken(
            files, **{features: made.npz_bytes(states=np.zeros((FRAMES, 3), np.float16))}
        ),
    }


def test_each_fault_is_one_sentence_with_the_clips_name(tmp_path, files):
    for i, (told, sample) in enumerate(bad_samples(files, tmp_path).items()):
        (tmp_path / str(i)).mkdir()
        clip = clip_of(tmp_path / str(i), sample)
        with pytest.raises(ClipError, match=rf"^The clip one\.tar/a cannot be used: .*{told}") as caught:
            clip.check()
        assert str(caught.value).count("cannot be used") == 1
        assert "\n" not in str(caught.value)


def test_what_a_method_needs_and_a_clip_lacks_is_told(tmp_path, files):
    clip = clip_of(tmp_path, broken(files, **{"truth.npz": None, "features.npz": None}))
    clip.check()
    clip.check(tiny.method("actavatar"))
    for name, lacking in (("physavatar", "physical states"), ("apoavatar", "keypoints")):
        with pytest.raises(ClipError, match=f"it has no {lacking}, on which {name}-miniature is trained"):
            clip.check(tiny.method(name))
    only_truth = clip_of(tmp_path, broken(files, **{"features.npz": None}))
    only_truth.check(tiny.method("physavatar"))


def test_a_sound_that_is_a_little_short_ends_the_clip(tmp_path, files):
    samples = made.voice(SECONDS)[: int((SECONDS - 0.09) * made.RATE)]
    clip = clip_of(tmp_path, broken(files, wav=made.wav_bytes(samples)))
    assert len(clip) == 19  # frame 18 begins at 0.72 s and the sound ends at 0.75 s
    clip.check()


def test_usable_clips_and_a_report_of_the_rest(tmp_path, files):
    samples = {f"good{i}": files for i in range(18)}
    samples["cut"] = broken(files, mp4=files["mp4"][:2000])
    samples["mute"] = broken(files, wav=None)
    found = source(tmp_path, samples)
    good, bad = usable(found)
    assert [good[i].key for i in range(len(good))] == [f"good{i}" for i in range(18)]
    assert list(bad) == ["shard-000009.tar/cut", "shard-000009.tar/mute"]
    assert "has no .wav" in bad["shard-000009.tar/mute"]
    assert greys(good[3].frames(4, 1)) == [4]


def test_too_many_broken_clips_stop_a_run_before_it_starts(tmp_path, files):
    mute = broken(files, wav=None)
    found = source(tmp_path, {"a": files, "b": mute, "c": files, "d": mute})
    with pytest.raises(
        InputError, match=r"1 of the first 2 of 4 clips are broken, .* 0\.1 .*: The clip .*/b cannot"
    ):
        usable(found)
    with pytest.raises(InputError, match="2 of the first 4 of 4 clips"):
        usable(found, most_bad=0.25)
    assert len(usable(found, most_bad=0.5)[0]) == 2


def test_a_source_keeps_nothing_of_a_clip_that_was_read(tmp_path, files):
    found = source(tmp_path, {"a": files})
    read = [len(vars(found[0])) for _ in range(2)]
    found[0].frames()
    assert found[0] is not found[0]
    assert len(vars(found[0])) == read[0]


def test_clips_that_are_too_short_are_told(tmp_path, files):
    found = source(tmp_path, {"a": files})
    with pytest.raises(InputError, match="it has 21 frames at 25 fps, and 33 are needed"):
        usable(found, frames=33)
    assert len(usable(found, frames=21)[0]) == 1


def test_a_digest_is_of_every_file(tmp_path, files):
    one = clip_of(tmp_path, files).digest
    assert clip_of(tmp_path, files).digest == one
    for name in files:
        assert clip_of(tmp_path, {**files, name: files[name] + b"\0"}).digest != one
    assert clip_of(tmp_path, broken(files, **{"features.npz": None})).digest != one


def test_a_clip_of_a_split_that_cannot_be_told_is_not_hidden(tmp_path, files):
    samples = {"a": files, "b": broken(files, json=b"{")}
    found = source(tmp_path, samples, split="train")
    assert len(found) == 2
    _, bad = usable(found, most_bad=1.0)
    assert list(bad) == ["shard-000000.tar/b"]
