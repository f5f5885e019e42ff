"""Figures beside their demands, and the table in the README."""

import pytest

from common import Figure, table
from run import MARKS, replaced


@pytest.mark.parametrize(
    ("value", "low", "high", "met"),
    [
        (36.0, 36, None, True),
        (35.9, 36, None, False),
        (1.1, None, 1.1, True),
        (1.2, None, 1.1, False),
        (26, 8, 25, False),
        (float("nan"), 0, None, False),
        (float("nan"), None, 1, False),
        (float("nan"), None, None, True),
    ],
)
def test_demands_include_their_bounds(value: float, low: float | None, high: float | None, met: bool) -> None:
    assert Figure("x", value, "", low, high).met == met


def test_table_shows_units_and_marks_what_missed() -> None:
    figures = [
        Figure("size", 12.345, "MB"),
        Figure("still", 0.9871, "%", at_least=0.97),
        Figure("speed", 1.25, "x", at_least=2),
        Figure("blinks", 17, "", 8, 25),
        Figure("count", 123456, at_most=0),
    ]
    assert table(figures).splitlines()[2:] == [
        "| size | 12.3 MB |  |",
        "| still | 98.7 % | ≥ 97 % |",
        "| speed | 1.25 x (missed) | ≥ 2 x |",
        "| blinks | 17 | 8 to 25 |",
        "| count | 123456 (missed) | ≤ 0 |",
    ]


def test_block_is_replaced_and_nothing_else() -> None:
    text = f"# A\n{MARKS[0]}\nold\nrows\n{MARKS[1]}\nmore\n"
    once = replaced(text, "| new |")
    assert once == f"# A\n{MARKS[0]}\n| new |\n{MARKS[1]}\nmore\n"
    assert replaced(once, "| new |") == once


@pytest.mark.parametrize("text", ["nothing", MARKS[0], f"{MARKS[1]} then {MARKS[0]}"])
def test_missing_marks_are_told(text: str) -> None:
    with pytest.raises(ValueError, match="missing"):
        replaced(text, "x")
