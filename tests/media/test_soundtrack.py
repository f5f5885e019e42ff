"""The user's own sound stands in the video untouched where it can, in its place, and ends with the pictures."""

import os

import av
import numpy as np
import pytest
from sounds import decode, lag, speechlike, write_sound

from vivavoce.errors import InputError
from vivavoce.media.provenance import Provenance
from vivavoce.media.video import VideoWriter


def write(path, frames, sound=None):
    """A picture of grey with sound, at 25 frames a second."""
    with VideoWriter(path, 64, 48, 25.0, sound=sound, provenance=Provenance("x", 0, {})) as writer:
        for _ in range(frames):
            writer.write(np.full((48, 64, 3), 128, np.uint8))
    return path


SOUNDS = {
    "mono.wav": ("pcm_s16le", 16_000, 1),
    "high.wav": ("pcm_s24le", 192_000, 2),
    "low.wav": ("pcm_u8", 8_000, 1),
    "surround.wav": ("pcm_s16le", 48_000, 6),
    "a.flac": ("flac", 44_100, 2),
    "a.mp3": ("libmp3lame", 44_100, 2),
    "a.m4a": ("aac", 48_000, 2),
    "a.aac": ("aac", 44_100, 1),
    "alac.m4a": ("alac", 44_100, 1),
    "a.ogg": ("libopus", 48_000, 1),
    "film.mp4": ("aac", 44_100, 1),
    "film.webm": ("libopus", 48_000, 2),
    "mp3.mka": ("libmp3lame", 32_000, 1),
}
UNTOUCHED = {
    ".mp4": {"a.mp3", "a.m4a", "a.aac", "film.mp4", "mp3.mka"},
    ".mov": {"a.mp3", "a.m4a", "a.aac", "alac.m4a", "film.mp4", "mp3.mka"},
    ".webm": {"a.ogg", "film.webm"},
}


@pytest.mark.parametrize("name", SOUNDS)
def test_sound_is_the_users_own_and_in_its_place(tmp_path, name):
    codec, rate, channels = SOUNDS[name]
    tone = 0.4 * speechlike(2.03, rate)
    source = write_sound(
        tmp_path / name,
        np.repeat(tone[:, None], channels, 1),
        rate,
        codec,
        video=name.startswith("film"),
        bit_rate=96_000 * channels,
    )
    sent, _, _ = decode(source)
    for suffix, untouched in UNTOUCHED.items():
        path = write(tmp_path / f"out{suffix}", 51, sound=source)
        got, got_rate, start = decode(path)
        assert got.shape[1] == channels
        common = min(rate, got_rate)
        a, b = (thin(x[:, 0], r, common) for x, r in ((sent, rate), (got, got_rate)))
        assert abs(lag(a, b, common) + start) < 2e-3
        assert abs(len(got) / got_rate - 2.03) < 0.06
        assert got_rate == (
            48_000 if suffix == ".webm" else 96_000 if (rate, suffix) == (192_000, ".mp4") else rate
        )
        if name.endswith(".wav") and suffix == ".mov":
            np.testing.assert_array_equal(got[: len(sent)], sent[: len(got)])
        if name in untouched:
            # ADTS frames lose their 7-byte heads on the way into mp4
            skip = 7 if name == "a.aac" else 0
            assert [p[skip:] for p in payloads(source)][:20] == payloads(path)[:20]


def thin(samples, rate, wanted):
    import soxr

    return samples if rate == wanted else soxr.resample(samples, rate, wanted)


def payloads(path):
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.audio[0]) if p.size]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm"])
@pytest.mark.parametrize("name", ["a.wav", "a.m4a"])
def test_sound_ends_with_the_pictures(tmp_path, suffix, name):
    codec = "aac" if name == "a.m4a" else "pcm_s16le"
    source = write_sound(tmp_path / name, speechlike(4, 48_000), 48_000, codec)
    path = write(tmp_path / f"out{suffix}", 30, sound=source)
    packet = 1024 / 48_000
    got, rate, _ = decode(path)
    assert 1.2 - 1e-6 <= len(got) / rate < 1.2 + packet + 1e-6
    with av.open(str(path)) as container:
        assert len(list(container.decode(video=0))) == 30


def test_gaps_between_time_stamps_close_in_the_copy_as_they_do_in_the_samples(tmp_path):
    source = write_sound(tmp_path / "a.m4a", speechlike(3, 48_000), 48_000, "aac")
    with av.open(str(source)) as whole, av.open(str(tmp_path / "gap.mp4"), "w") as gap:
        stream = gap.add_stream_from_template(whole.streams.audio[0])
        for packet in whole.demux(audio=0):
            if packet.dts is not None:
                late = 48_000 if packet.pts > 48_000 else 0
                packet.pts, packet.dts, packet.stream = packet.pts + late, packet.dts + late, stream
                gap.mux(packet)
    path = write(tmp_path / "out.mp4", 80, sound=tmp_path / "gap.mp4")
    with av.open(str(path)) as container:
        ends = [float((p.pts + p.duration) * p.time_base) for p in container.demux(audio=0) if p.size]
    assert 2.9 < ends[-1] < 3.1
    np.testing.assert_allclose(np.diff(ends)[:-1], 1024 / 48_000, atol=1e-4)


def test_video_without_sound_and_sound_without_sound(tmp_path):
    write(tmp_path / "mute.mp4", 3)
    with av.open(str(tmp_path / "mute.mp4")) as container:
        assert not container.streams.audio
    with pytest.raises(InputError, match="no sound"):
        write(tmp_path / "out.mp4", 3, sound=tmp_path / "mute.mp4")
    assert os.listdir(tmp_path) == ["mute.mp4"]
