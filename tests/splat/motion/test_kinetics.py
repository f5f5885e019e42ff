"""Strokes, springs and noise against their equations."""

import numpy as np
from scipy.integrate import solve_ivp

from vivavoce.splat.motion.kinetics import STEP, CriticalSpring, MinimumJerk, SmoothNoise


def sampled(motion, seconds, step=0.001):
    times = np.arange(0, seconds, step)
    return times, np.array([motion.at(float(t)) for t in times])


def test_a_stroke_minimises_jerk():
    """The sixth derivative of a minimum-jerk path is 0, and velocity and acceleration are 0 at both ends."""
    stroke = MinimumJerk()
    stroke.stroke(2.0, 0.5, 0.4)
    times, path = sampled(stroke, 1.5)
    inside = (times >= 0.5) & (times <= 0.9)
    poly = np.polynomial.Polynomial.fit(times[inside], path[inside], 5)
    np.testing.assert_allclose(poly(times[inside]), path[inside], atol=1e-9)
    for end in (0.5, 0.9):
        assert abs(poly.deriv(1)(end)) < 1e-5
        assert abs(poly.deriv(2)(end)) < 1e-3
    np.testing.assert_allclose(poly.deriv(1)(0.7), 1.875 * 2.0 / 0.4, rtol=1e-6)
    assert path[0] == 0
    assert path[-1] == 2.0
    assert stroke.goal == 2.0


def test_strokes_add_up_and_a_pulse_comes_back():
    both, first, second = MinimumJerk(), MinimumJerk(), MinimumJerk()
    for motion in (both, first):
        motion.stroke(1.0, 0.1, 0.5)
    for motion in (both, second):
        motion.pulse(-0.7, 0.3, 0.2, 0.4)
    np.testing.assert_allclose(sampled(both, 2)[1], sampled(first, 2)[1] + sampled(second, 2)[1], atol=1e-12)
    assert abs(sampled(second, 2)[1][-1]) < 1e-12


def test_moving_to_a_goal_from_anywhere_ends_there():
    motion = MinimumJerk()
    motion.move_to(3.0, 0.0, 1.0)
    motion.at(0.4)
    motion.move_to(-1.0, 0.4, 0.3)
    np.testing.assert_allclose(motion.at(5.0), -1.0, atol=1e-12)


def test_a_spring_solves_its_differential_equation():
    frequency, goals = 9.0, [1.0] * 30 + [-0.5] * 40 + [0.2] * 30
    spring = CriticalSpring(frequency, 0.3)
    path = [spring.follow(goal) for goal in goals]

    def slope(t, state):
        goal = goals[min(int(t / STEP), len(goals) - 1)]
        return [state[1], frequency**2 * (goal - state[0]) - 2 * frequency * state[1]]

    state, truth = [0.3, 0.0], []
    for k in range(len(goals)):
        # Half a step inside, so that the goal is that of this step at both of its ends.
        solved = solve_ivp(
            lambda t, s, k=k: slope((k + 0.5) * STEP, s), (0, STEP), state, rtol=1e-10, atol=1e-12
        )
        state = solved.y[:, -1]
        truth.append(state[0])
    np.testing.assert_allclose(path, truth, atol=1e-8)


def test_noise_has_unit_variance_and_the_memory_that_was_asked_for():
    memory = 0.5
    noise = SmoothNoise(np.random.default_rng(0), memory, 200.0)
    path = np.array([noise.step() for _ in range(100_000)])
    assert abs(path.mean()) < 0.1
    assert abs(path.std() - 1) < 0.08
    lag = int(memory / STEP)
    correlation = (path[:-lag] * path[lag:]).mean() / path.var()
    assert abs(correlation - np.exp(-1)) < 0.06


def test_a_slow_spring_leaves_the_variance_at_one():
    noise = SmoothNoise(np.random.default_rng(1), 0.5, 6.0)
    path = np.array([noise.step() for _ in range(100_000)])[1000:]
    assert abs(path.std() - 1) < 0.08
