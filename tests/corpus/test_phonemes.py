import pytest

from vivavoce.corpus.synth.phonemes import from_ipa


@pytest.mark.parametrize(
    ("symbol", "labels"),
    [
        ("", ("pau",)),
        ("p", ("p",)),
        ("pʰ", ("p",)),
        ("iː", ("iy",)),
        ("ɔ̃", ("ao",)),
        ("aɪɚ", ("a", "ih", "er")),
        ("oʊ", ("o", "uh")),
        ("tʃʲ", ("ch",)),
        ("dʒ", ("jh",)),
        ("tɕh", ("t", "c")),
        ("pf", ("p", "f")),
        ("ç", ("c",)),
        ("ʲ", ()),
        ("(en)", ()),
    ],
)
def test_symbols_of_espeak(symbol, labels):
    assert from_ipa(symbol) == labels


def test_a_language_may_read_a_symbol_its_own_way():
    assert from_ipa("y") == ("ue",)
    assert from_ipa("y", "ru") == ("ix",)


def test_an_unknown_symbol_is_refused():
    with pytest.raises(KeyError):
        from_ipa("Ω")
