"""The chain against equation 8 written out in float64, how often it asks, and what is dropped."""

import itertools

import pytest
import torch

from vivavoce.errors import InputError
from vivavoce.video.sample.guidance import ORDERS, Chain, variants
from vivavoce.video.wan.backbone import WanBackbone

CONDITIONS = ("text", "image", "audio", "pose")
ALL = frozenset(CONDITIONS)


@pytest.fixture(scope="module")
def field():
    """An unrelated velocity for every subset of the conditions that may be given, in float64."""
    torch.manual_seed(0)
    subsets = [frozenset(s) for n in range(5) for s in itertools.combinations(CONDITIONS, n)]
    return {given: torch.randn(2, 3, 2, 4, 4, dtype=torch.float64) for given in subsets}


class Asked:
    """An evaluation that looks the velocity up and remembers what it was asked."""

    def __init__(self, field):
        self.field, self.batches = field, []

    def __call__(self, dropped):
        self.batches.append(list(dropped))
        return torch.stack([self.field[ALL - names] for names in dropped])


def equation_8(field, text, image, audio, pose):
    v = {n: field[frozenset(CONDITIONS[:n])] for n in range(5)}
    return pose * (v[4] - v[3]) + audio * (v[3] - v[2]) + image * (v[2] - v[1]) + text * (v[1] - v[0]) + v[0]


