"""Chunk orders: every frame once, what is given lies where it should, two passes, no circle."""

import numpy as np
import pytest

from vivavoce.errors import InputError
from vivavoce.timing import latent_frames
from vivavoce.video.sample.long import ORDERS, Chunk, autoregressive, interleaved, loans, passes

LENGTHS = [*range(1, 10), *range(70, 90), *range(145, 165), *range(228, 245), 300, 1500, 1501, 90_000]
EACH = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
SETTINGS = [(81, 5, 4), (17, 5, 4), (13, 1, 4), (9, 5, 0), (5, 0, 0), (9, 0, 8), (125, 1, 0), (9, 5, 3)]
"""The papers' lengths and others, small and lopsided ones too."""


@EACH
@pytest.mark.parametrize("frames", LENGTHS)
def test_every_frame_is_kept_from_exactly_one_chunk(order, frames):
    chunks = order(frames)
    assert [frame for chunk in chunks for frame in chunk.kept] == list(range(frames))
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))


@pytest.mark.parametrize(("length", "before", "after"), SETTINGS)
def test_any_setting_draws_any_length(length, before, after):
    for frames in range(1, 6 * length):
        for chunks in (
            interleaved(frames, length=length, before=before, after=after),
            autoregressive(frames, length=length, before=before),
        ):
            check(chunks, frames, length)


def check(chunks, frames, length):
    """A video assembled chunk by chunk, each from given frames that are there and right."""
    video = np.full(frames, -1)
    drawn = {}
    for wave in passes(chunks):
        for index in wave:
            chunk = chunks[index]
            latent_frames(chunk.frames)
            assert chunk.frames <= length
            own = np.array(chunk.drawn)
            new = np.ones(chunk.frames, bool)
            for loan in loans(chunks, chunk):
                lent = drawn[loan.source][loan.there.start : loan.there.stop]
                place = slice(loan.here.start, loan.here.stop)
                assert loan.here.start >= 0
                np.testing.assert_array_equal(lent, own[place])
                assert new[place].all()
                new[place] = False
            assert new[chunk.keep].all()
            assert len(chunk.kept) > 0
            assert len(own[chunk.keep]) == len(chunk.kept)
            drawn[index] = own
            video[chunk.kept.start : chunk.kept.stop] = own[chunk.keep]
            beyond = new.sum() - len(chunk.kept)  # drawn for nothing
            assert beyond == 0 or index == len(chunks) - 1
    np.testing.assert_array_equal(video, np.arange(frames))


@EACH
@pytest.mark.parametrize("frames", LENGTHS[:-1])
def test_the_last_chunk_draws_at_most_three_frames_too_many(order, frames):
    last = order(frames)[-1]
    assert 0 <= last.drawn.stop - frames <= 3
    check(order(frames), frames, 81)


def test_physavatars_chunks():
    """81 frames on their own, 72 between: m = 5 before, n = 4 behind."""
    chunks = interleaved(81 + 72 + 81 + 72 + 81)
    assert [len(chunk.kept) for chunk in chunks] == [81, 72, 81, 72, 81]
    assert [(chunk.before, chunk.after) for chunk in chunks] == [(0, 0), (5, 4)] * 2 + [(0, 0)]
    assert all(chunk.frames == 81 for chunk in chunks)
    second = loans(chunks, chunks[1])
    assert [(loan.source, loan.there, loan.here) for loan in second] == [
        (0, range(76, 81), range(5)),
        (2, range(4), range(77, 81)),
    ]
    assert passes(chunks) == [[0, 2, 4], [1, 3]]


@pytest.mark.parametrize("frames", [82, 500, 1500, 90_000])
def test_two_passes_whatever_the_length_or_as_many_as_chunks(frames):
    assert len(passes(interleaved(frames))) == 2
    one_by_one = autoregressive(frames)
    assert passes(one_by_one) == [[chunk.index] for chunk in one_by_one]
    assert [len(chunk.kept) for chunk in one_by_one[:-1]] == [81] + [76] * (len(one_by_one) - 2)


@EACH
def test_a_single_frame_is_one_chunk_of_one_frame(order):
    assert order(1) == (Chunk(0, 0, 1, range(1)),)


def test_an_even_chunk_at_the_end_takes_the_rest_rather_than_start_another():
    for rest in (72, 73, 76):
        chunks = interleaved(81 + rest)
        assert [(len(chunk.kept), chunk.before, chunk.after) for chunk in chunks] == [
            (81, 0, 0),
            (rest, 5, 0),
        ]
    third = interleaved(81 + 77)[2]
    assert len(third.kept) == 5
    assert third.frames == 5


def test_the_last_odd_chunk_has_the_frames_that_are_looked_at():
    """The shortest that there can be, one frame more than the even chunk before it is given."""
    chunks = interleaved(25 + 21, length=25, before=5, after=8)
    assert chunks[1].after == 8
    assert len(chunks[2].kept) == 9
    assert loans(chunks, chunks[1])[1].there == range(8)


def test_a_circle_is_found():
    with pytest.raises(ValueError, match=r"\[0, 1\] wait for each other"):
        passes((Chunk(0, 0, 9, range(5), after=4), Chunk(1, 0, 9, range(5, 9), before=5)))


def test_mistakes_are_named():
    with pytest.raises(InputError, match="video of 0 frames"):
        interleaved(0)
    with pytest.raises(InputError, match="chunk of 80 frames has no whole latents: take 81"):
        autoregressive(100, length=80)
    with pytest.raises(InputError, match="given 5 before and 4 after has none of its own"):
        interleaved(100, length=9)
    with pytest.raises(InputError, match="given -1 before"):
        autoregressive(100, before=-1)
