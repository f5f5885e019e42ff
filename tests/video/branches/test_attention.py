"""Cross-attention against its formula in float64, diffusers' own class, and a masked twin; rotary positions."""

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from vivavoce.video.branches.attention import CrossAttention, PreNormCrossAttention, rotary_table

WIDTH, CONTEXT, HEADS, HEAD = 24, 10, 2, 12


def trained(attention: CrossAttention) -> CrossAttention:
    """The same with every parameter away from its start."""
    torch.manual_seed(3)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    return attention.eval()


@pytest.fixture(scope="module")
def attention() -> CrossAttention:
    return trained(CrossAttention(WIDTH, CONTEXT, heads=HEADS))


def written_out(attention: CrossAttention, tokens, context, query_times=None, key_times=None) -> np.ndarray:
    """softmax(q k / sqrt(d)) v head by head for one item, positions as turns of complex numbers."""
    weight = {name: p.detach().double().numpy() for name, p in attention.named_parameters()}

    def linear(name, x):
        return x @ weight[f"{name}.weight"].T + weight[f"{name}.bias"]

    def normed(name, x):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * weight[f"{name}.weight"]

    def turned(x, times):
        rates = 10000.0 ** (-np.arange(0, HEAD, 2) / HEAD)
        turns = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * np.outer(times, rates))
        return np.stack([turns.real, turns.imag], -1).reshape(x.shape)

    q, k = normed("norm_q", linear("to_q", tokens)), normed("norm_k", linear("to_k", context))
    v = linear("to_v", context)
    heads = []
    for i in range(HEADS):
        own = slice(i * HEAD, (i + 1) * HEAD)
        qh, kh = q[:, own], k[:, own]
        if query_times is not None:
            qh, kh = turned(qh, query_times), turned(kh, key_times)
        scores = np.exp(qh @ kh.T / np.sqrt(HEAD))
        heads.append(scores / scores.sum(1, keepdims=True) @ v[:, own])
    return linear("to_out", np.concatenate(heads, 1))


@pytest.mark.parametrize("times", [False, True])
def test_the_formula_in_float64(attention, times):
    torch.manual_seed(0)
    tokens, context = torch.randn(1, 7, WIDTH), torch.randn(1, 4, CONTEXT)
    at = (np.array([0, 0, 1, 1, 2, 2, 3]), np.array([5, 0, 2, 1]))
    rotary = tuple(rotary_table(HEAD, t) for t in at) if times else None
    expected = written_out(
        attention, tokens[0].double().numpy(), context[0].double().numpy(), *(at if times else ())
    )
    given = attention(tokens, context, rotary=rotary)[0].detach().numpy()
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)


def test_a_text_attention_of_wan_copied_in_gives_the_same():
    torch.manual_seed(1)
    sizes = {"dim": WIDTH, "heads": HEADS, "dim_head": HEAD, "cross_attention_dim_head": HEAD}
    wan = WanAttention(**sizes, eps=1e-6, processor=WanAttnProcessor())
    nn.init.normal_(wan.norm_q.weight)
    attention = CrossAttention(WIDTH, WIDTH, heads=HEADS)
    weights = {k.replace("to_out.0", "to_out"): v for k, v in wan.state_dict().items()}
    attention.load_state_dict(weights)
    tokens, context = torch.randn(2, 9, WIDTH), torch.randn(2, 5, WIDTH)
    torch.testing.assert_close(attention(tokens, context), wan(tokens, context), rtol=1e-5, atol=1e-6)


def test_it_gives_zero_at_init_and_learns_from_there():
    for kind in (CrossAttention, PreNormCrossAttention):
        attention = kind(WIDTH, CONTEXT, heads=HEADS)
        given = attention(torch.randn(2, 6, WIDTH), torch.randn(2, 3, CONTEXT))
        assert torch.equal(given, torch.zeros(2, 6, WIDTH))
        given.sum().backward()
        assert attention.to_out.weight.grad.abs().max() > 0


def test_pre_norm_makes_it_blind_to_the_scale_of_its_tokens():
    attention = trained(PreNormCrossAttention(WIDTH, CONTEXT, heads=HEADS))
    nn.init.zeros_(attention.to_q.bias)  # else RMS norm alone would still see the scale
    tokens, context = torch.randn(1, 5, WIDTH), torch.randn(1, 3, CONTEXT)
    torch.testing.assert_close(
        attention(7 * tokens + 3, context), attention(tokens, context), rtol=1e-3, atol=1e-4
    )
    normed = attention.norm(tokens)
    torch.testing.assert_close(
        attention(tokens, context), CrossAttention.forward(attention, normed, context), rtol=0, atol=0
    )


def test_frame_wise_equals_a_block_diagonal_mask(attention):
    """The slow twin: all frames at once under a mask that hides every other frame."""
    torch.manual_seed(4)
    B, f, n, m = 2, 4, 6, 3
    tokens, context = torch.randn(B, f, n, WIDTH), torch.randn(B, f, m, CONTEXT)

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, HEAD)).transpose(1, 2)

    q = split(attention.norm_q(attention.to_q(tokens.flatten(1, 2))))
    k = split(attention.norm_k(attention.to_k(context.flatten(1, 2))))
    v = split(attention.to_v(context.flatten(1, 2)))
    same = torch.arange(f).repeat_interleave(n)[:, None] == torch.arange(f).repeat_interleave(m)[None]
    masked = scaled_dot_product_attention(q, k, v, attn_mask=same)
    expected = attention.to_out(masked.transpose(1, 2).flatten(2)).unflatten(1, (f, n))
    torch.testing.assert_close(attention.frame_wise(tokens, context), expected, rtol=1e-4, atol=1e-5)


def test_only_differences_of_positions_count(attention):
    torch.manual_seed(5)
    tokens, context = torch.randn(2, 8, WIDTH), torch.randn(2, 4, CONTEXT)
    when, heard = np.arange(8) // 2, np.arange(4)

    def at(query_shift: int, key_shift: int) -> Tensor:
        rotary = rotary_table(HEAD, when + query_shift), rotary_table(HEAD, heard + key_shift)
        return attention(tokens, context, rotary=rotary)

    torch.testing.assert_close(at(90, 90), at(0, 0), rtol=1e-4, atol=1e-4)
    assert (at(0, 1) - at(0, 0)).abs().max() > 1e-2


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="5 heads"):
        CrossAttention(24, 24, heads=5)
