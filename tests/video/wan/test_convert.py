"""Files in Wan's own names against diffusers' models; the names are written out as Wan's modules build them."""

import math

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from tiny import WAN
from vivavoce.errors import WeightsError
from vivavoce.video.wan.convert import (
    text_to_transformers,
    transformer_to_diffusers,
    vae_to_diffusers,
)

TINY = WAN | {"num_layers": 3}
VACE = TINY | {"vace_layers": [0, 2], "vace_in_channels": 96}
D, FF = 24, 48


def linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def original_block(name: str) -> dict[str, tuple[int, ...]]:
    """WanAttentionBlock: norm1 and norm2 have no parameters, norm3 stands before the text attention."""
    shapes = {f"{name}.modulation": (1, 6, D), f"{name}.norm3.weight": (D,), f"{name}.norm3.bias": (D,)}
    for attention in ("self_attn", "cross_attn"):
        for part in "qkvo":
            shapes |= linear(f"{name}.{attention}.{part}", D, D)
        shapes |= {f"{name}.{attention}.norm_{part}.weight": (D,) for part in "qk"}
    return shapes | linear(f"{name}.ffn.0", FF, D) | linear(f"{name}.ffn.2", D, FF)


def original_transformer(vace: bool) -> dict[str, Tensor]:
    shapes = {"patch_embedding.weight": (D, 16, 1, 2, 2), "patch_embedding.bias": (D,)}
    shapes |= linear("text_embedding.0", D, 32) | linear("text_embedding.2", D, D)
    shapes |= linear("time_embedding.0", D, 16) | linear("time_embedding.2", D, D)
    shapes |= linear("time_projection.1", 6 * D, D)
    shapes |= linear("head.head", 64, D) | {"head.modulation": (1, 2, D)}
    for i in range(3):
        shapes |= original_block(f"blocks.{i}")
    if vace:
        shapes |= {"vace_patch_embedding.weight": (D, 96, 1, 2, 2), "vace_patch_embedding.bias": (D,)}
        shapes |= linear("vace_blocks.0.before_proj", D, D)
        for i in range(2):
            shapes |= original_block(f"vace_blocks.{i}") | linear(f"vace_blocks.{i}.after_proj", D, D)
    return filled(shapes)


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def conv(name: str, out: int, into: int, *kernel: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into, *kernel), f"{name}.bias": (out,)}


def residual(name: str, into: int, out: int) -> dict[str, tuple[int, ...]]:
    shapes = {f"{name}.residual.0.gamma": (into, 1, 1, 1), f"{name}.residual.3.gamma": (out, 1, 1, 1)}
    shapes |= conv(f"{name}.residual.2", out, into, 3, 3, 3) | conv(f"{name}.residual.6", out, out, 3, 3, 3)
    return shapes | (conv(f"{name}.shortcut", out, into, 1, 1, 1) if into != out else {})


def ends(side: str, dim: int, head_dim: int, channels: tuple[int, int], first: int) -> dict:
    """What encoder and decoder share in both VAEs: the first convolution, the middle, the head."""
    shapes = conv(f"{side}.conv1", first, channels[0], 3, 3, 3)
    shapes |= residual(f"{side}.middle.0", dim, dim) | residual(f"{side}.middle.2", dim, dim)
    shapes |= {f"{side}.middle.1.norm.gamma": (dim, 1, 1)}
    shapes |= conv(f"{side}.middle.1.to_qkv", 3 * dim, dim, 1, 1)
    shapes |= conv(f"{side}.middle.1.proj", dim, dim, 1, 1)
    return (
        shapes
        | {f"{side}.head.0.gamma": (head_dim, 1, 1, 1)}
        | conv(f"{side}.head.2", channels[1], head_dim, 3, 3, 3)
    )


