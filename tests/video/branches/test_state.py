"""The state head frame by frame, and a loss that masked latents alone decide."""

import pytest
import torch
from torch import nn

from tiny import WAN
from vivavoce.timing import frames_of_latents
from vivavoce.video.branches.state import StateHead, state_loss
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone
from vivavoce.video.wan.sockets import Grid

TINY = WAN | {"num_layers": 2}


def test_81_frames_have_84_tokens_of_1024():
    head = StateHead(8)
    assert head(torch.randn(2, 21 * 6, 8), Grid(21, 2, 3)).shape == (2, 84, 1024)
    assert frames_of_latents(21).size == 84


def test_four_tokens_from_the_mean_of_each_latent():
    head = StateHead(8, state_width=5, hidden=7)
    tokens = torch.randn(2, 3 * 4, 8)
    given = head(tokens, Grid(3, 2, 2))
    for b in range(2):
        for t in range(3):
            mean = sum(tokens[b, 4 * t + i] for i in range(4)) / 4
            first, _, second = head.mlp
            four = second(nn.functional.gelu(first(mean)))
            for i in range(4):
                torch.testing.assert_close(given[b, 4 * t + i], four[5 * i : 5 * i + 5])


def test_pictures_have_no_state():
    head, tokens = StateHead(8, state_width=5), torch.randn(1, 4 * 6, 8)
    given = head(tokens, Grid(4, 2, 3, references=1))
    assert torch.equal(given, head(tokens[:, 6:], Grid(3, 2, 3)))
    with pytest.raises(ValueError, match="24 tokens"):
        head(tokens, Grid(5, 2, 3))


@pytest.mark.parametrize("backbone", [WanBackbone, VaceBackbone])
def test_it_reads_a_tapped_block_and_teaches_the_blocks_before_it(backbone):
    extra = {"vace_layers": [0], "vace_in_channels": 96} if backbone is VaceBackbone else {}
    control = {"control_hidden_states": torch.randn(2, 96, 3, 8, 8)} if extra else {}
    model, head = backbone(**TINY, **extra), StateHead(24, state_width=5)
    latents, text = torch.randn(2, 16, 3, 8, 8), torch.randn(2, 12, 32)
    drawn = model(latents, torch.tensor([700.0, 100.0]), text, **control, taps=["blocks.0"])
    predicted = head(drawn.taps["blocks.0"], Grid(3, 4, 4))
    keep = torch.tensor([[True, False, True], [True, True, True]])
    state_loss(predicted, torch.randn(2, 12, 5), keep).sum().backward()
    assert model.blocks[0].attn1.to_q.weight.grad.abs().max() > 0
    assert model.blocks[1].attn1.to_q.weight.grad is None


def test_the_loss_is_each_examples_mean_square_over_its_masked_latents():
    torch.manual_seed(0)
    predicted, target = torch.randn(2, 12, 5), torch.randn(2, 12, 5)
    keep = torch.tensor([[True, False, True], [False, False, True]])
    wanted = []
    for b, masked in enumerate(([1], [0, 1])):
        squares = [
            (predicted[b, 4 * t + i, e].item() - target[b, 4 * t + i, e].item()) ** 2
            for t in masked
            for i in range(4)
            for e in range(5)
        ]
        wanted.append(sum(squares) / len(squares))
    assert state_loss(predicted, target, keep).tolist() == pytest.approx(wanted, rel=1e-5)


def test_no_gradient_where_nothing_is_masked_whatever_is_there():
    predicted, target = torch.randn(2, 12, 5, requires_grad=True), torch.randn(2, 12, 5)
    keep = torch.tensor([[True, False, True], [True, True, True]])
    target[0, 0], target[1] = float("nan"), float("inf")
    loss = state_loss(predicted, target, keep)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert torch.equal(predicted.grad[0, :4], torch.zeros(4, 5))
    assert torch.equal(predicted.grad[0, 8:], torch.zeros(4, 5))
    assert torch.equal(predicted.grad[1], torch.zeros(12, 5))
    expected = 2 * (predicted[0, 4:8] - target[0, 4:8]) / 20
    torch.testing.assert_close(predicted.grad[0, 4:8], expected.detach())


def test_with_nothing_masked_the_loss_is_zero_and_can_still_be_trained_on():
    predicted = torch.randn(2, 12, 5, requires_grad=True)
    loss = state_loss(predicted, torch.randn(2, 12, 5), torch.ones(2, 3, dtype=torch.bool))
    loss.sum().backward()
    assert loss.tolist() == [0, 0]
    assert torch.equal(predicted.grad, torch.zeros(2, 12, 5))


def test_tokens_and_latents_must_agree():
    with pytest.raises(ValueError, match="11 state tokens for 3"):
        state_loss(torch.ones(1, 11, 5), torch.ones(1, 11, 5), torch.ones(1, 3, dtype=torch.bool))
