"""A recipe: the stages that make a method's weights, in Python or derived from one in a YAML file.

extends: actavatar
seed: 3
stages:
  adapter: {steps: 2000, rate: 1e-4}
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vivavoce.errors import InputError
from vivavoce.media.files import check_readable
from vivavoce.train.stage import Stage


@dataclass(frozen=True)
class Recipe:
    """Raises InputError for stages of one name, and for LoRA in some of them only."""

    method: str
    """By its name in METHODS, or of any other task."""
    stages: tuple[Stage, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) < len(names):
            raise InputError(
                f"The recipe of {self.method} has the stages {', '.join(names) or '(none)'}: give each its own name."
            )
        if len({stage.lora for stage in self.stages}) > 1:
            raise InputError(f"Some stages of {self.method} have lora and some not: give it to all or none.")
        if self.seed < 0:
            raise InputError(f"The seed {self.seed} is negative: give a whole number from 0 up.")


class _Changes(BaseModel):
    """A recipe in YAML: what it changes of another."""

    model_config = ConfigDict(extra="forbid")

    extends: str
    method: str | None = None
    seed: int | None = Field(default=None, ge=0)
    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)


_STAGE = TypeAdapter(Stage)


def read_recipe(path: Path, known: dict[str, Recipe]) -> Recipe:
    """The recipe in a YAML file, which changes one of those `known` by name.

    Raises InputError, with the file and the field, for what is no YAML, an unknown recipe, stage or field, and values
    that no stage can have.
    """
    check_readable(path, "recipe")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        changes = _Changes.model_validate(data)
    except UnicodeDecodeError as error:
        raise InputError(f"The recipe {path} is no text in UTF-8: save it as UTF-8.") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is no YAML ({' '.join(str(error).split())}): mend it there.") from error
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error, _Changes.model_fields)}.") from error
    if changes.extends not in known:
        raise InputError(
            f"{path} extends {changes.extends!r}, which is no recipe: choose one of {', '.join(sorted(known))}."
        )
    recipe = known[changes.extends]
    stages = {stage.name: stage for stage in recipe.stages}
    for name, fields in changes.stages.items():
        if name not in stages:
            raise InputError(f"{path}: {changes.extends} has no stage {name!r}: it has {', '.join(stages)}.")
        stages[name] = _changed(stages[name], fields, path)
    own = {key: value for key in ("method", "seed") if (value := getattr(changes, key)) is not None}
    return replace(recipe, stages=tuple(stages.values()), **own)


def _changed(stage: Stage, fields: dict[str, Any], path: Path) -> Stage:
    """The stage with these fields. Raises InputError for what it cannot have."""
    try:
        return _STAGE.validate_python({**asdict(stage), **fields})
    except ValidationError as error:
        raise InputError(f"{path}, stage {stage.name!r}: {_sentence(error, asdict(stage))}.") from error


def _sentence(error: ValidationError, fields: Any) -> str:
    """What pydantic complains of first, and the way out."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"`{place}` is no field here: the fields are {', '.join(fields)}"
    if first["type"] == "missing":
        return f"`{place}` is missing: write `{place}: ...`"
    message = first["msg"][:1].lower() + first["msg"][1:]
    given = " ".join(repr(first["input"]).split())[:60]
    return f"`{place or 'it'}` is {given}: {message}"
