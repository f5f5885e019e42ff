"""Weights of joints and particles: they share out the whole, vary without jumps, and know their gradients."""

import numpy as np
import pytest

from vivavoce.splat.sheet import Sheet, triangle_map
from vivavoce.splat.skeleton import JOINT, JOINTS, PARENTS, Skeleton, place_joints
from vivavoce.splat.skinning import (
    STEEPEST,
    bind_rigidly,
    bind_to_sheet,
    join,
    joint_weights,
    particle_names,
    rest_positions,
)
from vivavoce.types import Binding


def dense(binding: Binding, particles: int) -> np.ndarray:
    """Weights (N, M) of all particles."""
    weights = np.zeros((len(binding.indices), particles))
    np.add.at(weights, (np.arange(len(weights))[:, None], binding.indices), binding.weights)
    return weights


def dense_gradients(binding: Binding, particles: int) -> np.ndarray:
    """Gradients (N, M, 3) of the weights of all particles."""
    gradients = np.zeros((len(binding.indices), particles, 3))
    np.add.at(gradients, (np.arange(len(gradients))[:, None], binding.indices), binding.gradients)
    return gradients


@pytest.fixture(scope="module")
def person(built):
    """The sheet, joint weights of the vertices beyond the face, and the number of particles."""
    sheet = built.sheet
    skin = joint_weights(sheet.vertices.astype(np.float64), built.rig.skeleton, sheet.face_height)
    return sheet, skin[sheet.n_face :], len(JOINTS) + sheet.n_face


@pytest.fixture(scope="module")
def spots(person):
    """Points well inside random triangles of no less than 20 square pixels, and those triangles."""
    sheet = person[0]
    a, b, c = (sheet.vertices[sheet.triangles[:, k], :2].astype(np.float64) for k in range(3))
    rng = np.random.default_rng(0)
    chosen = rng.choice(np.flatnonzero(np.cross(b - a, c - a) > 40), 500).astype(np.int32)
    share = 0.1 + 0.7 * rng.dirichlet([1, 1, 1], len(chosen))
    corners = np.stack([a, b, c], 1)[chosen]
    return np.einsum("nk,nkd->nd", share, corners), chosen


