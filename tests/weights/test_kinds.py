"""What a person is told of each file and folder of weights that the program meets."""

import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from safetensors.torch import load_file, save_file
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperModel,
)

import tiny
from release import VAE_21, VAE_22, diffusers_base, original_base
from vivavoce.errors import WeightsError
from vivavoce.methods.load import load, save_parts
from vivavoce.video.text import miniature_text_encoder
from vivavoce.weights import describe


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """PhysAvatar's tiny base in both layouts, and ActAvatar's in the original one."""
    root = tmp_path_factory.mktemp("bases")
    config = replace(tiny.method("physavatar"), vae=VAE_21)
    diffusers_base(root / "diffusers", config)
    original_base(root / "original", root / "diffusers", config)
    plain = replace(tiny.method("actavatar"), vae=VAE_22)
    diffusers_base(root / "plain", plain)
    original_base(root / "ti2v", root / "plain", plain)
    return root


def counted(state) -> str:
    values = sum(value.numel() for value in state.values())
    return f"{len(state)} tensors, {values:,} parameters in float32"


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (
            "original/diffusion_pytorch_model-00001-of-00002.safetensors",
            "a Wan VACE transformer in its original names",
        ),
        (
            "ti2v/diffusion_pytorch_model-00001-of-00002.safetensors",
            "a Wan transformer in its original names",
        ),
        ("original/Wan2.1_VAE.pth", "the Wan 2.1 VAE in its original names"),
        ("ti2v/Wan2.2_VAE.pth", "the Wan 2.2 VAE in its original names"),
        ("ti2v/models_t5_umt5-xxl-enc-bf16.pth", "umT5's encoder in its original names"),
        (
            "diffusers/transformer/diffusion_pytorch_model.safetensors",
            "a Wan VACE transformer in diffusers' names",
        ),
        ("plain/transformer/diffusion_pytorch_model.safetensors", "a Wan transformer in diffusers' names"),
        ("diffusers/vae/diffusion_pytorch_model.safetensors", "a Wan VAE in diffusers' names"),
        ("plain/vae/diffusion_pytorch_model.safetensors", "a Wan VAE in diffusers' names"),
        ("plain/text_encoder/model.safetensors", "umT5's encoder in transformers' names"),
    ],
)
def test_a_file_is_told_by_its_names(base, file, kind):
    path = base / file
    state = load_file(path) if path.suffix == ".safetensors" else torch.load(path)
    if "-00001-of" in file:  # one shard may lack the names that tell
        rest = load_file(path.with_name(path.name.replace("-00001", "-00002")))
        path = path.parent.parent / f"whole-{path.parent.name}.safetensors"
        save_file(state | rest, path)
        state |= rest
    assert describe(path) == f"{kind}\n{counted(state)}"


def test_an_original_release_is_told_piece_by_piece(base, tmp_path):
    lines = describe(base / "original").splitlines()
    states = [
        {k: v for i in "12" for k, v in load_file(base / "original" / shard(i)).items()},
        torch.load(base / "original" / "Wan2.1_VAE.pth"),
        torch.load(base / "original" / "models_t5_umt5-xxl-enc-bf16.pth"),
    ]
    assert lines == [
        "Wan's original release of",
        f"transformer: a Wan VACE transformer in its original names, {counted(states[0])}",
        f"VAE: the Wan 2.1 VAE in its original names, {counted(states[1])}",
        f"text encoder: umT5's encoder in its original names, {counted(states[2])}",
        "tokenizer: a tokenizer",
    ]
    part = shutil.copytree(base / "original", tmp_path / "part")
    for name in ("Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth"):
        (part / name).unlink()
    shutil.rmtree(part / "google")
    lines = describe(part).splitlines()  # by its config alone, in which a diffusers version stands
    assert lines[1].startswith("transformer: a Wan VACE transformer in its original")
    assert lines[2:] == ["VAE: not here", "text encoder: not here", "tokenizer: not here"]
    torch.save(states[1], tmp_path / "Wan2.1_VAE.pth")
    assert describe(tmp_path).splitlines()[1:3] == [
        "transformer: not here",
        f"VAE: the Wan 2.1 VAE in its original names, {counted(states[1])}",
    ]


