"""Pretrained models of diffusers' classes, from diffusers' layout or from Wan's original release."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vivavoce.errors import WeightsError
from vivavoce.weights.files import check_names, complain, first_line, read_config, read_state
from vivavoce.weights.hub import FILES, locate

M = TypeVar("M", bound=nn.Module)
Convert = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]

_ORIGINAL = ("WanModel", "VaceWanModel")
"""Classes of Wan's own code: their configs claim a version of diffusers, whose classes they are not."""


@dataclass(frozen=True)
class Piece:
    """One of the models that a base is made of, by where it lies."""

    kind: str
    folder: str = ""
    """In diffusers' layout; of a model that stands alone, its own."""
    original: str = "*.safetensors"
    """Pattern of its files, or of its folder, in the root of Wan's original release."""

    def find(self, source: str | Path) -> list[Path]:
        """Its folder in diffusers' layout, or what there is of it in the original one; a file as it is.

        Raises WeightsError where `source` has neither.
        """
        own = [f"{self.folder}/{pattern}" for pattern in FILES]
        wanted = [*own, "config.json", self.original, f"{self.original}/*"]
        root = locate(source, wanted=wanted if self.folder else None)
        if (root / self.folder).is_dir():
            return [root / self.folder]
        if root.is_file() or of_diffusers(root):
            return [root]
        found = sorted(root.glob(self.original))
        if not found:
            raise WeightsError(
                f"{source} has no {self.kind} (neither a folder {self.folder!r} nor {self.original}): "
                "give the whole folder of a Wan model, in diffusers' layout or as Wan was released."
            )
        return found


TRANSFORMER = Piece("transformer", "transformer", "diffusion_pytorch_model*.safetensors")
VAE = Piece("VAE", "vae", "Wan2.[12]_VAE.pth")
TEXT_ENCODER = Piece("text encoder", "text_encoder", "models_t5_*.pth")
TOKENIZER = Piece("tokenizer", "tokenizer", "google/umt5-xxl")


def load_base(
    cls: type[M],
    source: str | Path,
    *,
    piece: Piece | None = None,
    config: Mapping[str, Any] | None = None,
    convert: Convert | None = None,
    dtype: torch.dtype | None = None,
) -> M:
    """A pretrained diffusers model of class `cls`, every parameter of which comes from `source`.

    `source` is a folder or hub name that has this `piece` in diffusers' layout or in that of Wan's original
    release, or, where None, is the model itself; or one file. For what is not in diffusers' layout, `convert`
    gives diffusers' names and `config` the constructor's arguments. `dtype` is the parameters' (float32 where
    None); those that the class keeps in float32 stay so.

    Raises WeightsError where nothing is found, where it is another class of model, and for missing and extra
    parameters.
    """
    found = (piece or Piece("model")).find(source)
    dtype = dtype or torch.float32
    if of_diffusers(found[0]):
        return _from_diffusers(cls, found[0], dtype)
    if config is None or convert is None:
        raise WeightsError(
            f"{found[0]} is no diffusers folder: give one, or name the preset that knows its sizes."
        )
    state = {name: value for path in found for name, value in read_state(path).items()}
    place = str(found[0] if len(found) == 1 else found[0].parent)
    return _from_original(cls, config, convert(state), dtype, place)


def of_diffusers(folder: Path) -> bool:
    """Whether a folder holds one model in diffusers' layout."""
    config = read_config(folder)
    return "_diffusers_version" in config and config.get("_class_name") not in _ORIGINAL


def to_precision(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast a diffusers model's parameters, but for those that its class keeps in float32."""
    precise = set(getattr(model, "_keep_in_fp32_modules", None) or ())
    for name, value in model.named_parameters():
        value.data = value.data.to(dtype if precise.isdisjoint(name.split(".")) else torch.float32)


def _from_diffusers(cls: type[M], folder: Path, dtype: torch.dtype) -> M:
    stored = read_config(folder).get("_class_name")
    if stored not in {parent.__name__ for parent in cls.__mro__}:
        raise WeightsError(
            f"{folder} holds a {stored}, where a {cls.__name__} is needed: give the right model's folder."
        )
    try:
        model, report = cls.from_pretrained(  # pyright: ignore[reportAttributeAccessIssue]
            folder, torch_dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{folder} cannot be loaded ({first_line(error)}): download it again.") from error
    complain(str(folder), report["missing_keys"], report["unexpected_keys"], ())
    return model


def _from_original(
    cls: type[M], config: Mapping[str, Any], state: dict[str, Tensor], dtype: torch.dtype, source: str
) -> M:
    from accelerate import init_empty_weights

    with init_empty_weights():  # parameters only: buffers that are in no file are computed
        model = cls(**config)
    check_names(model.state_dict(), state, source)
    model.load_state_dict(state, strict=True, assign=True)
    to_precision(model, dtype)
    return model.eval()
