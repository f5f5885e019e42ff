"""Trajectory alignment against sums written anew; frame rates, visibility, and what it does to jitter."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from vivavoce.losses.trajectory import trajectory_alignment


@pytest.fixture
def paths():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 6, 3, 3, generator=generator).double()
    return student, teacher, torch.rand(2, 6, 3, generator=generator).double()


def by_hand(student, teacher, seen, *, rate, velocity, acceleration):
    """One example, frame by frame and point by point; differences of each side apart."""

    def mean(a, b, weights):
        above = below = 0.0
        for t in range(len(a)):
            for m in range(a.shape[1]):
                above += weights[t, m] * ((a[t, m] - b[t, m]) ** 2).sum()
                below += weights[t, m]
        return above / below

    total = mean(student, teacher, seen)
    speeds = [rate * (path[1:] - path[:-1]) for path in (student, teacher)]
    pairs = np.minimum(seen[1:], seen[:-1])
    total += velocity * mean(*speeds, pairs)
    bends = [rate**2 * (path[2:] - 2 * path[1:-1] + path[:-2]) for path in (student, teacher)]
    triples = np.minimum(np.minimum(seen[2:], seen[1:-1]), seen[:-2])
    return total + acceleration * mean(*bends, triples)


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_positions_velocities_and_accelerations_are_compared(paths, fps):
    student, teacher, seen = paths
    found = trajectory_alignment(student, teacher, fps=fps, visible=seen, velocity=2.0, acceleration=3.0)
    for b in range(2):
        expected = by_hand(
            student[b].numpy(),
            teacher[b].numpy(),
            seen[b].numpy(),
            rate=fps / 25,
            velocity=2.0,
            acceleration=3.0,
        )
        assert found[b].item() == pytest.approx(expected)


def test_all_is_seen_where_nothing_is_said(paths):
    student, teacher, seen = paths
    everything = trajectory_alignment(student, teacher, fps=25.0, visible=torch.ones_like(seen))
    torch.testing.assert_close(trajectory_alignment(student, teacher, fps=25.0), everything)


def test_gradients_are_finite_differences(paths):
    student, teacher, seen = paths
    seen[0, 2, 1] = 0

    def loss(student, teacher):
        return trajectory_alignment(student, teacher, fps=30.0, visible=seen, velocity=0.5, acceleration=2.0)

    assert gradcheck(loss, (student.requires_grad_(), teacher.requires_grad_()))


def test_a_motion_costs_the_same_at_any_frame_rate():
    def error_of(fps):
        t = torch.arange(0, 8 * fps).double() / fps
        wave = torch.sin(2 * math.pi * 0.5 * t)[None, :, None, None].expand(1, -1, 1, 3)
        return trajectory_alignment(
            wave, torch.zeros_like(wave), fps=float(fps), velocity=100.0, acceleration=1e4
        )

    assert error_of(25).item() == pytest.approx(error_of(50).item(), rel=0.02)
    # Mean squares of sine, of its slope and of its bend, each summed over three coordinates.
    turn = (2 * math.pi * 0.5 / 25) ** 2
    assert error_of(50).item() == pytest.approx(1.5 * (1 + 100 * turn + 1e4 * turn**2), rel=0.02)


def test_what_is_not_seen_counts_nothing_and_spoils_no_neighbour(paths):
    student, teacher, _ = paths
    seen = torch.ones(2, 6, 3).double()
    seen[:, 3, 0] = 0
    expected = trajectory_alignment(student, teacher, fps=25.0, visible=seen)
    teacher[:, 3, 0] = math.nan
    student.requires_grad_()
    found = trajectory_alignment(student, teacher, fps=25.0, visible=seen)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert student.grad.isfinite().all()
    assert student.grad[:, 3, 0].abs().max() == 0
    assert student.grad[:, 2, 0].abs().min() > 0


def test_a_clip_that_shows_nothing_has_no_loss(paths):
    student, teacher, seen = paths
    assert trajectory_alignment(student, teacher, fps=25.0, visible=0 * seen).tolist() == [0, 0]


def test_a_shift_is_paid_for_once_and_jitter_sixteenfold():
    still = torch.zeros(1, 50, 1, 3).double()
    moved = still + torch.tensor([0.1, 0.0, 0.0]).double()
    assert trajectory_alignment(moved, still, fps=25.0).item() == pytest.approx(0.01)
    jitter = moved * (1 - 2 * (torch.arange(50) % 2))[None, :, None, None]
    found = trajectory_alignment(jitter, still, fps=25.0, velocity=0.0)
    assert found.item() == pytest.approx(0.01 * 17)


def test_the_acceleration_term_smooths_what_positions_alone_leave_rough():
    """A student that can follow the teacher's positions only in part keeps less of its jitter."""
    t = torch.arange(60).double()
    teacher = torch.sin(0.2 * t)[None, :, None, None].expand(1, 60, 2, 3)
    noise = 0.1 * torch.randn(1, 60, 2, 3, generator=torch.Generator().manual_seed(1)).double()

    def acceleration_error(weight):
        student = (teacher + noise).requires_grad_()
        optimizer = torch.optim.SGD([student], lr=1.0)
        for _ in range(20):
            optimizer.zero_grad()
            loss = trajectory_alignment(student, teacher, fps=25.0, velocity=0.0, acceleration=weight)
            loss.sum().backward()
            optimizer.step()
        bend = (student.detach() - teacher).diff(n=2, dim=1)
        return bend.norm(dim=-1).mean().item()

    assert acceleration_error(1.0) < 0.5 * acceleration_error(0.0)


def test_two_frames_are_too_few(paths):
    student, teacher, _ = paths
    with pytest.raises(ValueError, match="acceleration needs three frames, not 2"):
        trajectory_alignment(student[:, :2], teacher[:, :2], fps=25.0)
