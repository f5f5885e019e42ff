"""The whole deformer: at rest before training, the same numbers in blocks, and the sizes of the paper."""

from dataclasses import fields, replace

import pytest
import torch

from vivavoce.splat.deformer.config import MINIATURE, PAPER
from vivavoce.splat.deformer.deformer import ParticleDeformer


@pytest.fixture
def build(tiny, shaken, draw):
    """`build(...)` is a deformer with random parameters and a subject for it, in float64."""

    def make(**changes):
        config = replace(tiny, **changes)
        deformer = shaken(ParticleDeformer(config))
        rest = 0.2 * draw(2, config.particles, 3, seed=3)
        transcript = draw(2, 7, 6, seed=4)
        subject = deformer.prepare(draw(2, 5, 8, seed=1), draw(2, 3, 8, seed=2), rest, transcript=transcript)
        return deformer, subject

    return make


def parts(deformation):
    found = [deformation.transforms]
    if deformation.residuals is not None:
        found += [getattr(deformation.residuals, f.name) for f in fields(deformation.residuals)]
    return found


def streamed(deformer, subject, audio, cuts):
    blocks, state, sizes = [], None, []
    for block in audio.tensor_split(cuts, 1):
        made, state = deformer.push(block, subject, state)
        blocks.append(made)
        sizes.append(made.transforms.shape[1])
    blocks.append(deformer.finish(subject, state))
    joined = [torch.cat(pieces, 1) for pieces in zip(*map(parts, blocks), strict=True)]
    return joined, sizes


CHANGES = [{}, {"particles": 55, "motion": "joint angles"}, {"past": 0}, {"ahead": 0}, {"history": 1}]


