"""Speech encoders: exact times at every frame rate, joins that cannot be told, and the real classes made tiny."""

import numpy as np
import pytest
import torch
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from vivavoce.errors import InputError, WeightsError
from vivavoce.features.encoders import SpeechEncoder, Wav2Vec2, Whisper, load_encoder
from vivavoce.features.loudness import levelled

RATES = [23.976, 24.0, 25.0, 29.97, 30.0, 60.0]


def whisper(seconds: int = 2) -> WhisperModel:
    torch.manual_seed(0)
    return WhisperModel(
        WhisperConfig(
            d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=80,
            max_source_positions=50 * seconds, vocab_size=64, pad_token_id=0, bos_token_id=1,
            eos_token_id=2, decoder_start_token_id=1,
        )
    )  # fmt: skip


def wav2vec2() -> Wav2Vec2Model:
    torch.manual_seed(0)
    return Wav2Vec2Model(
        Wav2Vec2Config(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
            conv_dim=[8] * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        )
    )  # fmt: skip


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise whose loudness rises and falls four times a second."""
    n = int(seconds * 16000)
    noise = np.random.default_rng(seed).normal(size=n)
    return (0.1 * noise * (1.2 + np.sin(2 * np.pi * 4 * np.arange(n) / 16000))).astype(np.float32)


class Clock(SpeechEncoder):
    """States that tell their own time in seconds: what the frames say can be checked exactly."""

    kind, step, first, span = "clock", 320, 200.0, 32000

    class Network(torch.nn.Linear):
        config = WhisperConfig(d_model=1, encoder_layers=1, num_hidden_layers=1)

    def __init__(self, edge: float = 0.0) -> None:
        super().__init__(self.Network(1, 1))
        self.edge = edge
        self.started: list[int] = []

    def _listen(self, samples):
        def states_from(start):
            self.started.append(start)
            count = (min(self.span, len(samples) - start) - 400) // 320 + 1
            times = (start + 200 + 320 * np.arange(count)) / 16000
            times[:5] += self.edge  # what an encoder that lacks context does at the ends of a window
            times[-5:] += self.edge
            return times[:, None].astype(np.float32)

        return states_from


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("seconds", [1.5, 9.0])
def test_a_frame_is_centred_where_it_is_shown(fps, seconds):
    frames = round(seconds * fps)
    exact = {23.976: 24000 / 1001, 29.97: 30000 / 1001}.get(fps, fps)
    told = Clock().features(speech(seconds), fps, frames)[:, 0].double().numpy()
    expected = (np.arange(frames) + 0.5) / exact
    inside = (expected > 0.05) & (expected < seconds - 0.05)
    np.testing.assert_allclose(told[inside], expected[inside], atol=1e-5)
    assert np.all(np.diff(told[:-2]) > 0)


def test_what_a_window_does_at_its_ends_stays_at_the_ends_of_the_recording():
    clock = Clock(edge=100.0)
    told = clock.features(speech(9.0), 25.0, 225)[:, 0].numpy()
    assert len(clock.started) == 6
    np.testing.assert_allclose(told[3:-3], (np.arange(3, 222) + 0.5) / 25, atol=1e-4)
    assert told[0] > 50


def test_every_state_between_two_frames_counts():
    """At 25 fps a frame shows two states' time: the mean of the straight lines, in closed form."""
    network = Whisper(whisper(2).get_encoder())
    sound = speech(2.0)
    frames = network.features(sound, 25.0, 50).double().numpy()
    mel = WhisperFeatureExtractor(feature_size=80)(
        levelled(sound), sampling_rate=16000, padding=False, truncation=False, return_tensors="pt"
    )
    with torch.no_grad():
        states = whisper(2).eval().get_encoder()(mel.input_features).last_hidden_state[0].double().numpy()
    for k in (0, 1, 17, 48):
        expected = (states[2 * k] + 2 * states[2 * k + 1] + states[2 * k + 2]) / 4
        np.testing.assert_allclose(frames[k], expected, atol=1e-5)
    fast = network.features(sound, 50.0, 100).double().numpy()
    np.testing.assert_allclose(fast[10], (states[10] + states[11]) / 2, atol=1e-5)


