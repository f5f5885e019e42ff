"""Chunks of one video: what a step costs, what a chunk is given, and that the order within a pass is nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from vivavoce.features.loudness import leveled
from vivavoce.methods.load import load
from vivavoce.video import draw as drawing
from vivavoce.video.draw import LATENTS, draw, draw_chunk, frames_of
from vivavoce.video.maker import Scene
from vivavoce.video.method import Sampling
from vivavoce.video.plan import Phase, Plan
from vivavoce.video.sample.long import loans, passes
from vivavoce.video.sample.resume import Job
from vivavoce.video.vae import encoded, from_pictures

PLAN = Plan(base="A person speaks.", phases=(Phase(text="raises a hand", start=0.1, end=0.5),))
EACH = {"text": 3.0, "image": 2.0, "audio": 1.5, "pose": 0.5}
"""Scales that all differ from 1 and from each other: nothing can be merged."""


def scene_of(frames, *, photo=True, pose=False):
    noise = np.random.default_rng(0)
    speech = 0.2 * noise.standard_normal(640 * frames) * np.abs(np.sin(np.arange(640 * frames) / 3000))
    return Scene(
        photo=noise.integers(0, 256, (32, 32, 3), np.uint8) if photo else None,
        speech=leveled(speech.astype(np.float32)),
        plan=PLAN,
        frames=frames,
        fps=25.0,
        pose=noise.uniform(-1, 1, (frames, 127, 3)).astype(np.float32) if pose else None,
    )


def method_of(name, **changes):
    """A tiny method whose own parts say something: at their start they would add nothing."""
    method = load(tiny.method(name, **changes))
    generator = torch.Generator().manual_seed(7)
    for part in method.network.parts.values():
        for value in part.parameters():
            value.add_(0.2 * torch.randn(value.shape, generator=generator))
    return method


def calls_of(module, monkeypatch):
    """The batch sizes that a module is run on from now on."""
    sizes = []
    forward = module.forward

    def counted(*args, **kwargs):
        sizes.append(len(args[0] if args else kwargs["hidden_states"]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(module, "forward", counted)
    return sizes


def one_chunk(method, scene, **sampling):
    chosen = Sampling.of(method.config, **sampling)
    (chunk,) = chosen.chunks(method.config, scene.frames)
    return draw_chunk(method, scene, chunk, chosen, given={})


def shown(method, scene, job, **sampling):
    order = draw(method, scene, Sampling.of(method.config, **sampling), job)
    return np.stack(list(frames_of(method, order, job)))


@pytest.mark.parametrize(
    ("name", "given", "scales", "links"),
    [
        ("apoavatar", {}, EACH, 4),
        ("apoavatar", {"pose": True}, EACH, 5),
        ("apoavatar", {"photo": False}, EACH, 3),
        ("apoavatar", {"pose": True}, EACH | {"audio": 2.0}, 4),  # picture and sound at once
        ("apoavatar", {"pose": True}, dict.fromkeys(EACH, 2.0), 2),
        ("apoavatar", {}, EACH | {"text": 1.0}, 3),  # v_0 weighs nothing
        ("physavatar", {}, {"text": 5.0, "audio": 2.0}, 3),
        ("physavatar", {}, {"text": 5.0, "audio": 5.0}, 2),
        ("actavatar", {}, {"text": 5.0, "audio": 2.0}, 3),
        ("actavatar", {}, {"text": 5.0, "audio": 5.0}, 2),
        ("actavatar", {}, {"text": 1.0, "audio": 1.0}, 1),
    ],
)
def test_a_step_costs_an_evaluation_a_link_and_no_more(name, given, scales, links, monkeypatch):
    method = load(tiny.method(name))
    sizes = calls_of(method.network, monkeypatch)
    scene = scene_of(17, **given)
    one_chunk(method, scene, scales=scales, steps=3)
    assert sizes == [1] * (3 * links)


def test_the_presets_links_are_the_papers():
    assert Sampling.of(tiny.method("apoavatar")).chain.evaluations == 5
    assert Sampling.of(tiny.method("apoavatar")).chain.among(["text", "image", "audio"]).evaluations == 4
    assert Sampling.of(tiny.method("physavatar")).chain.evaluations == 3
    assert Sampling.of(tiny.method("actavatar")).chain.evaluations == 2


def test_links_at_once_give_what_one_by_one_do(monkeypatch):
    method, scene = method_of("apoavatar"), scene_of(17, pose=True)
    alone = one_chunk(method, scene, scales=EACH)[LATENTS]
    monkeypatch.setattr(drawing, "at_once", lambda network, tokens, evaluations, **beside: 3)
    sizes = calls_of(method.network, monkeypatch)
    together = one_chunk(method, scene, scales=EACH)[LATENTS]
    assert sizes == [3, 2, 3, 2]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["physavatar", "actavatar", "apoavatar"])
def test_a_cache_that_allows_no_change_changes_nothing(name, tmp_path):
    method, scene = method_of(name), scene_of(17)
    plain = shown(method, scene, Job(tmp_path / "plain", {}), steps=4)
    assert np.array_equal(plain, shown(method, scene, Job(tmp_path / "none", {}), steps=4, cache=0.0))
    # Nothing of it stays with the network.
    assert np.array_equal(plain, shown(method, scene, Job(tmp_path / "again", {}), steps=4))


@pytest.mark.parametrize("name", ["physavatar", "actavatar", "apoavatar"])
def test_a_cache_that_allows_much_leaves_later_blocks_out(name, monkeypatch):
    method, scene = method_of(name), scene_of(17)
    links = {"physavatar": 3, "actavatar": 2, "apoavatar": 4}[name]
    first, last = (calls_of(method.network.backbone.blocks[i].attn1, monkeypatch) for i in (0, -1))
    cached = one_chunk(method, scene, steps=4, cache=1.0)[LATENTS]
    assert len(first) == 4 * links
    assert links <= len(last) <= 2 * links  # all of the first step, and a link that changed more
    plain = one_chunk(method, scene, steps=4)[LATENTS]
    assert not torch.equal(plain, cached)


def test_chunks_of_a_pass_are_drawn_in_any_order(tmp_path, monkeypatch):
    method, scene = method_of("physavatar"), scene_of(66)
    plain = Job(tmp_path / "plain", {})
    frames = shown(method, scene, plain)
    order = Sampling.of(method.config).chunks(method.config, scene.frames)
    assert passes(order) == [[0, 2, 4], [1, 3]]
    monkeypatch.setattr(drawing, "passes", lambda order: [[4, 0, 2], [3, 1]])
    other = Job(tmp_path / "other", {})
    assert np.array_equal(frames, shown(method, scene, other))
    for chunk in order:
        one, two = plain.load(chunk.index), other.load(chunk.index)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("frames", [1, 17, 18, 60, 301, 1500])
def test_two_passes_whatever_the_length(frames):
    config = tiny.method("physavatar")
    order = Sampling.of(config).chunks(config, frames)
    rows = passes(order)
    assert len(rows) == min(2, len(order))
    assert sorted(index for row in rows for index in row) == list(range(len(order)))
    assert [frame for chunk in order for frame in chunk.kept] == list(range(frames))
    one_direction = Sampling.of(config, order="autoregressive").chunks(config, frames)
    assert len(passes(one_direction)) == len(one_direction)


@pytest.mark.parametrize("order", ["interleaved", "autoregressive"])
def test_what_a_chunk_is_given_is_what_its_neighbours_show(order, tmp_path, monkeypatch):
    method, scene = method_of("physavatar"), scene_of(41)
    told = {}
    real = drawing.draw_chunk

    def watched(method, scene, chunk, sampling, *, given, **rest):
        told[chunk.index] = given
        return real(method, scene, chunk, sampling, given=given, **rest)

    monkeypatch.setattr(drawing, "draw_chunk", watched)
    frames = shown(method, scene, Job(tmp_path / "job", {}), order=order)
    chunks = Sampling.of(method.config, order=order).chunks(method.config, scene.frames)
    lent = 0
    for chunk in chunks:
        assert len(told[chunk.index]) == len(loans(chunks, chunk))
        for place, pictures in told[chunk.index].items():
            first = chunk.first + place
            assert np.array_equal(pictures, frames[first : first + len(pictures)])
            lent += len(pictures)
    assert lent == (5 + 4 if order == "interleaved" else 5 + 5)


def test_frames_that_are_given_matter(tmp_path):
    """Another odd chunk before it makes another even chunk."""
    method, scene = method_of("physavatar"), scene_of(34)
    sampling = Sampling.of(method.config)
    chunk = sampling.chunks(method.config, scene.frames)[1]
    grey, white = (np.full((chunk.before, 32, 32, 3), level, np.uint8) for level in (128, 255))
    head = {chunk.frames - chunk.after: grey[: chunk.after]} if chunk.after else {}
    one, two = (
        draw_chunk(method, scene, chunk, sampling, given={0: tail} | head)[LATENTS] for tail in (grey, white)
    )
    assert not torch.equal(one, two)


@pytest.mark.parametrize("name", ["actavatar", "apoavatar"])
def test_a_given_beginning_comes_out_as_it_went_in(name):
    method, scene = method_of(name), scene_of(29)
    sampling = Sampling.of(method.config)
    first, second = sampling.chunks(method.config, scene.frames)
    photo = encoded(method.make.vae, from_pictures(scene.photo[None]))
    latents = draw_chunk(method, scene, first, sampling, given={})[LATENTS]
    assert torch.equal(latents[:, :, :1], photo)
    tail = np.random.default_rng(5).integers(0, 256, (5, 32, 32, 3), np.uint8)
    latents = draw_chunk(method, scene, second, sampling, given={0: tail})[LATENTS]
    assert torch.equal(latents[:, :, :2], encoded(method.make.vae, from_pictures(tail)))


def test_the_reference_picture_is_no_part_of_the_latents():
    method, scene = method_of("physavatar"), scene_of(17)
    assert one_chunk(method, scene)[LATENTS].shape == (1, 16, 5, 4, 4)


def test_each_chunk_has_noise_of_its_own_and_each_seed_too():
    method, scene = method_of("physavatar"), scene_of(30)
    sampling = Sampling.of(method.config)
    chunk = sampling.chunks(method.config, 17)[0]
    one = draw_chunk(method, scene, chunk, sampling, given={})[LATENTS]
    again = draw_chunk(method, scene, chunk, sampling, given={})[LATENTS]
    seed = draw_chunk(method, scene, chunk, replace(sampling, seed=1), given={})[LATENTS]
    index = draw_chunk(method, scene, replace(chunk, index=2), sampling, given={})[LATENTS]
    assert torch.equal(one, again)
    assert not torch.equal(one, seed)
    assert not torch.equal(one, index)


def test_steps_are_told_also_for_chunks_that_are_there(tmp_path):
    method, scene = load(tiny.method("actavatar")), scene_of(40)  # three chunks
    job, told = Job(tmp_path, {}), []
    sampling = Sampling.of(method.config, steps=3)
    order = draw(method, scene, sampling, job, on_step=told.append)
    assert [chunk.index for chunk in told] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    (tmp_path / "chunk-0001.safetensors").unlink()
    before = [(tmp_path / f"chunk-000{i}.safetensors").stat().st_mtime_ns for i in (0, 2)]
    draw(method, scene, sampling, job, on_step=told.append)
    assert len(told) == 6 * len(order)
    assert before == [(tmp_path / f"chunk-000{i}.safetensors").stat().st_mtime_ns for i in (0, 2)]


def test_frames_come_one_by_one(tmp_path, monkeypatch):
    """No more is decoded than is asked for, up to the four frames of a latent."""
    method, scene = load(tiny.method("physavatar")), scene_of(30)
    job = Job(tmp_path, {})
    order = draw(method, scene, Sampling.of(method.config), job)
    decoded = calls_of_decoder(method, monkeypatch)
    frames = frames_of(method, order, job)
    assert decoded == []
    for _ in range(6):
        next(frames)
    assert len(decoded) == 3  # the first latent and two of four frames


def calls_of_decoder(method, monkeypatch):
    calls = []
    forward = method.make.vae.decoder.forward

    def counted(x, *args, **kwargs):
        calls.append(x.shape[2])
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(method.make.vae.decoder, "forward", counted)
    return calls
