"""Planning guidance in the VACE stack: eq. 5 of PhysAvatar, and where the plan reaches."""

import pytest
import torch
from torch import Tensor

from tiny import VACE
from vivavoce.video.branches.planner_text import PlannerAttention
from vivavoce.video.wan.backbone import VaceBackbone
from vivavoce.video.wan.sockets import Grid, Moment

WIDTH, PLANNER, WORDS = 24, 20, 7


def branch(*, trained: bool = True) -> PlannerAttention:
    torch.manual_seed(0)
    made = PlannerAttention(WIDTH, heads=2, planner_width=PLANNER, layers=2).eval()
    if trained:
        for attention in made.attentions:
            torch.nn.init.normal_(attention.to_out.weight)
    return made


@pytest.fixture(scope="module")
def model() -> VaceBackbone:
    torch.manual_seed(1)
    return VaceBackbone(**VACE).eval()


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    torch.manual_seed(2)
    return {
        "hidden_states": torch.randn(2, 16, 3, 4, 4),
        "timestep": torch.tensor([700.0, 100.0]),
        "encoder_hidden_states": torch.randn(2, 12, 32),
        "control_hidden_states": torch.randn(2, 96, 3, 4, 4),
    }


@torch.no_grad()
def test_the_plan_reaches_the_video_through_the_hints_once_trained(model, inputs):
    plain = model(**inputs).sample
    conditions = {"plan": torch.randn(2, WORDS, PLANNER)}
    assert torch.equal(model(**inputs, branches=[branch(trained=False)], conditions=conditions).sample, plain)
    guided = model(**inputs, branches=[branch()], conditions=conditions)
    assert (guided.sample - plain).abs().max() > 1e-3
    silent = {"control_hidden_states_scale": torch.zeros(2)}
    without = model(**inputs, **silent).sample
    assert torch.equal(model(**inputs, **silent, branches=[branch()], conditions=conditions).sample, without)


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 1])
def test_each_vace_block_has_attention_of_its_own(model, inputs, layer):
    made = branch(trained=False)
    torch.nn.init.normal_(made.attentions[layer].to_out.weight)
    conditions = {"plan": torch.randn(2, WORDS, PLANNER)}
    taps = ["vace_blocks.0", "vace_blocks.1"]
    plain = model(**inputs, taps=taps).taps
    guided = model(**inputs, taps=taps, branches=[made], conditions=conditions).taps
    assert [not torch.equal(guided[name], plain[name]) for name in taps] == [layer == 0, True]


@torch.no_grad()
def test_the_projector_is_equation_5_run_once_a_step():
    made, plan = branch(), torch.randn(2, WORDS, PLANNER)
    p = {name: value.double() for name, value in made.project.state_dict().items()}
    x = plan.double()
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    x = (x * p["0.weight"] + p["0.bias"]) @ p["1.weight"].T + p["1.bias"]
    x = 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))
    expected = x @ p["3.weight"].T + p["3.bias"]
    tokens = torch.randn(2, 12, WIDTH)
    given = {"plan": plan}
    passed, conditions = made.enter(
        tokens, given, Moment(torch.zeros(2), torch.zeros(2, WIDTH), Grid(3, 2, 2))
    )
    assert passed is tokens
    assert set(given) == {"plan"}
    torch.testing.assert_close(conditions["planner_text.tokens"].double(), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_order_of_words_does_not_matter_but_which_words_are_there_does():
    made, tokens = branch(), torch.randn(1, 12, WIDTH)
    moment = Moment(torch.zeros(1), torch.zeros(1, WIDTH), Grid(3, 2, 2))

    def guidance(plan: Tensor) -> Tensor:
        residual = made.residual(1, tokens, made.enter(tokens, {"plan": plan}, moment)[1])
        assert residual is not None
        return residual

    plan = torch.randn(1, WORDS, PLANNER)
    torch.testing.assert_close(guidance(plan.flip(1)), guidance(plan), rtol=1e-4, atol=1e-5)
    assert (guidance(plan[:, 1:]) - guidance(plan)).abs().max() > 1e-3


@torch.no_grad()
def test_without_a_plan_nothing_happens(model, inputs):
    assert torch.equal(model(**inputs, branches=[branch()]).sample, model(**inputs).sample)
