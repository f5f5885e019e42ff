"""Where weights come from, strict loading, and what is stored with a method's own parts.

A base model is a diffusers folder, a hub name, or a file of the original release. A method's own parts (its
branches, projectors and LoRA) are one safetensors file, whose header says for which base, frame rate, frame size
and speech encoder they were trained; loading them into anything else is an error.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vivavoce.errors import WeightsError
from vivavoce.timing import frame_rate

M = TypeVar("M", bound=nn.Module)
Convert = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

_METADATA_KEY = "vivavoce"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SHOWN = 5  # names of parameters in an error

_LAYOUTS = {
    "vace_blocks.0.before_proj.weight": "a Wan VACE transformer in its original names",
    "vace_blocks.0.proj_in.weight": "a Wan VACE transformer in diffusers' names",
    "blocks.0.self_attn.q.weight": "a Wan transformer in its original names",
    "blocks.0.attn1.to_q.weight": "a Wan transformer in diffusers' names",
    "decoder.upsamples.0.upsamples.0.residual.0.gamma": "the Wan 2.2 VAE in its original names",
    "decoder.upsamples.0.residual.0.gamma": "the Wan 2.1 VAE in its original names",
    "decoder.up_blocks.0.resnets.0.norm1.gamma": "a Wan VAE in diffusers' names",
}
"""A parameter that tells a model by its name; the first one that is found decides."""


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
    with replacing(path) as temporary:
        save_file(state, temporary, {_METADATA_KEY: json.dumps(asdict(header))})


def load_method(
    path: Path, expected: Header, modules: Mapping[str, nn.Module], *, lora_of: nn.Module | None = None
) -> None:
    """Fill the modules, and the LoRA adapter that `lora_of` already has, from a file of `save_method`.

    Raises WeightsError, before anything is changed, where the header disagrees with `expected`, and where
    parameters are missing, left over or of another shape.
    """
    check_header(path, read_header(path), expected)
    _fill(_parts(modules, lora_of), read_state(path), str(path))


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Fill a module whose parameters are exactly those of `state`, else change nothing and raise WeightsError."""
    _fill(module.state_dict(), state, source)


def read_header(path: Path) -> Header:
    """The header of a file of `save_method`. Raises WeightsError for any other file."""
    stored = _metadata(path).get(_METADATA_KEY)
    if stored is None:
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


def locate(source: str | Path, kind: str = "model", *, subfolder: str = "") -> Path:
    """The file or folder of a model: a path as it is; a hub name downloaded, or from the hub's cache.

    Of a hub's repository only `subfolder` is fetched, where one is given.

    Raises WeightsError where there is none, or no network and nothing in the cache.
    """
    path = Path(source)
    if path.exists():
        return path
    name = str(source)
    if not _HUB_NAME.fullmatch(name):
        raise WeightsError(
            f"There is no {kind} at {name}: give a diffusers folder, a weight file, or a hub name like OWNER/NAME."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=f"{subfolder}/*" if subfolder else None))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise WeightsError(
            f"The hub has no open {kind} {name!r}: check the name, or log in with `hf auth login`."
        ) from error
    except OSError as error:
        raise WeightsError(
            f"The {kind} {name} is not on this machine and the hub cannot be reached: "
            "connect to the network, or give the path of a downloaded copy."
        ) from error


def load_base(
    cls: type[M],
    source: str | Path,
    *,
    subfolder: str = "",
    config: Mapping[str, Any] | None = None,
    convert: Convert | None = None,
    dtype: torch.dtype | None = None,
) -> M:
    """A pretrained diffusers model of class `cls`, every parameter of which comes from `source`.

    `source` is a diffusers folder (or `subfolder` within it), a hub name, or a file or folder of the original
    release; for the last, `convert` gives diffusers' names and `config` the constructor's arguments. `dtype` is
    the parameters' (float32 where None); those that the class keeps in float32 stay so.

    Raises WeightsError where nothing is found, where it is another class of model, and for missing and extra
    parameters.
    """
    path = locate(source, subfolder=subfolder)
    folder = path / subfolder if (path / subfolder).is_dir() else path
    dtype = dtype or torch.float32
    if "_diffusers_version" in _config(folder):
        return _from_diffusers(cls, folder, dtype)
    if config is None or convert is None:
        raise WeightsError(
            f"{folder} is no diffusers folder: give one, or name the preset that knows its sizes."
        )
    return _from_original(cls, config, convert(read_state(folder)), dtype, str(folder))


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file, or of all safetensors files of a folder.

    Raises WeightsError for a damaged file, and for a torch file that would run code.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.is_dir():
        shards = sorted(path.glob("*.safetensors"))
        if not shards:
            raise WeightsError(f"{path} holds no safetensors files: give the folder that does, or a file.")
        return {name: value for shard in shards for name, value in read_state(shard).items()}
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        zipped = zipfile.is_zipfile(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}): check the name.") from error
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(
            f"{path} is damaged or no weight file ({_first_line(error)}): download it again."
        ) from error
    except Exception as error:  # pickle raises whatever its content makes it raise
        raise WeightsError(
            f"{path} holds more than tensors and is not opened, since it could run code: give a safetensors file."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path} is no plain table of tensors: give the model's state dict.")
    return state


