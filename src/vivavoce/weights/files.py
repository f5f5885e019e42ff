"""Files of weights on a disk: their tensors, their configs and headers, and whether they fit a model."""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vivavoce.errors import WeightsError

_SHOWN = 5  # names of parameters in an error
_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
}  # of safetensors, torch's names


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file, or of all safetensors files of a folder.

    Raises WeightsError for a damaged file, and for a torch file that would run code.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.is_dir():
        return {name: value for shard in shards(path) for name, value in read_state(shard).items()}
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        zipped = zipfile.is_zipfile(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}): check the name.") from error
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(
            f"{path} is damaged or no weight file ({first_line(error)}): download it again."
        ) from error
    except Exception as error:  # pickle raises whatever its content makes it raise
        raise WeightsError(
            f"{path} holds more than tensors and is not opened, since it could run code: give a safetensors file."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path} is no plain table of tensors: give the model's state dict.")
    return state


@contextmanager
def written() -> Iterator[None]:
    """Around what safetensors writes: an error of the system, which it tells in words, is the OSError that it was."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def shards(folder: Path) -> list[Path]:
    """The safetensors files of a folder. Raises WeightsError where there are none."""
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise WeightsError(f"{folder} holds no safetensors files: give the folder that does, or a file.")
    return found


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """What a folder's config says; nothing where there is none. Raises WeightsError for a damaged one."""
    path = folder / name
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is damaged ({error}): download it again.") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} is damaged (it is no table): download it again.")
    return config


def read_metadata(path: Path) -> dict[str, str]:
    """What stands in a safetensors file beside its tensors; nothing for other files.

    Raises WeightsError for a damaged one.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    with _opened(path) as file:
        return file.metadata() or {}


def read_sizes(path: Path) -> dict[str, tuple[int, str]]:
    """Number of values and type of each tensor in a file; of a safetensors file only the head is read.

    Raises WeightsError as `read_state` does.
    """
    if path.suffix != ".safetensors":
        state = read_state(path)
        return {name: (v.numel(), str(v.dtype).removeprefix("torch.")) for name, v in state.items()}
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        kinds = {name: str(part.get_dtype()) for name, part in slices.items()}
        return {
            name: (math.prod(part.get_shape()), _TYPES.get(kinds[name], kinds[name]))
            for name, part in slices.items()
        }


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({first_line(error)}): download it again.") from error


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Fill a module whose parameters are exactly those of `state`, else change nothing and raise WeightsError."""
    fill(module.state_dict(), state, source)


def fill(targets: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors into those of the same names and shapes; as `load_strictly`."""
    check_names(targets, state, source)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(state[name])


def check_names(targets: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    """Raise WeightsError where names or shapes of the tensors differ."""
    shapes = [
        f"{name} {tuple(state[name].shape)}, not {tuple(target.shape)}"
        for name, target in targets.items()
        if name in state and state[name].shape != target.shape
    ]
    complain(source, targets.keys() - state.keys(), state.keys() - targets.keys(), shapes)


def complain(source: str, missing: Collection[str], extra: Collection[str], shapes: Collection[str]) -> None:
    """Raise WeightsError that names parameters, if there are any to complain about."""
    found = (("it lacks", missing), ("it has besides", extra), ("shapes differ", shapes))
    problems = [f"{what}: {_listed(names)}" for what, names in found if names]
    if problems:
        raise WeightsError(
            f"{source} was made for another model ({'; '.join(problems)}): give the one that fits."
        )


def mismatched(report: Mapping[str, Any]) -> list[str]:
    """What `complain` is told of the shapes that transformers' loading report found wrong."""
    return [f"{name} {tuple(there)}, not {tuple(ours)}" for name, there, ours in report["mismatched_keys"]]


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers from printing tables about weights, of which `complain` tells in a sentence."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def first_line(error: Exception) -> str:
    """Of what an error says, to stand in brackets."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".:")


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
