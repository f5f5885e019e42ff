"""What is random in training, without state: everything follows from the seed, the stage, the step and the place.

So a run that goes on later needs to remember nothing of it, and the examples, noise and masks of a step are the same
however its batch is split over processes and accumulation steps.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from jaxtyping import Int

_ORDER, _EXAMPLE = 0, 1  # what a stream of random numbers is for


def indices(seed: int, stage: int, step: int, *, batch: int, count: int) -> list[int]:
    """Which of `count` examples are the batch of step 0, 1, ... of a stage: each epoch is a permutation of all."""
    places = range(step * batch, (step + 1) * batch)
    return [int(_order(seed, stage, place // count, count)[place % count]) for place in places]


def generator(seed: int, stage: int, step: int, place: int) -> torch.Generator:
    """The random numbers of the example at a place of the global batch of a step; on the CPU, as everywhere."""
    state = np.random.SeedSequence([seed, _EXAMPLE, stage, step, place]).generate_state(1, np.uint64)
    return torch.Generator("cpu").manual_seed(int(state[0]))


@functools.lru_cache(maxsize=2)  # a batch may reach over the end of an epoch
def _order(seed: int, stage: int, epoch: int, count: int) -> Int[np.ndarray, " n"]:
    return np.random.default_rng([seed, _ORDER, stage, epoch]).permutation(count)