@pytest.mark.parametrize(
    ("scales", "evaluations"),
    [
        ((5.0, 2.0, 4.0, 1.5), 5),
        ((5.0, 5.0, 4.0, 1.5), 4),
        ((5.0, 5.0, 5.0, 5.0), 2),
        ((1.0, 2.0, 4.0, 1.5), 4),  # nothing unconditional is left of the sum
        ((1.0, 1.0, 3.0, 3.0), 2),
        ((1.0, 1.0, 1.0, 1.0), 1),
        ((5.0, 2.0, 3.0, 0.0), 4),
        ((0.0, 0.0, 0.0, 0.0), 1),
    ],
)
def test_the_chain_is_equation_8_and_asks_for_nothing_in_vain(field, scales, evaluations):
    chain, asked = Chain(list(zip(CONDITIONS, scales, strict=True))), Asked(field)
    torch.testing.assert_close(chain.guided(asked), equation_8(field, *scales), rtol=1e-12, atol=1e-12)
    assert chain.evaluations == evaluations
    assert len(asked.batches) == evaluations
    questions = [names for batch in asked.batches for names in batch]
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize("at_once", [2, 3, 5, 9])
def test_in_batches_it_is_the_same_bit_for_bit(field, at_once):
    chain = Chain([("text", 5.0), ("image", 2.0), ("audio", 4.0), ("pose", 1.5)])
    one_by_one, batched = Asked(field), Asked(field)
    assert torch.equal(chain.guided(one_by_one), chain.guided(batched, at_once=at_once))
    assert [len(batch) for batch in one_by_one.batches] == [1] * 5
    sizes = [len(batch) for batch in batched.batches]
    assert sum(sizes) == 5
    assert max(sizes) == min(at_once, 5)
    assert len(sizes) == -(-5 // at_once)


def test_without_a_pose_apoavatar_costs_four(field):
    scales = {"text": 5.0, "image": 2.0, "audio": 4.0, "pose": 1.5}
    chain = Chain.ordered("text_first", scales)
    assert chain.evaluations == 5
    assert chain.among({"text", "image", "audio"}).evaluations == 4
    assert chain.among({"text", "image", "audio"}).links == chain.links[:3]


def test_equal_text_and_audio_cost_two_and_a_chain_without_links_one(field):
    joint = Chain([("text", 5.0), ("audio", 5.0)])
    assert [dropped for dropped, _ in joint.terms] == [{"text", "audio"}, set()]
    asked = Asked(field)
    assert torch.equal(Chain([]).guided(asked), field[ALL])
    assert asked.batches == [[frozenset()]]


def test_the_two_published_orders_are_those_of_their_sources(field):
    """`e_u`, one condition alone, and both, with image and pose always given."""
    rest = frozenset({"image", "pose"})
    unconditional, text, audio, full = (
        field[rest | given] for given in (set(), {"text"}, {"audio"}, {"text", "audio"})
    )
    scales = {"audio": 4.0, "text": 5.0}
    published = {
        "text_first": unconditional + 5 * (text - unconditional) + 4 * (full - text),
        "audio_first": unconditional + 5 * (full - audio) + 4 * (audio - unconditional),
    }
    assert set(published) == set(ORDERS)
    for order, expected in published.items():
        guided = Chain.ordered(order, scales).guided(Asked(field))
        torch.testing.assert_close(guided, expected, rtol=1e-12, atol=1e-12)
    assert (published["text_first"] - published["audio_first"]).abs().max() > 0.1


def test_half_precision_is_summed_in_single():
    values = {frozenset(): 100.5, frozenset({"audio"}): 100.0}
    guided = Chain([("audio", 7.0)]).guided(
        lambda dropped: torch.tensor([[values[d]] for d in dropped], dtype=torch.bfloat16)
    )
    assert guided.dtype == torch.float32
    assert guided.item() == 100.0 + 7 * 0.5


def test_mistakes_are_named():
    with pytest.raises(InputError, match="'audio' is given twice"):
        Chain([("audio", 5.0), ("audio", 2.0)])
    with pytest.raises(InputError, match="'text' is nan"):
        Chain([("text", float("nan"))])
    with pytest.raises(InputError, match="'sideways': choose one of text_first, audio_first"):
        Chain.ordered("sideways", {})
    with pytest.raises(InputError, match="no place for plan"):
        Chain.ordered("text_first", {"plan": 2.0})


def test_dropped_conditions_become_their_nulls():
    torch.manual_seed(0)
    conditions = {
        "text": torch.randn(2, 6, 8),
        "phases": torch.randint(0, 4, (2, 6)),
        "audio": torch.randn(2, 9, 5),
        "audio_mask": torch.ones(2, 3, dtype=torch.bool),
    }
    empty = torch.randn(1, 6, 8)
    both = [frozenset({"text", "audio"}), frozenset({"audio"}), frozenset()]
    made = variants(conditions, both, {"text": empty})
    assert set(made) == set(conditions)
    for i, names in enumerate(both):
        part = {key: value[2 * i : 2 * i + 2] for key, value in made.items()}
        gone = "text" in names
        assert torch.equal(part["text"], empty.expand(2, -1, -1) if gone else conditions["text"])
        assert torch.equal(part["phases"], 0 * conditions["phases"] if gone else conditions["phases"])
        assert torch.equal(part["audio"], conditions["audio"] * ("audio" not in names))
        assert part["audio_mask"].all()
    with pytest.raises(ValueError, match="'pose' cannot be dropped"):
        variants(conditions, [frozenset({"pose"})], {})


@torch.no_grad()
def test_a_backbone_gives_the_same_in_a_batch_and_one_by_one():
    torch.manual_seed(0)
    size = {"num_attention_heads": 2, "attention_head_dim": 12, "text_dim": 8, "freq_dim": 16, "ffn_dim": 48}
    model = WanBackbone(**size, num_layers=2, rope_max_seq_len=32).eval()
    x, conditions = torch.randn(2, 16, 3, 4, 4), {"text": torch.randn(2, 6, 8)}

    def evaluate(dropped):
        given, k = variants(conditions, dropped, {}), len(dropped)
        drawn = model(x.repeat(k, 1, 1, 1, 1), torch.full((2 * k,), 500.0), given["text"])
        return drawn.sample.unflatten(0, (k, 2))

    chain = Chain([("text", 5.0)])
    one, batch = chain.guided(evaluate), chain.guided(evaluate, at_once=2)
    torch.testing.assert_close(one, batch, rtol=1e-4, atol=1e-5)
    assert (one - evaluate([frozenset()])[0]).abs().max() > 1e-3
