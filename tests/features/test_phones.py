import pytest

from vivavoce.features.phones import LABELS, Phone, from_arpabet, spread

ARPABET = [
    *(
        "AA",
        "AE",
        "AH",
        "AO",
        "AW",
        "AX",
        "AXR",
        "AY",
        "B",
        "CH",
        "D",
        "DH",
        "DX",
        "EH",
        "EL",
        "EM",
        "EN",
        "ER",
    ),
    *("EY", "F", "G", "HH", "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T"),
    *("TH", "UH", "UW", "V", "W", "Y", "Z", "ZH", "SIL"),
]


@pytest.mark.parametrize("symbol", [*ARPABET, "AH0", "iy1", "pau", "h#"])
def test_every_arpabet_symbol_has_labels(symbol):
    assert set(from_arpabet(symbol)) <= set(LABELS)


def test_other_symbols_are_refused():
    with pytest.raises(KeyError):
        from_arpabet("qq")


def test_a_diphthong_is_two_phones_end_to_end():
    first, second = spread(from_arpabet("ow"), 1.0, 1.2)
    assert (first.label, second.label) == ("o", "uh")
    assert first.start == 1.0
    assert first.end == second.start
    assert second.end == 1.2
    assert first.end - first.start > second.end - second.start
    assert spread(("p",), 0.0, 0.1) == [Phone("p", 0.0, 0.1)]
