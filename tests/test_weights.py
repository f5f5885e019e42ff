"""Base models and methods' own parts: round trips, and a clear sentence for everything that does not fit."""

import json
from dataclasses import replace

import pytest
import torch
from diffusers import WanTransformer3DModel
from peft import LoraConfig
from safetensors.torch import save_file
from torch import nn

from tiny import WAN
from vivavoce.errors import OutputError, WeightsError
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone
from vivavoce.video.wan.convert import transformer_to_diffusers
from vivavoce.weights import (
    TRANSFORMER,
    Base,
    Header,
    check_header,
    describe,
    load_base,
    load_method,
    load_strictly,
    locate,
    read_header,
    read_state,
    save_method,
)

TINY = WAN | {"num_layers": 2}


def backbone(**config):
    torch.manual_seed(0)
    return WanBackbone(**(TINY | config)).eval()


def header(model) -> Header:
    return Header("miniature", Base.of(model), 25.0, (64, 96), "whisper 2x32", "4x8x8, 16 channels")


def parts(seed: int) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    return {"audio": nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), "state": nn.Linear(4, 2)}


def adapted(seed: int):
    model = backbone()
    torch.manual_seed(seed)
    model.add_adapter(LoraConfig(r=2, lora_alpha=1, target_modules=["to_q"], init_lora_weights=False))
    return model


@pytest.fixture
def saved(tmp_path):
    path, model = tmp_path / "parts.safetensors", adapted(1)
    save_method(path, header(model), parts(1), lora_of=model)
    return path, model


def test_a_methods_parts_come_back_exactly(saved):
    path, first = saved
    model, modules = adapted(2), parts(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    load_method(path, header(model), modules, lora_of=model)
    for ours, theirs in zip(modules.values(), parts(1).values(), strict=True):
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value)
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert changed
    assert all("lora_" in name for name in changed)
    assert all(torch.equal(model.state_dict()[name], first.state_dict()[name]) for name in changed)
    assert read_header(path) == header(model)


def test_missing_extra_and_misshapen_parameters_are_named_and_nothing_is_changed(saved):
    path, model = saved
    modules = parts(5)
    before = [v.clone() for m in modules.values() for v in m.state_dict().values()]
    with pytest.raises(WeightsError, match=r"has besides: lora\.blocks\.0\.attn1\.to_q\.lora_A"):
        load_method(path, header(model), modules)
    with pytest.raises(WeightsError, match=r"lacks: pose\.bias, pose\.weight"):
        load_method(path, header(model), modules | {"pose": nn.Linear(1, 1)}, lora_of=model)
    modules["state"] = nn.Linear(5, 2)
    with pytest.raises(WeightsError, match=r"state\.weight \(2, 4\), not \(2, 5\)"):
        load_method(path, header(model), modules, lora_of=model)
    modules["state"] = nn.Linear(4, 2)
    assert torch.equal(before[0], modules["audio"].state_dict()["0.weight"])
    linear = nn.Linear(2, 2)
    with pytest.raises(WeightsError, match=r"here was made for another model \(it lacks: bias\)"):
        load_strictly(linear, {"weight": torch.ones(2, 2)}, "here")
    load_strictly(linear, {"weight": torch.ones(2, 2), "bias": torch.ones(2)}, "here")
    assert linear.weight.sum() == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fps": 24.0}, r"fps 25, not 24"),
        ({"size": (96, 64)}, r"frames of 64x96, not 96x64"),
        ({"encoder": "wav2vec2 2x32"}, r"encoder 'whisper 2x32', not 'wav2vec2 2x32'"),
        ({"method": "other"}, r"method 'miniature', not 'other'"),
        ({"latents": "4x16x16, 48 channels"}, r"latents"),
    ],
)
def test_weights_made_for_something_else_are_refused(saved, change, words):
    path, model = saved
    with pytest.raises(WeightsError, match=words):
        load_method(path, replace(header(model), **change), parts(0), lora_of=model)


def test_another_base_is_told_by_what_differs(saved):
    path, _ = saved
    deeper = backbone(num_layers=3)
    with pytest.raises(WeightsError, match="a base with num_layers 2, not 3"):
        check_header(path, read_header(path), header(deeper))
    vace = VaceBackbone(**TINY, vace_layers=[0], vace_in_channels=96)
    with pytest.raises(
        WeightsError, match=r"base WanBackbone, not VaceBackbone.*vace_layers None, not \[0\]"
    ):
        check_header(path, read_header(path), header(vace))
    assert Base.of(deeper).fingerprint != Base.of(backbone()).fingerprint == Base.of(backbone()).fingerprint


def test_ntsc_rates_are_one_however_they_are_written(saved):
    path, model = saved
    found = replace(header(model), fps=29.97)
    check_header(path, found, replace(found, fps=30000 / 1001))


def test_a_diffusers_folder_and_its_subfolder_load_bit_for_bit(tmp_path):
    plain = WanTransformer3DModel(**TINY)
    plain.save_pretrained(tmp_path / "transformer")
    for source, piece in ((tmp_path / "transformer", None), (tmp_path, TRANSFORMER)):
        model = load_base(WanBackbone, source, piece=piece)
        assert all(torch.equal(model.state_dict()[k], v) for k, v in plain.state_dict().items())
    half = load_base(WanBackbone, tmp_path / "transformer", dtype=torch.bfloat16)
    assert half.blocks[0].attn1.to_q.weight.dtype == torch.bfloat16
    assert half.scale_shift_table.dtype == torch.float32
    with pytest.raises(WeightsError, match="holds a WanTransformer3DModel, where a VaceBackbone"):
        load_base(VaceBackbone, tmp_path / "transformer")


