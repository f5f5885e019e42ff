"""A method with its weights: from a diffusers folder, the hub, Wan's original files, or built small and untrained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from vivavoce.errors import InputError, WeightsError
from vivavoce.features.encoders import LogMelEncoder, SpeechEncoder, load_encoder
from vivavoce.methods import find
from vivavoce.video.config import VideoConfig
from vivavoce.video.maker import Maker
from vivavoce.video.method import VideoMethod
from vivavoce.video.network import AvatarNetwork, backbone_of
from vivavoce.video.taps import by_taps
from vivavoce.video.text import TextEncoder, miniature_text_encoder
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone
from vivavoce.video.wan.convert import transformer_to_diffusers, vae_to_diffusers
from vivavoce.weights import (
    TRANSFORMER,
    VAE,
    Base,
    Header,
    load_base,
    load_method,
    parts_of,
    read_header,
    save_method,
    to_precision,
)

LORA_LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]
"""Every linear layer of a pretrained block."""
_SEED = 0
_SHOWN = 60  # characters of an argument in an error; some are lists of 48 numbers


def load(
    name: str | VideoConfig,
    *,
    base: str | Path | None = None,
    weights: Path | None = None,
    encoder: str | Path | None = None,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
) -> VideoMethod:
    """A method by its name in METHODS, or by its own config, ready to draw.

    `base` is the pretrained model in place of the preset's own; parts that come with the program are for that one.
    `weights` is the file of the method's own parts, or the folder of a finished stage of training, which may hold a
    backbone in place of the base's. `encoder` is the speech encoder's folder or hub name, `device` "auto" for a
    graphics card where there is one, `dtype` that of backbone, parts and text encoder (bfloat16 on such a card for a
    pretrained base, else float32); what diffusers keeps in float32 stays so, as does the VAE. Whatever no weights are
    given for is random and named in `untrained`; a base of real size never is.

    Raises InputError for an unknown name or a device that is not there, WeightsError for weights that are missing or
    do not fit.
    """
    config = find(name) if isinstance(name, str) else name
    place = _device(device)
    source = base or config.base
    own = Path(config.own) if weights is None and base is None and config.own is not None else weights
    dtype = dtype or (torch.float32 if source is None or place.type == "cpu" else torch.bfloat16)
    if source is not None and Path(source).is_file():
        raise WeightsError(
            f"{source} is one file of a base: give the folder that holds its VAE and text encoder too."
        )
    parts = None if own is None else parts_of(own)
    if parts is not None:
        read_header(parts)  # before gigabytes are read for a file that is none
    speech = _speech_encoder(config, encoder, place)
    if source is None:
        backbone, vae, text = _small(config, dtype)
    else:
        trained = own if own is not None and (own / TRANSFORMER.folder).is_dir() else source
        backbone = load_backbone(config, trained, dtype)
        vae = load_vae(config, source)
        text = load_text(config, source, dtype)
    network = _assembled(config, backbone, dtype, empty=parts is not None).to(place)
    if parts is not None:
        load_parts(network, parts)
    network.eval().requires_grad_(False)
    by_taps(vae)
    placed: Any = vae.eval()
    maker = Maker(placed.to(place), text.to(place), speech, size=(config.width, config.height))
    missing = {"base": source, "the method's own parts": parts or not network.parts or None}
    untrained = tuple(part for part, given in missing.items() if given is None)
    return VideoMethod(config, network, maker, untrained)


def load_backbone(config: VideoConfig, source: str | Path, dtype: torch.dtype) -> WanBackbone | VaceBackbone:
    """The pretrained transformer. Raises WeightsError where it is missing, or not the one of `config`."""
    cls = VaceBackbone if config.backbone == "vace" else WanBackbone
    given: dict[str, Any] = {"config": config.transformer, "convert": transformer_to_diffusers}
    model: Any = load_base(cls, source, piece=TRANSFORMER, dtype=dtype, **given)
    _check_sizes(config, model, config.transformer, source)
    return model


def load_vae(config: VideoConfig, source: str | Path) -> AutoencoderKLWan:
    """The pretrained VAE, in float32 as in Wan's own code.

    Raises WeightsError where it is missing, or not the one of `config`.
    """
    kind = "2.2" if config.vae.get("is_residual") else "2.1"
    piece = replace(VAE, original=f"Wan{kind}_VAE.pth")
    model = load_base(AutoencoderKLWan, source, piece=piece, config=config.vae, convert=vae_to_diffusers)
    _check_sizes(config, model, config.vae, source)
    return model


def load_text(config: VideoConfig, source: str | Path, dtype: torch.dtype) -> TextEncoder:
    """The pretrained text encoder. Raises WeightsError where it is missing, or not the one of `config`."""
    text = TextEncoder.load(source, config=config.text, dtype=dtype, length=config.text_length)
    if text.width != config.transformer["text_dim"]:
        raise _another(config, f"text features {text.width} wide", source)
    return text


def load_parts(network: AvatarNetwork, path: Path) -> None:
    """Fill a method's own parts, and its LoRA where it has one, from a file of `save_parts`.

    Raises WeightsError where the file was made for something else.
    """
    lora = add_lora(network)
    load_method(path, header_of(network), network.parts, lora_of=network.backbone if lora else None)


def save_parts(network: AvatarNetwork, path: Path) -> None:
    """Write a method's own parts, and its LoRA where it has been added. Raises OutputError where it cannot be."""
    lora = bool(getattr(network.backbone, "peft_config", None))
    save_method(path, header_of(network), network.parts, lora_of=network.backbone if lora else None)


