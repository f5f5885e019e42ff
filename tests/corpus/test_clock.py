import pytest

from vivavoce.corpus.synth.clock import label_lag
from vivavoce.corpus.synth.voice import Voice, synthesize
from vivavoce.features.phones import Phone

TEXTS = [
    "Every good boy deserves a piece of cake.",
    "We took the bus to a market in town.",
    "Keep the door shut and pass me that book.",
    "A puppy may copy a happy baby robot.",
    "Six thick socks dropped behind the desk.",
    "Show me which ship she chose for us.",
]


@pytest.fixture(scope="module")
def spoken():
    return [synthesize(text, Voice("flite", "rms")) for text in TEXTS]


def test_labels_of_a_calibrated_voice_are_on_time(spoken):
    assert abs(label_lag(spoken)) < 0.006


@pytest.mark.parametrize("shift", [-0.02, 0.03])
def test_shifted_labels_are_found_out(spoken, shift):
    moved = [(x, [Phone(p.label, p.start + shift, p.end + shift) for p in phones]) for x, phones in spoken]
    assert label_lag(moved) - label_lag(spoken) == pytest.approx(-shift, abs=0.003)
