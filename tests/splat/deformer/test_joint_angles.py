"""The baseline: a kinematic chain, equal to the rig's own, in which bones keep their lengths."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vivavoce.splat import se3
from vivavoce.splat.deformer.angles import JointAngles, chained
from vivavoce.splat.deformer.particles import at_rest
from vivavoce.splat.skeleton import JOINT, JOINTS, PARENTS, chain


@pytest.fixture
def rest(draw):
    return 0.3 * draw(2, len(JOINTS), 3, seed=9) + torch.tensor([0, 0, 1.5]).double()


def test_the_chain_is_the_skeletons_own(rest, draw):
    local = se3.exp(torch.cat([0.4 * draw(1, 3, 55, 3), torch.zeros(1, 3, 55, 3).double()], -1))[..., :3]
    found = chained(se3.about(local, rest[:1, None], torch.zeros(1, 3, 55, 3).double()))
    turns = {name: local[0, :, i].numpy() for name, i in JOINT.items()}
    np.testing.assert_allclose(found[0], chain(rest[0].numpy(), turns, {}, 3), atol=1e-13)


def test_bones_keep_their_lengths_and_the_pelvis_its_place(tiny, rest, shaken, draw):
    motion = shaken(JointAngles(replace(tiny, particles=55)), size=2.0)
    transforms, poses = motion(draw(2, 6, 55, 8), rest, at_rest(rest))
    assert poses[..., 4:].abs().max() == 0
    moved = (transforms[..., :3] @ rest[:, None, :, :, None]).squeeze(-1) + transforms[..., 3]
    assert (moved - rest[:, None]).norm(dim=-1).max() > 0.1
    torch.testing.assert_close(moved[:, :, 0], rest[:, None, 0].expand(-1, 6, -1))
    for name, parent in PARENTS.items():
        if parent is not None:
            bone = (moved[:, :, JOINT[name]] - moved[:, :, JOINT[parent]]).norm(dim=-1)
            length = (rest[:, JOINT[name]] - rest[:, JOINT[parent]]).norm(dim=-1)
            torch.testing.assert_close(bone, length[:, None].expand(-1, 6))


def test_a_chain_needs_one_particle_a_joint(tiny):
    with pytest.raises(ValueError, match="55 joints, not 4 particles"):
        replace(tiny, motion="joint angles")
