"""Score distillation against a teacher whose best velocity is known: data that are normally distributed."""

import pytest
import torch
from torch.autograd import gradcheck

from vivavoce import flow
from vivavoce.losses.distill import (
    constant,
    draw_sigma,
    estimate,
    score_distillation,
    score_gradient,
    variance,
)

MEAN, SPREAD = 0.7, 0.4
LEVELS = torch.tensor([0.1, 0.5, 0.9]).double()


def teacher(x, sigma):
    """E[eps - data | x] where data ~ N(MEAN, SPREAD^2), component by component."""
    s = sigma.reshape(-1, *[1] * (x.ndim - 1))
    surprise = (x - (1 - s) * MEAN) / ((1 - s) ** 2 * SPREAD**2 + s**2)
    return s * surprise - (MEAN + (1 - s) * SPREAD**2 * surprise)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def drawn():
    shape = (3, 2, 2, 3, 3)
    return tuple(
        torch.randn(shape, generator=seeded(i)).double() for i in range(3)
    )  # latents, noise, velocity


def gradient(latents, velocity, **given):
    latents = latents.clone().requires_grad_()
    score_distillation(latents, velocity, **given).sum().backward()
    return latents.grad


@pytest.mark.parametrize("weight", [constant, variance, estimate])
def test_the_gradient_is_that_of_equation_8(drawn, weight):
    latents, noise, velocity = drawn
    found = gradient(latents, velocity, noise=noise, sigma=LEVELS, weight=weight)
    for b, sigma in enumerate(LEVELS.tolist()):
        alpha = 1 - sigma
        x = alpha * latents[b] + sigma * noise[b]
        guessed = x + alpha * velocity[b]
        w = {constant: 1.0, variance: sigma**2, estimate: sigma / alpha**2}[weight]
        torch.testing.assert_close(found[b], w * alpha * (guessed - noise[b]))


def test_by_estimate_latents_are_pulled_to_what_the_teacher_sees(drawn):
    latents, noise, velocity = drawn
    seen = flow.data_from(flow.noised(latents, noise, LEVELS), velocity, LEVELS)
    found = gradient(latents, velocity, noise=noise, sigma=LEVELS, weight=estimate)
    torch.testing.assert_close(found, latents - seen)


def test_the_teachers_jacobian_is_left_out(drawn):
    latents, noise, _ = drawn
    latents.requires_grad_()
    velocity = teacher(flow.noised(latents, noise, LEVELS), LEVELS)
    score_distillation(latents, velocity, noise=noise, sigma=LEVELS).sum().backward()
    kept = score_gradient(latents, velocity, noise=noise, sigma=LEVELS)
    assert not kept.requires_grad
    torch.testing.assert_close(latents.grad, kept)


def test_the_mean_gradient_of_a_normal_teacher_is_the_closed_form(drawn):
    latents, noise, _ = drawn
    both = []
    for eps in (noise, -noise):  # what is linear in the noise is gone in the mean
        velocity = teacher(flow.noised(latents, eps, LEVELS), LEVELS)
        both.append(gradient(latents, velocity, noise=eps, sigma=LEVELS, weight=constant))
    alpha = (1 - LEVELS).reshape(3, 1, 1, 1, 1)
    sigma = 1 - alpha
    pull = alpha**2 * sigma / (alpha**2 * SPREAD**2 + sigma**2)
    torch.testing.assert_close((both[0] + both[1]) / 2, pull * (latents - MEAN))


def test_through_a_renderer_the_gradient_is_that_of_the_potential(drawn):
    """For one noise eq. 8 is linear in the latents here, so that it is the gradient of something that can be told."""
    _, noise, _ = drawn
    alpha = (1 - LEVELS).reshape(3, 1, 1, 1, 1)
    sigma, power = 1 - alpha, alpha**2 * SPREAD**2 + (1 - alpha) ** 2
    mix = torch.randn(4, noise[0].numel(), generator=seeded(9)).double()

    def rendered(parameters):
        return torch.tanh(parameters @ mix).reshape(noise.shape)

    class Told(torch.autograd.Function):
        @staticmethod
        def forward(ctx, parameters):
            ctx.save_for_backward(parameters)
            off = rendered(parameters) - MEAN
            return (
                sigma**2 * alpha**2 * (sigma * off**2 / 2 - alpha * SPREAD**2 * noise * off) / power
            ).sum()

        @staticmethod
        def backward(ctx, *scale):
            (parameters,) = ctx.saved_tensors
            with torch.enable_grad():
                parameters = parameters.detach().requires_grad_()
                latents = rendered(parameters)
                velocity = teacher(flow.noised(latents, noise, LEVELS), LEVELS)
                loss = score_distillation(latents, velocity, noise=noise, sigma=LEVELS).sum()
                return scale[0] * torch.autograd.grad(loss, parameters)[0]

    assert gradcheck(Told.apply, torch.randn(3, 4, generator=seeded(5)).double().requires_grad_())


