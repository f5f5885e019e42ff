"""The file holds the frames, the user's own sound in its place and the record of its making, or nothing."""

import os
import resource
import signal
import subprocess
import sys
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
from sounds import decode, speechlike, write_wav

from vivavoce.errors import OutputError
from vivavoce.media.provenance import SOURCE_TYPE, Provenance, read_provenance
from vivavoce.media.video import VideoWriter, check_video_target
from vivavoce.timing import frame_rate

MADE = Provenance("splat", 3, {"photo": ("me.jpg", "1" * 64), "speech": ("a.wav", "2" * 64)}, {"fps": 25.0})


def pattern(i, width=64, height=48, channels=3):
    y, x = np.mgrid[:height, :width]
    planes = [(2 * x + 5 * i) % 256, (3 * y + i) % 256, (x + y) % 256, np.full_like(x, 40 + i % 200)]
    return np.stack(planes[:channels], -1).astype(np.uint8)


def write(path, frames, fps=25.0, **options):
    with VideoWriter(path, 64, 48, fps, provenance=MADE, **options) as writer:
        for i in range(frames):
            writer.write(pattern(i, channels=4 if options.get("alpha") else 3))
    return path


def write_and_raise(path, frames, kind, **options):
    with VideoWriter(path, 64, 48, 25.0, provenance=MADE, **options) as writer:
        for i in range(frames):
            writer.write(pattern(i))
        raise kind


