"""The cosine schedule against its formula and diffusers' schedulers, and sampling of Gaussians that are known."""

import math

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

from vivavoce.errors import InputError
from vivavoce.splat.audiomotion.schedule import CosineSchedule, simple_loss

SCHEDULE = CosineSchedule()
COSINE = {"num_train_timesteps": 200, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"}


def closed(t):
    """abar after t of 200 steps, Nichol & Dhariwal eq. 17."""
    return math.cos((t / 200 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2


def test_alphas_follow_the_closed_formula_up_to_the_cap_of_the_last():
    assert SCHEDULE.kept.shape == (200,)
    np.testing.assert_allclose(SCHEDULE.kept[:-1], [closed(t) for t in range(1, 200)], rtol=1e-9)
    assert SCHEDULE.kept[-1] == pytest.approx(closed(199) * 0.001, rel=1e-9)


def test_alphas_and_noised_data_are_diffusers():
    theirs = DDPMScheduler(**COSINE)
    np.testing.assert_allclose(SCHEDULE.kept, theirs.alphas_cumprod, rtol=2e-4)
    data, noise = torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(0))
    step = torch.tensor([0, 7, 120, 198])
    torch.testing.assert_close(
        SCHEDULE.noised(data, noise, step), theirs.add_noise(data, noise, step), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_sampling_is_dpm_solver_of_diffusers(count):
    theirs = DPMSolverMultistepScheduler(**COSINE, solver_order=2)
    steps = SCHEDULE.chosen(count)
    theirs.set_timesteps(timesteps=steps.tolist())

    def denoise(x, step):
        return torch.tanh(x * (1 + step / 200)) + 0.1

    x = start = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    for step in theirs.timesteps:
        x = theirs.step(denoise(x, int(step)), step, x).prev_sample
    torch.testing.assert_close(SCHEDULE.sample(denoise, start, count), x, rtol=1e-3, atol=1e-3)


def test_the_last_estimate_is_the_result():
    estimates = []

    def denoise(x, step):
        estimates.append(x * 0.9 + step)
        return estimates[-1]

    result = SCHEDULE.sample(denoise, torch.ones(1, 2, 3), 6)
    assert len(estimates) == 6
    assert result is estimates[-1]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 10, 33, 199, 200])
def test_steps_fall_and_no_two_coincide(count):
    steps = SCHEDULE.chosen(count)
    assert len(steps) == count
    assert (np.diff(steps) < 0).all()
    assert steps[-1] >= 0
    assert 198 <= steps[0] <= 199


def test_few_steps_lie_equally_in_the_signal_to_noise_ratio():
    kept = SCHEDULE.kept[SCHEDULE.chosen(10)]
    strides = np.diff(np.log(kept / (1 - kept)))
    assert strides.min() > 0.6 * strides.mean()
    assert strides.max() < 1.4 * strides.mean()


@pytest.mark.parametrize("count", [0, -1, 201])
def test_counts_out_of_bounds_are_told(count):
    with pytest.raises(InputError, match=rf"^{count} denoising steps are out of bounds: take 1 to 200\.$"):
        SCHEDULE.chosen(count)


def of_gaussian(mean, deviation):
    """The best estimate of one value of a Gaussian, from Bayes' rule."""

    def denoise(x, step):
        kept = SCHEDULE.kept[step]
        gain = math.sqrt(kept) * deviation**2 / (kept * deviation**2 + 1 - kept)
        return mean + gain * (x - math.sqrt(kept) * mean)

    return denoise


@pytest.mark.parametrize(("count", "least", "most"), [(200, 0.97, 1.03), (10, 0.80, 1.10), (8, 0.73, 1.11)])
@pytest.mark.parametrize("deviation", [0.1, 0.5, 1.0, 3.0, 11.0])
def test_a_gaussian_is_sampled_with_its_mean_and_variance(count, least, most, deviation):
    start = torch.randn(1, 20_000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn = SCHEDULE.sample(of_gaussian(-0.7, deviation), start, count)
    assert drawn.mean().item() == pytest.approx(-0.7, abs=0.05 * max(1, deviation))
    assert least < drawn.var().item() / deviation**2 < most


def test_ten_equal_steps_would_lose_what_is_slow_and_what_is_fine():
    class Equal(CosineSchedule):
        def chosen(self, count):
            return np.arange(self.steps, 0, -self.steps // count) - 1

    start = torch.randn(1, 20_000, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for deviation in (0.1, 11.0):
        drawn = Equal().sample(of_gaussian(0.0, deviation), start, 10)
        assert 0.22 < drawn.var().item() / deviation**2 < 0.29


def test_the_simple_loss_is_the_mean_square():
    estimate, data = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = sum(
        (a - b) ** 2 for a, b in zip(estimate.flatten().tolist(), data.flatten().tolist(), strict=True)
    )
    assert simple_loss(estimate, data).item() == pytest.approx(expected / 60)
