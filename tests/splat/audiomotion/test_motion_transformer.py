"""The transformer against its arithmetic in numpy, as built, and what its conditions do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from motions import TINY, stirred

from vivavoce.splat.audiomotion.transformer import (
    GIVEN,
    Block,
    MotionTransformer,
    rotary_table,
    rotated,
    sinusoids,
)

GENERATOR = torch.Generator().manual_seed(2)


def drawn(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def transformer(**changes):
    return stirred(MotionTransformer(replace(TINY, **changes))).double()


def steps(step, batch=2):
    return torch.full((batch, 30), step)


def test_a_block_is_its_arithmetic_in_numpy():
    block = stirred(Block(8, 2)).double()
    w = {name: p.detach().numpy() for name, p in block.named_parameters()}
    x, condition = drawn(1, 5, 8), drawn(1, 5, 8)

    def linear(name, y):
        return y @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def modulated(y, shift, scale):
        return (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-5) * (1 + scale) + shift

    def turned(y):
        turn = np.exp(1j * np.outer(np.arange(5), 10000.0 ** -np.array([0, 0.5])))
        z = (y[:, :2] + 1j * y[:, 2:]) * turn
        return np.concatenate([z.real, z.imag], 1)

    y = x[0].numpy()
    a, b, c, d, e, f = np.split(linear("modulation", condition[0].numpy()), 6, axis=1)
    q, k, v = np.split(linear("qkv", modulated(y, a, b)), 3, axis=1)
    heads = []
    for own in (slice(0, 4), slice(4, 8)):
        scores = np.exp(turned(q[:, own]) @ turned(k[:, own]).T / 2)
        heads.append(scores / scores.sum(1, keepdims=True) @ v[:, own])
    y = y + c * linear("attended", np.concatenate(heads, 1))
    hidden = linear("expand", modulated(y, d, e))
    hidden = hidden / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
    y = y + f * linear("contract", hidden)
    found = block(x, condition, rotary_table(5, 4).double())
    np.testing.assert_allclose(found[0].detach(), y, rtol=1e-5, atol=1e-6)


def test_rotary_products_depend_on_the_difference_of_positions():
    q, k = drawn(1, 1, 1, 16).expand(1, 1, 40, 16), drawn(1, 1, 1, 16).expand(1, 1, 40, 16)
    table = rotary_table(40, 16).double()
    products = (rotated(q, table) @ rotated(k, table).mT)[0, 0]
    for offset in (-7, 0, 3):
        line = products.diagonal(offset)
        torch.testing.assert_close(line, line[:1].expand_as(line), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rotated(q, table).norm(dim=-1), q.norm(dim=-1), rtol=1e-6, atol=1e-6)


def test_sinusoids_tell_steps_apart_from_1_to_a_turn_in_ten_thousand():
    found = sinusoids(torch.tensor([[0, 7]]), 6)[0].double()
    rates = 10000.0 ** -(np.arange(3) / 3)
    np.testing.assert_allclose(found[1], [*np.cos(7 * rates), *np.sin(7 * rates)], atol=1e-6)
    np.testing.assert_allclose(found[0], [1, 1, 1, 0, 0, 0])


def test_as_built_blocks_change_nothing_and_everything_is_the_mean_motion():
    model = MotionTransformer(TINY)
    noised, heard = torch.randn(2, 30, 11), torch.randn(2, 30, 16)
    assert (model(noised, steps(9), heard) == 0).all()
    x, table = torch.randn(2, 30, 16), model.rotary
    assert all(torch.equal(block(x, heard, table), x) for block in model.blocks)


def test_speech_step_noise_and_identity_all_count():
    model = transformer(identity=3)
    noised, audio, patches, who = drawn(2, 30, 11), drawn(2, 30, 3), drawn(2, 6, 4), drawn(2, 3)

    def estimate(noised=noised, audio=audio, patches=patches, step=3, who=who):
        return model(noised, steps(step), model.hear(audio, patches), who)

    base = estimate()
    for change in (
        {"noised": noised + 1},
        {"audio": audio + 1},
        {"patches": -patches},
        {"step": 4},
        {"who": -who},
    ):
        assert (estimate(**change) - base).abs().max() > 1e-3


def test_speech_that_is_not_heard_is_the_null_for_those_items_alone():
    model = transformer()
    audio, patches = drawn(2, 30, 3), drawn(2, 6, 4)
    sound = model.hear(audio, patches)
    some = model.hear(audio, patches, torch.tensor([True, False]))
    assert torch.equal(some[0], sound[0])
    assert torch.equal(some[1], model.unheard(sound)[1])
    assert torch.equal(some[1], model.null.expand(30, 16))


def test_embeddings_hold_at_the_middles_of_their_patches_and_change_linearly():
    model = transformer()
    audio, patches = drawn(1, 30, 3), drawn(1, 6, 4)
    found = (model.hear(audio, patches) - model.audio_in(audio))[0].detach().numpy()
    at_middles = model.patch_in(patches)[0].detach().numpy()
    for channel in range(16):
        expected = np.interp(np.arange(30), 5 * np.arange(6) + 2, at_middles[:, channel])
        np.testing.assert_allclose(found[:, channel], expected, atol=1e-9)


def test_a_given_frame_is_read_otherwise_than_a_noised_one():
    model = transformer()
    noised, heard = drawn(1, 30, 11), drawn(1, 30, 16)
    step = steps(9, batch=1)
    given = step.clone()
    given[:, :5] = GIVEN
    first, second = model(noised, step, heard), model(noised, given, heard)
    assert (first - second)[:, 5:].abs().max() > 1e-4


def test_an_identity_is_given_exactly_where_there_is_one():
    with pytest.raises(ValueError, match="identity"):
        transformer()(drawn(2, 30, 11), steps(1), drawn(2, 30, 16), drawn(2, 3))
    with pytest.raises(ValueError, match="identity"):
        transformer(identity=3)(drawn(2, 30, 11), steps(1), drawn(2, 30, 16))


def test_gradients_are_right():
    model = transformer()
    noised, audio, patches = (drawn(1, 6, c).requires_grad_() for c in (11, 3, 4))

    def estimate(noised, audio, patches):
        return model(noised, torch.full((1, 6), 5), model.hear(audio, patches[:, :2])).square().sum()

    assert torch.autograd.gradcheck(estimate, (noised, audio, patches), fast_mode=True)
