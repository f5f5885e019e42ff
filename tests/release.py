"""A tiny base on disk, in diffusers' layout and as Wan was released: the original names are written anew here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from tiny import VAE
from vivavoce.video.config import VideoConfig
from vivavoce.video.text import TextEncoder, miniature_text_encoder

TRANSFORMER = (
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("condition_embedder.time_proj", "time_projection.1"),
    ("attn1", "self_attn"), ("attn2", "cross_attn"), ("to_out.0", "o"),
    ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("norm2", "norm3"),
    ("ffn.net.0.proj", "ffn.0"), ("ffn.net.2", "ffn.2"),
)  # fmt: skip
RESIDUAL = (
    ("norm1", "residual.0"), ("conv1", "residual.2"), ("norm2", "residual.3"), ("conv2", "residual.6"),
    ("conv_shortcut", "shortcut"),
)  # fmt: skip
TEXT = (
    ("layer.0.SelfAttention.relative_attention_bias", "pos_embedding.embedding"),
    ("layer.0.SelfAttention", "attn"), ("layer.0.layer_norm", "norm1"), ("layer.1.layer_norm", "norm2"),
    ("layer.1.DenseReluDense.wi_0", "ffn.gate.0"), ("layer.1.DenseReluDense.wi_1", "ffn.fc1"),
    ("layer.1.DenseReluDense.wo", "ffn.fc2"), ("encoder.block", "blocks"),
    ("encoder.final_layer_norm", "norm"), ("shared", "token_embedding"),
)  # fmt: skip
VAE_21 = VAE | {"base_dim": 4, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2}
"""Stages as in Wan 2.1's own, which diffusers' map counts on."""
VAE_22 = {
    "base_dim": 8,
    "decoder_base_dim": 4,
    "z_dim": 48,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "latents_mean": [0.01 * i for i in range(48)],
    "latents_std": [1.0] * 48,
}
"""An autoencoder of Wan 2.2's kind."""


def replaced(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for ours, theirs in pairs:
        name = name.replace(ours, theirs)
    return name


def of_transformer(name: str) -> str:
    name = re.sub(r"^scale_shift_table", "head.modulation", name).replace("scale_shift_table", "modulation")
    name = re.sub(r"^proj_out", "head.head", name)
    return replaced(name, TRANSFORMER).replace("proj_in", "before_proj").replace("proj_out", "after_proj")


def of_vae(name: str, blocks: int, residual: bool) -> str:
    """`blocks`: residual blocks a stage of the encoder; the decoder has one more."""
    name = re.sub(r"^(post_)?quant_conv", lambda match: "conv2" if match[1] else "conv1", name)
    name = re.sub(r"(coder)\.conv_in", r"\1.conv1", name)
    name = re.sub(r"(coder)\.norm_out", r"\1.head.0", name)
    name = re.sub(r"(coder)\.conv_out", r"\1.head.2", name)
    name = name.replace("mid_block.attentions.0", "middle.1")
    if match := re.match(r"(.+)mid_block\.resnets\.(\d)\.(.+)", name):
        return f"{match[1]}middle.{2 * int(match[2])}.{replaced(match[3], RESIDUAL)}"
    match = re.match(
        r"(en|de)coder\.(down|up)_blocks\.(\d+)\.(resnets\.(\d+)|\w+sampler(?:s\.0)?)?\.?(.+)", name
    )
    if match is None:
        return name
    side, way, stage, what, row, rest = match.groups()
    inner = int(row) if row else blocks + (way == "up")  # the sampler stands behind the stage's blocks
    if residual:
        place = f"{stage}.{way}samples.{inner}"
    elif way == "up":
        place = f"{int(stage) * (blocks + 2) + inner}"
    else:
        place = stage  # diffusers lists them in one row as well
    if what is None or row:
        rest = replaced(rest, RESIDUAL) if "resample" not in rest and "time_conv" not in rest else rest
    return f"{side}coder.{way}samples.{place}.{rest}"


def diffusers_base(folder: Path, config: VideoConfig) -> Path:
    """A whole base of the method's sizes, random."""
    torch.manual_seed(5)
    cls = WanVACETransformer3DModel if config.backbone == "vace" else WanTransformer3DModel
    cls(**config.transformer).save_pretrained(folder / "transformer")
    AutoencoderKLWan(**config.vae).save_pretrained(folder / "vae")
    miniature_text_encoder(config.transformer["text_dim"], seed=5).save(folder)
    return folder


def original_base(folder: Path, source: Path, config: VideoConfig) -> Path:
    """The base in `source` as Wan releases one: a transformer in shards, two torch files, a tokenizer deep down."""
    folder.mkdir()
    vace = config.backbone == "vace"
    cls = WanVACETransformer3DModel if vace else WanTransformer3DModel
    model = cls.from_pretrained(source / "transformer")
    state = {of_transformer(name): value.clone() for name, value in model.state_dict().items()}
    names = sorted(state)
    for i in range(2):
        half = {name: state[name] for name in names[i::2]}
        save_file(half, folder / f"diffusion_pytorch_model-{i + 1:05}-of-00002.safetensors")
    # As published: the class is Wan's own, and yet there is a version of diffusers.
    said = {"_class_name": "VaceWanModel" if vace else "WanModel", "_diffusers_version": "0.30.0", "dim": 24}
    (folder / "config.json").write_text(json.dumps(said))
    vae = AutoencoderKLWan.from_pretrained(source / "vae")
    residual = bool(config.vae.get("is_residual"))
    torch.save(
        {of_vae(name, config.vae["num_res_blocks"], residual): v for name, v in vae.state_dict().items()},
        folder / f"Wan2.{2 if residual else 1}_VAE.pth",
    )
    text = TextEncoder.load(source)
    torch.save(original_text(text), folder / "models_t5_umt5-xxl-enc-bf16.pth")
    text.tokenizer.save_pretrained(folder / "google" / "umt5-xxl")
    return folder


def original_text(text: TextEncoder) -> dict[str, Tensor]:
    """umT5's encoder in Wan's names."""
    state = text.model.state_dict()
    return {replaced(name, TEXT): value for name, value in state.items() if "embed_tokens" not in name}


def text_config(text: TextEncoder) -> dict:
    """UMT5Config's arguments of an encoder."""
    c = text.model.config
    keys = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "feed_forward_proj")
    return {key: getattr(c, key) for key in keys}
