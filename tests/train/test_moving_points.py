"""Points of people who move: where the rig puts them, how wide mouths are, and the best weights of the jaw."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

import motioned
from vivavoce.corpus.synth.motions import Motions
from vivavoce.losses.trajectory import trajectory_alignment
from vivavoce.splat import topology
from vivavoce.splat.deformer.skin import Hold, skin
from vivavoce.splat.skeleton import JOINT, JOINTS
from vivavoce.train.moving import (
    ENDS,
    FACE_POINTS,
    HANDS,
    Body,
    Places,
    Span,
    by_jaw,
    carried,
    evenly,
    in_head,
    jaw_shares,
    misplaced,
    out_of_head,
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    found = Motions(motioned.motions(tmp_path_factory.mktemp("motions"), each=((0, 0), (0, 1))))
    return [found[0], found[1]]


def truth(clip):
    """All particles' transforms and rest positions, in float64."""
    return clip.transforms.astype(float), np.concatenate([clip.rest.joints, clip.rest.riders]).astype(float)


def test_points_are_where_the_particles_take_them(clips):
    clip = clips[0]
    transforms, rest = truth(clip)
    span = Span.of(clip)
    at = np.einsum("tnab,nb->tna", transforms[..., :3], rest) + transforms[..., 3]
    face = out_of_head(span.joints, span.places.face)
    wanted = at[:, 55:][:, list(FACE_POINTS)]
    np.testing.assert_allclose(face, wanted, atol=3e-5)
    np.testing.assert_allclose(in_head(span.joints, face), span.places.face, atol=1e-6)
    hands = span.places.hands
    assert [JOINTS[j] for j in HANDS[:2]] == ["left_wrist", "left_thumb1"]
    assert len(HANDS) == 32
    np.testing.assert_allclose(hands[:, :32], at[:, list(HANDS)], atol=1e-6)
    tip = transforms[:, JOINT["right_pinky3"]]
    np.testing.assert_allclose(
        hands[:, 41], tip[..., :3] @ clip.rest.tips[9].astype(float) + tip[..., 3], atol=1e-6
    )
    assert JOINTS[ENDS[9]] == "right_pinky3"


def test_the_surface_is_skinned_as_gaussians_are(clips):
    clip, body = clips[1], Body.of(clips[1].rest)
    kept = body.skin.topk(6, dim=1)
    hold = Hold(kept.indices, kept.values, torch.zeros(*kept.indices.shape, 3))
    joints = torch.from_numpy(clip.joints)
    wanted, _ = skin(body.surface, torch.zeros(len(body.surface), 6), hold, joints)
    torch.testing.assert_close(carried(body.surface, body.skin, joints), wanted, atol=2e-6, rtol=0)


def test_apertures_are_those_of_the_truth(clips):
    transforms, rest = truth(clips[0])
    face = np.einsum("tnab,nb->tna", transforms[:, 55:523, :, :3], rest[55:523]) + transforms[:, 55:523, :, 3]
    down = face[:, topology.CHIN] - face[:, topology.FOREHEAD]
    gap = ((face[:, 14] - face[:, 13]) * down).sum(1) / np.linalg.norm(down, axis=1)
    span = Span.of(clips[0])
    found = span.places.aperture(span.body)
    np.testing.assert_allclose(found, gap / clips[0].rest.mouth, atol=5e-4)
    assert found.max() > 0.1
    assert found.min() < 0


def test_a_turned_head_does_not_open_the_mouth(clips):
    span = Span.of(clips[0], first=10, frames=2)
    turn = torch.eye(3)[[1, 2, 0]]
    head = span.joints.clone()
    head[:, JOINT["head"], :, :3] = turn
    points = out_of_head(head, span.places.face)
    back = Places(in_head(head, points), span.places.hands, span.places.surface)
    torch.testing.assert_close(back.aperture(span.body), span.places.aperture(span.body), atol=1e-5, rtol=0)


def test_the_jaws_shares_are_the_best_bounded_ones(clips):
    found = jaw_shares(clips)
    ways = [by_jaw(torch.from_numpy(c.joints), Body.of(c.rest).vertices).double().numpy() for c in clips]
    offsets = [c.riders[:, :468].astype(float) for c in clips]
    for vertex in (0, 13, 14, 17, 78, 152, 10, 61):
        way = np.concatenate([w[:, vertex].ravel() for w in ways])
        away = np.concatenate([o[:, vertex].ravel() for o in offsets])
        best = lsq_linear(way[:, None], away, bounds=(0, 1)).x[0]
        assert found[vertex] == pytest.approx(best, abs=2e-3)
    assert found[14] > 0.8  # the lower lip goes with the jaw
    assert found[13] < 0.2  # the upper one does not
    assert found[152] > 0.9


def test_what_rides_on_the_jaw_goes_all_its_way():
    joints = torch.eye(4)[:3].repeat(1, 55, 1, 1)
    joints[0, JOINT["jaw"], 1, 3] = 0.01
    points = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        by_jaw(joints, points), torch.tensor([0, 0.01, 0]).expand(1, 4, 3), atol=1e-7, rtol=0
    )


def test_spans_are_parts_of_their_clips(clips):
    whole, part = Span.of(clips[0]), Span.of(clips[0], first=7, frames=5)
    torch.testing.assert_close(part.audio, whole.audio[7:12])
    torch.testing.assert_close(part.places.face, whole.places.face[7:12])
    drawn = [Span.drawn(clips[0], 48, torch.Generator().manual_seed(k), "cpu").joints[0] for k in range(20)]
    begins = {int((whole.joints - first).abs().sum((1, 2, 3)).argmin()) for first in drawn}
    assert begins == {0, 1, 2, 3}
    with pytest.raises(ValueError, match="has no frames 0 to 52: it has 51"):
        Span.drawn(clips[0], 52, torch.Generator(), "cpu")


def test_errors_of_groups_are_the_losses_own(clips):
    span = Span.of(clips[0], frames=6)
    still = Places(*(getattr(span.places, g)[:1].expand(6, -1, -1) for g in ("face", "hands", "surface")))
    found = misplaced(still, span.places, fps=25.0)
    for group in ("face", "hands", "surface"):
        wanted = trajectory_alignment(
            getattr(still, group)[None], getattr(span.places, group)[None], fps=25.0
        )
        torch.testing.assert_close(found[group], wanted[0])
    assert all(float(value) > 0 for value in found.values())
    same = misplaced(span.places, span.places, fps=25.0)
    assert all(float(value) == 0 for value in same.values())


def test_numbers_lie_evenly():
    assert evenly(9, 3) == [0, 4, 8]
    assert evenly(2, 5) == [0, 1]


def test_a_face_at_rest_has_the_persons_points(clips):
    body = Body.of(clips[0].rest)
    torch.testing.assert_close(body.face[0], torch.from_numpy(clips[0].rest.riders[FACE_POINTS[0]]))
    still = replace(clips[0], riders=np.zeros_like(clips[0].riders))
    face = Span.of(still).places.face
    torch.testing.assert_close(face, body.face.expand_as(face))
