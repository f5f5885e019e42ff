"""What a stage finds and what it leaves: parameters put back to their pretrained values, and a folder of results."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vivavoce.media.files import temporary_beside, write_error
from vivavoce.train.stage import Stage, matching
from vivavoce.train.state import Kept, result
from vivavoce.train.task import Task
from vivavoce.weights import written


@contextmanager
def restored(module: nn.Module, stage: Stage) -> Iterator[None]:
    """Around what changes a pretrained module: what the stage restores is afterwards exactly what it was before.

    Raises InputError for a pattern that matches no parameter.
    """
    parameters = dict(module.named_parameters())
    names = matching(parameters, stage.restores, f"Stage {stage.name!r} restores")
    pretrained = {name: parameters[name].detach().to("cpu", copy=True) for name in names}
    yield
    with torch.no_grad():
        after = dict(module.named_parameters())
        for name, value in pretrained.items():
            after[name].copy_(value)


def write_result(task: Task, stage: Stage, kept: Kept, settings: Mapping[str, Any], folder: Path) -> None:
    """Fill the task's module with what was trained, and write it to `folder`, which appears when it is whole.

    Raises OutputError where it cannot be written; nothing is left then.
    """
    with torch.no_grad():
        parameters = dict(task.module.named_parameters())
        for name, value in result(kept).items():
            parameters[name].data = value.to(parameters[name].device)
    temporary = temporary_beside(folder)
    try:
        temporary.mkdir()
        with written():
            task.save(temporary)
        (temporary / "stage.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
        temporary.rename(folder)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
