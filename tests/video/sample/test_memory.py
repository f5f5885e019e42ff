"""What one evaluation holds, against what the real networks allocate at full size, and how many fit."""

import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import tiny
from vivavoce.methods import METHODS
from vivavoce.methods.load import load
from vivavoce.video.branches import attention
from vivavoce.video.sample import memory
from vivavoce.video.sample.memory import SHARE, activations, at_once

NAMES = ("physavatar", "actavatar", "apoavatar")


class Allocations(TorchDispatchMode):
    """The most bytes that tensors made within it hold at one time, views of `known` ones apart."""

    def __init__(self, known):
        super().__init__()
        self.seen = {tensor.untyped_storage()._cdata for tensor in known}
        self.now = self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.count(tensor.untyped_storage())
        return made

    def count(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.now += size
        self.most = max(self.most, self.now)

        def freed():
            self.seen.discard(key)
            self.now -= size

        weakref.finalize(storage, freed)


def conditions_of(config, items):
    """Everything that a network is told of a whole chunk, without values."""
    f, h, w = 1 + (config.chunk - 1) // 4, config.height // config.stride, config.width // config.stride
    shape = (items, config.transformer["in_channels"], f, h, w)
    told = {
        "text": torch.empty(items, config.text_length, config.transformer["text_dim"]),
        "audio": torch.empty(items, config.chunk + 4, config.encoder.width),
    }
    if config.name == "physavatar":
        plan = torch.empty(items, 80, config.planner_width)
        return told | {"control": torch.empty(items, 96, f + 1, h, w), "plan": plan}
    if config.name == "apoavatar":
        told["pose"] = torch.empty(items, 3, config.chunk, config.height, config.width)
    given = torch.empty(items, f)
    return (
        told
        | {"image": given, "given": given}
        | dict.fromkeys(("given.latents", "given.noise"), torch.empty(shape))
    )


def allocated(name, dtype, items, monkeypatch):
    """Bytes of an evaluation at full size, counted tensor by tensor, and by the formula.

    Four blocks stand for all, since none keeps anything but hints; attention allocates what a flash kernel does.
    """

    def flash(query, *args, **kwargs):
        return torch.empty_like(query)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", flash)
    monkeypatch.setattr(attention, "scaled_dot_product_attention", flash)
    config = METHODS[name]
    stack = {"num_layers": 4} | ({"vace_layers": [0, 2]} if name == "physavatar" else {})
    config = replace(config, transformer=config.transformer | stack)
    with torch.device("meta"), torch.no_grad():
        network = config.build().to(dtype).eval()
        network.text = lambda conditions: conditions["text"]  # phases are looked up by value
        x = torch.empty(items, *network.latent_shape(config.chunk)[1:])
        told, sigma = conditions_of(config, items), torch.empty(items)
        with Allocations(network.parameters()) as counted:
            network(x, sigma, told)
    return counted.most, activations(network.backbone.config, config.tokens, dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", NAMES)
def test_the_formula_is_a_close_upper_bound_of_what_is_allocated(name, dtype, monkeypatch):
    one, formula = allocated(name, dtype, 1, monkeypatch)
    two, _ = allocated(name, dtype, 2, monkeypatch)
    assert 0.85 * formula < one <= formula
    assert 0.85 * formula < two - one <= formula


def test_it_grows_with_everything_that_makes_an_evaluation_larger():
    config = dict(METHODS["physavatar"].transformer)
    least = activations(config, 1000, torch.bfloat16)
    assert activations(config, 2000, torch.bfloat16) == 2 * least
    assert activations(config, 1000, torch.float32) > least
    for larger in (
        {"ffn_dim": config["ffn_dim"] + 1},
        {"num_attention_heads": 13},
        {"vace_layers": [*config["vace_layers"], 29]},
    ):
        assert activations(config | larger, 1000, torch.bfloat16) > least, larger


def test_a_processor_takes_one_at_a_time():
    network = load(tiny.method("apoavatar"), device="cpu").network
    assert at_once(network, 1, 5) == 1


@pytest.fixture(scope="module")
def card_network():
    """ApoAvatar's at full size, on a device that is no processor."""
    with torch.device("meta"):
        return METHODS["apoavatar"].build().to(torch.bfloat16)


def needed(network, evaluations):
    """Bytes of the weights and of that many evaluations; 2 bytes a parameter."""
    tokens = network.config.tokens
    each = activations(network.backbone.config, tokens, torch.bfloat16)
    return 2 * sum(p.numel() for p in network.parameters()) + evaluations * each


@pytest.mark.parametrize("fitting", [1, 2, 3, 4, 5])
def test_on_a_card_as_many_as_fit_are_taken_and_no_more_than_there_are(fitting, card_network, monkeypatch):
    tokens = card_network.config.tokens
    for bytes_more, wanted in ((1e6, fitting), (-1e6, max(1, fitting - 1))):
        total = (needed(card_network, fitting) + bytes_more) / SHARE
        monkeypatch.setattr(memory, "_memory", lambda device, total=total: int(total))
        assert at_once(card_network, tokens, 5) == wanted
    assert at_once(card_network, tokens, 1) == 1


def test_where_not_even_the_weights_fit_one_is_tried(card_network, monkeypatch):
    monkeypatch.setattr(memory, "_memory", lambda device: 1000)
    assert at_once(card_network, card_network.config.tokens, 5) == 1


def test_it_is_the_whole_memory_of_the_card_that_counts_not_what_is_free(monkeypatch):
    """So that the same video is drawn in the same batches whatever else runs."""
    asked = []
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: asked.append(device) or SimpleNamespace(total_memory=80 * 2**30),
    )
    card = torch.device("cuda", 1)
    assert memory._memory(card) == 80 * 2**30
    assert asked == [card]
