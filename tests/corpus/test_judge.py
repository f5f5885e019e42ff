import numpy as np
import pytest

from vivavoce.corpus.synth.judge import score
from vivavoce.corpus.synth.utterances import Utterance
from vivavoce.corpus.synth.voice import Voice
from vivavoce.features.phones import PAUSE, Phone
from vivavoce.splat.motion.targets import articulation_from_phones
from vivavoce.types import SPEECH_RATE

RATE = 50.0


@pytest.fixture(scope="module")
def spoken():
    """Utterances of open syllables with random contacts between pauses."""
    rng = np.random.default_rng(0)
    result = []
    for _ in range(6):
        phones, at = [Phone(PAUSE, 0.0, 0.6)], 0.6
        for _ in range(12):
            for label in (rng.choice(["p", "b", "m", "s", "k", "f"]), rng.choice(["aa", "iy", "uw", "eh"])):
                length = float(rng.uniform(0.07, 0.16))
                phones.append(Phone(str(label), at, at + length))
                at += length
        phones.append(Phone(PAUSE, at, at + 0.8))
        sound = np.zeros(int((at + 0.8) * SPEECH_RATE), np.float32)
        result.append(Utterance(sound, phones, "", Voice("flite", "slt")))
    return result


@pytest.fixture(scope="module")
def truth(spoken):
    return [articulation_from_phones(u.phones, u.duration, RATE) for u in spoken]


def test_the_truth_is_perfect(spoken, truth):
    figures = score(truth, spoken, RATE)
    assert figures["r_open"] == pytest.approx(1)
    assert figures["closure_recall"] == 1
    assert figures["timing_p90_ms"] == 0
    assert figures["false_closures"] == 0
    assert figures["silence_still"] == 1
    assert figures["best_lag_ms"] == 0
    assert abs(figures["r_shuffled"]) < 0.35


def test_a_late_track_is_called_late(spoken, truth):
    late = [np.concatenate([t[:1], t[:1], t[:-2]]) for t in truth]
    figures = score(late, spoken, RATE)
    assert figures["best_lag_ms"] == pytest.approx(40)
    assert figures["timing_bias_ms"] > 5


def test_an_open_mouth_closes_nothing_and_a_shut_one_always(spoken, truth):
    agape = score([np.full_like(t, 0.5) for t in truth], spoken, RATE)
    shut = score([np.zeros_like(t) for t in truth], spoken, RATE)
    assert (agape["closure_recall"], agape["false_closures"], agape["silence_still"]) == (0, 0, 0)
    assert (shut["closure_recall"], shut["false_closures"], shut["silence_still"]) == (1, 1, 1)
    assert shut["r_open"] == 0


def test_a_trembling_mouth_is_not_still(spoken, truth):
    tremble = [t + 0.03 * (np.arange(len(t)) % 2)[:, None].astype(np.float32) for t in truth]
    assert score(tremble, spoken, RATE)["silence_still"] < 0.1