def original_vae_22() -> dict[str, Tensor]:
    """Encoder of width 8, decoder of width 4, one residual block a stage (two in the decoder), 48 channels."""
    down, up = [8, 8, 16, 32, 32], [16, 16, 16, 8, 4]
    shapes = ends("encoder", 32, 32, (12, 96), 8) | ends("decoder", 16, 4, (48, 12), 16)
    shapes |= conv("conv1", 96, 96, 1, 1, 1) | conv("conv2", 48, 48, 1, 1, 1)
    for i in range(4):
        stage = f"encoder.downsamples.{i}.downsamples"
        shapes |= residual(f"{stage}.0", down[i], down[i + 1])
        if i < 3:
            shapes |= conv(f"{stage}.1.resample.1", down[i + 1], down[i + 1], 3, 3)
        if i in (1, 2):
            shapes |= conv(f"{stage}.1.time_conv", down[i + 1], down[i + 1], 3, 1, 1)
        stage = f"decoder.upsamples.{i}.upsamples"
        shapes |= residual(f"{stage}.0", up[i], up[i + 1]) | residual(f"{stage}.1", up[i + 1], up[i + 1])
        if i < 3:
            shapes |= conv(f"{stage}.2.resample.1", up[i + 1], up[i + 1], 3, 3)
        if i in (0, 1):
            shapes |= conv(f"{stage}.2.time_conv", 2 * up[i + 1], up[i + 1], 3, 1, 1)
    return filled(shapes)


