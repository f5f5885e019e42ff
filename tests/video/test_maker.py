"""What a network is told of a span: speech from beyond its borders, pictures in their places, poses to the end."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_network import SIGMA, example, grown, noise_like

import tiny
from test_methods import scene
from vivavoce.features.loudness import Speech
from vivavoce.features.pose import draw_pose
from vivavoce.methods.load import load
from vivavoce.video.branches.audio import AudioAttention
from vivavoce.video.control import control_latents
from vivavoce.video.maker import Maker, Span
from vivavoce.video.plan import Phase, Plan
from vivavoce.video.vae import encoded, from_pictures

LONG = 60
REACH = 2
SPANS = {
    "the start": Span(0, 17),
    "the middle": Span(20, 17),
    "the end": Span(43, 17),
    "past the end": Span(46, 17),
    "all of it": Span(0, 61),
}


@pytest.fixture(scope="module")
def make() -> Maker:
    return load(tiny.method("apoavatar")).make


def bounced(frame: int, count: int) -> int:
    """Where a frame comes to lie that turns back at the first and the last one."""
    while not 0 <= frame < count:
        frame = -frame if frame < 0 else 2 * (count - 1) - frame
    return frame


@pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
def test_speech_around_a_span_is_the_videos_own_and_mirrored_at_its_ends_alone(make, span):
    long = scene(frames=LONG)
    whole = make.speech_encoder.features(long.speech, 25.0, np.arange(LONG))
    wanted = [whole[bounced(t, LONG)] for t in range(span.first - REACH, span.first + span.frames + REACH)]
    got = make.audio(long, span, REACH)
    assert got.dtype == torch.float32
    assert np.array_equal(got[0].numpy(), np.stack(wanted))


def test_a_chunk_hears_of_its_neighbours_what_they_hear_themselves(make):
    long = scene(frames=LONG)
    one, other = (make.audio(long, Span(first, 17), REACH)[0] for first in (12, 24))
    assert torch.equal(one[-9:], other[:9])


def test_a_video_of_one_frame_hears_it_on_all_sides(make):
    short = scene(frames=1)
    assert len(make.audio(short, Span(0, 1), REACH)[0].unique(dim=0)) == 1


def windows_with(frames: set[int], span: Span) -> set[int]:
    """The latents of a span whose windows hold one of these frames of the video."""
    found = set()
    for latent in range(1 + (span.frames - 1) // 4):
        own = [0] if latent == 0 else range(4 * latent - 3, 4 * latent + 1)
        heard = {span.first + frame + k for frame in own for k in range(-REACH, REACH + 1)}
        if heard & frames:
            found.add(latent)
    return found


@pytest.mark.parametrize("hit", [17, 30, 45, 55])
def test_a_click_in_one_frame_changes_only_latents_that_hear_it(make, hit):
    """A log-mel frame sees 25 ms, so that a frame of 40 ms is heard in itself and its two neighbours."""
    long, span = scene(frames=LONG), Span(20, 33)
    samples = np.array(long.speech.samples)
    samples[hit * 640 : (hit + 1) * 640] += 0.5
    clicked = replace(long, speech=Speech(samples, long.speech.gain))
    projector = grown("actavatar").branches["audio"].projector
    with torch.no_grad():
        before, after = (projector(make.audio(s, span, REACH)) for s in (long, clicked))
    changed = {i for i in range(9) if not torch.equal(before[:, i], after[:, i])}
    assert changed == windows_with({hit - 1, hit, hit + 1}, span)
    assert len(changed) < 9


@pytest.mark.parametrize("name", ["actavatar", "apoavatar"])
@pytest.mark.parametrize("hit", [-2, 3, 8, 18])
def test_in_every_block_a_frames_speech_moves_the_tokens_that_hear_it_and_no_others(name, hit, monkeypatch):
    """Block-diagonal attention (ApoAvatar eq. 7), in the whole network: its own tokens, speech changed in a frame."""
    network, (latents, conditions) = grown(name), example(name)
    told = {**conditions, "given.noise": noise_like(latents)}
    seen, residual = [], AudioAttention.residual

    def recorded(self, layer, tokens, prepared):
        added = residual(self, layer, tokens, prepared)
        seen.append((layer, tokens, prepared, added))
        return added

    monkeypatch.setattr(AudioAttention, "residual", recorded)
    audio = told["audio"].clone()
    audio[:, hit + REACH] += 1.0
    with torch.no_grad():
        network(latents, SIGMA, told)
        network(latents, SIGMA, told | {"audio": audio})
        assert [layer for layer, *_ in seen] == [0, 1, 2, 3] * 2
        for (layer, tokens, _, before), (_, _, changed, _) in zip(seen[:4], seen[4:], strict=True):
            after = residual(network.branches["audio"], layer, tokens, changed)
            moved = (before != after).unflatten(1, (5, -1)).any(dim=3)[0]
            wanted = windows_with({hit}, Span(0, 17))
            assert {i for i in range(5) if moved[i].any()} == wanted, layer
            assert all(moved[i].all() for i in wanted), layer


def test_given_frames_stand_in_their_places_in_the_control():
    make, noise = load(tiny.method("physavatar")).make, np.random.default_rng(1)
    before, after = noise.integers(0, 256, (2, 5, 32, 32, 3), np.uint8)
    got = make.control(scene(), Span(12, 17, {0: before, 13: after[:4]}))
    frames, known = np.full((17, 32, 32, 3), 99, np.uint8), np.zeros(17, bool)
    frames[:5], frames[13:] = before, after[:4]
    known[[0, 1, 2, 3, 4, 13, 14, 15, 16]] = True
    assert torch.equal(got, control_latents(make.vae, scene().photo, frames, known))
    assert got.shape == (1, 96, 6, 4, 4)
    assert torch.equal(got[:, :16, :1], encoded(make.vae, from_pictures(scene().photo[None])))
    first, nothing = make.control(scene(), Span(0, 17)), np.zeros(17, bool)
    assert torch.equal(first, control_latents(make.vae, scene().photo, frames, nothing))
    assert torch.equal(first[:, 32:, 1:], torch.ones_like(first[:, 32:, 1:]))
    assert make.control(scene(), Span(0, 9)).shape == (1, 96, 4, 4, 4)


def test_a_span_begins_with_what_came_before_it_else_with_the_photo_else_freely(make):
    before = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), np.uint8)
    later = make.beginning(scene(), Span(12, 17, {0: before}))
    assert later["given"].tolist() == [[1, 1, 0, 0, 0]]
    assert torch.equal(later["given.latents"][:, :, :2], encoded(make.vae, from_pictures(before)))
    first = make.beginning(scene(), Span(0, 17))
    assert first["image"].tolist() == first["given"].tolist() == [[1, 0, 0, 0, 0]]
    assert torch.equal(
        first["given.latents"][:, :, :1], encoded(make.vae, from_pictures(scene().photo[None]))
    )
    unseen = replace(scene(), photo=None)
    assert make.beginning(unseen, Span(0, 17)) == {}
    assert make.beginning(unseen, Span(12, 17, {0: before})).keys() == later.keys()


@pytest.mark.parametrize("beyond", [0, 1, 2, 3])
def test_the_last_pose_holds_where_the_last_span_passes_the_end(make, beyond):
    frames = 25 - beyond
    posed = scene(frames=frames)
    got = make.pose(posed, Span(8, 17))
    wanted = posed.pose[[min(t, frames - 1) for t in range(8, 25)]]
    assert got.shape == (1, 3, 17, 32, 32)
    drawn = draw_pose(wanted, 32, 32).astype(np.float64)
    np.testing.assert_allclose(got[0].permute(1, 2, 3, 0), drawn / 127.5 - 1, atol=1e-6)
    assert len(got[0].unique(dim=1)[0]) == 17 - beyond
    assert make.pose(replace(posed, pose=None), Span(8, 17)) is None


def test_the_pose_is_drawn_as_wide_as_the_frames():
    wide = load(tiny.method("apoavatar", width=64)).make
    assert wide.pose(scene(), Span(0, 17)).shape == (1, 3, 17, 32, 64)


def test_a_span_lasts_from_its_first_frame_to_behind_its_last():
    assert Span(72, 81).seconds(25.0) == (2.88, 6.12)
    start, end = Span(30, 30).seconds(29.97)
    assert (start, end) == (pytest.approx(1.001), pytest.approx(2.002))


TOLD = Plan(
    base="A person in red.",
    phases=(Phase(text="waves a hand", start=0.0, end=0.9), Phase(text="nods", start=0.8, end=2.0)),
)


def test_actavatars_windows_are_told_in_the_spans_own_time(make):
    network = load(tiny.method("actavatar")).network
    got = network.conditions(make, replace(scene(frames=LONG), plan=TOLD), Span(20, 17))
    blocks = [
        "A person is speaking. A person in red.",
        "Phase-1 [0-0.1s]: waves a hand",
        "Phase-2 [0-0.68s]: nods",
    ]
    wanted = make.text(blocks)
    assert torch.equal(got["text"], wanted.features)
    assert torch.equal(got["phases"], wanted.phases)
    assert torch.equal(got["words"], wanted.words)
    late = network.conditions(make, replace(scene(frames=LONG), plan=TOLD), Span(30, 17))
    assert late["phases"].max() == 1


def test_apoavatar_is_told_of_phases_while_they_last(make):
    network = load(tiny.method("apoavatar")).network
    for first, last in ((20, ["waves a hand", "nods"]), (30, ["nods"])):
        got = network.conditions(make, replace(scene(frames=LONG), plan=TOLD), Span(first, 17))
        wanted = make.text(["A person is speaking.", TOLD.base, *last]).features
        assert torch.equal(got["text"], wanted)
    bare = network.conditions(make, replace(scene(), photo=None, pose=None), Span(0, 17))
    assert bare.keys() == {"text", "audio"}


def test_physavatars_brief_goes_to_the_planners_words_or_else_into_the_text(make):
    spoken, generic = replace(scene(frames=LONG), plan=TOLD), "A person is speaking to the camera."
    told = {
        planner: load(tiny.method("physavatar", planner=planner)).network.conditions(make, s, Span(30, 17))
        for planner, s in (("text", spoken), ("omni", spoken))
    }
    assert torch.equal(told["text"]["text"], make.text([generic, "nods"]).features)
    assert torch.equal(told["text"]["plan"], make.states(TOLD.base))
    assert torch.equal(told["omni"]["text"], make.text([generic, "nods", TOLD.base]).features)
    assert "plan" not in told["omni"]
    own = torch.randn(1, 9, 64)
    network = load(tiny.method("physavatar", planner="omni")).network
    got = network.conditions(make, replace(spoken, embeddings=own), Span(30, 17))
    assert torch.equal(got["plan"], own)
    assert torch.equal(got["text"], told["text"]["text"])
