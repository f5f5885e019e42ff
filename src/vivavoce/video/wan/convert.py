"""Wan's own parameter names -> diffusers' and transformers': backbones with and without VACE, both VAEs, umT5.

diffusers has maps for the transformers and for the 2.1 VAE, and they are used. Its single-file loader around
them is not: it guesses the model from shapes and takes TI2V-5B for another one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from vivavoce.errors import WeightsError

_STAGE = re.compile(r"(encoder\.down|decoder\.up)samples\.(\d+)\.(?:down|up)samples\.(\d+)\.(.+)")
"""The 2.2 VAE nests its residual blocks and its resampler in a stage; the 2.1 VAE lists them in one row."""
_RESIDUAL = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
_TEXT_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.weight")
_TEXT = {
    "norm1": "layer.0.layer_norm",
    "attn.q": "layer.0.SelfAttention.q",
    "attn.k": "layer.0.SelfAttention.k",
    "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
"""Within a block of umT5's encoder; the gate is the branch that goes through GELU."""


def transformer_to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of diffusers' Wan or VACE transformer from Wan's own; one in diffusers' names stays as it is.

    Raises WeightsError for names that are neither.
    """
    if "blocks.0.attn1.to_q.weight" in state:
        return dict(state)
    if not any(key.endswith("blocks.0.self_attn.q.weight") for key in state):
        raise _unknown(state, "transformer")
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    return convert_wan_transformer_to_diffusers(dict(state))  # it empties what it is given


def vae_to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of diffusers' AutoencoderKLWan from the original 2.1 or 2.2 VAE's, as above."""
    if "encoder.conv_in.weight" in state:
        return dict(state)
    if "encoder.conv1.weight" not in state:
        raise _unknown(state, "VAE")
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    # What the two VAEs share, diffusers' map renames; it passes on what has its name already.
    return convert_wan_vae_to_diffusers({_unnested(key): value for key, value in state.items()})


def text_to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of transformers' UMT5EncoderModel from Wan's file of umT5's encoder, as above."""
    if any(key in state for key in ("shared.weight", "encoder.embed_tokens.weight")):
        return dict(state)
    if "token_embedding.weight" not in state:
        raise _unknown(state, "text encoder")
    return {_text_name(key): value for key, value in state.items()}


def _text_name(key: str) -> str:
    """transformers' name of a parameter; one that it has no name for as it is, to be complained about."""
    ends = {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}
    match = _TEXT_BLOCK.fullmatch(key)
    if match is None or match[2] not in _TEXT:
        return ends.get(key, key)
    return f"encoder.block.{match[1]}.{_TEXT[match[2]]}.weight"


def _unnested(key: str) -> str:
    """diffusers' name of a parameter in a stage of the 2.2 VAE; any other name as it is."""
    match = _STAGE.fullmatch(key)
    if match is None:
        return key
    side, stage, index, rest = match.groups()
    for original, name in _RESIDUAL.items():
        if rest.startswith(f"{original}."):
            return f"{side}_blocks.{stage}.resnets.{index}.{name}{rest.removeprefix(original)}"
    return f"{side}_blocks.{stage}.{side.partition('.')[2]}sampler.{rest}"


def _unknown(state: Mapping[str, Tensor], kind: str) -> WeightsError:
    some = ", ".join(sorted(state)[:3]) or "none at all"
    return WeightsError(
        f"These are not the parameters of a Wan {kind} (the first names are {some}): "
        "give a file of Wan's own release or a diffusers folder."
    )
