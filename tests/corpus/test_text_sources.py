import random
import re
import string

import pytest

from vivavoce.corpus.synth.text import HARVARD
from vivavoce.corpus.synth.text_sources import KINDS, Grammar, TextFile, draw, held_out
from vivavoce.errors import InputError
from vivavoce.features.align import words_of


@pytest.fixture(scope="module")
def said():
    grammar = Grammar()
    return {kind: [grammar.utterance(random.Random(i), kind) for i in range(4000)] for kind in KINDS}


def test_there_are_six_kinds_with_thousands_of_sentences_each(said):
    assert KINDS == ("greeting", "explanation", "question", "emotional", "lecture", "narration")
    for kind, texts in said.items():
        assert len(set(texts)) > 2500, kind


def test_no_utterance_belongs_to_two_kinds_or_to_the_harvard_sentences(said):
    everything = [text for texts in said.values() for text in set(texts)]
    assert len(set(everything)) == len(everything)
    assert not set(everything) & set(HARVARD)


def test_utterances_are_whole_sentences_of_spoken_signs(said):
    allowed = set(string.ascii_letters + " ,.?!:'")
    for texts in said.values():
        for text in texts:
            assert set(text) <= allowed, text
            assert text[-1] in ".?!"
            assert not re.search(r"(?:^|[.?!] )[a-z]|  | [,.?!:]|[,.?!:]\w|\{|\}", text), text
            assert 4 <= len(text.split()) <= 45, text


def test_kinds_differ_in_their_form(said):
    share = {
        kind: sum(sign in text for text in texts) / 4000
        for kind, sign, texts in (
            (kind, sign, said[kind])
            for kind, sign in (("question", "?"), ("emotional", "!"), ("lecture", "!"))
        )
    }
    assert share["question"] == 1
    assert share["emotional"] > 0.7
    assert share["lecture"] == 0


def test_the_aligner_knows_every_word(said):
    pocketsphinx = pytest.importorskip("pocketsphinx")
    decoder = pocketsphinx.Decoder(samprate=16000, loglevel="FATAL", bestpath=False)
    words = {word for texts in said.values() for text in texts for word in words_of(text)}
    assert len(words) > 900
    assert [word for word in words if decoder.lookup_word(word) is None] == []


def test_the_same_generator_says_the_same():
    one, two = ([draw(Grammar(), random.Random(3), kind) for kind in KINDS] for _ in range(2))
    assert one == two


def test_a_kind_that_is_none_is_a_mistake():
    with pytest.raises(ValueError, match="'sermon' is no kind of utterance"):
        Grammar().utterance(random.Random(0), "sermon")


def test_a_tenth_is_held_out_of_every_kind(said):
    for kind, texts in said.items():
        share = sum(map(held_out, set(texts))) / len(set(texts))
        assert 0.08 < share < 0.12, kind


def test_what_is_held_out_depends_on_the_words_alone():
    for text in ("Good evening, Leo.", "We won the cup!", "Größer als du?", "你好，世界。"):
        assert held_out(text) == held_out(f"  {text.upper().replace(',', '')}")
    assert (
        len({held_out(f"你好 {c}") for c in "一二三四五六七八九十百千万人大小上下中天地山川日月火水木金土"})
        == 2
    )


def test_the_harvard_sentences_are_always_held_out():
    assert all(map(held_out, HARVARD))


def test_drawing_keeps_the_parts_apart():
    rng = random.Random(0)
    for kind in KINDS:
        assert not any(held_out(draw(Grammar(), rng, kind)) for _ in range(100))
        assert all(held_out(draw(Grammar(), rng, kind, for_evaluation=True)) for _ in range(20))


@pytest.fixture
def write(tmp_path):
    def written(content: bytes):
        path = tmp_path / "said.txt"
        path.write_bytes(content)
        return path

    return written


def all_of(source, kind):
    return {source.utterance(random.Random(i), kind) for i in range(60)}


def test_a_file_gives_its_lines_by_kind(write):
    path = write("\ufeffGood day.\r\n\r\nLecture\tLook  here.\n question \tWhy?\nÇa va\x07?".encode())
    source = TextFile(path)
    assert all_of(source, "greeting") == {"Good day.", "Ça va ?"}
    assert all_of(source, "lecture") == {"Good day.", "Ça va ?", "Look here."}
    assert all_of(source, "question") == {"Good day.", "Ça va ?", "Why?"}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"Good day.\n\n\xff\xfe\n", "Line 3 of .*said.txt is not UTF-8: save the file as UTF-8"),
        (
            b"Good day.\nsermon\tRepent.\n",
            "Line 2 of .* has the kind 'sermon' before its tab: use one of greeting",
        ),
        (b"lecture\t \n", "Line 1 of .* has no words"),
        (b"Good day.\n...\n", "Line 2 of .* has no words"),
        (b"\n \n", "holds no utterance: write one a line"),
        (b"", "is empty"),
    ],
)
def test_a_line_that_is_no_utterance_is_named(write, content, named):
    with pytest.raises(InputError, match=named) as caught:
        TextFile(write(content))
    assert "\n" not in str(caught.value)


def test_what_a_file_does_not_have_is_said(write, tmp_path):
    source = TextFile(write(b"lecture\tLook here.\n"))
    with pytest.raises(
        InputError, match="no utterance of kind question: add lines that begin with question and a tab"
    ):
        source.utterance(random.Random(0), "question")
    with pytest.raises(InputError, match="There is no text file at"):
        TextFile(tmp_path / "other.txt")


def test_a_file_too_small_for_the_split_is_told_of(write):
    source = TextFile(write(b"lecture\tLook here.\n"))
    kept = held_out("Look here.")
    assert draw(source, random.Random(0), "lecture", for_evaluation=kept) == "Look here."
    part = "the part to learn from" if kept else "kept for evaluation"
    with pytest.raises(InputError, match=f"None of the lecture utterances given belongs to .*{part}"):
        draw(source, random.Random(0), "lecture", for_evaluation=not kept)