@torch.no_grad()
@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("cuts", [[1, 2, 3, 4, 5], [7, 7, 20], [1, 12]], ids=str)
def test_blocks_of_any_length_give_what_the_whole_gives(build, draw, changes, cuts):
    deformer, subject = build(**changes)
    audio = draw(2, 23, 5)
    whole = parts(deformer(audio, subject))
    assert whole[0].shape == (2, 23, deformer.config.particles, 3, 4)
    assert len(whole) == (1 if changes.get("motion") else 5)
    for a, b in zip(whole, streamed(deformer, subject, audio, cuts)[0], strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_speech_shorter_than_the_look_ahead_comes_out_at_the_end(build, draw, frames):
    deformer, subject = build()
    audio = draw(2, frames, 5)
    made, sizes = streamed(deformer, subject, audio, [1])
    assert sizes == [0, max(0, frames - 2)]
    for a, b in zip(parts(deformer(audio, subject)), made, strict=True):
        torch.testing.assert_close(a, b)


@torch.no_grad()
def test_a_frame_comes_out_when_its_look_ahead_is_there_and_waits_for_no_more(build, draw):
    deformer, subject = build()
    _, sizes = streamed(deformer, subject, draw(2, 10, 5), [4, 5, 8])
    assert sizes == [2, 1, 3, 2]
    assert deformer.config.look_ahead == pytest.approx(2 / 25)
    audio = draw(2, 20, 5)
    other = audio.clone()
    other[:, 12] += 1
    (a, b) = (deformer(x, subject).transforms for x in (audio, other))
    assert torch.equal(a[:, :10], b[:, :10])
    assert not torch.equal(a[:, 10], b[:, 10])


@torch.no_grad()
def test_a_stream_remembers_no_more_after_long_than_after_little(build, draw):
    deformer, subject = build()
    state, sizes = None, []
    for i in range(12):
        _, state = deformer.push(draw(2, 25, 5, seed=i), subject, state)
        held = (state.heard, state.driven, state.poses)
        sizes.append(tuple(x.untyped_storage().nbytes() for x in held))
    assert len(set(sizes)) == 1
    assert state.frame == 298


@torch.no_grad()
def test_what_was_long_ago_makes_no_difference(build, draw):
    """The same second of speech, first and after a minute of other speech, at the same position: the same motion."""
    deformer, subject = build()
    early, late = draw(2, 1500, 5, seed=1), draw(2, 300, 5)
    alone = deformer(late, subject).transforms
    after = deformer(torch.cat([early, late], 1), subject).transforms[:, 1500:]
    assert not torch.allclose(alone[:, 3], after[:, 3], atol=1e-3)
    torch.testing.assert_close(alone[:, 250:], after[:, 250:], atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_clip_may_begin_at_any_position(build, draw):
    deformer, subject = build()
    audio = draw(2, 6, 5)
    clips = [deformer(audio, subject, first=first).transforms for first in (0, 3, 10)]
    assert torch.equal(clips[0], clips[2])
    assert not torch.allclose(clips[0], clips[1])


@pytest.mark.parametrize("motion", ["particles", "joint angles"])
def test_before_training_nothing_moves(tiny, draw, motion):
    deformer = ParticleDeformer(replace(tiny, motion=motion, particles=55)).double()
    rest = draw(1, 55, 3)
    made = deformer(draw(1, 8, 5), deformer.prepare(draw(1, 5, 8), draw(1, 3, 8), rest))
    still = torch.eye(3, 4).double().expand_as(made.transforms)
    torch.testing.assert_close(made.transforms, still, atol=1e-14, rtol=0)
    assert (made.residuals is None) == (motion == "joint angles")
    assert all(x.abs().max() == 0 for x in parts(made)[1:])


def test_every_parameter_and_every_input_has_a_say(build, draw, tiny):
    deformer, _ = build()
    names = ("audio", "avatar", "template", "rest", "transcript")
    shapes = ((1, 9, 5), (1, 5, 8), (1, 3, 8), (1, 4, 3), (1, 7, 6))
    given = {n: draw(*s, seed=i).requires_grad_() for i, (n, s) in enumerate(zip(names, shapes, strict=True))}
    tokens = (given["avatar"], given["template"], given["rest"])
    made = deformer(given["audio"], deformer.prepare(*tokens, transcript=given["transcript"]))
    sum((draw(*x.shape, seed=7) * x).sum() for x in parts(made)).backward()
    for name, x in [*given.items(), *deformer.named_parameters()]:
        assert x.grad is not None, name
        assert x.grad.isfinite().all(), name
        if not name.endswith("to_k.bias"):  # the same for all keys: a softmax does not see it
            assert x.grad.abs().max() > 1e-12, name


def test_the_baseline_hears_through_the_same_parts(tiny):
    full, cut = (
        ParticleDeformer(replace(tiny, motion=m, particles=55)) for m in ("particles", "joint angles")
    )
    shapes = [{k: v.shape for k, v in d.state_dict().items()} for d in (full, cut)]
    outlet = {"motion.twists.to_twist.3.weight", "motion.twists.to_twist.3.bias"}
    assert shapes[1].keys() == {k for k in shapes[0] if not k.startswith("head.")}
    assert {k for k in shapes[1] if shapes[1][k] != shapes[0][k]} == outlet
    assert shapes[1]["motion.twists.to_twist.3.weight"] == (3, 8)


def test_sizes_at_the_papers_width_and_in_miniature():
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in ParticleDeformer(c).parameters()) for c in (PAPER, MINIATURE)]

    def linear(n, m):
        return n * m + m

    heard = 13 * 768 + 32
    driving = linear(heard, 1024) + linear(1024, 1024) + linear(heard, 1) + linear(768, 1024)
    motion = 2 * 1024 + linear(1024, 55 * 512) + 2 * linear(1024, 512)
    twists = 55 + 2 * 512 + linear(512, 512) + linear(512, 6)
    head = 2 * 1024 + 3 * linear(1024, 512) + 8 * 512 + 4 * (2 * 512 + linear(512, 512)) + linear(512, 10)
    assert sizes[0] == driving + motion + twists + head
    assert 40e6 < sizes[0] < 50e6
    assert sizes[1] < 0.7e6
    assert PAPER.look_ahead == pytest.approx(0.16)
    assert (PAPER.audio_width, PAPER.width, PAPER.particles, PAPER.period) == (768, 1024, 55, 125)


def test_what_does_not_fit_is_refused(tiny, build, draw):
    deformer, subject = build()
    with pytest.raises(ValueError, match="moves 4 particles, not 5"):
        deformer.prepare(draw(1, 5, 8), draw(1, 3, 8), draw(1, 5, 3))
    with pytest.raises(ValueError, match="begins with one frame"):
        deformer.push(draw(2, 0, 5), subject)
    for change, words in (
        ({"heads": 3}, "3 heads do not divide a width of 8"),
        ({"harmonics": 5}, "5 harmonics cannot be told apart in 10 frames"),
        ({"turn": 3.2}, "not by 3.2 rad"),
        ({"leak": 0.05}, "not at 0.05"),
        ({"ahead": -1}, "at least 0"),
        ({"history": 0}, "history at least 1"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(tiny, **change)
