"""Any recording becomes 16 kHz mono of the right length and place, or is refused in one sentence."""

import hashlib
import struct
import subprocess
import sys
import warnings
import wave

import numpy as np
import pytest
from sounds import lag, speechlike, write_sound, write_wav

from vivavoce.errors import InputError
from vivavoce.media.audio import open_speech
from vivavoce.types import SPEECH_RATE


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_clicks_stay_where_they_are(tmp_path, rate):
    times = np.array([0.1, 0.9, 2.35, 5.05, 7.925])
    sound = np.zeros(round(8.03 * rate) + 1)
    sound[np.round(times * rate).astype(int)] = 0.9
    speech = open_speech(write_wav(tmp_path / "clicks.wav", sound, rate))
    assert speech.duration == len(sound) / rate
    assert (speech.sample_rate, speech.channels) == (rate, 1)
    heard = speech.read()
    assert heard.dtype == np.float32
    assert len(heard) == round(speech.duration * SPEECH_RATE) == speech.samples
    for time in np.round(times * rate) / rate:
        centre = round(time * SPEECH_RATE)
        window = np.abs(heard[centre - 400 : centre + 401])
        assert abs(window.argmax() - 400) <= 1
    assert np.abs(heard[SPEECH_RATE * 3 : SPEECH_RATE * 4]).max() < 1e-4


@pytest.mark.parametrize("seconds", [0.01, 0.37, 1.0, 100.0])
def test_blocks_are_the_same_sound_however_they_are_cut(tmp_path, seconds):
    speech = open_speech(write_wav(tmp_path / "a.wav", speechlike(3.3, 44_100), 44_100))
    blocks = list(speech.blocks(seconds))
    assert {len(b) for b in blocks[:-1]} <= {round(seconds * SPEECH_RATE)}
    assert 0 < len(blocks[-1]) <= round(seconds * SPEECH_RATE)
    np.testing.assert_array_equal(np.concatenate(blocks), speech.read())


def test_it_is_read_from_a_file_as_it_is_needed(tmp_path):
    sound = open_speech(write_wav(tmp_path / "a.wav", speechlike(1.2, 44_100), 44_100))
    samples = sound.spooled()
    assert isinstance(samples, np.memmap)
    assert len(samples) == 19_200
    assert np.array_equal(samples, sound.read())


def test_resampling_keeps_the_band_of_speech_and_nothing_above_it(tmp_path):
    rate, t = 48_000, np.arange(96_000) / 48_000
    low = open_speech(write_wav(tmp_path / "l.wav", 0.5 * np.sin(2 * np.pi * 3000 * t), rate)).read()
    exact = 0.5 * np.sin(2 * np.pi * 3000 * np.arange(32_000) / SPEECH_RATE)
    assert np.abs(low - exact)[500:-500].max() < 2e-4
    high = open_speech(write_wav(tmp_path / "h.wav", 0.5 * np.sin(2 * np.pi * 9500 * t), rate)).read()
    assert np.abs(high)[500:-500].max() < 1e-3