def pictures(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("fps", "exact"),
    [
        (23.976, Fraction(24000, 1001)),
        (24.0, Fraction(24)),
        (25.0, Fraction(25)),
        (29.97, Fraction(30000, 1001)),
        (30.0, Fraction(30)),
        (50.0, Fraction(50)),
        (59.94, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
    ],
)
def test_frame_rates_are_exact(tmp_path, fps, exact):
    assert frame_rate(fps) == frame_rate(float(exact)) == exact
    path = write(tmp_path / "a.mp4", 40, fps)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == exact
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
    assert times == [i / exact for i in range(40)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
def test_frames_come_back_in_order_and_in_colour(tmp_path, suffix):
    flat = [
        (200, 30, 60),
        (20, 180, 90),
        (30, 40, 220),
        (128, 128, 128),
        (255, 255, 255),
        (0, 0, 0),
        (224, 172, 140),
    ]
    with VideoWriter(tmp_path / f"a{suffix}", 64, 48, 25.0, provenance=MADE) as writer:
        frame = np.empty((48, 64, 3), np.uint8)
        for colour in flat:
            frame[:] = colour  # the same array again: the writer must have taken its copy
            writer.write(frame)
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames or 7) == (64, 48, 7)
        context = stream.codec_context
        assert context.color_range == 1
        assert context.colorspace == 1
        if suffix != ".webm":
            assert (context.color_primaries, context.color_trc) == (1, 1)
        decoded = list(container.decode(stream))
    assert len(decoded) == len(flat)
    for frame, colour in zip(decoded, flat, strict=True):
        luma, cb, cr = (np.asarray(plane, np.uint8).mean() for plane in planes(frame))
        # ITU-R BT.709-6, items 3.2-3.4 and 4.6, 8 bits
        y, b, r = (luma - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
        red, blue = y + 1.5748 * r, y + 1.8556 * b
        green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
        assert np.abs(np.array([red, green, blue]) * 255 - colour).max() < 3.5


def planes(frame):
    return [np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width] for p in frame.planes[:3]]


def test_detail_survives(tmp_path):
    y, x = np.mgrid[:98, :132]  # sizes that are no multiples of a block
    sent = [127 + 100 * np.cos(x / 7 + i / 5) * np.cos(y / 9) for i in range(30)]
    with VideoWriter(tmp_path / "a.mp4", 132, 98, 25.0, provenance=MADE) as writer:
        for grey in sent:
            writer.write(np.repeat(grey[..., None], 3, 2).round().astype(np.uint8))
    for got, grey in zip(pictures(tmp_path / "a.mp4"), sent, strict=True):
        assert np.sqrt(np.mean((got - grey[..., None]) ** 2)) < 2.5  # 40 dB


@pytest.mark.parametrize(("suffix", "decoder"), [(".webm", "libvpx-vp9"), (".mov", "prores")])
def test_transparency(tmp_path, suffix, decoder):
    path = write(tmp_path / f"a{suffix}", 30, alpha=True)
    with av.open(str(path)) as container:
        codec = av.CodecContext.create(decoder, "r")
        frames = [
            f for packet in container.demux(video=0) for f in codec.decode(packet if packet.size else None)
        ]
    assert len(frames) == 30
    for i, frame in enumerate(frames):
        alpha = frame.to_ndarray(format="rgba")[..., 3]
        assert np.abs(alpha.astype(int) - (40 + i)).max() <= 3


def test_mp4_is_not_transparent(tmp_path):
    with pytest.raises(OutputError, match=r"\.webm or \.mov"):
        check_video_target(tmp_path / "a.mp4", alpha=True)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
def test_record_of_its_making(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", 30)
    assert read_provenance(path) == MADE
    data = path.read_bytes()
    assert SOURCE_TYPE.encode() in data
    if suffix != ".webm":
        boxes = {}
        offset = 0
        while offset < len(data):
            size, kind = int.from_bytes(data[offset : offset + 4], "big"), data[offset + 4 : offset + 8]
            boxes[kind] = offset
            offset += size
        assert offset == len(data)
        assert boxes[b"moov"] < boxes[b"mdat"] < boxes[b"uuid"]  # plays before it is all there
        assert data[boxes[b"uuid"] + 8 : boxes[b"uuid"] + 24].hex() == "be7acfcb97a942e89c71999491e3afac"


def test_files_of_others_carry_no_record(tmp_path):
    write_wav(tmp_path / "a.wav", speechlike(1, 16_000), 16_000)
    (tmp_path / "a.txt").write_text('{"generator": "vivavoce"}')
    assert read_provenance(tmp_path / "a.wav") is None
    assert read_provenance(tmp_path / "a.txt") is None
    assert Provenance.from_json('{"generator": "vivavoce"}') is None
    assert Provenance.from_json("[1]") is None
    assert Provenance.from_json(MADE.to_json()) == MADE


def test_same_input_same_bytes(tmp_path):
    sound = write_wav(tmp_path / "a.wav", speechlike(1, 16_000), 16_000)
    for suffix in (".mp4", ".webm"):
        files = [tmp_path / f"{name}{suffix}" for name in "ab"]
        for path in files:
            with VideoWriter(path, 256, 256, 25.0, provenance=MADE, sound=sound) as writer:
                for i in range(25):
                    writer.write(pattern(i, 256, 256))
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_video_keeps_its_finished_part(tmp_path, suffix, kind):
    sound = write_wav(tmp_path / "a.wav", speechlike(4, 16_000), 16_000)
    target = tmp_path / f"out{suffix}"
    target.write_text("what was there before")
    with pytest.warns(UserWarning, match=r"2\.0 s that were finished"), pytest.raises(kind):
        write_and_raise(target, 50, kind, sound=sound)
    assert target.read_text() == "what was there before"
    part = tmp_path / f"out.partial{suffix}"
    assert set(os.listdir(tmp_path)) == {"a.wav", target.name, part.name}
    assert len(pictures(part)) == 50
    samples, rate, _ = decode(part)
    assert abs(len(samples) / rate - 2) < 0.07
    assert read_provenance(part) == MADE


def test_less_than_a_second_leaves_nothing(tmp_path):
    with warnings.catch_warnings(record=True) as told, pytest.raises(KeyboardInterrupt):
        write_and_raise(tmp_path / "out.mp4", 24, KeyboardInterrupt)
    assert not told
    assert not os.listdir(tmp_path)


def test_ctrl_c_in_a_running_program(tmp_path):
    code = (
        "import sys, warnings, numpy as np\n"
        "from pathlib import Path\n"
        "from vivavoce.media.video import VideoWriter\n"
        "from vivavoce.media.provenance import Provenance\n"
        "warnings.simplefilter('ignore')\n"
        "rng = np.random.default_rng(0)\n"
        "with VideoWriter(Path(sys.argv[1]), 128, 128, 25.0, provenance=Provenance('x', 0, {})) as writer:\n"
        "    for i in range(10**6):\n"
        "        writer.write(rng.integers(0, 256, (128, 128, 3), np.uint8))\n"
        "        if i == 60: print('going', flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out.mp4")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout.readline() == b"going\n"
        run.send_signal(signal.SIGINT)
        run.wait(60)
    assert os.listdir(tmp_path) == ["out.partial.mp4"]
    assert len(pictures(tmp_path / "out.partial.mp4")) > 60


def noise(seed, size=128):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_full_disk_is_one_sentence_and_no_file(tmp_path, share, suffix):
    def film(path):
        with VideoWriter(path, 128, 128, 25.0, provenance=MADE) as writer:
            for i in range(40):
                writer.write(noise(i))

    whole = tmp_path / f"whole{suffix}"
    film(whole)
    limit = int(whole.stat().st_size * share)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OutputError, match=r"out\.\w+ could not be written \(the disk is full\)"):
            film(tmp_path / f"out{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == [whole.name]


def test_targets_that_cannot_be(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    (tmp_path / "kept.mp4").write_text("mine")
    (tmp_path / "kept.mp4").chmod(0o444)
    (tmp_path / "folder.mp4").mkdir()
    for name, message in {
        "none/a.mp4": "folder .*none does not exist",
        "locked/a.mp4": "Permission denied",
        "kept.mp4": "read-only",
        "folder.mp4": "is a folder",
        "a.avi": r"choose one of \.mov, \.mp4, \.webm",
        "a": "known suffix",
    }.items():
        with pytest.raises(OutputError, match=message) as refused:
            VideoWriter(tmp_path / name, 64, 48, 25.0, provenance=MADE)
        assert "\n" not in str(refused.value)
    assert (tmp_path / "kept.mp4").read_text() == "mine"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out.mp4").symlink_to(tmp_path / "real" / "film.mp4")
    write(tmp_path / "out.mp4", 30)
    assert (tmp_path / "out.mp4").is_symlink()
    assert len(pictures(tmp_path / "real" / "film.mp4")) == 30


def test_mistakes_of_the_caller(tmp_path):
    with pytest.raises(ValueError, match="even"):
        VideoWriter(tmp_path / "a.mp4", 63, 48, 25.0, provenance=MADE)
    with (
        pytest.raises(ValueError, match="shape"),
        VideoWriter(tmp_path / "a.mp4", 64, 48, 25.0, provenance=MADE) as writer,
    ):
        writer.write(pattern(0, 48, 64))
    assert not os.listdir(tmp_path)


def test_memory_does_not_grow_with_length(tmp_path):
    code = (
        "import resource, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from vivavoce.media.video import VideoWriter\n"
        "from vivavoce.media.provenance import Provenance\n"
        "frame = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8); frame[1:] = 0\n"
        "peaks = []\n"
        "with VideoWriter(Path(sys.argv[1]) / 'a.mp4', 128, 128, 25.0, sound=Path(sys.argv[1]) / 'a.wav',"
        " provenance=Provenance('x', 0, {})) as writer:\n"
        "    for i in range(1500):\n"
        "        writer.write(frame)\n"
        "        if i in (250, 1499): peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        "print(peaks[1] - peaks[0])\n"
    )
    write_wav(tmp_path / "a.wav", np.tile(speechlike(10, 48_000), 6), 48_000)
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    unit = 1024 if sys.platform != "darwin" else 1
    assert int(run.stdout) * unit < 8e6
