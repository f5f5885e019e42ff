"""Pictures by number: exactly those that a full decode gives, from any codec, rate and place."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from vivavoce.errors import InputError
from vivavoce.media.footage import Footage
from vivavoce.media.provenance import Provenance
from vivavoce.media.video import VideoWriter


def movie(path, frames=60, size=(48, 32), rate=25, *, keys=12, codec="libx264", stamps=None):
    """Noise that moves, with a key picture now and then and pictures that look ahead between them."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = keys
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(frames):
            picture = av.VideoFrame.from_ndarray(np.roll(noise, i, axis=1), format="rgb24")
            if stamps is not None:
                picture.pts, picture.time_base = stamps[i], Fraction(1, 1000)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def all_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return movie(tmp_path_factory.mktemp("footage") / "clip.mp4")


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9"), ("a.mkv", "libx264")]
)
def test_any_picture_is_that_of_a_full_decode(tmp_path, name, codec):
    path = movie(tmp_path / name, codec=codec)
    wanted, footage = all_of(path), Footage(path, "clip")
    assert len(footage) == len(wanted) == 60
    assert len({picture.tobytes() for picture in wanted}) > 50
    for numbers in ([0], [1, 2, 3], [11, 12, 13], [59], [5, 40, 41], list(range(30, 60)), [7, 7, 8, 8, 8]):
        for number, picture in zip(numbers, footage.pictures(numbers), strict=True):
            assert np.array_equal(picture, wanted[number]), number


def test_only_what_is_near_is_decoded(clip, monkeypatch):
    footage, sought = Footage(clip, "clip"), []
    keys = [0, 12, 24, 36, 48]
    with av.open(str(clip)) as container:
        stamps = sorted(p.pts for p in container.demux(video=0) if p.is_keyframe and p.pts is not None)
    monkeypatch.setattr(
        "vivavoce.media.footage.open_container", lambda path: Spied(av.open(str(path)), sought)
    )
    list(footage.pictures([40]))
    assert sought == [stamps[keys.index(36)]]
    list(footage.pictures([3]))
    assert len(sought) == 1


class Spied:
    """A container that tells where it was sent."""

    def __init__(self, container, sought):
        self._container, self._sought = container, sought

    def __enter__(self):
        self._container.__enter__()
        return self

    def __exit__(self, *error):
        return self._container.__exit__(*error)

    def __getattr__(self, name):
        return getattr(self._container, name)

    def seek(self, stamp, **options):
        self._sought.append(stamp)
        self._container.seek(stamp, **options)


def test_a_video_in_memory_is_the_same(clip):
    one, other = Footage(clip, "clip"), Footage(clip.read_bytes(), "clip")
    assert one.times == other.times
    for a, b in zip(one.pictures([0, 33]), other.pictures([0, 33]), strict=True):
        assert np.array_equal(a, b)


def test_times_length_and_rate(clip):
    footage = Footage(clip, "clip")
    assert footage.times == tuple(Fraction(i, 25) for i in range(60))
    assert footage.length == Fraction(60, 25)
    assert footage.fps == 25


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24), Fraction(60)])
def test_rates_are_exact(tmp_path, rate):
    footage = Footage(movie(tmp_path / "a.mp4", 30, rate=rate), "clip")
    assert footage.fps == float(rate)
    assert footage.length == 30 / rate


def test_a_frame_at_another_rate_is_what_is_shown_at_its_middle(clip):
    footage = Footage(clip, "clip")
    assert footage.shown(25.0, 60).tolist() == list(range(60))
    half = footage.shown(12.5, 30)
    assert half.tolist() == [2 * t + 1 for t in range(30)]  # the middle is where the second of the two begins
    assert footage.shown(50.0, 6).tolist() == [0, 0, 1, 1, 2, 2]
    wanted = [int((t + 0.5) / 24 * 25) for t in range(57)]
    assert footage.shown(24.0, 57).tolist() == wanted