KINDS = {
    "a.flac": ("flac", 44_100, 1),
    "b.flac": ("flac", 48_000, 2),
    "a.mp3": ("libmp3lame", 44_100, 2),
    "b.mp3": ("libmp3lame", 22_050, 1),
    "a.m4a": ("aac", 44_100, 2),
    "a.aac": ("aac", 48_000, 1),
    "a.ogg": ("libopus", 48_000, 1),
    "a.opus": ("libopus", 48_000, 2),
    "a.mp4": ("aac", 32_000, 1),
    "a.mov": ("pcm_s24be", 48_000, 2),
    "a.webm": ("libopus", 48_000, 2),
    "a.mka": ("pcm_f32le", 96_000, 1),
    "u8.wav": ("pcm_u8", 16_000, 1),
    "s24.wav": ("pcm_s24le", 44_100, 2),
    "s32.wav": ("pcm_s32le", 48_000, 1),
    "f32.wav": ("pcm_f32le", 192_000, 2),
    "f64.wav": ("pcm_f64le", 8_000, 1),
    "ulaw.wav": ("pcm_mulaw", 8_000, 1),
    "b.m4a": ("alac", 44_100, 2),
    "surround.wav": ("pcm_s16le", 48_000, 6),
    "surround.m4a": ("aac", 48_000, 6),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_format_is_heard_at_its_right_place_and_level(tmp_path, name):
    codec, rate, channels = KINDS[name]
    mono = 0.4 * speechlike(2.5, rate)
    path = tmp_path / name
    sound = np.repeat(mono[:, None], channels, 1)
    write_sound(
        path, sound, rate, codec, video=path.suffix in {".mp4", ".webm", ".mov"}, bit_rate=160_000 * channels
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        speech = open_speech(path)
    reference = open_speech(write_wav(tmp_path / "reference.wav", mono, rate)).read()
    heard = speech.read()
    assert speech.channels == channels
    assert speech.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    expected_lag = (
        1024 / rate if name == "a.aac" else 0.0
    )  # bare AAC cannot say how long its encoder's delay is
    assert abs(lag(reference, heard, SPEECH_RATE) - expected_lag) < 1e-3
    assert abs(speech.duration - 2.5) < 0.12
    n = min(len(heard), len(reference))
    power = np.sqrt(np.mean(heard[:n] ** 2) / np.mean(reference[:n] ** 2))
    assert 0.8 < power < 1.1  # AAC keeps only the lowest octaves of the sixth channel


def test_channels_are_averaged_unless_they_cancel(tmp_path):
    a, b = speechlike(1, 16_000, 1) / 2, speechlike(1, 16_000, 2) / 2
    mixed = open_speech(write_wav(tmp_path / "m.wav", np.stack([a, b], 1), 16_000)).read()
    np.testing.assert_allclose(mixed, (a + b) / 2, atol=1e-4)
    opposed = open_speech(write_wav(tmp_path / "o.wav", np.stack([a, -1.5 * a / 1.6], 1), 16_000)).read()
    np.testing.assert_allclose(opposed, a, atol=1e-4)


def test_float_samples_above_full_scale_are_brought_down_together(tmp_path):
    loud = 4 * speechlike(1, 16_000)
    heard = open_speech(write_sound(tmp_path / "f.wav", loud, 16_000, "pcm_f32le")).read()
    np.testing.assert_allclose(heard, loud / np.abs(loud).max(), atol=1e-5)


def float_wav(path, samples, rate=16_000):
    data = np.asarray(samples, "<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, rate, rate * 4, 4, 32)
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", len(form)) + form
    head += b"data" + struct.pack("<I", len(data))
    path.write_bytes(head + data)


def test_refusals_are_one_sentence_with_the_name(tmp_path):
    hiss = speechlike(1, 16_000)
    write_wav(tmp_path / "silent.wav", 0 * hiss, 16_000)
    write_wav(tmp_path / "faint.wav", 5e-4 * hiss, 16_000)
    write_wav(tmp_path / "blip.wav", hiss[:800], 16_000)
    write_wav(tmp_path / "nothing.wav", hiss[:0], 16_000)
    float_wav(tmp_path / "nan.wav", np.where(np.arange(16_000) == 12_345, np.nan, hiss))
    float_wav(tmp_path / "inf.wav", np.where(np.arange(16_000) == 12_345, -np.inf, hiss))
    write_sound(tmp_path / "mute.mp4", hiss, 16_000, "aac", video=True)
    remove_sound(tmp_path / "mute.mp4", tmp_path / "film.mp4")
    (tmp_path / "letter.wav").write_text("not a sound at all\n" * 30)
    (tmp_path / "letter.txt").write_text("not a sound at all\n" * 30)
    (tmp_path / "empty.mp3").write_bytes(b"")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    for name, message in {
        "silent.wav": "is silent",
        "faint.wav": "is silent",
        "blip.wav": r"0\.05 s of sound: give at least 0\.2 s",
        "nothing.wav": "holds no sound",
        "nan.wav": "not finite",
        "inf.wav": "not finite",
        "film.mp4": "picture but no sound",
        "letter.wav": "not a sound",
        "letter.txt": "sound",
        "empty.mp3": "empty",
        "list.m3u8": "sound",
        "absent.wav": "There is no recording",
        ".": "folder",
    }.items():
        with pytest.raises(InputError, match=message) as refused:
            open_speech(tmp_path / name)
        assert "\n" not in str(refused.value)
        assert str(tmp_path / name) in str(refused.value)


def remove_sound(source, target):
    import av

    with av.open(str(source)) as film, av.open(str(target), "w") as mute:
        picture = mute.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(film.streams.video[0]):
            if packet.dts is not None:
                packet.stream = picture
                mute.mux(packet)


def test_cut_files_are_used_up_to_the_cut_with_a_warning(tmp_path):
    sound = 0.5 * speechlike(6, 16_000)
    write_wav(tmp_path / "a.wav", sound, 16_000)
    write_sound(tmp_path / "a.flac", sound, 16_000, "flac")
    write_sound(tmp_path / "a.mp3", sound, 16_000, "libmp3lame")
    write_sound(tmp_path / "a.mp4", sound, 16_000, "aac", video=True)
    for name in ("a.wav", "a.flac", "a.mp3"):
        data = (tmp_path / name).read_bytes()
        cut = tmp_path / f"cut-{name}"
        cut.write_bytes(data[: len(data) // 2])
        with pytest.warns(UserWarning, match=r"cut off: the [23]\.\d s that are there are used"):
            speech = open_speech(cut)
        heard, whole = speech.read(), open_speech(tmp_path / name).read()
        assert 2 < speech.duration < 4
        n = len(heard) - 2000
        np.testing.assert_allclose(heard[:n], whole[:n], atol=1e-6)
    (tmp_path / "cut.mp4").write_bytes(
        (tmp_path / "a.mp4").read_bytes()[:-2000]
    )  # the index stands at the end
    with pytest.raises(InputError, match="damaged"):
        open_speech(tmp_path / "cut.mp4")


def test_damage_in_the_middle_is_passed_over_with_a_warning(tmp_path):
    data = bytearray(write_sound(tmp_path / "a.flac", speechlike(6, 16_000), 16_000, "flac").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 9000] = bytes(9000)
    (tmp_path / "b.flac").write_bytes(data)
    with pytest.warns(UserWarning, match=r"b\.flac is"):
        assert open_speech(tmp_path / "b.flac").duration > 4


def test_memory_does_not_grow_with_length(tmp_path):
    """Three minutes of 48 kHz stereo are 69 MB of floats: the process must not keep them."""
    path = tmp_path / "long.wav"
    minute = (speechlike(60, 48_000).astype(np.float32) * 9000).astype("<i2").repeat(2).tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(48_000)
        for _ in range(3):
            file.writeframes(minute)
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from vivavoce.media.audio import open_speech\n"
        "def peak(seconds):\n"
        "    speech = open_speech(Path(sys.argv[1])); n = 0\n"
        "    for block in speech.blocks():\n"
        "        n += len(block)\n"
        "        if n >= seconds * 16000: break\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "first = peak(5); print(peak(180) - first)\n"
    )
    grown = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    ).stdout
    unit = 1024 if sys.platform != "darwin" else 1
    assert int(grown) * unit < 8e6
