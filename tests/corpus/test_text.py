import random
import string

from vivavoce.corpus.synth.text import HARVARD, WORDS, sentence


def test_held_out_sentences_are_never_made():
    made = {sentence(random.Random(i)) for i in range(3000)}
    assert len(made) > 2500
    assert not made & set(HARVARD)


def test_there_are_forty_held_out_sentences_with_every_kind_of_lip_contact():
    assert len(set(HARVARD)) == 40
    assert all(letter in " ".join(HARVARD).lower() for letter in "pbmfvw")


def test_english_uses_no_signs_that_are_not_spoken():
    allowed = set(string.ascii_letters + " ,.;:!?'-")
    for i in range(300):
        assert set(sentence(random.Random(i))) <= allowed


def test_other_languages_speak_their_own_words():
    for language, words in WORDS.items():
        said = sentence(random.Random(1), language).rstrip(".").replace(",", "").split()
        assert 4 <= len(said) <= 10
        assert set(said) <= set(words.split())
