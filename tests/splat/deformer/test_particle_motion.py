"""Attention and integration against float64 formulas, the bound on poses, and how fast errors are forgotten."""

from math import sin

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from vivavoce.splat import se3
from vivavoce.splat.deformer.blocks import MotionAttention
from vivavoce.splat.deformer.config import LEAST_LEAK
from vivavoce.splat.deformer.particles import FreeParticles, LeakyTwists, at_rest, integrate, transforms_of


def exponential(twist):
    w, v = twist[:3], twist[3:]
    generator = np.zeros((4, 4))
    generator[:3, :3] = [[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]]
    generator[:3, 3] = v
    return expm(generator)


def as_matrices(poses):
    """Poses of particles at the origin as 4x4 matrices."""
    R = Rotation.from_quat(poses[..., [1, 2, 3, 0]].reshape(-1, 4)).as_matrix()
    out = np.tile(np.eye(4), (*poses.shape[:-1], 1, 1))
    out[..., :3, :3], out[..., :3, 3] = R.reshape(*poses.shape[:-1], 3, 3), poses[..., 4:]
    return out


def angles_of(poses):
    return 2 * torch.atan2(poses[..., 1:4].norm(dim=-1), poses[..., 0].abs())


def start(batch, particles, dtype=torch.float64):
    return at_rest(torch.zeros(batch, particles, 3, dtype=dtype))


