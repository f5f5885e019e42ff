"""Loading a method: both layouts of a base bit for bit, its parts, precision, and a sentence for what does not fit."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from torch import nn
from transformers import (
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

import tiny
from release import VAE_21, VAE_22, diffusers_base, original_base, text_config
from vivavoce.errors import InputError, WeightsError
from vivavoce.features.loudness import leveled
from vivavoce.methods import find
from vivavoce.methods.actavatar import ActAvatarConfig
from vivavoce.methods.load import add_lora, load, save_parts
from vivavoce.video.config import EncoderConfig, VideoConfig
from vivavoce.video.draw import draw, frames_of
from vivavoce.video.maker import Scene
from vivavoce.video.method import Sampling, VideoMethod
from vivavoce.video.plan import Plan
from vivavoce.video.sample.resume import Job
from vivavoce.video.text import miniature_text_encoder

NAMES = ("physavatar", "actavatar", "apoavatar")
EVERY = pytest.mark.parametrize("name", NAMES)
LAYOUTS = pytest.mark.parametrize("layout", ["diffusers", "original"])
BF16 = torch.bfloat16
WIDE = {"in_channels": 48, "out_channels": 48}


def config(name: str) -> VideoConfig:
    """A tiny method on a VAE of its own kind; ActAvatar's is of Wan 2.2's, with 48 channels."""
    made = tiny.method(name)
    given = {"vae": VAE_21, "text": text_config(miniature_text_encoder(64))}
    if name == "actavatar":
        given |= {"vae": VAE_22, "transformer": dict(made.transformer) | WIDE}
    return replace(made, **given)


SCENE = Scene(
    photo=np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8),
    speech=leveled(np.sin(np.arange(17 * 640, dtype=np.float32))),
    plan=Plan(base="A person speaks."),
    frames=17,
    fps=25.0,
    pose=np.zeros((17, 127, 3), np.float32),
)


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[tuple[str, str], Path]:
    """Every method's base in both layouts, to be read only."""
    found = {}
    for name in NAMES:
        root = tmp_path_factory.mktemp(name)
        found[name, "diffusers"] = diffusers_base(root / "diffusers", config(name))
        found[name, "original"] = original_base(root / "original", root / "diffusers", config(name))
    return found


@pytest.fixture
def copied(bases, tmp_path):
    """PhysAvatar's base, to be damaged."""

    def copy(layout: str) -> Path:
        return shutil.copytree(bases["physavatar", layout], tmp_path / layout)

    return copy


def tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def same(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype, name
        assert torch.equal(value, theirs[name]), name


def models(method: VideoMethod) -> tuple[nn.Module, nn.Module, nn.Module]:
    return method.network, method.make.vae, method.make.text_encoder.model


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, BF16], ids=str)
def test_a_diffusers_folder_is_loaded_as_diffusers_loads_it(bases, name, dtype):
    c, base = config(name), bases[name, "diffusers"]
    method = load(c, base=base, device="cpu", dtype=dtype)
    cls = WanVACETransformer3DModel if c.backbone == "vace" else WanTransformer3DModel
    same(method.network.backbone, cls.from_pretrained(base / "transformer", torch_dtype=dtype))
    same(method.make.vae, AutoencoderKLWan.from_pretrained(base / "vae"))
    given = miniature_text_encoder(64, seed=5).model.to(dtype)
    same(method.make.text_encoder.model, given)
    assert {p.dtype for part in method.network.parts.values() for p in part.parameters()} == {dtype}
    assert not any(p.requires_grad for p in method.network.parameters())
    assert (method.untrained, method.make.text_encoder.length) == (("the method's own parts",), c.text_length)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, BF16], ids=str)
def test_wans_original_release_is_the_same_base_bit_for_bit(bases, name, dtype):
    both = [load(config(name), base=bases[name, kind], dtype=dtype) for kind in ("diffusers", "original")]
    for one, other in zip(*map(models, both), strict=True):
        same(one, other)
    assert both[0].fingerprint() == both[1].fingerprint()
    texts = [method.make.text_encoder.encode(["A person waves."]).features for method in both]
    assert torch.equal(*texts)
    assert texts[0].any()


@EVERY
@LAYOUTS
def test_with_base_and_weights_nothing_is_untrained(bases, tmp_path, name, layout):
    first = load(config(name), base=bases[name, "diffusers"])
    add_lora(first.network)
    torch.manual_seed(3)
    lora = [value for key, value in first.network.backbone.named_parameters() if "lora_" in key]
    assert bool(lora) == (first.config.lora is not None)
    for value in [*lora, *(value for part in first.network.parts.values() for value in part.parameters())]:
        value.data.normal_(std=0.1)
    save_parts(first.network, tmp_path / "parts.safetensors")
    again = load(config(name), base=bases[name, layout], weights=tmp_path / "parts.safetensors")
    assert again.untrained == ()
    same(first.network, again.network)
    half = load(again.config, base=bases[name, layout], weights=tmp_path / "parts.safetensors", dtype=BF16)
    for key, value in half.network.named_parameters():
        assert torch.equal(value, dict(again.network.named_parameters())[key].to(value.dtype)), key
    assert {value.dtype for part in half.network.parts.values() for value in part.parameters()} == {BF16}


