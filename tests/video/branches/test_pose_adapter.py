"""The pose adapter: what it adds, where, from which frames, and what a dropped pose does."""

import pytest
import torch
from torch import Tensor

from vivavoce.errors import InputError
from vivavoce.video.branches.pose import PoseAdapter
from vivavoce.video.wan.backbone import WanBackbone
from vivavoce.video.wan.sockets import Grid, Moment

WIDTH, STRIDE = 24, 16
GRID = Grid(frames=4, height=2, width=3, references=1)
FRAMES = 9  # of the three latent frames that are video


def adapter(*, trained: bool = True, stride: int = STRIDE) -> PoseAdapter:
    torch.manual_seed(0)
    branch = PoseAdapter(WIDTH, stride=stride, channels=8).eval()
    if trained:
        torch.nn.init.normal_(branch.project.weight)
    return branch


def drawing(seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return torch.rand(2, 3, FRAMES, GRID.height * STRIDE, GRID.width * STRIDE) * 2 - 1


def added(branch: PoseAdapter, **conditions: Tensor) -> Tensor:
    """What the branch adds, by batch, frame, row and column."""
    tokens = torch.zeros(2, GRID.frames * GRID.per_frame, WIDTH)
    moment = Moment(torch.tensor([500.0, 500.0]), torch.zeros(2, WIDTH), GRID)
    out, after = branch.enter(tokens, conditions, moment)
    assert set(after) == set(conditions)
    return out.reshape(2, GRID.frames, GRID.height, GRID.width, WIDTH)


@torch.no_grad()
def test_it_is_the_identity_until_it_is_trained_in_the_backbone_too():
    torch.manual_seed(2)
    config = {
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "text_dim": 32,
        "freq_dim": 16,
        "ffn_dim": 48,
    }
    model = WanBackbone(**config, num_layers=2, rope_max_seq_len=64).eval()
    inputs = {
        "hidden_states": torch.randn(2, 16, 4, 4, 6),
        "timestep": torch.tensor([700.0, 100.0]),
        "encoder_hidden_states": torch.randn(2, 12, 32),
        "references": 1,
    }
    plain = model(**inputs).sample
    given = {"pose": drawing()}
    assert torch.equal(model(**inputs, branches=[adapter(trained=False)], conditions=given).sample, plain)
    assert not torch.equal(model(**inputs, branches=[adapter()], conditions=given).sample, plain)


@torch.no_grad()
def test_a_latent_frame_sees_the_frames_up_to_its_last_and_none_after():
    branch, pose = adapter(), drawing()
    before = added(branch, pose=pose)
    for frame in range(FRAMES):
        other = pose.clone()
        other[:, :, frame] += 1
        changed = (added(branch, pose=other) != before).flatten(2).any(2).any(0)
        first = -(-frame // 4)  # the latent that frame belongs to
        assert not changed[: GRID.references + first].any()
        assert changed[GRID.references + first]


@torch.no_grad()
def test_a_pose_lands_on_the_tokens_of_its_place():
    branch, pose = adapter(), drawing()
    before = added(branch, pose=pose)
    other = pose.clone()
    other[..., -4:, -4:] += 1  # the far corner of the last token; filters reach back, never forward
    changed = (added(branch, pose=other) != before).any(-1).any(1).any(0)
    assert changed.nonzero().tolist() == [[GRID.height - 1, GRID.width - 1]]


@torch.no_grad()
def test_reference_pictures_dropped_frames_and_the_null_pose_get_nothing():
    branch, pose = adapter(), drawing()
    keep = torch.tensor([[True, False, True], [False, False, True]])
    out, kept = added(branch, pose=pose, pose_keep=keep), added(branch, pose=pose)
    assert not out[:, 0].any()
    assert torch.equal(out[:, 1:][keep], kept[:, 1:][keep])
    assert out[:, 1:][keep].any()
    assert not out[:, 1:][~keep].any()
    assert not added(branch, pose=torch.zeros_like(pose)).any()
    assert not added(branch).any()


@torch.no_grad()
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_one_feature_a_token_at_every_stride(stride: int):
    pose = torch.rand(1, 3, 5, 2 * stride, 3 * stride)
    assert adapter(stride=stride).encoded(pose, None, Grid(2, 2, 3)).shape == (1, 2 * 2 * 3, WIDTH)


def test_dropped_frames_give_no_gradient():
    branch, pose = adapter(), drawing().requires_grad_()
    keep = torch.tensor([[True, True, False], [False, False, False]])
    added(branch, pose=pose, pose_keep=keep).square().sum().backward()
    assert pose.grad is not None
    assert pose.grad[0, :, :5].any()
    assert not pose.grad[0, :, 5:].any()
    assert not pose.grad[1].any()


def test_a_pose_of_another_length_or_size_is_refused():
    branch = adapter()
    with pytest.raises(InputError, match=r"8 frames of 48 x 32 pixels, the video 9 frames of 48 x 32"):
        added(branch, pose=drawing()[:, :, :8])
    with pytest.raises(InputError, match="9 frames of 48 x 16"):
        added(branch, pose=drawing()[..., :16, :])
    with pytest.raises(ValueError, match="24"):
        PoseAdapter(WIDTH, stride=24)
