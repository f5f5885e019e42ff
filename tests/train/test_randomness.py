"""Randomness without state: epochs are permutations, and every example's numbers are its own."""

import itertools

import torch

from vivavoce.train.randomness import generator, indices


def test_each_epoch_is_a_permutation_though_batches_reach_over_its_end():
    drawn = [i for step in range(35) for i in indices(3, 0, step, batch=4, count=10)]
    epochs = [drawn[i : i + 10] for i in range(0, 140, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 14


def test_a_step_needs_none_of_those_before_it():
    assert indices(3, 1, 20, batch=4, count=10) == indices(3, 1, 20, batch=4, count=10)
    others = [
        indices(s, t, n, batch=40, count=40) for s, t, n in ((3, 1, 2), (4, 1, 2), (3, 0, 2), (3, 1, 3))
    ]
    assert all(one != other for one, other in itertools.combinations(others, 2))
    assert sorted(indices(0, 0, 0, batch=7, count=3)) in (
        [0, 0, 0, 1, 1, 2, 2],
        [0, 0, 1, 1, 1, 2, 2],
        [0, 0, 1, 1, 2, 2, 2],
    )


def test_every_place_of_every_step_has_numbers_of_its_own():
    places = list(itertools.product((0, 1), (0, 1), (0, 1, 2), (0, 1, 2)))
    first = [torch.randn(5, generator=generator(*place)) for place in places]
    assert all(not torch.equal(one, other) for one, other in itertools.combinations(first, 2))
    again = [torch.randn(5, generator=generator(*place)) for place in places]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
