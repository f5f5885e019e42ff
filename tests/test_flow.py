"""The flow convention: its three ways of telling one point agree, and it is the backbone's own."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from vivavoce import flow


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(3, 4, 5, 2, 2), torch.randn(3, 4, 5, 2, 2), torch.tensor([0.0, 0.3, 1.0])


def test_the_ends_of_the_path_are_data_and_noise(pair):
    data, noise, _ = pair
    assert torch.equal(flow.noised(data, noise, torch.zeros(3)), data)
    assert torch.equal(flow.noised(data, noise, torch.ones(3)), noise)


def test_the_velocity_is_the_paths_derivative(pair):
    data, noise, sigma = (t.double() for t in pair)
    step = 1e-6
    slope = (flow.noised(data, noise, sigma + step) - flow.noised(data, noise, sigma)) / step
    torch.testing.assert_close(slope, flow.velocity(data, noise), rtol=1e-4, atol=1e-6)


def test_point_and_velocity_tell_data_and_noise(pair):
    data, noise, sigma = pair
    x, v = flow.noised(data, noise, sigma), flow.velocity(data, noise)
    torch.testing.assert_close(flow.data_from(x, v, sigma), data, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(flow.noise_from(x, v, sigma), noise, rtol=1e-4, atol=1e-5)


def test_frames_may_have_noise_levels_of_their_own(pair):
    data, noise, _ = pair
    sigma = torch.linspace(0, 1, 5).reshape(1, 1, 5, 1, 1).expand(3, 1, 5, 1, 1)
    x = flow.noised(data, noise, sigma)
    assert torch.equal(x[:, :, 0], data[:, :, 0])
    assert torch.equal(x[:, :, 4], noise[:, :, 4])


def test_noising_is_what_diffusers_scheduler_does(pair):
    data, noise, _ = pair
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    t = scheduler.timesteps[[100, 500, 900]]
    expected = scheduler.scale_noise(data, t, noise)
    torch.testing.assert_close(flow.noised(data, noise, t / flow.STEPS), expected)
    torch.testing.assert_close(flow.timestep(t / flow.STEPS), t)


def test_the_shift_keeps_the_ends_and_composes():
    sigma = torch.linspace(0, 1, 11).double()
    assert flow.shifted(sigma, 3.0)[[0, -1]].tolist() == [0, 1]
    torch.testing.assert_close(flow.shifted(flow.shifted(sigma, 3.0), 2.0), flow.shifted(sigma, 6.0))
    torch.testing.assert_close(flow.shifted(sigma, 1.0), sigma)
    torch.testing.assert_close(  # Wan's schedule of four steps at shift 5
        flow.shifted(torch.linspace(1, 0, 5)[:-1], 5.0), torch.tensor([1.0, 0.9375, 0.8333333, 0.625])
    )
