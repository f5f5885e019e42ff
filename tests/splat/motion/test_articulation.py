import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from vivavoce.corpus.synth.judge import score
from vivavoce.corpus.synth.text import HARVARD
from vivavoce.corpus.synth.utterances import Utterance, padded
from vivavoce.corpus.synth.voice import Voice, synthesize
from vivavoce.errors import WeightsError
from vivavoce.features.speech import HOP, LevelNormalizer, log_mel
from vivavoce.splat.controls import INDEX
from vivavoce.splat.motion.articulation import (
    HEADER,
    OUTPUTS,
    PREROLL,
    RATE,
    STACK,
    ArticulationModel,
    at_frames,
)
from vivavoce.splat.motion.network import ArticulationNetwork
from vivavoce.types import SPEECH_RATE

FACTS = {"outputs": OUTPUTS, "rate": RATE, "past": 8, "future": 1, "steps": 0}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ArticulationNetwork(width=32, blocks=4).eval()


@pytest.fixture(scope="module")
def small(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file({k: v.numpy() for k, v in network.state_dict().items()}, path, {HEADER: json.dumps(FACTS)})
    return ArticulationModel.load(path)


@pytest.fixture(scope="module")
def model():
    return ArticulationModel.load()


def noise(seconds: float) -> np.ndarray:
    """Loud from start to end, so that no silence is shut."""
    return np.random.default_rng(1).normal(0, 0.1, int(seconds * SPEECH_RATE)).astype(np.float32)


def test_numpy_computes_what_the_trained_network_computes(network, small):
    sound = noise(2.0)
    silence = np.zeros(PREROLL * STACK * HOP, np.float32)  # what every recording is taken to begin after
    mel = np.concatenate([log_mel(silence), log_mel(sound)])
    frames, _ = LevelNormalizer().push(mel[None])
    with torch.no_grad():
        logits = network(torch.from_numpy(frames.reshape(1, -1, STACK * mel.shape[1])))[0].double()
    expected = torch.sigmoid(logits[:, :-1])
    expected[:, 0] = torch.relu(expected[:, 0] * torch.sigmoid(-2 * logits[:, -1] - 2.8) - 0.015) / 0.985
    np.testing.assert_allclose(small(sound)[10:], expected.numpy()[PREROLL + 10 :], atol=2e-5)


@pytest.mark.parametrize("block", [1, 160, 777, 16000])
def test_streaming_gives_what_the_whole_gives(small, block):
    sound = np.concatenate([noise(0.6), np.zeros(9000, np.float32), noise(0.3)])[:20001]
    sound = sound[: 3000 if block == 1 else len(sound)]
    stream = small.stream()
    parts = [stream.push(sound[i : i + block]) for i in range(0, len(sound), block)]
    parts.append(stream.finish())
    whole = small(sound)
    assert len(whole) == -(-len(sound) // 320)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_look_ahead_is_bounded_and_kept(model):
    assert model.look_ahead <= 0.160
    sound = noise(1.5)
    changed = sound.copy()
    cut = 16000
    changed[cut:] = 0
    moment = (np.arange(75) + 0.5) / RATE
    untouched = moment + model.look_ahead < cut / SPEECH_RATE
    np.testing.assert_allclose(model(sound)[untouched], model(changed)[untouched], atol=1e-6)
    stream = model.stream()
    rows = len(stream.push(sound[:cut]))
    assert moment[rows] + model.look_ahead >= cut / SPEECH_RATE - 1e-9
    assert rows >= untouched.sum()


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_silence_is_shut_and_still(model, level):
    speech, _ = synthesize("Open the door.", Voice("flite", "slt"))
    hiss = level * np.random.default_rng(0).normal(size=2 * SPEECH_RATE)
    track = model(np.concatenate([speech, hiss.astype(np.float32), speech]))
    begin = len(speech) / SPEECH_RATE + 0.25
    quiet = track[int(begin * RATE) : int((begin + 1.5) * RATE)]
    assert quiet.max() < 1e-3
    assert track[: int(0.8 * begin * RATE), INDEX["open"]].max() > 0.3


def test_no_sound_at_all(model):
    assert model(np.zeros(0, np.float32)).shape == (0, 8)
    assert not model(np.zeros(SPEECH_RATE, np.float32)).any()


def test_loudness_changes_nothing(model):
    speech, _ = synthesize("Five big apples fell.", Voice("flite", "rms"))
    difference = np.abs(model(0.2 * speech) - model(speech))
    assert difference.mean() < 0.01
    assert np.quantile(difference, 0.99) < 0.1


@pytest.mark.parametrize(
    ("voice", "least", "closed"),
    [
        (Voice("flite", "slt"), 0.93, 0.9),
        (Voice("flite", "awb"), 0.88, 0.85),
        (Voice("festival", "kal_diphone"), 0.88, 0.85),
    ],
)
def test_held_out_speech_moves_the_mouth(model, voice, least, closed):
    spoken = []
    for text in HARVARD[16:24]:
        sound, phones = padded(*synthesize(text, voice), before=0.3, after=0.4)
        spoken.append(Utterance(sound, phones, text, voice))
    figures = score([model(u.samples) for u in spoken], spoken, RATE)
    assert figures["r_open"] > least
    assert figures["closure_recall"] >= closed
    assert abs(figures["best_lag_ms"]) <= 20
    assert figures["silence_still"] > 0.97
    assert abs(figures["r_shuffled"]) < 0.3


def test_using_the_model_does_not_import_torch():
    code = "import sys; from vivavoce.splat.motion.articulation import ArticulationModel as A; A.load(); "
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_weights_that_will_not_do_are_named(tmp_path, network):
    tensors = {k: v.numpy() for k, v in network.state_dict().items()}
    absent, text, foreign, cut = (tmp_path / n for n in ("absent", "text", "foreign", "cut"))
    text.write_text("hello")
    save_file(tensors, foreign, {})
    save_file({k: v for k, v in tensors.items() if "inlet.bias" not in k}, cut, {HEADER: json.dumps(FACTS)})
    for path, reason in (
        (absent, "absent"),
        (text, "cannot be read"),
        (foreign, "no articulation"),
        (cut, "inlet"),
    ):
        with pytest.raises(WeightsError, match=reason):
            ArticulationModel.load(path)


def blink_of_an_eye() -> np.ndarray:
    """Two seconds at 50 Hz, half open, shut for a single row at 1.01 s."""
    track = np.zeros((100, 8), np.float32)
    track[:, INDEX["open"]] = 0.5
    track[50, INDEX["open"]] = 0.0
    track[50, INDEX["press"]] = 0.9
    return track


@pytest.mark.parametrize("fps", [12.0, 24.0, 25.0, 30.0, 60.0])
def test_the_shortest_closure_survives_any_frame_rate(fps):
    frames = at_frames(blink_of_an_eye(), fps, int(2 * fps))
    shut = frames[:, INDEX["open"]].argmin()
    assert frames[shut, INDEX["open"]] < 0.05
    assert frames[shut, INDEX["press"]] > 0.7
    assert abs((shut + 0.5) / fps - 1.01) <= 0.5 / fps + 0.01
    assert (frames[:, INDEX["open"]] < 0.2).sum() <= max(1, fps / 25)


def test_slow_motion_is_sampled_at_frame_centres():
    moments = (np.arange(200) + 0.5) / RATE
    track = np.tile(0.5 + 0.3 * np.sin(2 * np.pi * 0.8 * moments)[:, None], (1, 8)).astype(np.float32)
    frames = at_frames(track, 30.0, 119)
    centres = (np.arange(119) + 0.5) / 30
    np.testing.assert_allclose(frames[:, 0], 0.5 + 0.3 * np.sin(2 * np.pi * 0.8 * centres), atol=2e-3)


def test_frames_past_the_end_hold_the_last_row():
    assert (at_frames(blink_of_an_eye(), 25.0, 60)[52:, INDEX["open"]] == 0.5).all()


def test_pieces_of_a_track_give_the_frames_of_the_whole():
    track = np.random.default_rng(0).uniform(0, 0.3, (200, 8)).astype(np.float32)
    whole = at_frames(track, 25.0, 100)
    piece = at_frames(track[90:140], 25.0, 10, first=52, start=90 / RATE)
    np.testing.assert_allclose(piece, whole[52:62], atol=1e-6)
