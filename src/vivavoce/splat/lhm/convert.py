"""LHM's published parameter names and shapes, and HaMeR's: where in the network each of them belongs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vivavoce.splat.lhm.network import LargeReconstruction
from vivavoce.weights.files import complain

ELSEWHERE = ("renderer.smplx_model.", "fine_encoder.", "id_face_net.")
"""What LHM's files or modules hold that is no part of the network: SMPL-X's tables, Sapiens, the face of a loss."""
_HAMER_ELSEWHERE = ("mano.", "mano_head.", "discriminator.")

_TOPS = {
    "head_encoder.projects": "encoder.fusion_head.projects",
    "head_encoder.fusion": "encoder.fusion_head.output_conv",
    "embed.basis": "pcl_embed.basis",
    "embed.linear": "pcl_embed.mlp",
    "embed.norm": "pcl_embed.norm",
    "condition": "transformer.linear_cond_proj",
    "modulation": "motion_embed_mlp",
    "norm": "transformer.norm",
    "decoder.mlp": "renderer.mlp_net.layers",
    "decoder.heads.color": "renderer.gs_net.out_layers.shs",
    "decoder.heads.scale": "renderer.gs_net.out_layers.scaling",
    "decoder.heads.offset": "renderer.gs_net.out_layers.xyz",
    "decoder.heads.opacity": "renderer.gs_net.out_layers.opacity",
    "decoder.heads.rotation": "renderer.gs_net.out_layers.rotation",
}
_VIT = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.register_tokens": "register_tokens",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
}
_VIT_LAYER = {
    "attention.o_proj": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
}
_HAND = {
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "last_norm",
}
_HAND_LAYER = {
    "attention.output.dense": "attn.proj",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
}
_LAYER = re.compile(r"encoder\.layer\.(\d+)\.(.+)")
_THIRD = re.compile(r"attention\.(?:(q|k|v)_proj|attention\.(query|key|value))\.(weight|bias)")
_BLOCK = re.compile(r"blocks\.(\d+)\.(head|body)\.(.+)")


@dataclass(frozen=True)
class _Place:
    """Where a parameter of ours lies in a file."""

    name: str
    third: int | None = None
    """Queries, keys and values are one tensor there, in this order along its rows."""
    kernel: bool = False
    """A linear layer is a convolution of 1 x 1 there."""

    def shape(self, ours: Tensor) -> tuple[int, ...]:
        rows, *rest = ours.shape or (0,)
        return (3 * rows if self.third is not None else rows, *rest, *((1, 1) if self.kernel else ()))

    def of(self, state: Mapping[str, Tensor], ours: Tensor) -> Tensor:
        value = state[self.name]
        if self.third is not None:
            value = value[self.third * len(ours) : (self.third + 1) * len(ours)]
        return value.reshape(ours.shape)


def published(network: LargeReconstruction) -> dict[str, tuple[int, ...]]:
    """The names and shapes that LHM's file has for a network of this config."""
    state = network.state_dict()
    return {place.name: place.shape(state[name]) for name, place in _lhm_places(state).items()}


def load_lhm(network: LargeReconstruction, state: Mapping[str, Tensor], source: str) -> None:
    """Fill the network from LHM's `model.safetensors`; what LHM does not have (hands, a body encoder) stays.

    Raises WeightsError, changing nothing, where names or shapes are not LHM's for this config.
    """
    targets = network.state_dict()
    _fill(targets, _lhm_places(targets), _without(state, ELSEWHERE), source)


def load_hamer(network: LargeReconstruction, state: Mapping[str, Tensor], source: str) -> None:
    """Fill the encoder of hands from HaMeR's state, whose backbone it is; as `load_lhm`.

    Raises ValueError for a network without hands.
    """
    if network.hands is None:
        raise ValueError("the network has no hands to load HaMeR's encoder into")
    targets = network.hands.encoder.state_dict()
    places = {name: _vit_place(name, "backbone.", _HAND, _HAND_LAYER) for name in targets}
    _fill(targets, places, _without(state, _HAMER_ELSEWHERE), source)


def _fill(
    targets: Mapping[str, Tensor], places: Mapping[str, _Place], state: Mapping[str, Tensor], source: str
) -> None:
    shapes = {place.name: place.shape(targets[name]) for name, place in places.items()}
    wrong = [
        f"{name} {tuple(state[name].shape)}, not {shape}"
        for name, shape in shapes.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    complain(source, shapes.keys() - state.keys(), state.keys() - shapes.keys(), wrong)
    with torch.no_grad():
        for name, place in places.items():
            targets[name].copy_(place.of(state, targets[name]))


def _without(state: Mapping[str, Tensor], prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith(prefixes)}


def _lhm_places(state: Mapping[str, Tensor]) -> dict[str, _Place]:
    """Of all that LHM publishes; DINOv2's mask token, which nothing uses, is not among it."""
    return {
        name: _lhm_place(name)
        for name in state
        if not name.startswith(("hands.", "body_encoder."))
        and ".hand_keys." not in name
        and not name.endswith(".mask_token")
    }


def _lhm_place(name: str) -> _Place:
    vit = "head_encoder.vit."
    if name.startswith(vit):
        return _vit_place(name.removeprefix(vit), "encoder.model.", _VIT, _VIT_LAYER)
    if match := _BLOCK.fullmatch(name):
        return _Place(f"transformer.layers.{match[1]}.{match[2]}_dit.{match[3]}")
    kernel = name.startswith(("head_encoder.projects", "head_encoder.fusion")) and name.endswith("weight")
    return _Place(_renamed(name, _TOPS), kernel=kernel)


def _vit_place(name: str, prefix: str, tops: Mapping[str, str], inner: Mapping[str, str]) -> _Place:
    """Of a ViT of transformers in the names of timm, which both releases use."""
    match = _LAYER.fullmatch(name)
    if match is None:
        return _Place(prefix + _renamed(name, tops))
    within = f"{prefix}blocks.{match[1]}."
    if third := _THIRD.fullmatch(match[2]):
        letter = third[1] or third[2][0]
        return _Place(f"{within}attn.qkv.{third[3]}", third="qkv".index(letter))
    return _Place(within + _renamed(match[2], inner))


def _renamed(name: str, table: Mapping[str, str]) -> str:
    for ours, theirs in table.items():
        if name == ours or name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    return name
