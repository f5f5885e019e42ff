"""Physical state tokens: their layout, the way back to keypoints, and X-Pose's programs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.fft import idct

from portraits import portrait
from vivavoce.errors import InputError, WeightsError
from vivavoce.features.physical_state import (
    PARTS,
    LandmarkEncoder,
    XPose,
    keypoints_of,
    load_state_encoder,
    reference_states,
)
from vivavoce.features.portrait import Portrait

SLICES = {
    "body": slice(0, 17),
    "face": slice(17, 85),
    "left_hand": slice(85, 106),
    "right_hand": slice(106, 127),
}


@pytest.fixture
def keypoints() -> np.ndarray:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (6, 127, 3)).astype(np.float32)
    points[..., 2] = rng.random((6, 127)) < 0.8
    return points * points[..., 2:]


def test_the_parts_are_figure_s2s():
    assert PARTS == {"body": 17, "face": 68, "left_hand": 21, "right_hand": 21}


def test_tokens_go_back_to_their_keypoints(keypoints):
    encoder = LandmarkEncoder()
    states = encoder.encode(keypoints)
    assert states.shape == (6, 1024)
    assert states.dtype == np.float32
    np.testing.assert_allclose(encoder.keypoints(states), keypoints, atol=1e-5)
    noisy = states + np.random.default_rng(1).normal(0, 0.05, states.shape).astype(np.float32)
    np.testing.assert_allclose(encoder.keypoints(noisy), keypoints, atol=0.3)


def test_each_object_has_its_own_256_numbers(keypoints):
    encoder = LandmarkEncoder()
    before = encoder.encode(keypoints)
    for i, (name, where) in enumerate(SLICES.items()):
        moved = keypoints.copy()
        moved[:, where, 0] += 0.1
        changed = np.abs(encoder.encode(moved) - before).max(axis=0).reshape(4, 256).max(axis=1) > 1e-3
        assert changed.tolist() == [k == i for k in range(4)], name


def test_a_token_is_the_inverse_cosine_transform_and_keeps_distances(keypoints):
    encoder = LandmarkEncoder()
    states = encoder.encode(keypoints).astype(np.float64)
    for i, (name, where) in enumerate(SLICES.items()):
        values = keypoints[:, where].reshape(6, -1).astype(np.float64)
        gain = np.sqrt(256 / (3 * PARTS[name]))
        token = states[:, 256 * i : 256 * (i + 1)]
        np.testing.assert_allclose(token, gain * idct(values, n=256, norm="ortho"), atol=1e-5)
        distance = np.linalg.norm(values[0] - values[1])
        assert np.linalg.norm(token[0] - token[1]) == pytest.approx(gain * distance, rel=1e-5)


def test_81_frames_have_84_reference_tokens():
    states = np.repeat(np.arange(81, dtype=np.float32)[:, None], 1024, axis=1)
    reference = reference_states(states)
    assert reference.shape == (21, 4, 1024)
    assert reference[..., 0].ravel().tolist() == [0, 0, 0, *range(81)]
    with pytest.raises(ValueError, match="80"):
        reference_states(states[:80])


def test_landmarks_are_named_and_scaled_as_the_figure_says():
    rng = np.random.default_rng(2)
    face = rng.uniform(0, 100, (478, 3)).astype(np.float32)
    body = rng.uniform(0, 100, (33, 4)).astype(np.float32)
    body[:, 3] = 1
    body[16, 3] = 0.1
    hand = rng.uniform(0, 100, (21, 3)).astype(np.float32)
    found = Portrait(
        image=np.zeros((100, 200, 3), np.float32),
        crop=(0, 0, 200, 100),
        face=face,
        body=body,
        hands={"right": hand},
        matte=np.zeros((100, 200), np.float32),
        faces_found=1,
        notes=(),
    )
    points = keypoints_of(found)
    scale = np.array([100, 50])
    np.testing.assert_allclose(points[5, :2], body[11, :2] / scale - 1, atol=1e-6)  # left shoulder
    assert np.all(points[10] == 0)  # right wrist: not seen
    np.testing.assert_allclose(points[17 + 8, :2], face[152, :2] / scale - 1, atol=1e-6)  # chin
    np.testing.assert_allclose(points[17 + 36, :2], face[33, :2] / scale - 1, atol=1e-6)  # right eye
    np.testing.assert_allclose(points[17 + 54, :2], face[291, :2] / scale - 1, atol=1e-6)  # left mouth corner
    assert np.all(points[85:106] == 0)
    np.testing.assert_allclose(points[106:, :2], hand[:, :2] / scale - 1, atol=1e-6)
    assert np.all(points[106:, 2] == 1)


def test_a_picture_gives_a_face_that_looks_like_one():
    frame = (portrait("smile") * 255).astype(np.uint8)
    encoder = load_state_encoder()
    face = encoder.keypoints(encoder.states(frame[None]))[0, SLICES["face"]]
    x, y = face[:, 0], face[:, 1]
    assert np.all(face[:, 2] == 1)
    assert np.all(np.diff(x[[0, 3, 8, 13, 16]]) > 0)  # the jaw from the person's right to the left
    assert y[8] > y[57] > y[62] > y[51] > y[33] > y[30] > y[27]  # chin, lips, nose from below
    assert np.all(np.diff(x[[36, 39, 42, 45]]) > 0)
    assert y[[19, 24]].max() < y[[37, 44]].min()  # brows above eyes


class Tokens(torch.nn.Module):
    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return (
            frames.mean((1, 2, 3))[:, None, None] + torch.arange(4.0)[None, :, None] + torch.zeros(1, 1, 256)
        )


class Points(torch.nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, 1, :3][:, None].expand(1, self.count, 3) * 1.0


def export(folder: Path, count: int = 127) -> Path:
    folder.mkdir()
    frames, tokens = torch.rand(1, 3, 8, 8), torch.rand(1, 4, 256)
    torch.export.save(torch.export.export(Tokens(), (frames,)), folder / "tokens.pt2")
    torch.export.save(torch.export.export(Points(count), (tokens,)), folder / "keypoints.pt2")
    return folder


def test_x_poses_exported_programs_are_used(tmp_path):
    encoder = load_state_encoder(export(tmp_path / "x"))
    assert isinstance(encoder, XPose)
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    frames[1] = 255
    states = encoder.states(frames)
    np.testing.assert_allclose(states[:, ::256], [[0, 1, 2, 3], [1, 2, 3, 4]], atol=1e-6)
    np.testing.assert_allclose(encoder.keypoints(states)[:, 5], [[1, 1, 1], [2, 2, 2]], atol=1e-6)
    with pytest.raises(InputError, match=r"\(1, 5, 3\), not \(1, 127, 3\)"):
        load_state_encoder(export(tmp_path / "y", 5)).keypoints(states)


def test_an_x_pose_that_cannot_be_loaded_says_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match=r"tokens\.pt2: export the network"):
        load_state_encoder(tmp_path)
