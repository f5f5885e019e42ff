"""What is seen of a network at work: states frame by frame, attention phase by phase over all chunks."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from test_network import grown

import tiny
from test_methods import scene
from vivavoce.errors import InputError
from vivavoce.features.physical_state import WIDTH as STATE
from vivavoce.features.physical_state import LandmarkEncoder
from vivavoce.features.pose import draw_over
from vivavoce.methods.load import load
from vivavoce.video import draw as drawing
from vivavoce.video import watch as watching
from vivavoce.video.draw import draw, draw_chunk, frames_of
from vivavoce.video.method import Sampling
from vivavoce.video.plan import Phase, Plan
from vivavoce.video.sample.long import Chunk
from vivavoce.video.sample.resume import Job
from vivavoce.video.watch import WatchPhases, WatchStates

LONG = 40
PLAN = Plan(
    base="A person speaks.",
    phases=(
        Phase(text="waves a hand", start=0.0, end=0.4),
        Phase(text="nods twice", start=0.6, end=1.1),
        Phase(text="points at the desk", start=1.3, end=1.6),
    ),
)
"""Over chunks of frames 0 to 16, 12 to 28 and 24 to 40: told to the first, to all three, to the last."""
CHUNKS = [(range(0, 17), 0, (1, 2)), (range(17, 29), 12, (2,)), (range(29, 40), 24, (2, 3))]
"""Kept frames, first frame, and phases of each, by hand; at 25 fps frame 24 begins at 0.96 s."""


def method_of(name):
    method = load(tiny.method(name))
    return replace(method, network=grown(name).eval())


def watched(name, watch, **changes):
    """One chunk of 17 frames of a scene: what was kept, and the method."""
    method = method_of(name)
    sampling = Sampling.of(method.config)
    whole = replace(scene(), **changes)
    chunk = Chunk(0, 0, 17, range(17))
    return draw_chunk(method, whole, chunk, sampling, given={}, watch=watch), method


def test_every_frame_has_one_state_and_the_first_latents_four_are_one():
    method, told = method_of("physavatar"), []
    method.network.extras["state"].register_forward_hook(lambda module, args, states: told.append(states))
    chunk, sampling = Chunk(0, 0, 17, range(17)), Sampling.of(method.config)
    watch = WatchStates(LandmarkEncoder())
    kept = draw_chunk(method, scene(), chunk, sampling, given={}, watch=watch)["states"]
    assert kept.shape == (17, STATE)
    (tokens,) = told  # of the last step alone, although there are two
    assert tokens.shape == (1, 20, STATE)
    for frame in range(17):
        latent = -(-frame // 4)
        place = 3 if frame == 0 else (frame - 1) % 4
        assert torch.equal(kept[frame], tokens[0, 4 * latent + place]), frame


@pytest.mark.parametrize(
    ("name", "watch", "seen"),
    [("physavatar", WatchStates(LandmarkEncoder()), "states"), ("actavatar", WatchPhases(2), "shares")],
)
def test_in_a_batch_what_is_seen_is_of_the_evaluation_that_drops_nothing(name, watch, seen, monkeypatch):
    alone, method = watched(name, watch)
    evaluations = Sampling.of(method.config).chain.evaluations
    assert evaluations > 1
    monkeypatch.setattr(drawing, "at_once", lambda *args, **kwargs: evaluations)
    together, _ = watched(name, watch)
    torch.testing.assert_close(together[seen], alone[seen], rtol=1e-4, atol=1e-4)


def test_looking_changes_nothing_that_is_drawn():
    for name, watch in (("physavatar", WatchStates(LandmarkEncoder())), ("actavatar", WatchPhases(2))):
        assert torch.equal(watched(name, watch)[0]["latents"], watched(name, None)[0]["latents"]), name


def test_the_keypoints_of_a_frames_own_state_are_drawn_over_it():
    noise = np.random.default_rng(2)
    keypoints = noise.uniform(-1, 1, (5, 127, 3)).astype(np.float32)
    keypoints[..., 2] = 1
    frame = noise.integers(0, 256, (96, 128, 3), np.uint8)
    encoder = LandmarkEncoder()
    kept = {"states": torch.from_numpy(encoder.encode(keypoints))}
    watch, before = WatchStates(encoder), frame.copy()
    for place in range(5):
        shown = watch.shown(frame, kept, place)
        assert np.array_equal(shown, draw_over(frame, encoder.keypoints(kept["states"].numpy())[place]))
        exact = draw_over(frame, keypoints[place])
        assert np.mean(shown != exact) < 0.002  # the way through the tokens rounds
        assert np.mean(shown != frame) > 0.05
    assert np.array_equal(frame, before)


def test_a_watched_clip_is_the_clip_with_its_states_drawn_over(tmp_path):
    method, encoder = method_of("physavatar"), LandmarkEncoder()
    watch, whole = WatchStates(encoder), scene(frames=LONG)
    job = Job(tmp_path, {})
    order = draw(method, whole, Sampling.of(method.config), job, watch=watch)
    plain, shown = (list(frames_of(method, order, job, w)) for w in (None, watch))
    assert len(shown) == LONG
    for chunk in order:
        states = job.load(chunk.index)["states"].numpy()
        assert states.shape == (chunk.frames, STATE)
        for t in chunk.kept:
            points = encoder.keypoints(states[t - chunk.first][None])[0]
            assert np.array_equal(shown[t], draw_over(plain[t], points)), t


@pytest.fixture(scope="module")
def phases(tmp_path_factory):
    """A plan's three phases over three chunks: the method, the scene, and every chunk with what was kept of it."""
    method = method_of("actavatar")
    whole = replace(scene(frames=LONG), plan=PLAN)
    job, watch = Job(tmp_path_factory.mktemp("job"), {}), WatchPhases(2)
    order = draw(method, whole, Sampling.of(method.config), job, watch=watch)
    return method, whole, [(chunk, job.load(chunk.index)) for chunk in order]


