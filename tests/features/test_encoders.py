"""Speech features at video rate: their times, their windows, and encoders from files that are right and wrong."""

import json
import re
from fractions import Fraction
from logging import Handler

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.utils import logging

from vivavoce.errors import WeightsError
from vivavoce.features.encoders import (
    LogMelEncoder,
    SpeechEncoder,
    Wav2Vec2Encoder,
    WhisperEncoder,
    load_encoder,
)
from vivavoce.features.loudness import Speech, leveled
from vivavoce.features.speech import log_mel
from vivavoce.types import SPEECH_RATE

CONFIGS = {
    "whisper": {
        "d_model": 16, "vocab_size": 8,
        "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 16,
        "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    },
    "wav2vec2": {
        "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16,
        "conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "vocab_size": 8,
    },
}  # fmt: skip
EXTRACTORS = {"whisper": WhisperFeatureExtractor(), "wav2vec2": Wav2Vec2FeatureExtractor()}
NTSC = Fraction(1000, 1001)
RATES = {23.976: 24 * NTSC, 24.0: 24, 25.0: 25, 29.97: 30 * NTSC, 30.0: 30, 60.0: 60}


class Clock(SpeechEncoder):
    """Its frames are the samples at their centres; windows may be as short as they like."""

    name = "clock"
    width = 1
    _first = 200.0
    _stride = 320

    def __init__(self):
        super().__init__()
        self.windows = []

    def _encoded(self, samples):
        self.windows.append(samples)
        return samples[200 : len(samples) - 200 : 320, None].copy()


class WholeClock(Clock):
    """Always 30 s, as Whisper."""

    _span = WhisperEncoder._span


def ramp(seconds: float) -> Speech:
    """A recording whose samples are their own time in seconds."""
    return Speech((np.arange(round(seconds * SPEECH_RATE)) / SPEECH_RATE).astype(np.float32), 1.0)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    count = round(seconds * SPEECH_RATE)
    swell = 0.6 + 0.4 * np.sin(7 * np.arange(count) / SPEECH_RATE)
    return (swell * np.random.default_rng(seed).normal(0, 0.1, count)).astype(np.float32)


def network(kind: str, **config):
    torch.manual_seed(0)
    return AutoModel.from_config(AutoConfig.for_model(kind, **(CONFIGS[kind] | config))).eval()


def whisper(**config) -> WhisperEncoder:
    return WhisperEncoder(network("whisper", **config), EXTRACTORS["whisper"])


def wav2vec2(**config) -> Wav2Vec2Encoder:
    return Wav2Vec2Encoder(network("wav2vec2", **config), EXTRACTORS["wav2vec2"])


@pytest.mark.parametrize("clock", [Clock, WholeClock])
@pytest.mark.parametrize("seconds", [1, 31, 70])
@pytest.mark.parametrize("fps", RATES)
def test_a_frame_has_the_features_of_its_own_middle(clock, seconds, fps):
    exact = RATES[fps]
    frames = np.arange(int(seconds * exact))
    times = np.array([float((t + Fraction(1, 2)) / exact) for t in frames])
    found = clock().features(ramp(seconds), fps, frames)
    assert (found.shape, found.dtype) == ((len(frames), 1), np.float32)
    inner = (times > 0.02) & (times < seconds - 0.02)  # with encoder frames of the recording on both sides
    assert inner.mean() > 0.9
    np.testing.assert_allclose(found[inner, 0], times[inner], atol=1.5e-5)


def test_hours_into_a_recording_the_time_is_still_exact():
    start = 10_000
    samples = np.zeros(start * SPEECH_RATE + SPEECH_RATE, np.float32)
    samples[-2 * SPEECH_RATE :] = np.arange(2 * SPEECH_RATE) / SPEECH_RATE
    clock, frames = Clock(), np.arange(25) + round(start * 30000 / 1001)
    found = clock.features(Speech(samples, 1.0), 29.97, frames)
    np.testing.assert_allclose(found[:, 0], (frames + 0.5) * 1001 / 30000 - start + 1, atol=2e-6)
    assert len(clock.windows) == 1


@pytest.mark.parametrize("make", [Clock, LogMelEncoder, whisper, wav2vec2])
def test_frames_asked_for_in_pieces_are_those_asked_for_at_once_bit_for_bit(make):
    speech, frames = leveled(noise(52)), np.arange(52 * 25)
    whole = make().features(speech, 25.0, frames)
    encoder = make()
    pieces = [encoder.features(speech, 25.0, frames[i : i + 333]) for i in range(0, len(frames), 333)]
    assert np.array_equal(np.concatenate(pieces), whole)
    mixed = np.array([1299, 0, 624, 625, 0])
    assert np.array_equal(encoder.features(speech, 25.0, mixed), whole[mixed])
    assert (whole.shape, whole.dtype) == ((len(frames), encoder.width), np.float32)
    assert np.abs(np.diff(whole, axis=0)).max() > 0


def test_only_windows_that_are_needed_are_encoded_and_the_last_two_are_kept():
    clock, speech = Clock(), Speech(noise(120), 1.0)
    clock.features(speech, 25.0, np.arange(0, 81))
    clock.features(speech, 25.0, np.arange(76, 624))  # up to the border at 25 s
    assert len(clock.windows) == 1
    clock.features(speech, 25.0, np.arange(600, 681))  # across it
    assert len(clock.windows) == 2
    clock.features(speech, 30.0, np.arange(0, 1500))  # both windows at another rate
    assert len(clock.windows) == 2
    clock.features(speech, 25.0, np.arange(2990, 3000))  # the end, without what lies between
    assert len(clock.windows) == 3
    clock.features(Speech(speech.samples, 1.0), 25.0, np.arange(2990, 3000))  # another recording
    assert (len(clock.windows), len(clock._recent)) == (4, 2)


def test_a_recording_that_ends_at_a_border_has_no_window_behind_it():
    clock = Clock()
    clock.features(
        ramp(24.99), 0.5, np.arange(13)
    )  # the last frame begins in the recording, its middle is at 25 s
    assert len(clock.windows) == 1


@pytest.mark.parametrize("seconds", [0.2, 3, 26, 31])
def test_beyond_the_ends_the_sound_is_mirrored(seconds):
    samples = noise(seconds)
    frames = np.array([0, int(seconds * 25) - 1])
    whole = np.pad(samples, 30 * SPEECH_RATE, mode="reflect")
    origin, end = 30 * SPEECH_RATE, 30 * SPEECH_RATE + len(samples)
    for clock, before, after in ((WholeClock(), 40_000, 480_000), (Clock(), 8_000, 8_000)):
        clock.features(Speech(samples, 0.5), 25.0, frames)
        starts = [origin - before, origin + 360_000][: 1 + (seconds > 25)]
        for number, (window, start) in enumerate(zip(clock.windows, starts, strict=True)):
            stop = min(origin + 440_000 + 400_000 * number, end + after)
            np.testing.assert_array_equal(window, 0.5 * whole[start:stop])


def test_a_memory_map_is_read_in_parts_only(tmp_path):
    path, sound = tmp_path / "speech.f32", noise(60)
    sound.tofile(path)
    mapped = Speech(np.memmap(path, np.float32, "r"), 0.5)
    frames = np.arange(0, 1500, 7)
    there = LogMelEncoder().features(mapped, 25.0, frames)
    assert type(there) is np.ndarray
    assert np.array_equal(there, LogMelEncoder().features(Speech(sound, 0.5), 25.0, frames))


@pytest.mark.parametrize("frames", [[-1], [0, 25], [26]])
def test_frames_outside_the_recording_are_the_callers_mistake(frames):
    with pytest.raises(ValueError, match=r"at 25 fps are not all within 1\.00 s"):
        Clock().features(ramp(1), 25.0, np.array(frames))
    with pytest.raises(ValueError, match=r"not all within 0\.00 s"):
        Clock().features(ramp(0), 25.0, np.array([0]))
    assert Clock().features(ramp(1 + 1 / SPEECH_RATE), 25.0, np.array([25])).shape == (1, 1)
    assert LogMelEncoder().features(ramp(1), 25.0, np.arange(0)).shape == (0, 320)


def test_log_mel_is_four_instants_of_a_frame_side_by_side():
    speech = leveled(noise(40))
    found = LogMelEncoder().features(speech, 25.0, np.arange(1000))
    # At 25 fps the instants are the middles of the spectrum's own frames.
    spectrum = log_mel(speech.samples * np.float32(speech.gain))
    np.testing.assert_allclose(found.reshape(4000, 80)[2:-2], (spectrum[2:-2] + 11) / 4.5, atol=1e-5)
    assert LogMelEncoder().width == 320


def test_a_disturbance_10_s_away_changes_nothing_in_log_mel():
    quiet = noise(60)
    disturbed = quiet.copy()
    disturbed[35 * SPEECH_RATE : 36 * SPEECH_RATE] = 0.9
    frames = np.concatenate([np.arange(25 * 25), np.arange(46 * 25, 60 * 25)])
    before, after = (LogMelEncoder().features(Speech(s, 1.0), 25.0, frames) for s in (quiet, disturbed))
    assert np.array_equal(before, after)
    near = np.arange(35 * 25, 36 * 25)
    here, there = (LogMelEncoder().features(Speech(s, 1.0), 25.0, near) for s in (quiet, disturbed))
    assert np.abs(here - there).max() > 1


@pytest.mark.parametrize("make", [LogMelEncoder, whisper, wav2vec2])
def test_the_same_speech_louder_has_the_same_features(make):
    sound, frames = noise(3), np.arange(75)
    soft, loud = (make().features(leveled(gain * sound), 25.0, frames) for gain in (0.1, 1.0))
    np.testing.assert_allclose(soft, loud, atol=2e-3)


def changed_frames(encode, at: int) -> np.ndarray:
    """Encoder frames that a change of the sound around one sample reaches."""
    sound = torch.from_numpy(noise(30))
    other = sound.clone()
    other[at - 1 : at + 1] += 0.5
    difference = (encode(sound) - encode(other)).abs().amax(1)
    return torch.nonzero(difference > 1e-5).numpy().ravel()


@pytest.mark.parametrize("shift", range(0, 640, 80))
def test_whispers_frames_are_centred_where_it_is_said(shift):
    encoder, at = whisper(), 160_000 + shift

    def convolved(sound):
        mel = encoder._extractor(sound.numpy(), sampling_rate=SPEECH_RATE, return_tensors="pt").input_features
        return encoder._model.conv2(encoder._model.conv1(mel))[0].T.detach()

    # Two frames of 10 ms on either side through two convolutions, and half a window of 400 samples.
    distance = np.abs(encoder._first + encoder._stride * np.arange(1500) - at)
    changed = changed_frames(convolved, at)
    assert set(np.flatnonzero(distance < 500)) <= set(changed) <= set(np.flatnonzero(distance <= 521))


@pytest.mark.parametrize(
    ("kernels", "strides", "seen"),
    [((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), 400), ((9, 4), (8, 5), 33)],
)
def test_wav2vec2s_frames_are_centred_where_its_convolutions_say(kernels, strides, seen):
    encoder = wav2vec2(
        conv_kernel=kernels, conv_stride=strides, conv_dim=(8,) * len(kernels), feat_extract_norm="layer"
    )
    convolutions = encoder._model.feature_extractor
    for at in (160_000, 160_007, 160_100, 160_219):
        changed = changed_frames(lambda sound: convolutions(sound[None])[0].T.detach(), at)
        distance = np.abs(encoder._first + encoder._stride * np.arange(100_000) - at)
        # The last of the samples that are seen may weigh next to nothing.
        inside = set(np.flatnonzero(distance < seen / 2 - 4))
        assert inside <= set(changed) <= set(np.flatnonzero(distance <= seen / 2 + 1))
    assert encoder._stride == np.prod(strides)


def test_names_and_widths_tell_the_architecture():
    assert (whisper().name, whisper().width) == ("whisper 16x2", 16)
    assert (wav2vec2().name, wav2vec2().width) == ("wav2vec2 16x3", 16)
    assert LogMelEncoder().name == "log-mel"


@pytest.mark.parametrize(("make", "before", "first"), [(whisper, 40_000, 0), (wav2vec2, 8_000, 200)])
def test_features_are_the_last_hidden_state_of_the_mirrored_sound_interpolated(make, before, first):
    speech, frames, encoder = leveled(noise(3, 5)), np.arange(72), make()
    found = encoder.features(speech, 23.976, frames)
    # Whisper's window ends 30 s after it begins, that of wav2vec 2.0 half a second after the sound.
    after = 480_000 if make is whisper else 8_000
    window = np.pad(speech.samples * np.float32(speech.gain), (before, after), mode="reflect")
    kind = make.__name__
    given = EXTRACTORS[kind](window, sampling_rate=16_000, return_tensors="pt")  # cuts Whisper's to 30 s
    model = network(kind).encoder if make is whisper else network(kind)
    with torch.no_grad():
        states = model(*given.values()).last_hidden_state[0].numpy()
    centres = (first + 320 * np.arange(len(states)) - before) / 16_000
    wanted = [np.interp((frames + 0.5) * 1001 / 24_000, centres, values) for values in states.T]
    np.testing.assert_allclose(found, np.transpose(wanted), atol=1e-4)


def test_a_whisper_of_other_windows_or_bands_is_refused():
    with pytest.raises(WeightsError, match="480000 samples to 750 frames, not 480000 to 1500"):
        whisper(max_source_positions=750)
    with pytest.raises(WeightsError, match="takes 128 mel bands, its preprocessor gives 80"):
        whisper(num_mel_bins=128)


@pytest.fixture
def warnings():
    """What transformers has warned of."""
    messages, handler = [], Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.add_handler(handler)
    yield messages
    logging.remove_handler(handler)


@pytest.fixture
def stored(tmp_path):
    """Folders of a Whisper and a wav2vec 2.0 with heads, as they are on the hub."""
    torch.manual_seed(0)
    heads = {"whisper": WhisperForConditionalGeneration, "wav2vec2": Wav2Vec2ForCTC}
    models = {kind: head(AutoConfig.for_model(kind, **CONFIGS[kind])) for kind, head in heads.items()}
    for kind, model in models.items():
        model.save_pretrained(tmp_path / kind)
        EXTRACTORS[kind].save_pretrained(tmp_path / kind)
    return tmp_path, models


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
def test_an_encoder_comes_back_from_its_folder(stored, kind, warnings):
    folder, models = stored
    speech, frames = leveled(noise(2)), np.arange(50)
    encoder = {"whisper": WhisperEncoder, "wav2vec2": Wav2Vec2Encoder}[kind]
    direct = encoder(models[kind].base_model, EXTRACTORS[kind])
    verbosity = logging.get_verbosity()
    loaded = load_encoder(folder / kind, kind=kind)
    assert (type(loaded), loaded.name) == (type(direct), direct.name)
    assert np.array_equal(loaded.features(speech, 25.0, frames), direct.features(speech, 25.0, frames))
    assert warnings == []
    assert logging.get_verbosity() == verbosity
    assert not any("decoder" in name or "lm_head" in name for name, _ in loaded._model.named_parameters())
    half = load_encoder(str(folder / kind), kind=kind, dtype=torch.bfloat16)
    rough = half.features(speech, 25.0, frames)
    assert (half._model.dtype, rough.dtype) == (torch.bfloat16, np.float32)
    np.testing.assert_allclose(rough, loaded.features(speech, 25.0, frames), atol=0.2)


def test_a_bare_whisper_is_read_as_one_with_its_head(stored):
    folder, models = stored
    models["whisper"].model.save_pretrained(folder / "bare")
    EXTRACTORS["whisper"].save_pretrained(folder / "bare")
    speech, frames = leveled(noise(1)), np.arange(25)
    bare, whole = (load_encoder(folder / name, kind="whisper") for name in ("bare", "whisper"))
    assert np.array_equal(bare.features(speech, 25.0, frames), whole.features(speech, 25.0, frames))


def test_old_files_of_wav2vec2_are_read(stored):
    """Without the masking embedding, and with the weight norm's parameters under their former names."""
    folder, speech, frames = stored[0] / "wav2vec2", leveled(noise(1)), np.arange(25)
    before = load_encoder(folder, kind="wav2vec2").features(speech, 25.0, frames)
    state = load_file(folder / "model.safetensors")
    del state["wav2vec2.masked_spec_embed"]
    conv = "wav2vec2.encoder.pos_conv_embed.conv."
    for now, former in (("original0", "weight_g"), ("original1", "weight_v")):
        state[conv + former] = state.pop(f"{conv}parametrizations.weight.{now}")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    assert np.array_equal(load_encoder(folder, kind="wav2vec2").features(speech, 25.0, frames), before)


def complaint(source, kind: str) -> str:
    with pytest.raises(WeightsError) as caught:
        load_encoder(source, kind=kind)
    assert re.fullmatch(r"[^\n]+[^.]: [^\n]+\.", str(caught.value))
    assert ". " not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "prefix", "name"),
    [("whisper", "model.encoder.", "conv1.weight"), ("wav2vec2", "wav2vec2.", "encoder.layer_norm.bias")],
)
def test_a_missing_or_misshapen_parameter_is_named(stored, kind, prefix, name):
    folder = stored[0] / kind
    path = folder / "model.safetensors"
    state = load_file(path)
    value = state.pop(prefix + name)
    save_file(state, path, {"format": "pt"})
    assert f"(it lacks: {name}): give" in complaint(folder, kind)
    save_file(state | {prefix + name: torch.zeros(3)}, path, {"format": "pt"})
    assert f"(shapes differ: {name} (3,), not {tuple(value.shape)})" in complaint(folder, kind)


def test_wrong_and_missing_folders_are_one_sentence_each(stored):
    folder = stored[0]
    assert "holds a wav2vec2 model, where whisper is needed" in complaint(folder / "wav2vec2", "whisper")
    assert "holds a whisper model, where wav2vec2 is needed" in complaint(folder / "whisper", "wav2vec2")
    assert "There is no speech encoder at" in complaint(folder / "none at all", "whisper")
    assert "No speech encoder can be loaded" in complaint(folder, "whisper")


@pytest.mark.parametrize("kind", ["whisper", "wav2vec2"])
def test_damaged_folders_are_one_sentence_each(stored, kind):
    folder = stored[0] / kind
    for name in ("model.safetensors", "preprocessor_config.json", "config.json"):
        path = folder / name
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], b"", b"nothing of the kind"):
            path.write_bytes(damaged)
            assert f"No speech encoder can be loaded from {folder} (" in complaint(folder, kind)
        path.unlink()
        assert f"No speech encoder can be loaded from {folder} (" in complaint(folder, kind)
        path.write_bytes(whole)
    assert load_encoder(folder, kind=kind).width == 16
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4, "encoder_layers": 4}))
    assert f"{folder} was made for another model (it lacks: " in complaint(folder, kind)
