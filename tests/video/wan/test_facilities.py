"""diffusers' and peft's facilities on our backbones, with branches that are no identity any more in every block."""

import pytest
import torch
from diffusers.hooks import apply_group_offloading
from peft import LoraConfig
from torch import Tensor, nn

from scenes import scene

KINDS = pytest.mark.parametrize("kind", ["wan", "vace"])


def change(given: Tensor, expected: Tensor) -> float:
    """Relative distance."""
    return ((given.float() - expected).norm() / expected.norm()).item()


def linears(module: nn.Module) -> dict[str, nn.Linear]:
    return {name: part for name, part in module.named_modules() if isinstance(part, nn.Linear)}


@KINDS
@torch.no_grad()
def test_the_branches_of_this_file_count(kind):
    model, given = scene(kind)
    branches = given["branches"]
    outputs = [model(**given | {"branches": branches[:n]}).sample for n in range(len(branches) + 1)]
    assert all(change(*pair) > 0.01 for pair in zip(outputs[1:], outputs, strict=False))


# --- weights elsewhere


@KINDS
@pytest.mark.parametrize("offload_type", ["block_level", "leaf_level"])
@torch.no_grad()
def test_weights_that_wait_on_the_disk_are_there_when_they_are_needed(kind, offload_type, tmp_path):
    model, given = scene(kind)
    expected = model(**given).sample
    model.enable_group_offload(
        onload_device=torch.device("cpu"),
        offload_device=torch.device("cpu"),
        offload_type=offload_type,
        num_blocks_per_group=1,
        offload_to_disk_path=str(tmp_path),
    )
    for _ in range(2):
        torch.testing.assert_close(model(**given).sample, expected, rtol=1e-6, atol=1e-6)
    files = len(list(tmp_path.glob("*.safetensors")))
    assert files >= len(model.blocks) + len(getattr(model, "vace_blocks", ()))
    # What the files hold is what is computed with.
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(FileNotFoundError):
        model(**given)


@KINDS
@torch.no_grad()
def test_the_weights_of_branches_may_wait_leaf_by_leaf(kind, tmp_path):
    """Not block by block: that hooks `forward`, which a branch does not have."""
    model, given = scene(kind)
    expected = model(**given).sample
    cpu = torch.device("cpu")
    for i, branch in enumerate(given["branches"]):
        folder = str(tmp_path / str(i))
        apply_group_offloading(branch, cpu, cpu, "leaf_level", offload_to_disk_path=folder)
    for _ in range(2):
        torch.testing.assert_close(model(**given).sample, expected, rtol=1e-6, atol=1e-6)
    for file in tmp_path.glob("*/*.safetensors"):
        file.unlink()
    with pytest.raises(FileNotFoundError):
        model(**given)


# --- training


def losses_gradients(model: nn.Module, given: dict) -> tuple[dict[str, Tensor], int]:
    """The gradient of every parameter of the backbone and the branches, and the values kept for them."""
    trained = nn.ModuleList([model, *given["branches"]])
    trained.zero_grad()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        loss = model(**given).sample.square().mean()
    loss.backward()
    return {name: p.grad.clone() for name, p in trained.named_parameters() if p.grad is not None}, sum(kept)


@KINDS
def test_gradient_checkpointing_gives_all_gradients_and_keeps_less(kind):
    model, given = scene(kind)
    plain, kept = losses_gradients(model, given)
    model.enable_gradient_checkpointing()
    checkpointed, kept_then = losses_gradients(model, given)
    assert set(checkpointed) == set(plain)
    assert {name.split(".")[0] for name in plain} == {str(n) for n in range(1 + len(given["branches"]))}
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-5, atol=1e-8)
    assert kept_then < kept / 5


@KINDS
def test_low_rank_adapters_are_the_product_added_to_the_weights_beside_branches(kind):
    model, given = scene(kind)
    merged, _ = scene(kind)
    places = ("to_q", "to_v", "ffn.net.2")
    targets = {name: layer for name, layer in linears(merged).items() if name.endswith(places)}
    model.add_adapter(LoraConfig(r=4, lora_alpha=2, target_modules=list(places)), adapter_name="one")
    with torch.no_grad():
        before = merged(**given).sample
        torch.testing.assert_close(model(**given).sample, before, rtol=1e-5, atol=1e-6)
        for name, layer in targets.items():
            adapted = model.get_submodule(name)
            down, up = (adapted.get_submodule(f"lora_{part}.one").weight for part in "AB")
            nn.init.normal_(up, std=0.1)
            layer.weight += 2 / 4 * up @ down
        after = merged(**given).sample
        assert change(after, before) > 0.01
        torch.testing.assert_close(model(**given).sample, after, rtol=1e-5, atol=1e-5)
    gradients, _ = losses_gradients(model, given)
    adapters = {name for name in gradients if name.startswith("0.")}
    assert len(adapters) == 2 * len(targets)
    assert all("lora_" in name for name in adapters)
    assert all(gradient.any() for gradient in gradients.values())
    assert len(gradients) > len(adapters)


# --- fewer bits


@KINDS
@torch.no_grad()
def test_weights_kept_in_eight_bits_and_computed_with_in_32(kind):
    model, given = scene(kind)
    expected = model(**given).sample
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    drawn = model(**given).sample
    assert {layer.weight.dtype for layer in linears(model.blocks).values()} == {torch.float8_e4m3fn}
    assert drawn.dtype == torch.float32
    assert 1e-4 < change(drawn, expected) < 0.1


@KINDS
@torch.no_grad()
def test_half_precision(kind, tmp_path):
    model, given = scene(kind)
    expected = model(**given).sample
    model.save_pretrained(tmp_path)
    model = type(model).from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert model.blocks[0].attn1.to_q.weight.dtype == torch.bfloat16
    assert model.blocks[0].scale_shift_table.dtype == torch.float32
    half = {
        name: value.bfloat16() if name.endswith("hidden_states") else value for name, value in given.items()
    }
    for branch in given["branches"]:
        branch.bfloat16()
    drawn = model(**half).sample
    assert drawn.dtype == torch.bfloat16
    assert 1e-4 < change(drawn, expected) < 0.05


@KINDS
@torch.no_grad()
def test_quantised_on_loading_every_block_computes_with_the_rounded_weights(kind, tmp_path):
    pytest.importorskip("torchao")
    from diffusers import TorchAoConfig
    from torchao.quantization import Int8WeightOnlyConfig

    model, given = scene(kind)
    expected = model(**given).sample
    model.save_pretrained(tmp_path)
    config = TorchAoConfig(Int8WeightOnlyConfig())
    quantised = type(model).from_pretrained(tmp_path, quantization_config=config, torch_dtype=torch.float32)
    drawn = quantised(**given).sample
    rounded = 0
    for name, layer in linears(model).items():
        weight = quantised.get_submodule(name).weight
        if type(weight) is not nn.Parameter:
            rounded += 1
            step = layer.weight.abs().amax(1, keepdim=True) / 127
            assert ((weight.dequantize() - layer.weight).abs() <= 0.51 * step).all()
            layer.weight.copy_(weight.dequantize())
    assert rounded >= len(linears(model.blocks)) + len(linears(getattr(model, "vace_blocks", nn.Module())))
    assert 1e-4 < change(drawn, expected) < 0.02
    torch.testing.assert_close(drawn, model(**given).sample, rtol=1e-4, atol=1e-5)