def test_half_precision_keeps_in_single_precision_what_diffusers_does(bases):
    base = bases["physavatar", "diffusers"]
    reference = WanVACETransformer3DModel.from_pretrained(base / "transformer", torch_dtype=BF16)
    precise = {k for k, v in reference.named_parameters() if v.dtype == torch.float32}
    assert {"scale_shift_table", "blocks.0.norm2.weight", "vace_blocks.1.scale_shift_table"} <= precise
    assert "blocks.0.attn1.to_q.weight" not in precise
    for given in (None, base):
        method = load(config("physavatar"), base=given, dtype=BF16)
        found = {k for k, v in method.network.backbone.named_parameters() if v.dtype == torch.float32}
        assert found == precise
        assert {p.dtype for p in method.make.vae.parameters()} == {torch.float32}
        assert method.network.dtype == BF16


@EVERY
def test_half_precision_draws_nearly_the_same(name, tmp_path):
    first = load(tiny.method(name))
    torch.manual_seed(0)
    for value in (value for part in first.network.parts.values() for value in part.parameters()):
        value.data.add_(0.05 * torch.randn_like(value))
    add_lora(first.network)
    save_parts(first.network, tmp_path / "parts.safetensors")
    clips = []
    for dtype in (torch.float32, BF16):
        method = load(tiny.method(name), weights=tmp_path / "parts.safetensors", dtype=dtype)
        job = Job(tmp_path / str(dtype), {})
        order = draw(method, SCENE, Sampling.of(method.config), job)
        clips.append(np.stack(list(frames_of(method, order, job))).astype(float))
    assert not np.array_equal(*clips)
    assert np.abs(clips[0] - clips[1]).mean() < 0.02 * clips[0].std()


@EVERY
def test_two_loads_of_a_miniature_are_equal(name):
    state = torch.get_rng_state()
    torch.manual_seed(1)
    one = load(tiny.method(name))
    torch.manual_seed(2)
    other = load(tiny.method(name))
    for a, b in zip(models(one), models(other), strict=True):
        same(a, b)
    again = torch.Generator().manual_seed(2).get_state()
    assert torch.equal(torch.get_rng_state(), again)  # neither load has drawn from it
    torch.set_rng_state(state)


