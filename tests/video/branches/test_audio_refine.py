"""The audio DiT adapter against eq. 5 and 6 of ApoAvatar written out frame by frame in float64."""

import pytest
import torch
from torch import Tensor

from vivavoce.video.branches.audio import AudioAttention, AudioProjector, flat_gain
from vivavoce.video.branches.audio_refine import AudioRefinement
from vivavoce.video.branches.pose import PoseAdapter
from vivavoce.video.wan.backbone import WanBackbone
from vivavoce.video.wan.sockets import Branch, Grid, Moment

WIDTH, HEADS, WINDOW = 24, 2, 5
GRID = Grid(frames=4, height=2, width=3, references=1)


def trained(seed: int = 0) -> AudioRefinement:
    torch.manual_seed(seed)
    branch = AudioRefinement(WIDTH, heads=HEADS).eval()
    for parameter in branch.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return branch


@pytest.fixture
def given() -> tuple[Tensor, Tensor, Moment]:
    torch.manual_seed(1)
    tokens = torch.randn(2, GRID.frames * GRID.per_frame, WIDTH)
    audio = torch.randn(2, GRID.frames - GRID.references, WINDOW, WIDTH)
    return tokens, audio, Moment(torch.tensor([900.0, 20.0]), torch.randn(2, WIDTH), GRID)


def refined(branch: AudioRefinement, tokens: Tensor, audio: Tensor, moment: Moment) -> Tensor:
    passed, conditions = branch.enter(tokens, {"audio.tokens": audio, "text": audio}, moment)
    assert passed is tokens
    assert set(conditions) == {"audio.tokens", "text"}
    return conditions["audio.tokens"]


def written_out(branch: AudioRefinement, window: Tensor, video: Tensor, time: Tensor) -> Tensor:
    """One frame's window (5, D), its video tokens (N, D) and time embedding (D,)."""
    p = {name: value.double() for name, value in branch.state_dict().items()}
    window, video, time = window.double(), video.double(), time.double()

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def rms(x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * p[f"{name}.weight"]

    gamma, beta, gate = linear(time / (1 + (-time).exp()), "modulation").split(WIDTH)
    mean, variance = window.mean(1, keepdim=True), window.var(1, keepdim=True, correction=0)
    normed = (1 + gamma) * (window - mean) / (variance + 1e-6).sqrt() + beta
    q = rms(linear(normed, "attention.to_q"), "attention.norm_q")
    k = rms(linear(video, "attention.to_k"), "attention.norm_k")
    v = linear(video, "attention.to_v")
    d, parts = WIDTH // HEADS, []
    for h in range(HEADS):
        own = slice(h * d, (h + 1) * d)
        parts.append((q[:, own] @ k[:, own].T / d**0.5).softmax(-1) @ v[:, own])
    return (1 + gate) * (window + linear(torch.cat(parts, 1), "attention.to_out"))


@torch.no_grad()
def test_before_training_the_audio_is_what_it_was_bit_for_bit(given):
    tokens, audio, moment = given
    assert torch.equal(refined(AudioRefinement(WIDTH, heads=HEADS), tokens, audio, moment), audio)


@torch.no_grad()
def test_each_frame_is_the_papers_formula(given):
    tokens, audio, moment = given
    branch = trained()
    out = refined(branch, tokens, audio, moment)
    frames = tokens.reshape(2, GRID.frames, GRID.per_frame, WIDTH)
    for b in range(2):
        for t in range(3):
            expected = written_out(branch, audio[b, t], frames[b, t + 1], moment.embedding[b])
            torch.testing.assert_close(out[b, t].double(), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_audio_sees_the_video_of_its_own_frame_only(given):
    tokens, audio, moment = given
    branch = trained()
    before = refined(branch, tokens, audio, moment)
    for frame in range(GRID.frames):
        other = tokens.clone()
        other[:, frame * GRID.per_frame : (frame + 1) * GRID.per_frame] += 1
        changed = (refined(branch, other, audio, moment) != before).flatten(2).any(2).any(0)
        assert changed.tolist() == [t + GRID.references == frame for t in range(3)]


@torch.no_grad()
def test_the_time_of_each_token_counts_for_its_own_frame(given):
    tokens, audio, moment = given
    branch = trained()
    same = moment.embedding[:, None].expand(2, tokens.shape[1], WIDTH).clone()
    each = refined(branch, tokens, audio, Moment(moment.timestep, same, GRID))
    torch.testing.assert_close(each, refined(branch, tokens, audio, moment), rtol=1e-4, atol=1e-5)
    same[:, 2 * GRID.per_frame : 3 * GRID.per_frame] += 1
    later = refined(branch, tokens, audio, Moment(moment.timestep, same, GRID))
    changed = ((later - each).abs() > 1e-3).flatten(2).any(2).any(0)
    assert changed.tolist() == [False, True, False]


@torch.no_grad()
def test_without_audio_nothing_happens(given):
    tokens, _, moment = given
    conditions = {"text": tokens}
    branch = trained()
    assert branch.enter(tokens, conditions, moment) == (tokens, conditions)
    assert branch.residual(0, tokens, conditions) is None


@torch.no_grad()
def test_in_the_backbone_the_pose_reaches_the_audio_and_the_audio_the_video():
    torch.manual_seed(3)
    model = WanBackbone(
        num_attention_heads=2,
        attention_head_dim=12,
        text_dim=32,
        freq_dim=16,
        ffn_dim=48,
        num_layers=2,
        rope_max_seq_len=64,
    ).eval()
    inputs = {
        "hidden_states": torch.randn(2, 16, 3, 4, 6),
        "timestep": torch.tensor([700.0, 100.0]),
        "encoder_hidden_states": torch.randn(2, 12, 32),
    }
    projector = AudioProjector(6, WIDTH, tokens_per_latent=WINDOW)
    audio = AudioAttention(projector, flat_gain(2), heads=HEADS, frame_wise=True)
    pose, refinement = PoseAdapter(WIDTH, stride=16, channels=8), AudioRefinement(WIDTH, heads=HEADS)
    conditions = {"audio": torch.randn(2, 9 + 4, 6), "pose": torch.rand(2, 3, 9, 32, 48)}

    def drawn(*branches: Branch) -> Tensor:
        return model(**inputs, branches=branches, conditions=conditions).sample

    assert torch.equal(drawn(pose, audio, refinement), drawn())
    for attention in audio.attentions.values():
        torch.nn.init.normal_(attention.to_out.weight)
    assert torch.equal(drawn(pose, audio, refinement), drawn(audio))
    torch.nn.init.normal_(refinement.attention.to_out.weight)
    assert (drawn(pose, audio, refinement) - drawn(pose, audio)).abs().max() > 1e-4
    torch.nn.init.normal_(pose.project.weight)
    with_pose = drawn(pose, audio, refinement)
    assert not torch.equal(with_pose, drawn(audio, refinement, pose))  # there the audio saw no pose