def test_what_a_particle_learns_is_attention_over_avatar_and_template(tiny, shaken, draw):
    attention = shaken(MotionAttention(tiny))
    driving, avatar, template = draw(2, 3, 8), draw(2, 5, 8, seed=1), draw(2, 2, 8, seed=2)
    found = attention(driving, attention.context(avatar, template))
    assert found.shape == (2, 3, 4, 8)
    p = dict(attention.named_parameters())
    tokens = torch.cat([avatar, template], 1)
    tokens = (tokens - tokens.mean(-1, keepdim=True)) / (
        tokens.var(-1, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    tokens = tokens * p["norm.weight"] + p["norm.bias"]
    b, t, m = 1, 2, 3
    query = (p["to_q.weight"] @ driving[b, t] + p["to_q.bias"])[8 * m : 8 * m + 8]
    keys = tokens[b] @ p["to_k.weight"].T + p["to_k.bias"]
    values = tokens[b] @ p["to_v.weight"].T + p["to_v.bias"]
    gathered = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = torch.exp(keys[:, head] @ query[head] / 2)
        gathered.append((scores / scores.sum()) @ values[:, head])
    torch.testing.assert_close(found[b, t, m], query + torch.cat(gathered))


def test_without_a_leak_twists_are_integrated_as_in_the_paper(draw):
    twists = 0.5 * draw(2, 6, 3, 6)
    found = as_matrices(integrate(twists, torch.ones(3).double(), start(2, 3)).numpy())
    expected = np.tile(np.eye(4), (2, 3, 1, 1))
    for t in range(6):
        for b, m in np.ndindex(2, 3):
            expected[b, m] = exponential(twists[b, t, m].numpy()) @ expected[b, m]
        np.testing.assert_allclose(found[:, t], expected, atol=1e-13)


def test_a_leak_shrinks_angle_and_displacement_before_each_twist(draw):
    twists, keep = 0.5 * draw(1, 8, 2, 6), torch.tensor([0.9, 0.3]).double()
    found = as_matrices(integrate(twists, keep, start(1, 2)).numpy())
    expected = np.tile(np.eye(4), (2, 1, 1))
    for t in range(8):
        for m, a in enumerate(keep.tolist()):
            kept = np.eye(4)
            kept[:3, :3] = (Rotation.from_matrix(expected[m, :3, :3]) ** a).as_matrix()
            kept[:3, 3] = a * expected[m, :3, 3]
            expected[m] = exponential(twists[0, t, m].numpy()) @ kept
        np.testing.assert_allclose(found[0, t], expected, atol=1e-13)


@pytest.fixture
def driven(tiny, shaken, draw):
    """Twists in float32 of a network that shouts: its outputs are a hundred units, and change in every frame."""

    def make(frames):
        motion = shaken(LeakyTwists(tiny, axes=6), size=3.0)
        with torch.no_grad():
            motion.to_twist[-1].weight.mul_(20)
            return motion.twists(draw(1, frames, 4, 8)).float(), motion.leaks.float()

    return make


@torch.no_grad()
def test_no_particle_leaves_its_reach_in_ten_minutes(tiny, driven):
    twists, leaks = driven(15_000)
    assert twists[..., 3:].norm(dim=-1).max() > 0.8 * leaks.max()
    poses = integrate(twists, 1 - leaks, start(1, 4, torch.float32))
    assert angles_of(poses).max() <= tiny.turn * (1 + 1e-6)
    assert poses[..., 4:].norm(dim=-1).max() <= tiny.shift * (1 + 1e-6)
    R = se3.rotation_matrices(poses[0, -100:, :, :4])
    torch.testing.assert_close(R @ R.mT, torch.eye(3).expand_as(R), atol=2e-6, rtol=0)
    # The same twists as the paper integrates them walk away, so that the bound is worth its name.
    plain = integrate(twists[:, :1500], torch.ones(4), start(1, 4, torch.float32))
    assert (plain[..., 4:].norm(dim=-1).amax((0, 1)) > 1.5 * tiny.shift).all()


@torch.no_grad()
def test_a_steady_drive_reaches_the_bound_and_does_not_pass_it(tiny):
    leaks = torch.tensor([LEAST_LEAK, 0.3, 0.99]).double()
    reach = torch.tensor([0, 0, tiny.turn, 0, 0, tiny.shift]).double()
    poses = integrate((leaks[:, None] * reach).expand(1, 400, -1, -1), 1 - leaks, start(1, 3))
    assert (angles_of(poses) <= tiny.turn + 1e-12).all()
    torch.testing.assert_close(
        angles_of(poses)[0, -1], torch.full((3,), tiny.turn).double(), atol=1e-7, rtol=0
    )
    torch.testing.assert_close(poses[0, -1, :, 6], torch.full((3,), tiny.shift).double(), atol=1e-7, rtol=0)


@torch.no_grad()
def test_two_pasts_are_forgotten_at_the_stated_rate(tiny, driven):
    twists, leaks = (x.double() for x in driven(60))
    far = start(1, 4).clone()
    angles = torch.tensor([2.4, -2.4, 1.0, -0.3]).double()
    far[0, :, 0], far[0, :, 1] = (angles / 2).cos(), (angles / 2).sin()
    far[0, :, 4:] = 0.5
    near = start(1, 4).clone()
    near[0, :, 0], near[0, :, 3] = (torch.tensor(1.2) / 2).cos(), (torch.tensor(1.2) / 2).sin()
    keep = 1 - leaks
    runs = [torch.cat([p[:, None], integrate(twists, keep, p)], 1) for p in (far, near)]
    apart = (runs[0][..., 4:] - runs[1][..., 4:]).norm(dim=-1)[0]
    torch.testing.assert_close(apart[1:], keep * apart[:-1], atol=1e-13, rtol=1e-9)
    cosine = (runs[0][..., :4] * runs[1][..., :4]).sum(-1).abs().clamp(max=1)
    between = 2 * cosine.acos()[0]
    rate = ((1 - leaks) * tiny.turn / 2).sin() / sin(tiny.turn / 2)
    assert (rate < 1).all()
    assert (between[1:] <= rate * between[:-1] + 1e-6).all()
    # The bound is met where the pasts lie side by side at the end of the reach, so no smaller one would do.
    edge = torch.zeros(2, 1, 7).double()
    for b, side in enumerate((-1e-4, 1e-4)):
        axis = torch.tensor([np.cos(side), np.sin(side), 0])
        edge[b, 0, :4] = torch.cat([torch.tensor([np.cos(1.25)]), np.sin(1.25) * axis])
    after = integrate(torch.zeros(2, 1, 1, 6).double(), torch.tensor([0.8]).double(), edge)[:, 0, 0, :4]
    ratio = (after[0] - after[1]).norm() / (edge[0, 0, :4] - edge[1, 0, :4]).norm()
    assert ratio == pytest.approx(sin(0.8 * 1.25) / sin(1.25), rel=1e-6)


def test_no_training_lets_the_leak_vanish(tiny):
    motion = LeakyTwists(tiny, axes=6)
    torch.testing.assert_close(motion.leaks, torch.full((4,), tiny.leak))
    with torch.no_grad():
        motion.leak.fill_(-100.0)
    torch.testing.assert_close(motion.leaks, torch.full((4,), LEAST_LEAK))


def test_particles_turn_about_their_own_rest_position(draw):
    rest = torch.tensor([[[0.2, -0.4, 1.5], [0.0, 0.3, 1.4]]]).double()
    poses = integrate(0.3 * draw(1, 4, 2, 6), torch.full((2,), 0.7).double(), start(1, 2))
    transforms = transforms_of(poses, rest)
    moved = (transforms[..., :3] @ rest[..., None]).squeeze(-1) + transforms[..., 3]
    torch.testing.assert_close(moved, rest[:, None] + poses[..., 4:])
    # A turn alone leaves the particle where it was, and moves a point 0.1 m away by what 0.01 rad of 0.1 m is.
    turn = torch.tensor([[[[0.01, 0, 0, 0, 0, 0]] * 2]]).double()
    (still,) = transforms_of(integrate(turn, torch.ones(2).double(), start(1, 2)), rest)[0]
    point = rest[0] + torch.tensor([0, 0.1, 0]).double()
    way = ((still[:, :, :3] @ point[..., None]).squeeze(-1) + still[:, :, 3] - point).norm(dim=-1)
    torch.testing.assert_close(way, torch.full((2,), 0.001).double(), rtol=1e-4, atol=0)


def test_gradients_of_the_integration_at_rest_and_in_motion(draw):
    keep = torch.tensor([0.7, 0.2]).double().requires_grad_()
    for twists in (torch.zeros(1, 3, 2, 6).double(), 0.5 * draw(1, 3, 2, 6)):
        poses = start(1, 2).clone()
        assert torch.autograd.gradcheck(
            lambda x, k, p=poses: integrate(x, k, p), (twists.requires_grad_(), keep)
        )


@pytest.mark.parametrize("size", [1e-30, 1e-19, 1e-12, 1e-4])
def test_gradients_in_float32_are_sound_however_near_to_rest(size):
    direction = torch.tensor([0.6, -0.48, 0.64, 1.0, 2.0, 3.0])
    twists = (size * direction).repeat(1, 5, 1, 1).requires_grad_()
    turned = integrate(twists, torch.tensor([0.5]), start(1, 1, torch.float32))
    (2 * turned[0, -1, 0, 1:]).sum().backward()
    # Near rest all is linear: the twist of k frames ago counts 0.5^k, a turn as twice its quaternion.
    expected = torch.stack([0.5 ** (4 - k) * torch.tensor([1.0, 1, 1, 2, 2, 2]) for k in range(5)])
    assert twists.grad is not None
    torch.testing.assert_close(twists.grad[0, :, 0], expected, rtol=1e-3, atol=1e-6)


def test_untrained_particles_rest_and_learn_from_float32(tiny):
    torch.manual_seed(0)
    motion = FreeParticles(tiny)
    rest = torch.tensor([[0.0, 0.1, 1.5]] * 4)[None]
    transforms, _ = motion(torch.randn(1, 20, 4, 8), rest, at_rest(rest))
    torch.testing.assert_close(transforms, torch.eye(3, 4).expand_as(transforms), atol=1e-7, rtol=0)
    transforms[..., 0, 3].sum().backward()
    last = motion.twists.to_twist[-1]
    assert isinstance(last, torch.nn.Linear)
    assert last.weight.grad is not None
    assert last.weight.grad.isfinite().all()
    assert last.weight.grad[3].abs().max() > 0
