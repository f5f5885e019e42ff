import numpy as np
import pytest

from vivavoce.features.phones import CONSONANTS, LABELS, PAUSE, VOWELS, Phone
from vivavoce.splat.controls import ARTICULATION, INDEX
from vivavoce.splat.motion.targets import (
    FASTEST_CLOSING,
    FASTEST_OPENING,
    articulation_from_phones,
    contacts,
    silences,
)

RATE = 200.0


def said(*labels: str, length: float = 0.1, pause: float = 0.5) -> list[Phone]:
    """Phones of equal length between two pauses."""
    ends = pause + length * np.arange(len(labels) + 1)
    inner = [Phone(label, float(a), float(b)) for label, a, b in zip(labels, ends, ends[1:], strict=False)]
    return [Phone(PAUSE, 0.0, pause), *inner, Phone(PAUSE, float(ends[-1]), float(ends[-1]) + pause)]


def track(phones: list[Phone], rate: float = RATE) -> dict[str, np.ndarray]:
    values = articulation_from_phones(phones, phones[-1].end, rate)
    return {name: values[:, INDEX[name]] for name in ARTICULATION}


def at(phones: list[Phone], index: int, rate: float = RATE) -> slice:
    """The middle half of a phone."""
    start, end = phones[index].start, phones[index].end
    return slice(int((0.75 * start + 0.25 * end) * rate), int((0.25 * start + 0.75 * end) * rate) + 1)


def babble(seed: int) -> list[Phone]:
    rng = np.random.default_rng(seed)
    labels = [str(rng.choice(rng.permutation(VOWELS if i % 2 else CONSONANTS))) for i in range(40)]
    ends = 0.4 + np.cumsum(rng.uniform(0.03, 0.2, len(labels) + 1))
    inner = [Phone(label, float(a), float(b)) for label, a, b in zip(labels, ends, ends[1:], strict=False)]
    return [Phone(PAUSE, 0.0, float(ends[0])), *inner, Phone(PAUSE, float(ends[-1]), float(ends[-1]) + 0.5)]


@pytest.mark.parametrize("rate", [25.0, 50.0, 100.0])
def test_one_row_a_period_within_bounds(rate):
    values = articulation_from_phones(said("m", "aa", "p"), 1.3, rate)
    assert values.shape == (int(np.ceil(1.3 * rate)), 8)
    assert values.dtype == np.float32
    assert values.min() >= 0
    assert values.max() <= 1


@pytest.mark.parametrize("label", LABELS)
def test_every_label_has_a_shape(label):
    assert np.isfinite(articulation_from_phones([Phone(label, 0.0, 0.2)], 0.2, 100.0)).all()


@pytest.mark.parametrize("label", ["p", "b", "m"])
@pytest.mark.parametrize("length", [0.03, 0.05, 0.1])
def test_lips_meet_and_press_in_every_bilabial(label, length):
    phones = said("aa", label, "aa", length=length)
    phones[1] = phones[1]._replace(start=0.3)
    phones[0] = phones[0]._replace(end=0.3)
    t = track(phones)
    (start, end) = contacts(phones)[0]
    middle = int(0.5 * (start + end) * RATE)
    assert t["open"][middle] <= 0.01
    assert t["press"][middle] > 0.3


@pytest.mark.parametrize("seed", range(6))
def test_speed_stays_within_what_lips_can_do_and_closures_survive(seed):
    phones = babble(seed)
    t = track(phones)
    speed = np.diff(t["open"]) * RATE
    assert speed.max() <= FASTEST_OPENING + 0.1
    assert speed.min() >= -FASTEST_CLOSING - 0.1
    for start, end in contacts(phones):
        inside = slice(int(start * RATE), max(int(end * RATE), int(start * RATE) + 3))
        assert t["open"][inside].min() <= 0.04