class Table(nn.Module):
    """A part with something that is in no file."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("table", torch.arange(3.0), persistent=False)


@dataclass(frozen=True, kw_only=True)
class Outside(ActAvatarConfig):
    def build(self, backbone=None):
        network = super().build(backbone)
        network.extras["table"] = Table()
        return network


def test_what_a_part_computes_by_itself_is_there_when_a_file_fills_it(tmp_path):
    inner = tiny.method("actavatar")
    outside = Outside(**vars(inner))
    method = load(outside)
    method.network.extras["table"].weight.data.fill_(7)
    save_parts(method.network, tmp_path / "parts.safetensors")
    found = load(outside, weights=tmp_path / "parts.safetensors").network.extras["table"]
    assert found.table.tolist() == [0, 1, 2]
    assert found.weight.tolist() == [7, 7, 7]


def test_the_text_encoder_of_the_presets_is_umt5_xxl():
    with torch.device("meta"):
        model = UMT5EncoderModel(UMT5Config(**find("physavatar").text))
    assert model.num_parameters() == pytest.approx(5.681e9, rel=1e-4)
    assert model.config.dense_act_fn == "gelu_new"  # by tanh, as Wan's own code
    assert {find(name).text == find("physavatar").text for name in NAMES} == {True}
    assert find("physavatar").text["d_model"] == find("physavatar").transformer["text_dim"]


def test_a_device_is_found_or_told():
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    method = load(tiny.method("actavatar"), device="auto")
    assert {p.device.type for model in models(method) for p in model.parameters()} == {wanted}
    for device in ("tpu of mine", "cuda:77"):
        with pytest.raises(InputError, match=f"There is no device '{device}' here: take cpu"):
            load(tiny.method("actavatar"), device=device)


# what does not fit


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ("diffusers", "holds a WanTransformer3DModel, where a VaceBackbone is needed"),
        ("original", r"it lacks: vace_blocks\.0\.attn1"),
    ],
)
def test_a_plain_wan_where_vace_is_wanted_is_refused(bases, layout, words):
    with pytest.raises(WeightsError, match=words):
        load(config("physavatar"), base=bases["apoavatar", layout])


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (
            "diffusers",
            r"is another model than physavatar-miniature stands on \(its ffn_dim 48\): give its base",
        ),
        ("original", r"shapes differ: blocks\.0\.ffn\.net\.0\.proj\.bias \(48,\), not \(64,\)"),
    ],
)
def test_a_base_of_another_size_is_told_by_what_differs(bases, layout, words):
    c = config("physavatar")
    with pytest.raises(WeightsError, match=words):
        load(replace(c, transformer=dict(c.transformer) | {"ffn_dim": 64}), base=bases["physavatar", layout])


def test_another_vae_and_another_text_encoder_are_told_by_what_differs(copied):
    c, base = config("physavatar"), copied("diffusers")
    other = replace(c, vae=c.vae | {"base_dim": 8, "latents_mean": [0.0] * 16})
    with pytest.raises(WeightsError, match=r"\(its base_dim 4, latents_mean\)"):
        load(other, base=base)
    shutil.rmtree(base / "text_encoder")
    miniature_text_encoder(32).save(base)
    with pytest.raises(WeightsError, match=r"\(its text features 32 wide\)"):
        load(c, base=base)


PIECES = {
    "transformer": ("transformer", "diffusion_pytorch_model*.safetensors"),
    "VAE": ("vae", "Wan2.1_VAE.pth"),
    "text encoder": ("text_encoder", "models_t5_*.pth"),
    "tokenizer": ("tokenizer", "google/umt5-xxl"),
}


@LAYOUTS
@pytest.mark.parametrize("kind", PIECES)
def test_a_base_that_lacks_a_piece_is_told_which(copied, layout, kind):
    base = copied(layout)
    folder, original = PIECES[kind]
    for path in [base / folder] if layout == "diffusers" else list(base.glob(original)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(WeightsError) as caught:
        load(config("physavatar"), base=base)
    assert f"{base} has no {kind} (neither a folder '{folder}' nor {original}): give" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_two_original_vaes_the_methods_own_is_taken(copied, bases):
    base = copied("original")
    other = bases["actavatar", "original"] / "Wan2.2_VAE.pth"
    shutil.copy(other, base)
    wanted = load(config("physavatar"), base=bases["physavatar", "original"]).make.vae
    same(load(config("physavatar"), base=base).make.vae, wanted)
    (base / "Wan2.1_VAE.pth").unlink()
    with pytest.raises(WeightsError, match="has no VAE"):
        load(config("physavatar"), base=base)


def test_one_file_is_no_base(copied):
    file = copied("original") / "Wan2.1_VAE.pth"
    with pytest.raises(WeightsError, match=r"VAE\.pth is one file of a base: give the folder"):
        load(config("physavatar"), base=file)


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wav2vec2")
    small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": (8,) * 7}
    Wav2Vec2Model(Wav2Vec2Config(**small, num_hidden_layers=3)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def test_a_speech_encoder_must_be_the_one_that_was_trained_with(wav2vec2):
    right, wrong = (
        tiny.method("actavatar", encoder=EncoderConfig("wav2vec2", f"wav2vec2 16x{layers}", 16))
        for layers in (3, 12)
    )
    told = load(right, encoder=wav2vec2).make.speech_encoder.features(SCENE.speech, 25.0, np.arange(3))
    assert told.shape == (3, 16)
    words = "trained on speech features of wav2vec2 16x12, not wav2vec2 16x3: give that encoder"
    with pytest.raises(WeightsError, match=words):
        load(wrong, encoder=wav2vec2)
    with pytest.raises(WeightsError, match="hears through wav2vec2 16x12: give its folder with --encoder"):
        load(wrong)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("offline")
def test_a_real_size_is_never_random(wav2vec2):
    for name in NAMES:
        with pytest.raises(
            WeightsError, match=r"speech encoder .* is not on this machine and the hub"
        ) as caught:
            load(name)
        assert "\n" not in str(caught.value)
        heard = replace(find(name), encoder=EncoderConfig("wav2vec2", "wav2vec2 16x3", 16))
        with pytest.raises(WeightsError, match=f"model {heard.base} is not on this machine and") as caught:
            load(heard, encoder=wav2vec2)
        assert "\n" not in str(caught.value)
        with pytest.raises(
            WeightsError, match="There is no model at /none: give the path of one, or a hub name"
        ):
            load(heard, encoder=wav2vec2, base="/none")


@pytest.mark.usefixtures("offline")
def test_wrong_weights_are_told_before_a_base_is_looked_for(tmp_path, bases):
    with pytest.raises(WeightsError, match=r"There are no weights at .*nothing"):
        load("actavatar", weights=tmp_path / "nothing.safetensors")
    with pytest.raises(
        WeightsError, match=r"VAE\.pth holds no parts of a method but the Wan 2\.2 VAE in its"
    ):
        load("actavatar", weights=bases["actavatar", "original"] / "Wan2.2_VAE.pth")