def test_descent_brings_latents_to_the_teachers_mode():
    generator = seeded()
    latents = torch.tensor([-2.0, 0.0, 3.0]).double().requires_grad_()
    optimizer = torch.optim.SGD([latents], lr=4.0)
    for _ in range(300):
        sigma = draw_sigma(256, generator).double()
        noise = torch.randn(256, 3, generator=generator).double()
        copies = latents.expand(256, 3)
        velocity = teacher(flow.noised(copies, noise, sigma), sigma).detach()
        optimizer.zero_grad()
        score_distillation(copies, velocity, noise=noise, sigma=sigma).mean().backward()
        optimizer.step()
    assert (latents - MEAN).abs().max() < 0.05


def test_near_no_noise_only_a_constant_weight_follows_the_noise():
    latents, sigma = torch.full((1, 1000), MEAN).double(), torch.tensor([0.02]).double()
    noise = torch.randn(1, 1000, generator=seeded()).double()
    velocity = teacher(flow.noised(latents, noise, sigma), sigma)
    sizes = {
        weight: gradient(latents, velocity, noise=noise, sigma=sigma, weight=weight).std().item()
        for weight in (constant, variance, estimate)
    }
    assert sizes[constant] == pytest.approx(1, rel=0.1)
    assert sizes[variance] < 1e-3
    assert sizes[estimate] < 0.05


def test_the_value_is_half_the_squared_gradient_of_each_example(drawn):
    latents, noise, velocity = drawn
    given = {"noise": noise, "sigma": LEVELS}
    pull = score_gradient(latents, velocity, **given)
    wanted = [0.5 * sum(v**2 for v in pull[b].flatten().tolist()) for b in range(3)]
    assert score_distillation(latents, velocity, **given).tolist() == pytest.approx(wanted)
    right = flow.velocity(latents, noise)
    assert score_distillation(latents, right, **given).tolist() == [0, 0, 0]


def test_a_frame_that_the_teacher_was_given_is_left_alone(drawn):
    latents, noise, velocity = drawn
    sigma = torch.tensor([0.0, 0.6]).double().reshape(1, 1, 2, 1, 1).expand(3, 1, 2, 1, 1)
    found = gradient(latents, velocity, noise=noise, sigma=sigma)
    assert torch.equal(found[:, :, 0], torch.zeros(3, 2, 3, 3).double())
    whole = gradient(latents, velocity, noise=noise, sigma=torch.full((3,), 0.6).double())
    torch.testing.assert_close(found[:, :, 1], whole[:, :, 1])


def test_halves_are_reckoned_in_float32(drawn):
    latents, noise, velocity = (value.bfloat16() for value in drawn)
    found = score_distillation(latents, velocity, noise=noise, sigma=LEVELS.float())
    exact = score_distillation(latents.double(), velocity.double(), noise=noise.double(), sigma=LEVELS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=0)


def test_levels_are_drawn_as_a_shifted_schedule_spreads_its_steps():
    plain = draw_sigma(20000, seeded(), low=0.1, high=0.9)
    assert plain.min() >= 0.1
    assert plain.max() <= 0.9
    assert torch.quantile(plain, 0.25).item() == pytest.approx(0.3, abs=0.01)
    levels = draw_sigma(20000, seeded(), low=0.1, high=0.9, shift=5.0)
    assert levels.min().item() == pytest.approx(0.1, abs=2e-3)
    assert levels.max().item() == pytest.approx(0.9, abs=2e-3)
    steps = flow.shifted(torch.linspace(0, 1, 200001), 5.0)
    steps = steps[(steps >= 0.1) & (steps <= 0.9)]
    for share in (0.25, 0.5, 0.75):
        expected = torch.quantile(steps[::10], share).item()
        assert torch.quantile(levels, share).item() == pytest.approx(expected, abs=0.01)


def test_levels_are_the_generators_and_the_ends_can_be_asked_for():
    assert torch.equal(draw_sigma(5, seeded(3)), draw_sigma(5, seeded(3)))
    assert not torch.equal(draw_sigma(5, seeded(3)), draw_sigma(5, seeded(4)))
    everywhere = draw_sigma(1000, seeded(), low=0.0, high=1.0, shift=3.0)
    assert everywhere.isfinite().all()


@pytest.mark.parametrize("given", [{"low": 0.5, "high": 0.5}, {"low": -0.1}, {"high": 1.1}, {"shift": 0.0}])
def test_a_range_outside_the_path_is_refused(given):
    with pytest.raises(ValueError, match=r"noise levels lie between 0 and 1|a shift is positive"):
        draw_sigma(2, seeded(), **given)
