"""Windows over long speech: a toy that knows the answer, the average written out, look-ahead, ends, and noise."""

import numpy as np
import pytest
import torch

from vivavoce.errors import InputError
from vivavoce.splat.audiomotion.windows import Layout, WindowStream, frame_noise

LAYOUT = Layout(length=30, overlap=15, ramp=10)


def blocks(audio, seed):
    """The same in blocks of 0 to 50 frames."""
    random, at = np.random.default_rng(seed), 0
    while at < len(audio):
        count = int(random.integers(0, 51))
        yield audio[at : at + count]
        at += count


def streamed(draw, audio, layout=LAYOUT, channels=2, cuts=None):
    stream = WindowStream(draw, layout, channels=channels)
    pieces = [audio] if cuts is None else blocks(audio, cuts)
    return torch.cat([*(stream.push(piece) for piece in pieces), stream.finish()])


def sound(frames, width=3):
    """Smooth features."""
    t = torch.arange(frames, dtype=torch.float32)[:, None]
    return torch.sin(t * torch.linspace(0.03, 0.2, width) + torch.arange(width))


def listening(window):
    """A network that has learned its task: motion is a smooth function of the speech at its moment."""
    return window.mended(torch.stack([window.audio[:, 0] * window.audio[:, 1], window.audio[:, 2] ** 2], 1))


@pytest.mark.parametrize("frames", [1, 14, 29, 30, 31, 44, 45, 46, 60, 333])
@pytest.mark.parametrize("cuts", [None, 0, 1])
def test_a_function_of_the_speech_comes_out_exactly(frames, cuts):
    audio = sound(frames)
    expected = torch.stack([audio[:, 0] * audio[:, 1], audio[:, 2] ** 2], 1)
    assert torch.equal(streamed(listening, audio, cuts=cuts), expected)


def test_the_weights_of_two_windows_sum_to_one_whatever_they_are():
    def constant(window):
        return window.mended(torch.full((30, 2), 0.1))

    assert torch.equal(streamed(constant, sound(200)), torch.full((200, 2), 0.1))
    earlier = LAYOUT.earlier
    assert (earlier[:5] == 1).all()
    assert (np.diff(earlier[4:]) < 0).all()
    assert 0 < earlier[-1] < 0.01


@pytest.mark.parametrize("frames", [100, 105, 119])
def test_windows_that_disagree_are_averaged_as_written_out(frames):
    def numbered(window):
        return window.mended(torch.full((30, 2), window.first / 15))

    expected = np.zeros(frames)
    for window in range(-(-max(frames - 30, 0) // 15) + 1):
        for i in range(min(30, frames - 15 * window)):
            s = 1.0 if window == 0 else min(max((i - 4) / 11, 0), 1)
            share = s**3 * (10 - 15 * s + 6 * s**2)
            at = 15 * window + i
            expected[at] = share * window + (1 - share) * expected[at]
    np.testing.assert_allclose(streamed(numbered, sound(frames))[:, 1], expected, atol=1e-5)


def test_not_even_the_acceleration_jumps_where_windows_disagree():
    def either(window):
        return window.mended(torch.full((125, 2), float(window.first // 75 % 2)))

    motion = streamed(either, sound(500), Layout())[:, 0].double().numpy()
    # the third difference of a polynomial of fifth degree over 26 frames: its greatest third derivative is 60 / 26^3
    assert np.abs(np.diff(motion, 3)).max() < 1.05 * 60 / 26**3


def test_a_frame_is_handed_out_as_soon_as_its_look_ahead_is_there_and_never_changes():
    audio = sound(200)
    stream, done = WindowStream(listening, LAYOUT, channels=2), 0
    for n in range(1, 201):
        done += len(stream.push(audio[n - 1 : n]))
        assert done >= n - LAYOUT.look_ahead
        assert n < 30 or done >= n - (LAYOUT.look_ahead - LAYOUT.held)
        assert done <= n

    def far_sighted(window):
        return window.mended(window.audio.mean(0).expand(30, 3)[:, :2])

    whole = streamed(far_sighted, audio)
    changed = audio.clone()
    changed[150:] = 9
    other = streamed(far_sighted, changed)
    assert torch.equal(whole[: 150 - LAYOUT.look_ahead], other[: 150 - LAYOUT.look_ahead])
    assert not torch.equal(whole, other)


def test_what_was_handed_out_is_given_to_the_next_window():
    seen, handed = [], []

    def restless(window):
        seen.append(window.opened(torch.full((2, 30, 2), -5.0)))
        return window.mended(torch.randn(30, 2))

    stream = WindowStream(restless, LAYOUT, channels=2)
    for k in range(4):
        handed.append(stream.push(sound(30 if k == 0 else 15)))
    assert (seen[0] == -5).all()
    motion = torch.cat(handed)
    for k in range(1, 4):
        assert torch.equal(seen[k][:, :5], motion[15 * k : 15 * k + 5].expand(2, 5, 2))
        assert (seen[k][:, 5:] == -5).all()


def test_speech_beyond_the_end_is_mirrored_and_no_window_is_drawn_without_need():
    windows = []

    def noted(window):
        windows.append(window)
        return listening(window)

    audio = sound(52)
    streamed(noted, audio)
    assert [window.first for window in windows] == [0, 15, 30]
    expected = torch.cat([audio[30:52], audio[43:51].flip(0)])
    assert torch.equal(windows[2].audio, expected)
    windows.clear()
    streamed(noted, sound(45))
    assert [window.first for window in windows] == [0, 15]


def test_nothing_in_gives_nothing_out():
    stream = WindowStream(listening, LAYOUT, channels=2)
    assert stream.push(torch.zeros(0, 3)).shape == (0, 2)
    assert stream.finish().shape == (0, 2)


def test_ten_minutes_keep_no_more_than_a_window():
    stream, layout, longest = WindowStream(listening, Layout(), channels=2), Layout(), 0
    total = 0
    for _ in range(600):
        total += len(stream.push(sound(25)))
        longest = max(longest, stream._audio.untyped_storage().nbytes() // (4 * 3))
    assert longest < layout.length + 25
    assert total + len(stream.finish()) == 15_000


@pytest.mark.parametrize("wrong", [{"ramp": 0}, {"ramp": 16}, {"overlap": 30}])
def test_layouts_that_cannot_be_laid_are_refused(wrong):
    with pytest.raises(ValueError, match="no windows overlap"):
        Layout(**{"length": 30, "overlap": 15, "ramp": 10} | wrong)


def test_noise_belongs_to_frames():
    whole = frame_noise(3, 0, 200, 4)
    for first, count in ((0, 1), (24, 2), (60, 77), (125, 75)):
        assert torch.equal(frame_noise(3, first, count, 4), whole[first : first + count])
    assert not torch.equal(frame_noise(4, 0, 200, 4), whole)


def test_noise_is_standard_normal_and_independent_between_frames():
    noise = frame_noise(0, 0, 2000, 20).double()
    assert noise.mean().abs() < 0.02
    assert abs(noise.var() - 1) < 0.03
    for lag in (1, 24, 25, 50):
        assert (noise[lag:] * noise[:-lag]).mean().abs() < 0.02


def test_a_negative_seed_is_told():
    with pytest.raises(InputError, match=r"^The seed -2 is negative: give a whole number from 0 up\.$"):
        frame_noise(-2, 0, 1, 1)