def shard(number: str) -> str:
    return f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"


def test_diffusers_folders_and_pipelines_are_told_by_their_classes(base, tmp_path):
    assert describe(base / "diffusers").splitlines() == [
        "a base in diffusers' layout, of",
        "text_encoder: a transformers folder of class UMT5EncoderModel",
        "tokenizer: a tokenizer",
        "transformer: a diffusers folder of class WanVACETransformer3DModel",
        "vae: a diffusers folder of class AutoencoderKLWan",
    ]
    lines = describe(base / "plain" / "transformer").splitlines()
    assert lines[0] == "a diffusers folder of class WanTransformer3DModel"
    assert "num_layers 4" in lines[1]
    assert describe(base / "plain" / "tokenizer") == "a tokenizer"
    from diffusers import UniPCMultistepScheduler

    text = miniature_text_encoder(32)
    pipeline = WanPipeline(
        tokenizer=text.tokenizer,
        text_encoder=text.model,
        vae=AutoencoderKLWan(**tiny.VAE),
        scheduler=UniPCMultistepScheduler(),
        transformer=WanTransformer3DModel(**tiny.WAN),
    )
    pipeline.save_pretrained(tmp_path)
    assert describe(tmp_path).splitlines()[:4] == [
        "a base in diffusers' layout, of",
        "text_encoder: a transformers folder of class UMT5EncoderModel",
        "tokenizer: a tokenizer",
        "transformer: a diffusers folder of class WanTransformer3DModel",
    ]


def test_a_speech_encoder_is_told_by_the_name_that_weights_keep(tmp_path):
    size = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    WhisperModel(WhisperConfig(**size, decoder_layers=1, vocab_size=8, pad_token_id=0)).save_pretrained(
        tmp_path / "w"
    )
    assert describe(tmp_path / "w") == "a speech encoder, whisper 16x2"
    size = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "conv_dim": (8,) * 7}
    Wav2Vec2Model(Wav2Vec2Config(**size)).save_pretrained(tmp_path / "v")
    assert describe(tmp_path / "v") == "a speech encoder, wav2vec2 16x3"
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "config.json").write_text('{"model_type": "qwen2_5_omni"}')
    assert describe(tmp_path / "q") == "a transformers folder of kind qwen2_5_omni"


def test_parts_are_told_with_all_that_they_were_made_for(tmp_path):
    network = load(tiny.method("apoavatar", fps=29.97)).network
    save_parts(network, tmp_path / "parts.safetensors")
    lines = describe(tmp_path / "parts.safetensors").splitlines()
    values = sum(p.numel() for part in network.parts.values() for p in part.parameters())
    assert lines[0] == "parts of apoavatar-miniature: audio, pose, refine"
    assert lines[1].endswith(f" tensors, {values:,} parameters in float32")
    assert lines[2].startswith("for base WanBackbone ")
    assert lines[3:] == [
        "frames of 32x32 at 29.97 fps",
        f"speech encoder {network.config.encoder.name}",
        "latents 4x8x8, 16 channels",
    ]


def test_what_is_no_weights_is_one_sentence(tmp_path):
    with pytest.raises(WeightsError, match=r"^There are no weights at .*none: check the name"):
        describe(tmp_path / "none")
    with pytest.raises(WeightsError, match="holds no safetensors files"):
        describe(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    (tmp_path / "x.pth").write_text("a letter to a friend")
    for name in ("x.safetensors", "x.pth"):
        with pytest.raises(WeightsError, match=rf"{name} .*: (download it again|give a safetensors file)"):
            describe(tmp_path / name)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(WeightsError, match=r"config\.json is damaged \(it is no table\)"):
        describe(tmp_path)


def test_large_tensors_are_counted_unread(tmp_path, monkeypatch):
    save_file(
        {"x": torch.ones(3, 4, dtype=torch.bfloat16), "n": torch.ones(2, dtype=torch.int64)},
        tmp_path / "a.safetensors",
    )
    monkeypatch.setattr("safetensors.torch.load_file", lambda path: pytest.fail("read"))
    assert describe(tmp_path) == "weights of an unknown model\n2 tensors, 14 parameters in I64, bfloat16"