def describe(path: Path) -> str:
    """What a file or folder of weights is, in lines for a person: kind, parameters, and what it was made for.

    Raises WeightsError where there is nothing at `path`, and for a file that is damaged.
    """
    if not path.exists():
        raise WeightsError(f"There are no weights at {path}: check the name.")
    if (path / "model_index.json").is_file():
        parts = sorted(child.name for child in path.iterdir() if (child / "config.json").is_file())
        return f"a diffusers pipeline of {', '.join(parts)}"
    if "_class_name" in (config := _config(path)):
        sizes = ", ".join(f"{key} {value}" for key, value in config.items() if not key.startswith("_"))
        return f"a diffusers folder of class {config['_class_name']}\n{sizes}"
    state = read_state(path)
    numbers = sum(value.numel() for value in state.values())
    types = ", ".join(sorted({str(value.dtype).removeprefix("torch.") for value in state.values()}))
    amount = f"{len(state)} tensors, {numbers:,} parameters in {types}"
    if _METADATA_KEY in _metadata(path):
        header = read_header(path)
        parts = sorted({name.partition(".")[0] for name in state})
        return (
            f"parts of {header.method}: {', '.join(parts)}\n{amount}\n"
            f"for base {header.base.class_name} {header.base.fingerprint}\n"
            f"frames of {header.size[0]}x{header.size[1]} at {header.fps:g} fps\n"
            f"speech encoder {header.encoder}\nlatents {header.latents}"
        )
    kind = next((kind for key, kind in _LAYOUTS.items() if key in state), "weights of an unknown model")
    return f"{kind}\n{amount}"


def _parts(modules: Mapping[str, nn.Module], lora_of: nn.Module | None) -> dict[str, Tensor]:
    """A method's parameters by their names in its file; they share memory with the modules."""
    state = {f"{name}.{key}": v for name, module in modules.items() for key, v in module.state_dict().items()}
    if lora_of is not None:
        from peft import get_peft_model_state_dict

        state |= {f"lora.{key}": value for key, value in get_peft_model_state_dict(lora_of).items()}
    return state


def _fill(targets: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
    _check_names(targets, state, source)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(state[name])


def _check_names(targets: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str) -> None:
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


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _from_diffusers(cls: type[M], folder: Path, dtype: torch.dtype) -> M:
    stored = _config(folder).get("_class_name")
    if stored not in {parent.__name__ for parent in cls.__mro__}:
        raise WeightsError(
            f"{folder} holds a {stored}, where a {cls.__name__} is needed: give the right model's folder."
        )
    try:
        model, report = cls.from_pretrained(  # pyright: ignore[reportAttributeAccessIssue]
            folder, torch_dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{folder} cannot be loaded ({_first_line(error)}): download it again.") from error
    complain(str(folder), report["missing_keys"], report["unexpected_keys"], ())
    return model


def _from_original(
    cls: type[M], config: Mapping[str, Any], state: Mapping[str, Tensor], dtype: torch.dtype, source: str
) -> M:
    from accelerate import init_empty_weights

    with init_empty_weights():  # parameters only: buffers that are in no file are computed
        model = cls(**config)
    _check_names(model.state_dict(), state, source)
    precise = set(getattr(cls, "_keep_in_fp32_modules", None) or ())
    cast = {
        name: value.to(dtype if precise.isdisjoint(name.split(".")) else torch.float32)
        for name, value in state.items()
    }
    model.load_state_dict(cast, strict=True, assign=True)
    return model.eval()


def _config(folder: Path) -> dict[str, Any]:
    """What the folder's config.json says; nothing where there is none."""
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is damaged ({error}): download it again.") from error


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({_first_line(error)}): download it again.") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".:")