def test_uneven_times_are_heeded(tmp_path):
    stamps = [0, 40, 80, 400, 440, 480]
    footage = Footage(movie(tmp_path / "a.mkv", 6, stamps=stamps), "clip")
    assert [round(float(time) * 1000) for time in footage.times] == stamps
    assert footage.shown(10.0, 5).tolist() == [1, 2, 2, 2, 4]


def test_colours_come_back(tmp_path):
    path, color = tmp_path / "a.mp4", np.array([200, 60, 110])
    with VideoWriter(path, 64, 64, 25.0, provenance=Provenance("x", 0, {})) as writer:
        for _ in range(5):
            writer.write(np.full((64, 64, 3), color, np.uint8))
    (picture,) = Footage(path, "clip").pictures([2])
    assert np.abs(picture.astype(int) - color).max() <= 3


def test_a_phones_picture_is_upright(clip, monkeypatch):
    monkeypatch.setattr(av.VideoFrame, "rotation", 90, raising=False)
    lying = all_of(clip)[0]
    (picture,) = Footage(clip, "clip").pictures([0])
    assert np.array_equal(picture, np.rot90(lying))


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A video as this project writes it, of pictures that have nothing in common."""
    path = tmp_path_factory.mktemp("noise") / "noise.mp4"
    with VideoWriter(path, 64, 64, 25.0, provenance=Provenance("x", 0, {})) as writer:
        for i in range(21):
            writer.write(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8))
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.97])
def test_a_video_that_is_cut_off_is_told_before_it_is_decoded(noise, share):
    with pytest.raises(InputError, match=r"^This clip is cut off: \d+ of its 21 pictures are there"):
        Footage(noise[: int(len(noise) * share)], "This clip")


def test_pictures_that_a_decoder_patched_are_damage(noise):
    data = bytearray(noise)
    begin = len(data) // 2
    for i in range(begin, begin + 2000):
        data[i] ^= 0x55
    with av.open(io.BytesIO(data)) as container:
        assert len(list(container.decode(video=0))) == 21  # as if nothing were wrong
    with pytest.raises(InputError, match="This clip is damaged at"):
        Footage(bytes(data), "This clip").check()


@pytest.mark.parametrize("place", [0.25, 0.4, 0.5, 0.6, 0.75])
def test_damage_inside_is_told_with_its_time(clip, place):
    data = bytearray(clip.read_bytes())
    begin = int(len(data) * place)
    for i in range(begin, begin + 1500):
        data[i] ^= 0x55
    footage = Footage(bytes(data), "This clip")
    with pytest.raises(InputError, match=r"This clip is damaged at \d\.\d\d s \(picture \d+\): give"):
        footage.check()


def test_what_is_no_video_is_told(tmp_path):
    with pytest.raises(InputError, match="This clip is not a video that can be read"):
        Footage(b"no video", "This clip")
    with av.open(str(tmp_path / "sound.wav"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), layout="mono")
        frame.sample_rate = 16000
        out.mux(stream.encode(frame))
    with pytest.raises(InputError, match="This clip has no moving pictures"):
        Footage(tmp_path / "sound.wav", "This clip")


def test_a_video_without_pictures_is_told(tmp_path):
    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as out:
        video, sound = out.add_stream("mjpeg", rate=25), out.add_stream("pcm_s16le", rate=16000)
        video.width = video.height = 32
        video.pix_fmt = "yuvj420p"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), layout="mono")
        frame.sample_rate = 16000
        out.mux(sound.encode(frame))
    with pytest.raises(InputError, match=r"This clip holds no picture \(0 frames\)"):
        Footage(path, "This clip")


def test_a_single_picture_lasts_one_interval(tmp_path):
    footage = Footage(movie(tmp_path / "a.mp4", 1), "clip")
    assert (len(footage), footage.length) == (1, Fraction(1, 25))


def test_numbers_that_fall_are_a_mistake(clip):
    footage = Footage(clip, "clip")
    for numbers in ([2, 1], [60], [-1]):
        with pytest.raises(ValueError, match="numbers rise from 0 to 59"):
            list(footage.pictures(numbers))
    assert list(footage.pictures([])) == []
