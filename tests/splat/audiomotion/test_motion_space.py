"""Motion as vectors: exact round trips, still people and particles, statistics written anew, gradients."""

import numpy as np
import pytest
import torch
from motions import turns
from scipy.spatial.transform import Rotation

from vivavoce.splat.audiomotion.representation import FLOOR, UNIT, MotionSpace, rotation_of

REST = torch.tensor([[0.0, 0.0, 0.0], [0.2, -1.4, 0.1], [-0.3, 0.8, 2.0]], dtype=torch.float64)


def clip(frames, seed=0, particles=3):
    """Wild motion: any rotations, metres of shift."""
    random = np.random.default_rng(seed)
    shift = torch.from_numpy(random.normal(size=(frames, particles, 3, 1)))
    return torch.cat([turns((frames, particles), seed), shift], -1), torch.from_numpy(
        random.normal(size=(frames, 2))
    )


def fitted(*clips, rest=REST):
    space = MotionSpace(3, 2).double()
    space.fit(rest, clips)
    return space


def test_the_round_trip_is_exact():
    transforms, code = clip(50)
    space = fitted((transforms, code), clip(20, seed=5))
    again, code_again = space.decode(space.encode(transforms, code))
    np.testing.assert_allclose(again, transforms, atol=2e-14)
    np.testing.assert_allclose(code_again, code, atol=1e-14)
    vectors = space.encode(transforms, code)
    np.testing.assert_allclose(space.encode(*space.decode(vectors)), vectors, atol=1e-12)


def test_a_still_person_is_exact_and_zero():
    still = torch.eye(3, 4, dtype=torch.float64).expand(7, 3, 3, 4)
    nothing = torch.zeros(7, 2, dtype=torch.float64)
    space = fitted((still, nothing))
    vectors = space.encode(still, nothing)
    assert (vectors == 0).all()
    assert torch.equal(space.decode(vectors)[0], still)
    other = fitted(clip(30))
    np.testing.assert_allclose(other.decode(other.encode(still, nothing))[0], still, atol=1e-15)


def test_particles_that_never_move_stay_where_they_are_whatever_is_sampled():
    transforms, code = clip(40)
    transforms[:, 1] = transforms[0, 1]
    code[:, 0] = 0.3
    space = fitted((transforms, code), (transforms.flip(0), code))
    vectors = space.encode(transforms, code)
    assert vectors.isfinite().all()
    assert (vectors[:, 9:18] == 0).all()
    assert (space.deviation[9:18] == FLOOR).all()
    sampled, code_sampled = space.decode(space.bounded(100 * torch.randn(25, 29, dtype=torch.float64)))
    np.testing.assert_allclose(sampled[:, 1], transforms[:25, 1], atol=1e-14)
    assert (code_sampled[:, 0] == 0.3).all()


def test_channels_are_displacement_of_the_rest_position_and_columns_of_the_rotation():
    space = MotionSpace(3, 0).double()
    space.rest.copy_(REST)
    turn = torch.from_numpy(Rotation.from_rotvec([0.3, -0.2, 0.9]).as_matrix())
    about_itself = REST[1] - turn @ REST[1]
    transforms = torch.eye(3, 4, dtype=torch.float64).repeat(1, 3, 1, 1)
    transforms[0, 1] = torch.cat([turn, about_itself[:, None]], 1)
    transforms[0, 2, :, 3] = torch.tensor([0.1, 0.0, -0.05])
    raw = space.encode(transforms)[0]
    np.testing.assert_allclose(raw[9:12], 0, atol=1e-14)
    np.testing.assert_allclose(raw[12:18], [*(turn[:, 0] - torch.eye(3)[0]), *(turn[:, 1] - torch.eye(3)[1])])
    np.testing.assert_allclose(raw[18:21] * UNIT, [0.1, 0.0, -0.05], atol=1e-15)


def test_statistics_are_those_of_all_clips_together():
    clips = [clip(12, seed=1), clip(1, seed=2), clip(30, seed=3)]
    space, plain = fitted(*clips), MotionSpace(3, 2).double()
    plain.rest.copy_(REST)
    together = np.concatenate([plain.encode(*c).numpy() for c in clips])
    np.testing.assert_allclose(space.mean, together.mean(0), atol=1e-12)
    np.testing.assert_allclose(space.deviation, together.std(0), rtol=1e-9)
    standard = np.concatenate([space.encode(*c).numpy() for c in clips])
    np.testing.assert_allclose(space.low, standard.min(0), rtol=1e-9)
    np.testing.assert_allclose(space.high, standard.max(0), rtol=1e-9)
    assert (space.bounded(torch.from_numpy(standard)) - standard).abs().max() < 1e-12


def test_statistics_of_a_tiny_motion_far_from_rest_are_not_lost_in_rounding():
    transforms = torch.eye(3, 4, dtype=torch.float64).repeat(1000, 3, 1, 1)
    transforms[:, 0, 0, 3] = 5 + 1e-3 * torch.sin(torch.arange(1000))
    space = fitted((transforms[:400], torch.zeros(400, 2)), (transforms[400:], torch.zeros(600, 2)))
    expected = (transforms[:, 0, 0, 3] / UNIT).std(correction=0)
    torch.testing.assert_close(space.deviation[0], expected, rtol=1e-6, atol=0)


def test_any_six_numbers_are_some_rotation():
    turn = rotation_of(
        3 * torch.randn(100, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )
    np.testing.assert_allclose(turn @ turn.mT, torch.eye(3).expand(100, 3, 3), atol=1e-13)
    np.testing.assert_allclose(torch.linalg.det(turn), 1, atol=1e-13)


def test_halfway_between_two_rotations_is_the_middle_one():
    ends = torch.from_numpy(Rotation.from_rotvec([[0.0, 0.4, 0.0], [0.0, 1.2, 0.0]]).as_matrix())
    columns = (ends - torch.eye(3))[..., :2].mT.flatten(1)
    middle = Rotation.from_matrix(rotation_of(columns.mean(0)).numpy()).as_rotvec()
    np.testing.assert_allclose(middle, [0, 0.8, 0], atol=1e-12)


def test_gradients_of_decoding_are_right():
    space = fitted(clip(20))
    vectors = space.encode(*clip(2, seed=9)).requires_grad_()
    assert torch.autograd.gradcheck(space.decode, (vectors,))


def test_as_built_it_neither_scales_nor_bounds():
    space = MotionSpace(1)
    wild = 1e3 * torch.randn(4, 9)
    assert torch.equal(space.bounded(wild), wild)
    assert torch.equal(space.decode(torch.zeros(2, 9))[0], torch.eye(3, 4).expand(2, 1, 3, 4))


def test_a_code_is_given_exactly_where_there_is_one():
    transforms, code = clip(3)
    with pytest.raises(ValueError, match="code of 2"):
        MotionSpace(3, 2).double().encode(transforms)
    with pytest.raises(ValueError, match="code of 0"):
        MotionSpace(3).double().encode(transforms, code)


def test_no_frames_have_no_statistics():
    with pytest.raises(ValueError, match="no frames"):
        MotionSpace(3).fit(REST, [])
