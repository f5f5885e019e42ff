"""Windows against eq. 3 by hand; the audio branch in both backbones: identity, who hears what, gains, masks."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tiny import VACE, WAN
from vivavoce.timing import mirrored, video_frames
from vivavoce.video.branches.audio import (
    AudioAttention,
    AudioProjector,
    first_half_gain,
    flat_gain,
    latent_windows,
    progressive_gain,
)
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone
from vivavoce.video.wan.sockets import Grid, Moment

WIDTH, AUDIO, LATENTS = 24, 6, 5
GRID = Grid(LATENTS, 2, 3)
MODES = pytest.mark.parametrize("frame_wise", [True, False])


FLAT = flat_gain(4)


def branch_of(*, frame_wise: bool, gain=FLAT, reach: int = 1, tokens: int = 2, **options):
    torch.manual_seed(6)
    projector = AudioProjector(AUDIO, WIDTH, reach=reach, tokens_per_latent=tokens)
    return AudioAttention(projector, gain, heads=2, frame_wise=frame_wise, **options).eval()


def trained(branch: AudioAttention) -> AudioAttention:
    """The same with output projections away from zero."""
    torch.manual_seed(7)
    for attention in branch.attentions.values():
        nn.init.normal_(attention.to_out.weight)
    return branch


def entered(branch: AudioAttention, tokens: Tensor, conditions: dict, grid: Grid = GRID):
    moment = Moment(torch.tensor([500.0]), torch.zeros(1, WIDTH), grid)
    kept, prepared = branch.enter(tokens, conditions, moment)
    assert torch.equal(kept, tokens)
    return prepared


def heard(latents: int = LATENTS, batch: int = 2, reach: int = 1) -> Tensor:
    return torch.randn(batch, video_frames(latents) + 2 * reach, AUDIO)


# --- windows and projector


def test_windows_at_the_ends_of_a_recording_are_equation_3():
    """F = 5, k = 2: the frames that eq. 3 puts side by side, written down with its mirror padding."""
    windows = [[2, 1, 0, 1, 2], [1, 0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 3], [2, 3, 4, 3, 2]]
    audio = torch.randn(2, 5, AUDIO, dtype=torch.float64)
    given = latent_windows(audio[:, mirrored(np.arange(-2, 7), 5)], 2)
    assert given.shape == (2, 2, 4 * 5 * AUDIO)
    for latent, frames in enumerate([[0, 0, 0, 0], [1, 2, 3, 4]]):
        side_by_side = [audio[:, j] for i in frames for j in windows[i]]
        assert torch.equal(given[:, latent], torch.cat(side_by_side, 1))


def test_a_chunk_hears_its_neighbours_as_the_whole_recording_does():
    whole = heard(7, reach=2)
    # Frames 8 to 16 and two to either side; its first latent is one frame alone, the others are the whole's.
    chunk = latent_windows(whole[:, 8 : 17 + 4], 2)
    assert torch.equal(chunk[:, 1:], latent_windows(whole, 2)[:, 3:5])


def test_81_frames_become_tokens_of_21_latents_each_from_its_own_window():
    projector = AudioProjector(AUDIO, WIDTH, reach=2, tokens_per_latent=3, hidden=16)
    audio = heard(21, reach=2)
    given = projector(audio)
    assert given.shape == (2, 21, 3, WIDTH)
    first, _, second = projector.mlp
    by_hand = second(nn.functional.gelu(first(latent_windows(audio, 2)[1, 7])))
    torch.testing.assert_close(given[1, 7].flatten(), by_hand)
    # Frame 40 is in latent 10 (37 .. 40) and within two frames of latent 11 (41 .. 44), of no other; frame -1, a
    # neighbour, within two of frames 0 and 1, and frame 82 of frame 80 alone.
    for frame, latents in ((40, [10, 11]), (-1, [0, 1]), (82, [20])):
        other = audio.clone()
        other[:, 2 + frame] += 1
        changed = (projector(other) - given).abs().amax((0, 2, 3)) > 0
        assert changed.nonzero().flatten().tolist() == latents


def test_features_of_another_width_or_length_are_refused():
    projector = AudioProjector(AUDIO, WIDTH)
    with pytest.raises(ValueError, match="width 6, not 7"):
        projector(torch.zeros(1, 9, 7))
    with pytest.raises(ValueError, match="not 6"):
        projector(torch.zeros(1, 10, AUDIO))
    with pytest.raises(ValueError, match="not 0"):
        projector(torch.zeros(1, 4, AUDIO))


# --- gains


def test_the_three_gains():
    assert flat_gain(3) == (1.0, 1.0, 1.0)
    assert first_half_gain(4) == (1.0, 1.0, 0.0, 0.0)
    assert first_half_gain(5) == (1.0, 1.0, 1.0, 0.0, 0.0)
    gain = progressive_gain(30)
    assert len(gain) == 30
    assert gain[-1] == 1.0
    for layer in (1, 7, 15, 29):
        assert gain[layer - 1] == pytest.approx(layer**1.5 / 30**1.5, rel=1e-12)
    assert progressive_gain(4, 2.0)[0] == 1 / 16


@MODES
@pytest.mark.parametrize("gain", [flat_gain(4), progressive_gain(4)])
def test_the_residual_is_the_attention_of_the_block_times_its_gain(frame_wise, gain):
    branch = trained(branch_of(frame_wise=frame_wise, gain=gain))
    tokens = torch.randn(2, 30, WIDTH)
    prepared = entered(branch, tokens, {"audio": heard()})
    audio = prepared["audio.tokens"]
    for layer in range(4):
        attention = branch.attentions[str(layer)]
        if frame_wise:
            frames = [attention(tokens[:, 6 * t : 6 * t + 6], audio[:, t]) for t in range(LATENTS)]
            attended = torch.cat(frames, 1)
        else:
            rotary = tuple(prepared["audio.rotary"].repeat_interleave(n, 1) for n in (6, 2))
            attended = attention(tokens, audio.flatten(1, 2), rotary=rotary)
        assert attended.abs().max() > 0.1
        expected = (1.0 if gain == flat_gain(4) else ((layer + 1) / 4) ** 1.5) * attended
        torch.testing.assert_close(branch.residual(layer, tokens, prepared), expected)


def test_a_block_without_gain_has_no_module_and_adds_nothing():
    branch = branch_of(frame_wise=True, gain=first_half_gain(4))
    assert list(branch.attentions) == ["0", "1"]
    tokens = torch.randn(2, 30, WIDTH)
    prepared = entered(branch, tokens, {"audio": heard()})
    assert branch.residual(1, tokens, prepared) is not None
    assert branch.residual(2, tokens, prepared) is None
    with pytest.raises(ValueError, match="4 blocks, none for block 4"):
        branch.residual(4, tokens, prepared)


# --- in the backbones


@pytest.fixture(scope="module", params=["wan", "vace"])
def backbone(request):
    """A tiny backbone and a call of it that takes branches and conditions."""
    torch.manual_seed(1)
    model = (WanBackbone(**WAN) if request.param == "wan" else VaceBackbone(**VACE)).eval()
    given = {
        "hidden_states": torch.randn(2, 16, LATENTS, 4, 6),
        "timestep": torch.tensor([700.0, 100.0]),
        "encoder_hidden_states": torch.randn(2, 12, 32),
    }
    if request.param == "vace":
        given["control_hidden_states"] = torch.randn(2, 96, LATENTS, 4, 6)
    return lambda **options: model(**given, **options).sample


@MODES
@pytest.mark.parametrize("place", ["after_text", "after_block"])
@pytest.mark.parametrize("references", [0, 1])
@torch.no_grad()
def test_the_identity_at_init(backbone, frame_wise, place, references):
    branch = branch_of(frame_wise=frame_wise, place=place, maskable=True)
    keep = torch.rand(2, LATENTS - references) < 0.5
    conditions = {"audio": heard(LATENTS - references), "audio_mask": keep}
    given = backbone(branches=[branch], conditions=conditions, references=references)
    assert torch.equal(given, backbone())


@MODES
def test_two_steps_of_training_make_the_branch_count(backbone, frame_wise):
    branch, audio = branch_of(frame_wise=frame_wise), heard()
    plain = backbone()
    optimizer = torch.optim.AdamW(branch.parameters(), lr=0.05)
    for _ in range(2):
        given = backbone(branches=[branch], conditions={"audio": audio})
        loss = (given - plain.detach() - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # After the first step the output projections let a gradient through to everything before them.
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in branch.parameters())
    after = backbone(branches=[branch], conditions={"audio": audio})
    assert (after - plain).abs().max() > 1e-2
    silent = backbone(branches=[branch], conditions={"audio": torch.zeros_like(audio)})
    assert (after - silent).abs().max() > 1e-5


@torch.no_grad()
def test_places_differ(backbone):
    audio = heard()
    outputs = [
        backbone(
            branches=[trained(branch_of(frame_wise=True, place=place))],
            conditions={"audio": audio},
        )
        for place in ("after_text", "after_block")
    ]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


# --- who hears what


def frames_changed(branch: AudioAttention, layer: int, latent: int) -> list[int]:
    """The latent frames whose residual changes when the speech of one of them does."""
    torch.manual_seed(8)
    reach = branch.projector.reach
    tokens, audio = torch.randn(2, 30, WIDTH), heard(reach=reach)
    other = audio.clone()
    other[:, reach + max(0, 4 * latent - 3) : reach + 4 * latent + 1] += 1
    residuals = [
        branch.residual(layer, tokens, entered(branch, tokens, {"audio": sound})) for sound in (audio, other)
    ]
    changed = (residuals[0] - residuals[1]).unflatten(1, (LATENTS, 6)).abs().amax((0, 2, 3)) > 0
    return changed.nonzero().flatten().tolist()


@pytest.mark.parametrize("layer", range(4))
@torch.no_grad()
def test_frame_wise_attention_is_block_diagonal(layer):
    alone = trained(branch_of(frame_wise=True, reach=0))
    assert [frames_changed(alone, layer, t) for t in range(LATENTS)] == [[0], [1], [2], [3], [4]]
    # A reach of one frame lets the neighbours overhear, through their windows and through nothing else.
    reaching = trained(branch_of(frame_wise=True, reach=1))
    assert [frames_changed(reaching, layer, t) for t in (0, 2, 4)] == [[0, 1], [1, 2, 3], [3, 4]]
    everywhere = trained(branch_of(frame_wise=False, reach=0))
    assert frames_changed(everywhere, layer, 2) == [0, 1, 2, 3, 4]


@torch.no_grad()
def test_the_speech_of_two_frames_exchanged_is_noticed_by_its_time_alone():
    """Without positions, attention over all latents would not know when something is said."""
    branch = trained(branch_of(frame_wise=False))
    tokens = torch.randn(2, 30, WIDTH)
    prepared = entered(branch, tokens, {"audio": heard()})
    exchanged = prepared | {"audio.tokens": prepared["audio.tokens"][:, [0, 3, 2, 1, 4]]}
    before = branch.residual(0, tokens, prepared)
    assert (branch.residual(0, tokens, exchanged) - before).abs().max() > 1e-2
    unturned = {
        name: torch.stack([torch.ones_like(table[0]), torch.zeros_like(table[1])])
        for name, table in prepared.items()
        if name.endswith("rotary")
    }
    timeless = [branch.residual(0, tokens, c | unturned) for c in (prepared, exchanged)]
    torch.testing.assert_close(*timeless, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_positions_begin_at_the_chunk_and_only_their_differences_count():
    branch = trained(branch_of(frame_wise=False))
    tokens, conditions = torch.randn(2, 30, WIDTH), {"audio": heard()}
    here = entered(branch, tokens, conditions)
    later = entered(branch, tokens, conditions, Grid(LATENTS, 2, 3, first=40))
    # The first rate of RoPE is one radian a latent frame.
    times = torch.arange(40, 40 + LATENTS).double()
    expected = torch.stack([times.cos(), times.sin()]).float()
    torch.testing.assert_close(later["audio.rotary"][:, :, 0], expected)
    torch.testing.assert_close(
        branch.residual(2, tokens, later), branch.residual(2, tokens, here), rtol=1e-4, atol=1e-4
    )


@MODES
@torch.no_grad()
def test_pictures_hear_nothing(frame_wise):
    branch = trained(branch_of(frame_wise=frame_wise))
    tokens, conditions = torch.randn(2, 42, WIDTH), {"audio": heard()}
    prepared = entered(branch, tokens, conditions, Grid(LATENTS + 2, 2, 3, references=2))
    video = entered(branch, tokens[:, 12:], conditions)
    for layer in range(4):
        given = branch.residual(layer, tokens, prepared)
        assert torch.equal(given[:, :12], torch.zeros(2, 12, WIDTH))
        assert torch.equal(given[:, 12:], branch.residual(layer, tokens[:, 12:], video))


# --- conditions


def test_masked_audio_is_replaced_and_nothing_else():
    branch = branch_of(frame_wise=True, maskable=True)
    tokens, audio = torch.randn(2, 30, WIDTH), heard()
    plain = entered(branch, tokens, {"audio": audio})["audio.tokens"]
    keep = torch.ones(2, LATENTS, dtype=torch.bool)
    keep[0, 3] = False
    masked = entered(branch, tokens, {"audio": audio, "audio_mask": keep})["audio.tokens"]
    assert torch.equal(masked[keep], plain[keep])
    assert torch.equal(masked[0, 3], branch.mask.embedding.expand(2, WIDTH))
    with pytest.raises(ValueError, match="maskable"):
        entered(branch_of(frame_wise=True), tokens, {"audio": audio, "audio_mask": keep})


def test_the_given_conditions_are_left_as_they_are():
    branch, tokens = branch_of(frame_wise=False), torch.randn(2, 30, WIDTH)
    conditions = {"audio": heard(), "plan": torch.ones(1)}
    prepared = entered(branch, tokens, conditions)
    assert set(conditions) == {"audio", "plan"}
    assert set(prepared) > set(conditions)
    assert prepared["audio.tokens"].shape == (2, LATENTS, 2, WIDTH)


def test_audio_that_is_missing_or_of_another_length_is_refused():
    branch, tokens = branch_of(frame_wise=True), torch.randn(2, 30, WIDTH)
    with pytest.raises(ValueError, match="silence is zeros"):
        entered(branch, tokens, {})
    with pytest.raises(ValueError, match="4 latent frames for a video of 5"):
        entered(branch, tokens, {"audio": heard(4)})
    with pytest.raises(ValueError, match="5 latent frames for a video of 4"):
        entered(branch, tokens, {"audio": heard()}, Grid(LATENTS, 2, 3, references=1))


@MODES
def test_half_precision_features_and_tokens_need_not_agree(frame_wise):
    branch, tokens = branch_of(frame_wise=frame_wise, maskable=True), torch.randn(2, 30, WIDTH)
    branch, tokens = trained(branch).bfloat16(), tokens.bfloat16()
    keep = torch.ones(2, LATENTS, dtype=torch.bool)
    prepared = entered(branch, tokens, {"audio": heard(), "audio_mask": keep})
    assert branch.residual(0, tokens, prepared).dtype == torch.bfloat16
