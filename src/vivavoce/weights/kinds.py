"""What a file or folder of weights is, told to a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vivavoce.errors import WeightsError
from vivavoce.weights.files import read_config, read_metadata, read_sizes, shards
from vivavoce.weights.parts import METADATA_KEY, read_header
from vivavoce.weights.pretrained import TEXT_ENCODER, TOKENIZER, TRANSFORMER, VAE, of_diffusers

_LAYOUTS = {
    "vace_blocks.0.before_proj.weight": "a Wan VACE transformer in its original names",
    "vace_blocks.0.proj_in.weight": "a Wan VACE transformer in diffusers' names",
    "blocks.0.self_attn.q.weight": "a Wan transformer in its original names",
    "blocks.0.attn1.to_q.weight": "a Wan transformer in diffusers' names",
    "decoder.upsamples.0.upsamples.0.residual.0.gamma": "the Wan 2.2 VAE in its original names",
    "decoder.upsamples.0.residual.0.gamma": "the Wan 2.1 VAE in its original names",
    "decoder.up_blocks.0.resnets.0.norm1.gamma": "a Wan VAE in diffusers' names",
    "blocks.0.pos_embedding.embedding.weight": "umT5's encoder in its original names",
    "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight": "umT5's encoder in transformers' names",
}
"""A parameter that tells a model by its name; the first one that is found decides."""

_PIECES = (TRANSFORMER, VAE, TEXT_ENCODER, TOKENIZER)
_SPEECH = {"whisper": ("d_model", "encoder_layers"), "wav2vec2": ("hidden_size", "num_hidden_layers")}
"""Speech encoders by transformers' name, and the entries of their configs that make up their name with us."""


def describe(path: Path) -> str:
    """What a file or folder of weights is, in lines for a person: kind, parameters, and what it was made for.

    Raises WeightsError where there is nothing at `path`, for a folder without weights, and for damaged files.
    """
    if not path.exists():
        raise WeightsError(f"There are no weights at {path}: check the name.")
    if path.is_dir():
        return _folder(path)
    if METADATA_KEY not in read_metadata(path):
        return _tensors([path])
    header = read_header(path)
    parts = sorted({name.partition(".")[0] for name in read_sizes(path)})
    return (
        f"parts of {header.method}: {', '.join(parts)}\n{_amount(read_sizes(path))}\n"
        f"for base {header.base.class_name} {header.base.fingerprint}\n"
        f"frames of {header.size[0]}x{header.size[1]} at {header.fps:g} fps\n"
        f"speech encoder {header.encoder}\nlatents {header.latents}"
    )


def _folder(path: Path) -> str:
    config = read_config(path)
    if of_diffusers(path):
        sizes = ", ".join(f"{key} {value}" for key, value in config.items() if not key.startswith("_"))
        return f"a diffusers folder of class {config['_class_name']}\n{sizes}"
    if "model_type" in config and "_class_name" not in config:
        return _of_transformers(config)
    if "_class_name" in config or any(next(path.glob(piece.original), None) for piece in _PIECES[1:]):
        return _release(path)
    within = [child for child in sorted(path.iterdir()) if _is_model(child)]
    if within:
        pieces = [f"{child.name}: {describe(child).splitlines()[0]}" for child in within]
        return "\n".join(["a base in diffusers' layout, of", *pieces])
    if (path / "tokenizer_config.json").is_file():
        return "a tokenizer"
    return _tensors(shards(path))


def _is_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", "tokenizer_config.json"))


def _of_transformers(config: Mapping[str, Any]) -> str:
    kind = config["model_type"]
    sizes = [str(config[key]) for key in _SPEECH.get(kind, ()) if key in config]
    if sizes:
        return f"a speech encoder, {kind} {'x'.join(sizes)}"
    classes = ", ".join(config.get("architectures") or ())
    return "a transformers folder of " + (f"class {classes}" if classes else f"kind {kind}")


def _release(path: Path) -> str:
    """Each piece of Wan's original release, a transformer in shards as one; those that are not there as well."""
    lines = ["Wan's original release of"]
    for piece in _PIECES:
        found = sorted(path.glob(piece.original))
        told = [_tensors(found)] if found and piece is TRANSFORMER else map(describe, found)
        lines += [f"{piece.kind}: {', '.join(one.splitlines())}" for one in told] or [
            f"{piece.kind}: not here"
        ]
    return "\n".join(lines)


def _tensors(files: Iterable[Path]) -> str:
    sizes = {name: size for file in files for name, size in read_sizes(file).items()}
    kind = next((kind for key, kind in _LAYOUTS.items() if key in sizes), "weights of an unknown model")
    return f"{kind}\n{_amount(sizes)}"


def _amount(sizes: Mapping[str, tuple[int, str]]) -> str:
    types = ", ".join(sorted({kind for _, kind in sizes.values()}))
    return f"{len(sizes)} tensors, {sum(count for count, _ in sizes.values()):,} parameters in {types}"
