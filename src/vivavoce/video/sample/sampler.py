"""The denoising loop: from noise to data along Wan's own sigmas, by a diffusers solver. Knows no paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vivavoce.errors import InputError
from vivavoce.flow import STEPS, shifted

Velocity = Callable[[Float[Tensor, "B C f h w"], Float[Tensor, " B"]], Float[Tensor, "B C f h w"]]
"""v(x, sigma), at noise levels in [0, 1]."""


def schedule(steps: int, shift: float) -> Float[Tensor, " n"]:
    """Wan's noise levels: `steps` of them from 1 down, shifted once; the last step leads to 0.

    Raises InputError for fewer than one step, or a shift that is not positive.
    """
    if steps < 1:
        raise InputError(f"{steps} denoising steps make no video: take at least one.")
    if not shift > 0:
        raise InputError(f"A sigma shift of {shift} has no meaning: give a positive number, as 5.")
    return shifted(torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1], shift)


def noise(shape: tuple[int, ...], seed: int, *, chunk: int = 0) -> Float[Tensor, "..."]:
    """Standard normal float32 noise, the same for the same seed and chunk in whatever order chunks are drawn.

    It is drawn on the CPU: a graphics card's generator gives other numbers. Raises InputError for a negative seed.
    """
    if seed < 0:
        raise InputError(f"The seed {seed} is negative: give a whole number from 0 up.")
    mixed = np.random.SeedSequence([seed, chunk]).generate_state(1, np.uint64)
    generator = torch.Generator("cpu").manual_seed(int(mixed[0]))
    return torch.randn(shape, generator=generator)


@torch.no_grad()
def sample(
    velocity: Velocity,
    start: Float[Tensor, "B C f h w"],
    *,
    steps: int,
    shift: float,
    solver: str = "unipc",
    on_step: Callable[[int], None] = lambda done: None,
) -> Float[Tensor, "B C f h w"]:
    """Latents (float32) that the noise `start` leads to in `steps` evaluations of `velocity`.

    `on_step` is told the number of steps done after each. Raises InputError as `schedule` does, and for a
    solver other than those of `SOLVERS`.
    """
    scheduler = _scheduler(solver, schedule(steps, shift))
    x = start.float()
    for i in range(steps):
        v = velocity(x, scheduler.sigmas[i].to(x).expand(x.shape[0]))
        x = scheduler.step(v.float(), scheduler.timesteps[i], x, return_dict=False)[0]
        on_step(i + 1)
    return x


def solver_named(name: str) -> Callable[[], Any]:
    """The maker of a solver in `SOLVERS`. Raises InputError for another name."""
    if name not in SOLVERS:
        raise InputError(f"There is no solver {name!r}: choose one of {', '.join(SOLVERS)}.")
    return SOLVERS[name]


def _scheduler(solver: str, sigmas: Float[Tensor, " n"]) -> Any:
    """A solver on exactly these sigmas: its own shift stays 1, since both would shift what they are given."""
    scheduler = solver_named(solver)()
    scheduler.set_timesteps(sigmas=sigmas.numpy())
    scheduler.set_begin_index(0)  # rounded timesteps of many steps coincide: the solver must not look them up
    return scheduler


def _unipc() -> Any:
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    return UniPCMultistepScheduler(
        num_train_timesteps=STEPS, prediction_type="flow_prediction", use_flow_sigmas=True
    )


def _euler() -> Any:
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=STEPS)


SOLVERS: dict[str, Callable[[], Any]] = {"unipc": _unipc, "euler": _euler}
"""UniPC of order 2 (Zhao et al. 2023), which is Wan's own, and Euler's, for few distilled steps."""