def original_vae_21() -> dict[str, Tensor]:
    """Width 4, two residual blocks a stage (three in the decoder), all in one row; an upsampler halves."""
    down, up = [4, 4, 8, 16, 16], [16, 16, 16, 8, 4]
    shapes = ends("encoder", 16, 16, (3, 32), 4) | ends("decoder", 16, 4, (16, 3), 16)
    shapes |= conv("conv1", 32, 32, 1, 1, 1) | conv("conv2", 16, 16, 1, 1, 1)
    row = 0
    for i in range(4):
        width = down[i]
        for _ in range(2):
            shapes |= residual(f"encoder.downsamples.{row}", width, down[i + 1])
            width, row = down[i + 1], row + 1
        if i < 3:
            shapes |= conv(f"encoder.downsamples.{row}.resample.1", width, width, 3, 3)
            if i > 0:
                shapes |= conv(f"encoder.downsamples.{row}.time_conv", width, width, 3, 1, 1)
            row += 1
    row = 0
    for i in range(4):
        width = up[i] // 2 if i else up[i]
        for _ in range(3):
            shapes |= residual(f"decoder.upsamples.{row}", width, up[i + 1])
            width, row = up[i + 1], row + 1
        if i < 3:
            shapes |= conv(f"decoder.upsamples.{row}.resample.1", width // 2, width, 3, 3)
            if i < 2:
                shapes |= conv(f"decoder.upsamples.{row}.time_conv", 2 * width, width, 3, 1, 1)
            row += 1
    return filled(shapes)


VAE_22 = {
    "base_dim": 8,
    "decoder_base_dim": 4,
    "z_dim": 48,
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "latents_mean": [0.0] * 48,
    "latents_std": [1.0] * 48,
}


@pytest.mark.parametrize("vace", [False, True])
def test_a_transformer_in_original_names_loads_strictly(vace):
    original = original_transformer(vace)
    model = WanVACETransformer3DModel(**VACE) if vace else WanTransformer3DModel(**TINY)
    converted = transformer_to_diffusers(original)
    model.load_state_dict(converted, strict=True)
    assert len(converted) == len(original)
    state = model.state_dict()
    for ours, theirs in {
        "blocks.2.attn1.to_out.0.weight": "blocks.2.self_attn.o.weight",
        "blocks.1.attn2.norm_k.weight": "blocks.1.cross_attn.norm_k.weight",
        "blocks.0.norm2.bias": "blocks.0.norm3.bias",
        "blocks.1.ffn.net.0.proj.weight": "blocks.1.ffn.0.weight",
        "blocks.1.scale_shift_table": "blocks.1.modulation",
        "scale_shift_table": "head.modulation",
        "proj_out.bias": "head.head.bias",
        "condition_embedder.time_proj.weight": "time_projection.1.weight",
        "condition_embedder.time_embedder.linear_2.weight": "time_embedding.2.weight",
        "condition_embedder.text_embedder.linear_1.weight": "text_embedding.0.weight",
    }.items():
        assert torch.equal(state[ours], original[theirs])
    if vace:
        assert torch.equal(
            state["vace_blocks.0.proj_in.weight"], original["vace_blocks.0.before_proj.weight"]
        )
        assert torch.equal(state["vace_blocks.1.proj_out.bias"], original["vace_blocks.1.after_proj.bias"])


@pytest.mark.parametrize(
    ("original", "config"),
    [(original_vae_21, {"base_dim": 4, "z_dim": 16}), (original_vae_22, VAE_22)],
    ids=["2.1", "2.2"],
)
@torch.no_grad()
def test_a_vae_in_original_names_loads_strictly(original, config):
    given = original()
    model = AutoencoderKLWan(**config)
    converted = vae_to_diffusers(given)
    model.load_state_dict(converted, strict=True)
    assert {t.data_ptr() for t in converted.values()} == {t.data_ptr() for t in given.values()}
    state = model.state_dict()
    for ours, theirs in {
        "quant_conv.weight": "conv1.weight",
        "post_quant_conv.bias": "conv2.bias",
        "encoder.conv_in.weight": "encoder.conv1.weight",
        "decoder.norm_out.gamma": "decoder.head.0.gamma",
        "encoder.conv_out.bias": "encoder.head.2.bias",
        "decoder.mid_block.resnets.1.conv2.weight": "decoder.middle.2.residual.6.weight",
        "encoder.mid_block.attentions.0.proj.weight": "encoder.middle.1.proj.weight",
    }.items():
        assert torch.equal(state[ours], given[theirs])


def test_every_stage_of_the_22_vae_is_where_it_belongs():
    given = original_vae_22()
    state = vae_to_diffusers(given)
    parts = {"residual.0.gamma": "norm1.gamma", "residual.2.bias": "conv1.bias"}
    parts |= {"residual.3.gamma": "norm2.gamma", "residual.6.weight": "conv2.weight"}
    for stage in range(4):
        for theirs, ours in parts.items():
            down = given[f"encoder.downsamples.{stage}.downsamples.0.{theirs}"]
            assert state[f"encoder.down_blocks.{stage}.resnets.0.{ours}"] is down
            up = given[f"decoder.upsamples.{stage}.upsamples.1.{theirs}"]
            assert state[f"decoder.up_blocks.{stage}.resnets.1.{ours}"] is up
    assert (
        state["encoder.down_blocks.2.downsampler.time_conv.bias"]
        is given["encoder.downsamples.2.downsamples.1.time_conv.bias"]
    )
    assert (
        state["decoder.up_blocks.0.upsampler.resample.1.weight"]
        is given["decoder.upsamples.0.upsamples.2.resample.1.weight"]
    )
    assert (
        state["decoder.up_blocks.2.resnets.0.conv_shortcut.bias"]
        is given["decoder.upsamples.2.upsamples.0.shortcut.bias"]
    )


def test_diffusers_names_stay_and_unknown_ones_are_an_error():
    model = WanTransformer3DModel(**TINY)
    assert set(transformer_to_diffusers(model.state_dict())) == set(model.state_dict())
    vae = AutoencoderKLWan(base_dim=4)
    assert set(vae_to_diffusers(vae.state_dict())) == set(vae.state_dict())
    with pytest.raises(WeightsError, match=r"transformer .*conv1\.bias, conv1\.weight"):
        transformer_to_diffusers(original_vae_22())
    with pytest.raises(WeightsError, match="VAE"):
        vae_to_diffusers(original_transformer(vace=False))


TEXT = {
    "vocab_size": 40,
    "d_model": 12,
    "d_kv": 5,
    "d_ff": 20,
    "num_layers": 3,
    "num_heads": 4,
    "feed_forward_proj": "gated-gelu",
    "dropout_rate": 0.0,
}


def original_text() -> dict[str, Tensor]:
    """umT5's encoder of three blocks in Wan's names, its four heads 5 wide."""
    shapes: dict[str, tuple[int, ...]] = {"token_embedding.weight": (40, 12), "norm.weight": (12,)}
    for i in range(3):
        block = f"blocks.{i}"
        shapes |= {f"{block}.norm1.weight": (12,), f"{block}.norm2.weight": (12,)}
        shapes |= {f"{block}.attn.{part}.weight": (20, 12) for part in "qkv"}
        shapes |= {f"{block}.attn.o.weight": (12, 20), f"{block}.pos_embedding.embedding.weight": (32, 4)}
        shapes |= {f"{block}.ffn.gate.0.weight": (20, 12), f"{block}.ffn.fc1.weight": (20, 12)}
        shapes |= {f"{block}.ffn.fc2.weight": (12, 20)}
    return {name: 8 * value for name, value in filled(shapes).items()}


def bucket(offset: int) -> int:
    """Of the position of a key behind its query: exact up to 7, then two a doubling, up to 15; 16 more ahead."""
    near = abs(offset)
    coarse = 8 + sum(near**2 >= 64 * 2**k for k in range(1, 8))
    return (16 if offset > 0 else 0) + (near if near < 8 else coarse)


def encoded(state: dict[str, Tensor], ids: Tensor, mask: Tensor) -> Tensor:
    """The encoder of T5 (Raffel et al. 2020) with position biases of each block's own, in float64."""
    w = {name: value.double() for name, value in state.items()}

    def normed(x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[f"{name}.weight"]

    length = ids.shape[1]
    buckets = torch.tensor([[bucket(key - query) for key in range(length)] for query in range(length)])
    hidden = torch.where(mask.bool(), 0.0, -math.inf).double()[:, None, None, :]
    x = w["token_embedding.weight"][ids]
    for i in range(3):
        block = f"blocks.{i}"
        y = normed(x, f"{block}.norm1")
        q, k, v = ((y @ w[f"{block}.attn.{part}.weight"].T).unflatten(-1, (4, 5)) for part in "qkv")
        bias = w[f"{block}.pos_embedding.embedding.weight"][buckets].permute(2, 0, 1)
        weights = (torch.einsum("bihd,bjhd->bhij", q, k) + bias + hidden).softmax(-1)
        gathered = torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2)
        x = x + gathered @ w[f"{block}.attn.o.weight"].T
        y = normed(x, f"{block}.norm2")
        gate = y @ w[f"{block}.ffn.gate.0.weight"].T
        gelu = gate / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
        x = x + (gelu * (y @ w[f"{block}.ffn.fc1.weight"].T)) @ w[f"{block}.ffn.fc2.weight"].T
    return normed(x, "norm")


@torch.no_grad()
def test_a_text_encoder_in_original_names_computes_what_wans_own_does():
    given = original_text()
    ids = torch.randint(2, 40, (2, 100), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 60:] = 0
    expected = encoded(given, ids, mask)[mask.bool()]

    def drawn(state: dict[str, Tensor]) -> Tensor:
        model = UMT5EncoderModel(UMT5Config(**TEXT)).eval()
        model.load_state_dict(state | {"encoder.embed_tokens.weight": state["shared.weight"]}, strict=True)
        return model.double()(ids, mask).last_hidden_state[mask.bool()]

    state = text_to_transformers(given)
    assert len(state) == len(given)
    # transformers takes variances and softmaxes in float32, whatever the model is in.
    torch.testing.assert_close(drawn(state), expected, rtol=0, atol=2e-5)
    for one in (
        n for n in given if n.startswith("blocks.1.")
    ):  # no two parameters could change places unseen
        for other in given:
            if one < other and given[one].shape == given[other].shape:
                swapped = given | {one: given[other], other: given[one]}
                assert (encoded(swapped, ids, mask)[mask.bool()] - expected).abs().max() > 1e-3, (one, other)


def test_text_in_transformers_names_stays_and_unknown_names_are_passed_on_or_refused():
    state = UMT5EncoderModel(UMT5Config(**TEXT)).state_dict()
    assert text_to_transformers(state).keys() == state.keys()
    state.pop("shared.weight")
    assert text_to_transformers(state).keys() == state.keys()
    extra = original_text() | {"blocks.0.attn.bias.weight": torch.ones(1), "head.weight": torch.ones(1)}
    names = text_to_transformers(extra).keys()
    assert {"blocks.0.attn.bias.weight", "head.weight"} <= names
    assert len(names) == len(extra)
    with pytest.raises(WeightsError, match=r"Wan text encoder \(the first names are conv1\.bias"):
        text_to_transformers(original_vae_22())
