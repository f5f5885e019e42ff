import numpy as np
import pytest

from vivavoce.features.speech import BANDS, HOP, LevelNormalizer, LogMel, log_mel, mel_filters
from vivavoce.types import SPEECH_RATE


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * SPEECH_RATE)).astype(np.float32)


def test_log_mel_is_the_definition_computed_in_double_precision():
    sound = noise(0.2)
    frame = 7
    start = frame * HOP + HOP // 2 - 200
    n = np.arange(400)
    window = np.sqrt(2 / 400) * 0.5 * (1 - np.cos(2 * np.pi * (n + 0.5) / 400))
    x = sound[start : start + 400].astype(np.float64) * window
    dft = np.exp(-2j * np.pi * np.outer(np.arange(257), n) / 512) @ x
    centre = 700 * (10 ** (np.linspace(np.log10(1 + 60 / 700), np.log10(1 + 7600 / 700), 82)) - 1)
    for band in (3, 40, 79):
        hz = np.arange(257) * SPEECH_RATE / 512
        triangle = np.interp(hz, centre[band : band + 3], [0, 1, 0], left=0, right=0)
        expected = np.log((np.abs(dft) ** 2 * triangle).sum() + 1e-9)
        assert log_mel(sound)[frame, band] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 5000.0])
def test_a_tone_is_loudest_in_the_band_around_it(hertz):
    tone = np.sin(2 * np.pi * hertz * np.arange(SPEECH_RATE) / SPEECH_RATE).astype(np.float32)
    band = int(log_mel(tone)[50].argmax())
    inside = np.flatnonzero(mel_filters()[:, band]) * SPEECH_RATE / 512
    assert inside.min() - 32 <= hertz <= inside.max() + 32


def test_a_click_is_loudest_in_the_frame_whose_10_ms_hold_it():
    for frame in (5, 17, 60):
        sound = np.zeros(SPEECH_RATE, np.float32)
        sound[frame * HOP + HOP // 2] = 1
        assert log_mel(sound).sum(1).argmax() == frame


@pytest.mark.parametrize("length", [1, 159, 160, 161, 4000, 12345])
def test_blocks_of_any_size_give_what_the_whole_gives(length):
    sound, rng = noise(1)[:length], np.random.default_rng(length)
    stream, parts, at = LogMel(), [], 0
    while at < length:
        step = int(rng.integers(1, 700))
        parts.append(stream.push(sound[at : at + step]))
        at += step
    parts.append(stream.finish())
    assert np.concatenate(parts).shape == (-(-length // HOP), BANDS)
    np.testing.assert_allclose(np.concatenate(parts), log_mel(sound), atol=1e-5)


def speech_like(seed: int = 3) -> np.ndarray:
    syllables = np.abs(np.sin(np.pi * 4 * np.arange(8 * SPEECH_RATE) / SPEECH_RATE)) ** 3
    return (noise(8, seed) * syllables).astype(np.float32)


def test_loudness_is_taken_out():
    loud, _ = LevelNormalizer().push(log_mel(speech_like())[None])
    quiet, _ = LevelNormalizer().push(log_mel(0.3 * speech_like())[None])
    np.testing.assert_allclose(quiet[:, 50:], loud[:, 50:], atol=0.08)


def test_a_microphones_colour_fades_from_the_frames():
    mel = log_mel(speech_like())[None]
    colour = np.linspace(-2, 2, BANDS).astype(np.float32)
    plain, _ = LevelNormalizer().push(mel)
    coloured, _ = LevelNormalizer().push(mel + colour)
    start, end = (np.abs(coloured - plain)[0, part].mean() for part in (slice(20, 60), slice(700, 800)))
    assert end < 0.35 * start


def test_normalisation_has_no_view_of_the_future_and_keeps_recordings_apart():
    mels = np.stack([log_mel(speech_like(seed)) for seed in (1, 2)])
    both, loudness = LevelNormalizer(2).push(mels)
    normalizer = LevelNormalizer()
    parts = [normalizer.push(mels[1:, a:b]) for a, b in ((0, 1), (1, 300), (300, 800))]
    np.testing.assert_allclose(np.concatenate([p for p, _ in parts], 1)[0], both[1], atol=1e-5)
    np.testing.assert_allclose(np.concatenate([q for _, q in parts], 1)[0], loudness[1], atol=1e-5)
    assert np.abs(both).max() <= 3


def test_digital_silence_is_far_below_speech():
    frames, loudness = LevelNormalizer().push(log_mel(np.zeros(SPEECH_RATE, np.float32))[None])
    assert np.isfinite(frames).all()
    assert loudness.max() < -6.5