def test_a_folder_with_parameters_missing_is_no_model(tmp_path):
    plain = WanTransformer3DModel(**TINY)
    plain.save_pretrained(tmp_path)
    state = {name: value for name, value in plain.state_dict().items() if name != "proj_out.bias"}
    save_file(state, tmp_path / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"lacks: proj_out\.bias"):
        load_base(WanBackbone, tmp_path)


def original(model) -> dict[str, torch.Tensor]:
    """A plain tiny Wan's state in Wan's own names."""
    names = (
        ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
        ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
        ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
        ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
        ("condition_embedder.time_proj", "time_projection.1"),
        ("attn1", "self_attn"), ("attn2", "cross_attn"), ("to_out.0", "o"),
        ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("norm2", "norm3"),
        ("ffn.net.0.proj", "ffn.0"), ("ffn.net.2", "ffn.2"), ("proj_out", "head.head"),
    )  # fmt: skip
    state = {}
    for name, value in model.state_dict().items():
        renamed = "head.modulation" if name == "scale_shift_table" else name
        renamed = renamed.replace("scale_shift_table", "modulation")
        for ours, theirs in names:
            renamed = renamed.replace(ours, theirs)
        state[renamed] = value.clone()
    return state


@pytest.mark.parametrize("kind", ["safetensors", "pth", "shards"])
@torch.no_grad()
def test_an_original_file_loads_bit_for_bit(tmp_path, kind):
    plain = backbone()
    state, path = original(plain), tmp_path / f"model.{kind}"
    if kind == "pth":
        torch.save(state, path)
    elif kind == "safetensors":
        save_file(state, path)
    else:
        path, names = tmp_path, sorted(state)
        (tmp_path / "config.json").write_text(json.dumps({"_class_name": "WanModel", "dim": 24}))
        for i in range(2):
            save_file({n: state[n] for n in names[i::2]}, tmp_path / f"part-{i}.safetensors")
    model = load_base(WanBackbone, path, config=TINY, convert=transformer_to_diffusers)
    given = {
        "hidden_states": torch.randn(1, 16, 2, 4, 4),
        "timestep": torch.tensor([500.0]),
        "encoder_hidden_states": torch.randn(1, 4, 32),
    }
    assert torch.equal(model(**given).sample, plain(**given).sample)
    half = load_base(WanBackbone, path, config=TINY, convert=transformer_to_diffusers, dtype=torch.bfloat16)
    assert half.blocks[0].ffn.net[2].weight.dtype == torch.bfloat16
    assert half.blocks[0].scale_shift_table.dtype == half.blocks[0].norm2.weight.dtype == torch.float32
    with pytest.raises(WeightsError, match="preset"):
        load_base(WanBackbone, path)
    with pytest.raises(WeightsError, match=r"lacks: blocks\.2\.attn1.* and 22 more"):
        load_base(WanBackbone, path, config=TINY | {"num_layers": 3}, convert=transformer_to_diffusers)


def test_no_model_and_no_network_are_one_sentence_each(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match="no model at /nowhere/at/all"):
        locate("/nowhere/at/all")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        WeightsError, match=r"model somebody/wan is not on this machine .*: connect"
    ) as caught:
        load_base(WanBackbone, "somebody/wan", piece=TRANSFORMER)
    assert "\n" not in str(caught.value)


def test_damaged_and_dangerous_files_are_refused(tmp_path):
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    for read in (read_state, read_header):
        with pytest.raises(WeightsError, match="damaged"):
            read(cut)
    code = tmp_path / "code.pth"
    torch.save({"weight": nn.Linear(1, 1)}, code)
    with pytest.raises(WeightsError, match="could run code"):
        read_state(code)
    nested = tmp_path / "nested.pth"
    torch.save({"model": {"weight": torch.ones(1)}}, nested)
    with pytest.raises(WeightsError, match="table of tensors"):
        read_state(nested)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="no safetensors"):
        read_state(tmp_path / "empty")
    with pytest.raises(OutputError, match="suffix"):
        save_method(tmp_path / "parts.bin", header(backbone()), {})


def test_what_a_file_is_for(saved, tmp_path):
    path, model = saved
    lines = describe(path).splitlines()
    assert lines[0] == "parts of miniature: audio, lora, state"
    # Linear 3 -> 4, a norm of 4, Linear 4 -> 2; 2 blocks x 2 attentions x rank 2 in and out of width 24.
    assert lines[1] == f"14 tensors, {16 + 8 + 10 + 4 * 2 * 2 * 24} parameters in float32"
    assert lines[2] == f"for base WanBackbone {Base.of(model).fingerprint}"
    assert lines[3] == "frames of 64x96 at 25 fps"
    backbone().save_pretrained(tmp_path / "folder")
    assert describe(tmp_path / "folder").startswith("a diffusers folder of class WanBackbone\n")
    save_file(original(backbone()), tmp_path / "wan.safetensors")
    assert describe(tmp_path / "wan.safetensors").startswith("a Wan transformer in its original names\n")
    with pytest.raises(WeightsError, match=r"wan\.safetensors holds no parts of a method"):
        read_header(tmp_path / "wan.safetensors")
    save_file({"x": torch.ones(2)}, tmp_path / "x.safetensors")
    assert describe(tmp_path / "x.safetensors") == (
        "weights of an unknown model\n1 tensors, 2 parameters in float32"
    )
    with pytest.raises(WeightsError, match="no weights at"):
        describe(tmp_path / "none")