def test_weights_sum_to_one_and_gradients_to_zero(person, spots):
    binding = bind_to_sheet(person[0], person[1], *spots)
    assert binding.weights.min() >= -1e-6
    np.testing.assert_allclose(binding.weights.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(binding.gradients.sum(1), 0, atol=1e-5)
    assert np.linalg.norm(binding.gradients, axis=2).max() < STEEPEST * (1 + 1e-5)


def test_gradients_are_finite_differences_of_the_weights(person, spots):
    sheet, skin, particles = person
    points, triangles = spots
    binding = bind_to_sheet(sheet, skin, points, triangles)
    gradients = dense_gradients(binding, particles)
    # Where fewer than all slots are taken nothing was dropped, so that the weights are smooth.
    whole = (binding.weights == 0).any(1) & (np.linalg.norm(gradients, axis=2).max(1) < 0.99 * STEEPEST)
    assert whole.mean() > 0.5
    for axis in range(2):
        step = np.zeros(2)
        step[axis] = 0.05
        ahead, behind = (
            dense(bind_to_sheet(sheet, skin, points + s * step, triangles), particles) for s in (1, -1)
        )
        np.testing.assert_allclose(
            gradients[whole, :, axis], ((ahead - behind) / 0.1)[whole], atol=2e-5, err_msg=f"axis {axis}"
        )


def test_weights_do_not_jump_across_the_edges_of_triangles(person):
    sheet, skin, particles = person
    sides: dict[frozenset[int], list[tuple[int, tuple[int, int]]]] = {}
    for f, corners in enumerate(sheet.triangles.tolist()):
        for k in range(3):
            a, b = corners[k], corners[(k + 1) % 3]
            sides.setdefault(frozenset((a, b)), []).append((f, (a, b)))
    shared = [pair for pair in sides.values() if len(pair) == 2]
    middles = np.array([sheet.vertices[list(pair[0][1]), :2].astype(np.float64).mean(0) for pair in shared])
    one, other = (
        dense(bind_to_sheet(sheet, skin, middles, np.array([p[k][0] for p in shared], np.int32)), particles)
        for k in (0, 1)
    )
    jump = np.abs(one - other).sum(1)
    assert np.percentile(jump, 99) < 1e-4
    assert jump.max() < 0.02


def test_a_vertex_of_the_face_follows_itself(person):
    sheet, skin, particles = person
    corners = sheet.triangles[:852:40]
    triangles = np.arange(852, dtype=np.int32)[::40]
    weights = dense(
        bind_to_sheet(sheet, skin, sheet.vertices[corners[:, 0], :2].astype(np.float64), triangles), particles
    )
    np.testing.assert_allclose(weights[np.arange(len(corners)), len(JOINTS) + corners[:, 0]], 1, atol=1e-3)


def test_joints_share_out_every_vertex(person):
    skin = person[1]
    assert skin.min() >= 0
    np.testing.assert_allclose(skin.sum(1), 1, atol=1e-9)


def descends_from(joint: str, ancestor: str) -> bool:
    while joint != ancestor and PARENTS[joint] is not None:
        joint = PARENTS[joint]
    return joint == ancestor


def test_the_head_follows_the_head_and_the_chest_the_spine(built):
    skeleton, sheet = built.rig.skeleton, built.sheet
    h = sheet.face_height
    crown = sheet.vertices[10] + np.array([0, -0.3 * h, 0])
    breast = (skeleton["left_shoulder"] + skeleton["right_shoulder"]) / 2 + np.array([0, 0.6 * h, 0])
    belly = 0.25 * breast + 0.75 * skeleton["pelvis"]
    weights = joint_weights(np.stack([crown, breast, belly]).astype(np.float64), skeleton, h)
    spine = [JOINT[j] for j in ("spine1", "spine2", "spine3", "left_collar", "right_collar", "pelvis")]
    assert weights[0, JOINT["head"]] > 0.99
    assert weights[1, spine].sum() > 0.95
    assert weights[2, spine].sum() > 0.95
    # From the chest down the share moves from the upper to the lower joints of the spine.
    assert weights[1, JOINT["spine3"]] > weights[2, JOINT["spine3"]]


def upright() -> Skeleton:
    """A person of 100 pixels' face height who stands with hanging arms."""
    found = {"head": (0, 0), "neck": (0, 60), "pelvis": (0, 330), "jaw": (0, 20)}
    found |= {f"spine{k}": (0, 370 - 90 * k) for k in (1, 2, 3)}
    for side, x in (("left", 1.0), ("right", -1.0)):
        found |= {
            f"{side}_eye": (20 * x, -10),
            f"{side}_collar": (30 * x, 70),
            f"{side}_shoulder": (90 * x, 85),
        }
        found |= {f"{side}_elbow": (110 * x, 210), f"{side}_wrist": (115 * x, 320)}
    return place_joints({name: np.array([*at, 0.0]) for name, at in found.items()})


def test_arms_follow_their_own_side_from_the_elbow_down():
    skeleton = upright()
    for side, other in (("left", "right"), ("right", "left")):
        forearm = 0.5 * (skeleton[f"{side}_elbow"] + skeleton[f"{side}_wrist"]).astype(np.float64)
        upper_arm = 0.2 * skeleton[f"{side}_shoulder"] + 0.8 * skeleton[f"{side}_elbow"]
        weights = joint_weights(np.stack([forearm, upper_arm]).astype(np.float64), skeleton, 100.0)
        limb = [i for i, j in enumerate(JOINTS) if descends_from(j, f"{side}_shoulder")]
        others = [i for i, j in enumerate(JOINTS) if descends_from(j, f"{other}_collar")]
        assert weights[:, limb].sum(1).min() > 0.95
        assert weights[:, others].sum(1).max() < 1e-6
        assert weights[0, JOINT[f"{side}_elbow"]] > 0.7
        assert weights[1, JOINT[f"{side}_shoulder"]] > 0.5


def test_turning_the_head_leaves_the_picture_below_the_neck(built, canvas, person):
    sheet, skin, particles = person
    under = triangle_map(sheet, canvas.matte.shape)
    y, x = np.nonzero((under >= 0) & (canvas.matte > 0.9))
    keep = np.random.default_rng(0).choice(len(x), 2000, replace=False)
    points = np.c_[x, y][keep] + 0.5
    weights = dense(bind_to_sheet(sheet, skin, points, under[y, x][keep]), particles)
    face = [i for i, name in enumerate(particle_names(sheet)) if name.startswith(("face", "rim"))]
    head = weights[:, [JOINT["head"], JOINT["neck"], *face]].sum(1)
    down = (points[:, 1] - built.rig.skeleton["neck"][1]) / sheet.face_height
    assert head[down < -0.6].min() > 0.95
    assert head[down > 0.9].max() < 0.02


def test_rigid_bindings_hold_one_particle_and_join_keeps_order():
    one, two = bind_rigidly(7, 3), bind_rigidly(2, 2)
    both = join([one, two])
    np.testing.assert_array_equal(dense(both, 9).argmax(1), [7, 7, 7, 2, 2])
    np.testing.assert_array_equal(dense(both, 9).sum(1), 1)
    assert not both.gradients.any()


def test_particles_are_named_in_the_order_of_their_rest_positions(person, built):
    sheet: Sheet = person[0]
    names = particle_names(sheet)
    rest = rest_positions(sheet, built.rig.skeleton)
    assert len(names) == len(rest) == person[2]
    assert len(set(names)) == len(names)
    np.testing.assert_array_equal(rest[names.index("jaw")], built.rig.skeleton["jaw"])
    np.testing.assert_array_equal(rest[names.index("face_013")], sheet.vertices[13])
    np.testing.assert_array_equal(rest[names.index("rim_00")], sheet.vertices[468])
