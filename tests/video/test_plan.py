"""Plans as people write them: what is read, what is refused and on which line, and what is written back."""

from pathlib import Path

import pytest
import yaml

from vivavoce.errors import InputError, OutputError
from vivavoce.video.plan import Phase, Plan, parse_plan, read_plan, write_plan

GOOD = """\
# a comment, as people leave them
base: >
  A woman in a grey suit speaks
  to the camera.
phases:
  - {start: 0, end: 2.4, text: opens her right hand}
  - start: 2          # overlaps the first
    end: 3.5
    text: points down at the desk
  - {start: 1:01, end: 62, text: Überlegt kurz}
"""


def test_a_plan_by_hand_is_read_with_its_overlaps_and_gaps(tmp_path: Path):
    path = tmp_path / "plan.yaml"
    path.write_text(GOOD, "utf-8")
    assert read_plan(path, 62.0) == Plan(
        base="A woman in a grey suit speaks to the camera.",
        phases=(
            Phase(text="opens her right hand", start=0.0, end=2.4),
            Phase(text="points down at the desk", start=2.0, end=3.5),
            Phase(text="Überlegt kurz", start=61.0, end=62.0),
        ),
    )
    path.write_text("base: She speaks.", "utf-8")
    assert read_plan(path, 1.0) == Plan(base="She speaks.", phases=())


REFUSED = {
    "backwards": (
        "  - {start: 2, end: 1, text: nods}",
        3,
        r"runs backwards \(start 2 s, end 1 s\): let it end after",
    ),
    "empty in time": ("  - start: 2\n    end: 2\n    text: nods", 3, r"is empty \(start 2 s, end 2 s\)"),
    "empty text": ("  - start: 1\n    end: 2\n    text: ' '", 5, "`text` is empty: say what happens"),
    "outside": (
        "  - start: 1\n    text: nods\n    end: 9",
        5,
        "beyond the clip of 5.00 s: let it end by then",
    ),
    "before zero": ("  - start: -1\n    end: 2\n    text: nods", 3, "`start` is -1"),
    "unordered": (
        "  - {start: 2, end: 3, text: nods}\n  -\n    end: 3\n    start: 1\n    text: waves",
        6,
        r"starts at 1 s, before the one above it \(2 s\): order the phases",
    ),
    "no number": (
        "  - start: 1\n    end: soon\n    text: nods",
        4,
        "`end` is 'soon': give seconds from 0 on",
    ),
    "not finite": ("  - {start: 1, end: .inf, text: nods}", 3, "`end` is inf"),
    "missing": ("  - start: 1\n    text: nods", 3, "`end` is missing: write `end: ...` there"),
    "misnamed": ("  - {start: 1, end: 2, text: nods}\n  - start: 1\n    stop: 2", 5, "`stop` is no field"),
    "no time": ("  - {start: yes, end: 2, text: nods}", 3, "`start` is True"),
    "repeated": ("  - start: 1\n    end: 2\n    end: 3\n    text: nods", 5, "`end` stands there twice"),
    "misspelt": (
        "  - start: 1\n    end: 2\n    text: nods\n    tone: warm",
        6,
        "`tone` is no field of a plan here: the fields are text, start, end",
    ),
    "no list": ("  nods", 2, "`phases` is 'nods': make it a list"),
    "no phase": ("  - nods", 3, "phase 1 is 'nods': give its text, start, end"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_told_with_its_line_and_the_way_out(case: str, tmp_path: Path):
    phases, line, message = REFUSED[case]
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: She speaks.\nphases:\n{phases}\n", "utf-8")
    with pytest.raises(InputError, match=rf"mine\.yaml, line {line}: .*{message}") as caught:
        read_plan(path, 5.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("base: [1\nphases: 2", "line 2: .*mend the YAML"),
        ("base: a\nbase2: b", r"line 2: `base2` is no field of a plan here: the fields are base, phases"),
        ("phases: []", "line 1: `base` is missing"),
        ("- one\n- two", "line 1: a plan is a mapping"),
        ("# nothing\n", "line 1: a plan is a mapping"),
        ("base: a\nbase: b", "line 2: `base` stands there twice"),
        ("base: no", "line 1: `base` is False"),
        ("base: a\n---\nbase: b", "line 2: .*mend the YAML"),
        ("base: \x07", "mend the YAML"),
        ("base: !!python/object:os.system {}", "line 1: .*mend the YAML"),
        ("base: 2026-13-45", "mend the YAML"),
        ("? [a]\n: b", "line 1: "),
        ("3: b", "line 1: "),
    ],
)
def test_what_is_no_plan_at_all(source: str, message: str):
    with pytest.raises(InputError, match=message) as caught:
        parse_plan(source, "mine.yaml")
    assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path):
    with pytest.raises(InputError, match="no plan at"):
        read_plan(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("base: Überlegt".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_plan(tmp_path / "latin.yaml")


def test_a_clip_may_be_shorter_by_a_rounded_tenth():
    source = "base: a\nphases:\n- {start: 0, end: 5, text: nods}"
    assert parse_plan(source, "mine.yaml", 4.96).phases[0].end == 5
    with pytest.raises(InputError, match="line 3"):
        parse_plan(source, "mine.yaml", 4.9)
    plan = parse_plan(source, "mine.yaml")
    plan.check(5.0)
    with pytest.raises(InputError, match=r"The plan cannot be used: .* beyond the clip of 3\.00 s"):
        plan.check(3.0)


def test_what_is_written_is_read_back(tmp_path: Path):
    plan = parse_plan(GOOD, "mine.yaml")
    path = tmp_path / "plan.yaml"
    write_plan(plan, path)
    assert read_plan(path) == plan
    assert "Überlegt" in path.read_text("utf-8")
    assert list(yaml.safe_load(path.read_text("utf-8"))) == ["base", "phases"]
    assert [p.name for p in tmp_path.iterdir()] == ["plan.yaml"]
    with pytest.raises(OutputError):
        write_plan(plan, tmp_path / "nowhere" / "plan.yaml")


def test_a_part_of_a_plan_has_times_of_its_own():
    plan = Plan(
        base="b",
        phases=(
            Phase(text="first", start=0.0, end=2.0),
            Phase(text="across", start=1.0, end=5.0),
            Phase(text="within", start=2.5, end=3.0),
            Phase(text="after", start=4.0, end=6.0),
        ),
    )
    assert plan.between(2.0, 4.0) == Plan(
        base="b", phases=(Phase(text="across", start=0.0, end=2.0), Phase(text="within", start=0.5, end=1.0))
    )
    assert plan.between(0.0, 9.0) == plan