def test_a_full_opening_takes_two_frames_at_25_fps():
    t = track(said("p", "aa", "p", length=0.25), 25.0)
    rising = np.diff(t["open"][:20])
    assert t["open"].max() > 0.5
    assert rising.max() < 0.75 * t["open"].max()


def test_open_vowels_open_more_than_close_ones():
    peak = {v: track(said("k", v, "k", length=0.15))["open"].max() for v in ("aa", "eh", "iy", "uw")}
    assert peak["aa"] > peak["eh"] > peak["iy"] > peak["uw"] > 0.1


def test_short_vowels_undershoot():
    long, short = (track(said("p", "aa", "p", length=n))["open"].max() for n in (0.2, 0.05))
    assert short < 0.7 * long


def test_f_and_v_tuck_the_lip_and_nearly_close():
    phones = said("aa", "f", "aa")
    t = track(phones)
    assert t["tuck"][at(phones, 2)].min() > 0.9
    assert t["open"][at(phones, 2)].max() < 0.12
    assert t["tuck"][at(phones, 1)][:3].max() < 0.2


def test_th_puts_the_tongue_out_and_l_up():
    phones = said("aa", "th", "aa", "l", "aa")
    t = track(phones)
    assert t["tongue_out"][at(phones, 2)].max() > 0.55
    assert t["tongue_up"][at(phones, 4)].max() > 0.55
    assert t["tongue_out"][at(phones, 4)].max() < 0.2


def test_rounding_begins_in_the_consonants_before_its_vowel():
    rounded, plain = said("iy", "t", "s", "uw"), said("iy", "t", "s", "iy")
    consonant = at(rounded, 3)
    assert track(rounded)["round"][consonant].mean() > 0.25
    assert track(plain)["round"][consonant].max() < 0.05
    assert track(rounded)["round"][at(rounded, 4)].max() > 0.75


def test_a_pause_shuts_the_mouth_and_a_short_one_does_not():
    long, short = (
        [Phone("aa", 0.0, 0.3), Phone(PAUSE, 0.3, 0.3 + n), Phone("aa", 0.3 + n, 0.6 + n)]
        for n in (0.5, 0.12)
    )
    t = track(long)["open"]
    assert t[int(0.46 * RATE) : int(0.7 * RATE)].max() < 0.02
    gap = track(short)["open"][int(0.3 * RATE) : int(0.42 * RATE)]
    assert 0.05 < gap.min() < 0.4
    assert silences(long, 1.1) == [(0.3, 0.8)]
    assert silences(short, 0.72) == []


def test_silence_is_rest():
    values = articulation_from_phones([], 1.0, 50.0)
    assert values.shape == (50, 8)
    assert not values.any()


def test_holes_between_phones_are_pauses():
    holes = [Phone("aa", 0.5, 0.8), Phone("iy", 1.5, 1.8)]
    filled = [
        Phone(PAUSE, 0.0, 0.5), holes[0], Phone(PAUSE, 0.8, 1.1), Phone(PAUSE, 1.1, 1.5), holes[1],
        Phone(PAUSE, 1.8, 2.4),
    ]  # fmt: skip
    np.testing.assert_allclose(
        articulation_from_phones(holes, 2.4, 50.0), articulation_from_phones(filled, 2.4, 50.0), atol=1e-6
    )


def test_long_speech_is_the_same_as_its_parts():
    phones = babble(7)
    length = 0.1 * np.ceil(10 * phones[-1].end)
    phones[-1] = phones[-1]._replace(end=float(length))
    repeated = [
        Phone(p.label, float(p.start + k * length), float(p.end + k * length))
        for k in range(8)
        for p in phones
    ]
    whole = articulation_from_phones(repeated, 8 * float(length), RATE)
    own = articulation_from_phones(phones, float(length), RATE)
    rows = len(own)
    for k in (1, 3, 6):
        # near its ends a recording rests, where a part of one opens for what comes
        np.testing.assert_allclose(whole[k * rows + 100 : (k + 1) * rows - 100], own[100:-100], atol=1e-4)
