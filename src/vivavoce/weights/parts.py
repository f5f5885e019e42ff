"""A method's own parts in one file, and what that file says they were trained for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vivavoce.errors import WeightsError
from vivavoce.timing import frame_rate
from vivavoce.weights.files import fill, read_metadata, read_state, written

PARTS = "parts.safetensors"
"""A method's own parts in the folder of a finished stage; beside them the backbone, where the stage trained it."""
METADATA_KEY = "vivavoce"
"""Of the header in the file's metadata."""


@dataclass(frozen=True)
class Base:
    """What a pretrained model is, as far as a method's parts depend on it."""

    class_name: str
    config: dict[str, Any]
    """JSON values, without diffusers' private entries."""

    @classmethod
    def of(cls, model: Any) -> Base:
        """The base that a diffusers model is."""
        public = {key: value for key, value in model.config.items() if not key.startswith("_")}
        return cls(type(model).__name__, json.loads(json.dumps(public)))

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits, the same for equal class and config."""
        known = {key: value for key, value in self.config.items() if value is not None}
        return hashlib.sha256(json.dumps([self.class_name, known], sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Header:
    """What a method's parts were trained for."""

    method: str
    base: Base
    fps: float
    size: tuple[int, int]
    """Width and height of the frames in pixels."""
    encoder: str
    """The speech encoder's `name`."""
    latents: str
    """The VAE's rule from frames to latents, as in "4x8x8, 16 channels"."""


def parts_of(weights: Path) -> Path:
    """The file of a method's own parts: itself, or the one in the folder of a finished stage of training."""
    return weights / PARTS if weights.is_dir() else weights


def save_method(
    path: Path, header: Header, modules: Mapping[str, nn.Module], *, lora_of: nn.Module | None = None
) -> None:
    """Write a method's own parts: the modules under their names, and the default LoRA adapter of `lora_of`.

    Raises OutputError where the file cannot be written.
    """
    from safetensors.torch import save_file

    from vivavoce.media.files import check_target, replacing

    check_target(path, (".safetensors",))
    state = {
        name: value.to("cpu", copy=True).contiguous() for name, value in _parts(modules, lora_of).items()
    }
    with replacing(path) as temporary, written():
        save_file(state, temporary, {METADATA_KEY: json.dumps(asdict(header))})


def load_method(
    path: Path, expected: Header, modules: Mapping[str, nn.Module], *, lora_of: nn.Module | None = None
) -> None:
    """Fill the modules, and the LoRA adapter that `lora_of` already has, from a file of `save_method`.

    Raises WeightsError, before anything is changed, where the header disagrees with `expected`, and where
    parameters are missing, left over or of another shape.
    """
    check_header(path, read_header(path), expected)
    fill(_parts(modules, lora_of), read_state(path), str(path))


def read_header(path: Path) -> Header:
    """The header of a file of `save_method`. Raises WeightsError for any other file."""
    stored = read_metadata(path).get(METADATA_KEY)
    if stored is None:
        from vivavoce.weights.kinds import describe

        raise WeightsError(
            f"{path} holds no parts of a method but {describe(path).splitlines()[0]}: "
            "give the file that was saved after the method's training."
        )
    try:
        fields = json.loads(stored)
        return Header(**fields | {"base": Base(**fields["base"]), "size": tuple(fields["size"])})
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(
            f"The header of {path} cannot be read ({error}): it was written by another version; save it again."
        ) from error


def check_header(path: Path, found: Header, expected: Header) -> None:
    """Raise WeightsError that names every field in which a file's header is not what is needed."""
    differences = []
    if frame_rate(found.fps) != frame_rate(expected.fps):
        differences.append(f"fps {found.fps:g}, not {expected.fps:g}")
    if found.size != expected.size:
        differences.append("frames of {}x{}, not {}x{}".format(*found.size, *expected.size))
    for field in ("method", "encoder", "latents"):
        ours, theirs = getattr(found, field), getattr(expected, field)
        if ours != theirs:
            differences.append(f"{field} {ours!r}, not {theirs!r}")
    if found.base.class_name != expected.base.class_name:
        differences.append(f"base {found.base.class_name}, not {expected.base.class_name}")
    for key in sorted(found.base.config.keys() | expected.base.config.keys()):
        ours, theirs = found.base.config.get(key), expected.base.config.get(key)
        if ours != theirs:
            differences.append(f"a base with {key} {ours}, not {theirs}")
    if differences:
        raise WeightsError(
            f"{path} was made for {'; '.join(differences)}: choose the weights or the settings that fit."
        )


def _parts(modules: Mapping[str, nn.Module], lora_of: nn.Module | None) -> dict[str, Tensor]:
    """A method's parameters by their names in its file; they share memory with the modules."""
    state = {f"{name}.{key}": v for name, module in modules.items() for key, v in module.state_dict().items()}
    if lora_of is not None:
        from peft import get_peft_model_state_dict

        state |= {f"lora.{key}": value for key, value in get_peft_model_state_dict(lora_of).items()}
    return state