def test_whisper_hears_long_speech_without_a_join():
    """The tiny network sees 2 s: the frames of 7 s have no jumps where the windows meet."""
    encoder = Whisper(whisper(2).get_encoder())
    sound = speech(7.0)
    told = encoder.features(sound, 25.0, 175)
    assert told.shape == (175, 32)
    assert told.dtype == torch.float32
    steps = (told[1:] - told[:-1]).norm(dim=1)
    assert steps.max() < 4 * steps.median()
    # The first window alone gives the frames that it is nearest to.
    alone = encoder.features(sound[:32000], 25.0, 50)
    assert (told[:30] - alone[:30]).norm() < 0.05 * alone[:30].norm()


@pytest.mark.parametrize("make", [lambda: Whisper(whisper().get_encoder()), lambda: Wav2Vec2(wav2vec2())])
def test_features_do_not_depend_on_how_loud_the_recording_is(make):
    encoder, sound = make(), speech(1.5)
    loud, soft = (encoder.features(sound * np.float32(g), 25.0, 38) for g in (1.0, 0.05))
    torch.testing.assert_close(loud, soft, rtol=1e-3, atol=1e-3)
    assert (loud - encoder.features(speech(1.5, seed=1), 25.0, 38)).abs().max() > 1e-2


def test_wav2vec2_states_lie_in_the_middle_of_what_they_see():
    encoder = Wav2Vec2(wav2vec2())
    assert (encoder.step, encoder.first) == (320, 200.0)
    sound = levelled(speech(1.0))
    heard = torch.from_numpy((sound - sound.mean()) / sound.std())[None]
    with torch.no_grad():
        states = wav2vec2().eval()(heard).last_hidden_state[0].double().numpy()
    # Frame k at 50 fps shows samples 320 k to 320 (k + 1); state i lies at 320 i + 200.
    told = encoder.features(speech(1.0), 50.0, 50).double().numpy()
    k, (left, middle, right) = 20, (states[19], states[20], states[21])
    a, b = 200 / 320, 120 / 320  # of the frame before and after the middle state
    expected = a * ((1 - a / 2) * middle + a / 2 * left) + b * ((1 - b / 2) * middle + b / 2 * right)
    np.testing.assert_allclose(told[k], expected, atol=1e-5)


def test_layers_are_put_side_by_side():
    both = Wav2Vec2(wav2vec2(), (0, -1))
    sound = speech(1.0)
    assert both.width == 64
    parts = [Wav2Vec2(wav2vec2(), (layer,)).features(sound, 25.0, 25) for layer in (0, 2)]
    torch.testing.assert_close(both.features(sound, 25.0, 25), torch.cat(parts, 1))
    assert both.name == "wav2vec2 2x32 layers 0,-1" != Wav2Vec2(wav2vec2()).name
    with pytest.raises(InputError, match="layers 3 cannot"):
        Wav2Vec2(wav2vec2(), (3,))


@pytest.mark.parametrize("samples", [1, 399, 1600])
def test_very_short_sounds_have_features_too(samples):
    for encoder in (Whisper(whisper().get_encoder()), Wav2Vec2(wav2vec2())):
        told = encoder.features(speech(1.0)[:samples], 25.0, 3)
        assert torch.isfinite(told).all()


def test_silence_is_heard_without_a_fault():
    assert torch.isfinite(Wav2Vec2(wav2vec2()).features(np.zeros(8000, np.float32), 25.0, 13)).all()


def test_encoders_load_from_their_folders(tmp_path):
    sound = speech(1.0)
    for model, kind in ((whisper(), Whisper), (wav2vec2(), Wav2Vec2)):
        folder = tmp_path / kind.kind
        model.save_pretrained(folder)
        encoder = load_encoder(folder)
        assert isinstance(encoder, kind)
        direct = kind(model.get_encoder() if kind is Whisper else model)
        torch.testing.assert_close(encoder.features(sound, 30.0, 30), direct.features(sound, 30.0, 30))
    HubertModel(
        HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(tmp_path / "hubert")
    with pytest.raises(WeightsError, match="a hubert model: give a Whisper"):
        load_encoder(tmp_path / "hubert")
    with pytest.raises(WeightsError, match="no speech encoder at /nowhere/at/all"):
        load_encoder("/nowhere/at/all")
    (tmp_path / "whisper" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_encoder(tmp_path / "whisper")


def test_what_cannot_be_is_said():
    encoder = Clock()
    with pytest.raises(InputError, match="empty"):
        encoder.features(np.zeros(0, np.float32), 25.0, 1)
    with pytest.raises(InputError, match="no numbers"):
        encoder.features(np.full(100, np.nan, np.float32), 25.0, 1)
    with pytest.raises(InputError, match="0 frames"):
        encoder.features(np.ones(100, np.float32), 25.0, 0)
