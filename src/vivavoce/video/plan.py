"""What happens in a clip and when: a base text and phases in seconds, read from YAML that people write by hand.

    base: A woman in a grey suit speaks to the camera, calm and sure of herself.
    phases:
      - {start: 0, end: 2.4, text: opens her right hand}
      - {start: 2, end: 4, text: points down at the desk}

A plan is ActAvatar's structured prompt (eq. 1). Phases are ordered by their start; gaps between them and
overlaps are allowed and meant. Seconds count from the start of the speech; frames are nobody's business here.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from vivavoce.errors import InputError
from vivavoce.media.files import check_readable, replacing

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]

ROUNDING = 0.05
"""Seconds by which a phase may outlast the clip: people write tenths."""

_Place = tuple[str | int, ...]
"""Keys and indices from the top of a plan to a value, as pydantic gives them."""


class Phase(BaseModel):
    """An action and its time window, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Text
    start: Seconds
    end: Seconds

    @model_validator(mode="after")
    def _forwards(self) -> Phase:
        if self.end <= self.start:
            kind = "is empty" if self.end == self.start else "runs backwards"
            raise ValueError(
                f"the phase {kind} (start {self.start:g} s, end {self.end:g} s): let it end after its start"
            )
        return self


class Plan(BaseModel):
    """A base text that holds all the time, and phases that hold in their time window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Text
    phases: tuple[Phase, ...] = ()

    def check(self, seconds: float) -> None:
        """Raise InputError where the phases are out of order or reach beyond a clip of `seconds`."""
        fault = _fault(self, seconds)
        if fault is not None:
            raise InputError(f"The plan cannot be used: {fault[1]}.")

    def between(self, start: float, end: float) -> Plan:
        """The plan of the part of a clip from `start` to `end` seconds, in that part's own time."""
        within = (
            Phase(text=p.text, start=max(p.start, start) - start, end=min(p.end, end) - start)
            for p in self.phases
            if min(p.end, end) > max(p.start, start)
        )
        return Plan(base=self.base, phases=tuple(within))


def read_plan(path: Path, seconds: float | None = None) -> Plan:
    """The plan in a YAML file, checked against a clip of `seconds` where that is given.

    Raises InputError, with file and line, for what is no YAML, an unknown, missing or unusable field, and
    phases that are empty, backward, out of order or outside the clip.
    """
    check_readable(path, "plan")
    try:
        source = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"The plan {path} is no text in UTF-8: save it as UTF-8.") from error
    return parse_plan(source, str(path), seconds)


def parse_plan(source: str, name: str, seconds: float | None = None) -> Plan:
    """As `read_plan`, of a plan's text; `name` stands for the file in errors."""
    root, data = _composed(source, name)
    if root is None or not isinstance(data, dict):
        raise InputError(
            f"{name}, line 1: a plan is a mapping with `base` and `phases`: begin with `base: ...`."
        )
    try:
        plan = Plan.model_validate(data)
    except ValidationError as error:
        place, message = _sentence(error)
        raise InputError(f"{name}, line {_line(root, place)}: {message}.") from error
    fault = _fault(plan, seconds)
    if fault is not None:
        place, message = fault
        raise InputError(f"{name}, line {_line(root, place)}: {message}.")
    return plan


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan as YAML that `read_plan` reads back and people can edit."""
    data = {"base": plan.base, "phases": [phase.model_dump() for phase in plan.phases]}
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100), "utf-8")


class _Loader(yaml.SafeLoader):
    """YAML's plain types alone, and no key twice: the later one would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for i, key in enumerate(keys):
            if key.value in [before.value for before in keys[:i]]:
                problem = f"`{key.value}` stands there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep)


def _composed(source: str, name: str) -> tuple[yaml.Node | None, Any]:
    """A document's nodes, which know their lines, and its data."""
    try:
        loader = _Loader(source)
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}" if mark else name
        raise InputError(f"{where}: {error.problem}: mend the YAML there.") from error
    except (yaml.YAMLError, ValueError) as error:  # characters and dates that YAML does not take
        raise InputError(f"{name}: {' '.join(str(error).split())}: mend the YAML.") from error


def _fault(plan: Plan, seconds: float | None) -> tuple[_Place, str] | None:
    """Where the first phase stands that no phase before it or no clip allows, and why."""
    for i, phase in enumerate(plan.phases):
        if i and phase.start < plan.phases[i - 1].start:
            before = plan.phases[i - 1].start
            return ("phases", i, "start"), (
                f"the phase starts at {phase.start:g} s, before the one above it ({before:g} s): "
                f"order the phases by their start"
            )
        if seconds is not None and phase.end > seconds + ROUNDING:
            return ("phases", i, "end"), (
                f"the phase from {phase.start:g} s to {phase.end:g} s reaches beyond the clip of {seconds:.2f} s: "
                f"let it end by then"
            )
    return None


def _sentence(error: ValidationError) -> tuple[_Place, str]:
    """The place and the sentence of what pydantic complains of: misspelt fields first, they explain missing ones."""
    complaints = error.errors(include_url=False)
    first = min(complaints, key=lambda complaint: complaint["type"] != "extra_forbidden")
    place: _Place = first["loc"]
    fields = ", ".join(Phase.model_fields if "phases" in place[:1] else Plan.model_fields)
    name = f"phase {place[-1] + 1}" if isinstance(place[-1], int) else place[-1]
    given = " ".join(repr(first["input"]).split())[:60]
    messages = {
        "missing": f"`{name}` is missing: write `{name}: ...` there",
        "extra_forbidden": f"`{name}` is no field of a plan here: the fields are {fields}",
        "string_too_short": f"`{name}` is empty: say what happens",
        "string_type": f"`{name}` is {given}: write a text, in quotes where YAML takes it for something else",
        "tuple_type": f"`{name}` is {given}: make it a list, each phase behind a `-`",
        "model_type": f"{name} is {given}: give its {fields}",
        "value_error": str(first.get("ctx", {}).get("error")),
    }
    return place, messages.get(first["type"], f"`{name}` is {given}: give seconds from 0 on, as in 2.5")


def _line(root: yaml.Node, place: Sequence[str | int]) -> int:
    """The line, from 1, of the value at `place`; of the deepest one there where it is missing."""
    node: Any = root
    mark = root.start_mark
    for key in place:
        if isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            node = node.value[key]
            mark = node.start_mark
        elif isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == key), None)
            if pair is None:
                break
            mark, node = pair[0].start_mark, pair[1]
    return mark.line + 1