def header_of(network: AvatarNetwork) -> Header:
    """What a method's parts are stored with."""
    c = network.config
    return Header(c.name, Base.of(network.backbone), c.fps, (c.width, c.height), c.encoder.name, c.latents)


def add_lora(network: AvatarNetwork) -> bool:
    """Give the backbone the low-rank adapter that its method is trained with; False where it has none."""
    lora = network.config.lora
    if lora is None:
        return False
    from peft import LoraConfig

    network.backbone.add_adapter(LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=LORA_LAYERS))
    return True


def _small(
    config: VideoConfig, dtype: torch.dtype
) -> tuple[WanBackbone | VaceBackbone, AutoencoderKLWan, TextEncoder]:
    """A base that no file holds: random, the same every time."""
    with _seeded():
        backbone = backbone_of(config)
        vae = untrained_vae(config.vae)
    to_precision(backbone, dtype)
    return backbone, vae, miniature_text_encoder(config.transformer["text_dim"], length=config.text_length)


def untrained_vae(config: Mapping[str, Any]) -> AutoencoderKLWan:
    """With random weights; its latents are taken as they are, where diffusers would have the statistics of Wan 2.1."""
    channels = config["z_dim"]
    plain = {"latents_mean": [0.0] * channels, "latents_std": [1.0] * channels}
    return AutoencoderKLWan(**plain | dict(config))


def _assembled(
    config: VideoConfig, backbone: WanBackbone | VaceBackbone, dtype: torch.dtype, *, empty: bool
) -> AvatarNetwork:
    """The method's parts around its backbone: random, the same every time, or `empty`, for a file to fill.

    A billion random numbers take half a minute, which a file need not wait for.
    """
    from accelerate import init_empty_weights

    with init_empty_weights() if empty else _seeded():
        network = config.build(backbone)
    for part in network.parts.values():
        part.to(dtype)
        part._apply(lambda value: torch.empty_like(value, device="cpu") if value.is_meta else value)
    return network


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_SEED)  # torch.manual_seed would reseed graphics cards as well
        yield


def _speech_encoder(config: VideoConfig, source: str | Path | None, device: torch.device) -> SpeechEncoder:
    wanted = config.encoder
    if wanted.kind == "log-mel":
        encoder: SpeechEncoder = LogMelEncoder()
    else:
        place = source or wanted.source
        if place is None:
            raise WeightsError(f"{config.name} hears through {wanted.name}: give its folder with --encoder.")
        encoder = load_encoder(place, kind=wanted.kind, device=device)
    if (encoder.name, encoder.width) != (wanted.name, wanted.width):
        raise WeightsError(
            f"{config.name} was trained on speech features of {wanted.name}, not {encoder.name}: give that encoder."
        )
    return encoder


def _device(name: str | torch.device) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"There is no device {str(name)!r} here: take cpu, or install torch for yours."
        ) from error
    return device


def _check_sizes(config: VideoConfig, model: Any, wanted: Mapping[str, Any], source: str | Path) -> None:
    """Raise WeightsError that names the arguments that a model was made with in place of those `wanted`."""
    found = {key: model.config[key] for key, value in wanted.items() if not _same(model.config[key], value)}
    if found:
        told = [f"{key} {value}" if len(f"{value}") < _SHOWN else key for key, value in sorted(found.items())]
        raise _another(config, ", ".join(told), source)


def _another(config: VideoConfig, found: str, source: str | Path) -> WeightsError:
    return WeightsError(
        f"{source} is another model than {config.name} stands on (its {found}): give {config.base or 'its base'}."
    )


def _same(found: Any, wanted: Any) -> bool:
    return list(found) == list(wanted) if isinstance(wanted, list | tuple) else found == wanted