def test_attention_is_kept_by_latent_frame_for_the_chunks_own_phases(phases):
    _, _, chunks = phases
    assert [(chunk.kept, chunk.first) for chunk, _ in chunks] == [(kept, first) for kept, first, _ in CHUNKS]
    for (_, kept), (_, _, told) in zip(chunks, CHUNKS, strict=True):
        assert kept["shares"].shape == (5, 1 + len(told))
        torch.testing.assert_close(kept["shares"].sum(1), torch.ones(5))


def test_over_the_whole_clip_each_chunks_phases_are_the_plans(phases, monkeypatch, tmp_path):
    _, whole, chunks = phases
    plotted = []
    monkeypatch.setattr(watching, "plot", lambda *args, **kwargs: plotted.append((*args, kwargs)))
    WatchPhases(2).finish(whole, chunks, tmp_path / "clip.mp4")
    ((shares, plan, options),) = plotted
    assert plan is PLAN
    assert options == {"fps": 25.0, "path": tmp_path / "clip.attention.png", "total": LONG / 25}
    wanted = np.zeros((LONG, 4), np.float32)
    for (_, kept), (frames, first, told) in zip(chunks, CHUNKS, strict=True):
        for t in frames:
            row = kept["shares"][-(-(t - first) // 4)].numpy()
            wanted[t, 0] = row[0]
            for column, phase in enumerate(told, 1):
                wanted[t, phase] = row[column]
    assert np.array_equal(shares, wanted)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    assert (shares[:, 0] > 0).all()


def test_the_plot_lies_beside_the_clip(phases, tmp_path):
    _, whole, chunks = phases
    WatchPhases(2).finish(whole, chunks, tmp_path / "clip.mp4")
    with Image.open(tmp_path / "clip.attention.png") as picture:
        assert min(picture.size) > 300


def test_a_chunk_without_phases_attends_to_the_base_alone():
    plan = Plan(base="A person speaks.", phases=(Phase(text="nods", start=1.0, end=1.5),))
    kept, _ = watched("actavatar", WatchPhases(2), plan=plan)
    assert kept["shares"].shape == (5, 1)
    torch.testing.assert_close(kept["shares"], torch.ones(5, 1))


def test_a_plan_without_phases_has_nothing_to_show():
    with pytest.raises(InputError, match="no phases whose attention could be shown: give one with phases"):
        WatchPhases(0).check(replace(scene(), plan=Plan(base="A person speaks.")))
    WatchPhases(0).check(scene())
    WatchStates(LandmarkEncoder()).check(replace(scene(), plan=Plan(base="A person speaks.")))


def hooks(backbone):
    """All hooks on the backbone and the modules in it."""
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in backbone.modules())


def test_nothing_keeps_watching_afterwards_not_even_after_an_error(phases):
    method, _, _ = phases
    backbone = method.network.backbone
    assert hooks(backbone) == 0
    conditions = {"phases": torch.ones(1, 3, dtype=torch.long), "words": torch.ones(1, 3, dtype=torch.bool)}
    batch = torch.zeros(1), torch.zeros(1), conditions
    with suppress(KeyError), WatchPhases(2).over(method.network, batch, item=0):
        assert hooks(backbone) == 2
        raise KeyError
    assert hooks(backbone) == 0


def test_only_states_need_a_block_to_be_tapped():
    network = grown("physavatar")
    assert WatchStates(LandmarkEncoder()).taps(network) == ("blocks.1",)
    assert WatchPhases(2).taps(grown("actavatar")) == ()
