"""Wan's own parameter names -> diffusers': transformers with and without VACE, and both VAEs.

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
