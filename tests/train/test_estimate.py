"""What a recipe will cost against what it does cost: counts, states, saved activations, operations."""

import math
from dataclasses import replace

import pytest
import torch
from test_video_task import examples, generators, task
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import tiny
from test_methods import EVERY
from vivavoce.errors import InputError
from vivavoce.methods import METHODS
from vivavoce.train.estimate import CARDS, PLAN, USED, Card, card_here, estimate, table
from vivavoce.train.machine import Machine
from vivavoce.train.recipes import RECIPES
from vivavoce.train.state import TrainState
from vivavoce.video.batch import TrainingBatch

CASES = [
    (name, i) for name in ("physavatar", "actavatar", "apoavatar") for i in range(len(RECIPES[name].stages))
]


@pytest.mark.parametrize(("name", "index"), CASES)
def test_parameters_and_states_are_those_of_a_real_network(name, index):
    stage = replace(RECIPES[f"{name}-miniature"].stages[index])
    found = estimate(tiny.method(name), stage, precision="no")
    one = task(name, lora=stage.lora)
    trained = stage.freeze(one.module)
    assert found.trained == sum(value.numel() for value in trained.values())
    assert found.frozen == sum(value.numel() for value in one.module.parameters()) - found.trained
    state = TrainState(stage, trained)
    for value in trained.values():
        value.grad = torch.zeros_like(value)
    state.advance()
    moments = [m for all_of in state.optimizer.state.values() for m in all_of.values() if m.ndim]
    assert found.optimizer == sum(m.nbytes for m in moments)
    assert state.ema is not None
    assert found.average == sum(value.nbytes for value in state.ema.shadow_params)
    assert found.weights == sum(value.nbytes for value in one.module.parameters())
    assert found.gradients == 4 * found.trained


def measured(name: str, *, bf16: bool, layers: int) -> tuple[int, int]:
    """Bytes that autograd keeps of a clip of 192 pixels with short texts, and those that the estimate says."""
    sizes = {"num_layers": layers, "num_attention_heads": 4, "ffn_dim": 128}
    config = tiny.method(name, width=192, height=192, transformer={**tiny.method(name).transformer, **sizes})
    stage = replace(RECIPES[f"{name}-miniature"].stages[0], trains=("*",), lora=False)
    network, frames, cells = config.build(), 5, (24, 24)
    stage.freeze(network)
    latents = torch.randn(1, 16, config.references + frames, *cells)
    conditions = {"text": torch.randn(1, 4, 64), "audio": torch.randn(1, 17 + 4, config.encoder.width)}
    if name == "physavatar":
        conditions |= {"control": torch.randn(1, 96, 1 + frames, *cells), "plan": torch.randn(1, 4, 64)}
    else:
        begins = torch.eye(1, frames)
        conditions |= {"image": begins, "given": begins, "given.latents": latents}
        conditions["phases"] = torch.zeros(1, 4, dtype=torch.long)
    batch, kept = TrainingBatch(latents, conditions, torch.tensor([0.5]), latents), {}
    weights = {value.untyped_storage().data_ptr() for value in network.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    autocast = torch.autocast("cpu", torch.bfloat16, enabled=bf16)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast:
        terms = network.losses(batch)
    assert terms
    return sum(kept.values()), estimate(config, stage, precision="bf16" if bf16 else "no").activations


@EVERY
@pytest.mark.parametrize("bf16", [False, True])
def test_activations_of_a_block_are_those_that_autograd_keeps(name, bf16):
    """Of blocks, since texts and convolutions, which do not grow with depth, weigh more in a tiny network."""
    (few, told_few), (many, told_many) = (measured(name, bf16=bf16, layers=layers) for layers in (4, 8))
    assert told_many - told_few == pytest.approx(many - few, rel=0.1)
    assert told_many < many * 1.05


def test_checkpointing_saves_most_and_costs_a_forward_pass():
    stage = RECIPES["actavatar"].stages[1]
    with_it, without = (
        estimate(METHODS["actavatar"], replace(stage, checkpointing=c)) for c in (True, False)
    )
    assert with_it.activations < 0.1 * without.activations == 0.1 * with_it.activations_kept
    assert with_it.operations == pytest.approx(without.operations * 4 / 3)
    frozen = estimate(METHODS["actavatar"], RECIPES["actavatar"].stages[0])
    share = frozen.trained / (frozen.trained + frozen.frozen)
    assert frozen.operations / 20_000 == pytest.approx(with_it.operations / 14_000 * (3 + share) / 4)


def test_operations_of_a_step_are_those_that_torch_counts():
    changes = {"trains": ("*",), "lora": False, "steps": 1, "batch": 1, "warmup": 0, "dropout": 0.0}
    one = task("physavatar", **changes)
    one.stage.freeze(one.module)
    clip = examples("physavatar")[0]
    clip = replace(clip, conditions={**clip.conditions, "plan": torch.zeros(1, PLAN, 64)})
    batch = one.batch([clip], generators(1))
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):  # it knows no fused attention
        torch.stack([term.sum() for term in one.losses(batch).values()]).sum().backward()
    told = estimate(tiny.method("physavatar"), one.stage).operations
    assert told == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_time_is_operations_by_rate_and_memory_is_shared():
    found = estimate(METHODS["physavatar"], RECIPES["physavatar"].stages[0])
    card = Card("a card", 80.0, 100.0)
    assert found.seconds(card) == pytest.approx(found.operations / (100e12 * USED))
    assert found.seconds(card, cards=4) == pytest.approx(found.seconds(card) / 4)
    states = found.memory() - found.activations
    assert found.memory(micro=2, cards=4) == states // 4 + 2 * found.activations
    assert states == pytest.approx(2 * found.frozen + 18 * found.trained)


def test_the_table_says_where_a_stage_fits():
    text = table(RECIPES["actavatar"], METHODS["actavatar"], Machine(precision="bf16"))
    assert "adapter: 20000 steps of 40 examples, 1 at once" in text
    assert "trains      1,189.8 M parameters, 4,999.8 M frozen" in text
    actions = text.split("\n\n")[1].splitlines()
    assert any(line.startswith("  H200        fits, ") for line in actions)
    assert any(line.startswith("  A100 80 GB  fits sharded over 2, ") for line in actions)
    tight = table(RECIPES["actavatar"], METHODS["actavatar"], Machine(), [Card("tiny", 1.0, 1.0)])
    assert "does not fit: the activations of one example alone are too many" in tight
    small = table(RECIPES["actavatar-miniature"], METHODS["actavatar-miniature"], Machine())
    assert " MiB" in small
    assert " seconds" in small


def test_cards_are_told_apart_by_name_and_a_wrong_pattern_is_told(monkeypatch):
    class Found:
        name, total_memory = "NVIDIA H200 NVL", 140 * 2**30

    assert len({card.name for card in CARDS}) == len(CARDS)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Found)
    here = card_here()
    assert here is not None
    assert (here.name, here.memory, here.rate) == ("NVIDIA H200 NVL", 140, 989.4)
    Found.name = "GeForce GTX 970"
    assert card_here() is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert card_here() is None
    stage = RECIPES["physavatar"].stages[0]
    with pytest.raises(InputError, match="Stage 'lora' restores 'heart'"):
        estimate(METHODS["physavatar"], replace(stage, restores=("heart",)))
    assert math.isfinite(estimate(METHODS["physavatar"], stage).operations)
