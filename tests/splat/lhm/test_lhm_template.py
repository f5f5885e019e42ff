"""Points on a body: the project's own, and SMPL-X where its files are given."""

import sys

import numpy as np
import pytest
from scipy.spatial import cKDTree

from vivavoce.errors import InputError
from vivavoce.splat.lhm.smplx_body import SmplxTemplate
from vivavoce.splat.lhm.template import HEAD, PARTS, BodyTemplate, PersonTemplate, part_of, spread
from vivavoce.splat.skeleton import JOINT, JOINTS, PARENTS
from vivavoce.splat.skinning import SLOTS


@pytest.fixture(scope="module")
def points():
    return PersonTemplate().sample(800)


def test_a_quarter_of_the_points_lies_on_the_head_and_comes_last(points):
    assert isinstance(PersonTemplate(), BodyTemplate)
    assert len(points) == 800
    assert points.on_head == 200
    assert (points.parts[600:] == HEAD).all()
    assert (points.parts[:600] != HEAD).all()
    lowest = points.points[600:, 1].max()
    assert lowest < points.joints[JOINT["spine3"], 1]


def test_points_are_in_metres_where_the_body_is(points):
    assert 1.5 < np.ptp(points.points[:, 1]) < 1.8
    left = points.parts == PARTS.index("left_hand")
    assert left.sum() > 20
    reach = np.linalg.norm(points.points[left] - points.joints[JOINT["left_middle1"]], axis=1)
    assert reach.max() < 0.2
    assert (points.points[points.parts == PARTS.index("right_hand"), 0] < 0).all()
    assert (points.points[points.parts == 0, 1] > -0.2).all()
    np.testing.assert_allclose(np.linalg.norm(points.normals, axis=1), 1, rtol=1e-5)


def test_the_same_points_each_time(points):
    again = PersonTemplate().sample(800)
    assert np.array_equal(again.points, points.points)
    assert np.array_equal(again.binding.indices, points.binding.indices)


def test_joints_weights_sum_to_one_and_agree_with_the_binding(points):
    np.testing.assert_allclose(points.skin.sum(1), 1, atol=1e-5)
    b = points.binding
    for n in np.random.default_rng(0).choice(600, 50, replace=False):
        for k in range(b.indices.shape[1]):
            assert points.skin[n, b.indices[n, k]] >= b.weights[n, k] - 1e-6
    on_face = np.where(b.indices >= len(JOINTS), b.weights, 0).sum(1)
    assert (on_face > 0.99).sum() > 50
    assert (points.skin[:, [JOINT["head"], JOINT["jaw"]]].sum(1) >= on_face - 1e-6).all()


def test_gradients_tell_how_weights_change_from_point_to_point():
    points = PersonTemplate().sample(12_000)
    at, b = points.points, points.binding
    on = [b.indices == JOINT[f"left_{name}"] for name in ("elbow", "shoulder")]
    weight = np.where(on[0], b.weights, 0).sum(1)
    slope = np.where(on[0][..., None], b.gradients, 0).sum(1)
    bends = np.flatnonzero((weight > 0.2) & (weight < 0.8) & (np.where(on[1], b.weights, 0).sum(1) > 0.1))
    first, second = (bends[list(k)] for k in zip(*cKDTree(at[bends]).query_pairs(0.012), strict=True))
    assert len(first) > 15
    wanted = weight[second] - weight[first]
    found = ((slope[first] + slope[second]) / 2 * (at[second] - at[first])).sum(1)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found, wanted, atol=0.02)


def test_only_what_lies_between_neck_and_hips_is_kept_small(points):
    assert set(points.parts[points.above]) == {1, 2, 3}
    assert set(points.parts[~points.above]) == {0, HEAD}


def test_parts_follow_the_joint_that_holds_most():
    def part(name):
        return PARTS[part_of(np.eye(55, dtype=np.float32)[[JOINT[name]]])[0]]

    assert part("jaw") == part("neck") == part("left_eye") == "head"
    assert part("left_knee") == part("right_foot") == "lower_body"
    assert part("spine3") == part("pelvis") == part("right_elbow") == "upper_body"
    assert part("left_wrist") == part("left_thumb3") == "left_hand"
    assert part("right_pinky1") == "right_hand"


def test_points_are_spread_evenly():
    grid = np.stack(np.meshgrid(*[np.arange(8.0)] * 3), -1).reshape(-1, 3).astype(np.float32)
    chosen = grid[spread(grid, 64)]
    assert len({tuple(p // 2) for p in chosen}) == 64  # one in each block of 2 x 2 x 2


@pytest.mark.parametrize(
    ("count", "sentence"), [(3, "of 3 points is none: ask for at least 4"), (9_000_000, "ask for fewer")]
)
def test_a_number_of_points_that_cannot_be(count, sentence, monkeypatch):
    monkeypatch.setattr("vivavoce.splat.lhm.template._DETAILS", (40.0,))
    with pytest.raises(InputError, match=sentence):
        PersonTemplate().sample(count)


PLACES = np.random.default_rng(0).normal(0, 0.4, (len(JOINTS), 3))
PLACES[[JOINT["pelvis"], JOINT["left_hip"]]] = (0, 0.5, 0), (0.5, 0.5, 0)


@pytest.fixture(scope="module")
def smplx(tmp_path_factory):
    """A folder like SMPL-X's own, with a body of two triangles: one held by the head, one by thigh and shin.

    All other vertices, of which the package looks some up by their numbers, ride on the pelvis; some are the joints.
    """
    count, joints = 10_475, len(JOINTS)
    vertices, weights, regressor = np.zeros((count, 3)), np.zeros((count, joints)), np.zeros((joints, count))
    vertices[:6] = [[0, 1, 0], [1, 1, 0], [0, 2, 0], [0, 0, 0], [0, 0, -1], [0, -2, 0]]
    vertices[100 : 100 + joints] = PLACES
    regressor[range(joints), range(100, 100 + joints)] = 1
    weights[6:, JOINT["pelvis"]] = 1
    weights[:3, JOINT["head"]] = 1
    weights[3:5, JOINT["left_hip"]] = 1
    weights[5, JOINT["left_knee"]] = 1
    above = [2**32 - 1, *(JOINT[parent] for parent in PARENTS.values() if parent is not None)]
    folder = tmp_path_factory.mktemp("models")
    (folder / "smplx").mkdir()
    np.savez_compressed(
        folder / "smplx" / "SMPLX_NEUTRAL.npz",
        v_template=vertices,
        f=np.array([[0, 1, 2], [3, 4, 5]], np.uint32),
        weights=weights,
        J_regressor=regressor,
        kintree_table=np.array([above, range(joints)], np.int64),
        shapedirs=np.zeros((count, 3, 20), np.float32),
        posedirs=np.zeros((count, 3, 9 * (joints - 1)), np.float32),
        lmk_faces_idx=np.zeros(51, np.int64),
        lmk_bary_coords=np.tile([1.0, 0, 0], (51, 1)),
        **{f"hands_components{side}": np.eye(45) for side in "lr"},
        **{f"hands_mean{side}": np.zeros(45) for side in "lr"},
    )
    return folder


def in_template(points):
    """From SMPL-X's axes, y up and z towards the viewer, to the template's, the left leg turned out by 20 degrees."""
    cosine, sine = np.cos(np.pi / 9), np.sin(np.pi / 9)
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    hip = PLACES[JOINT["left_hip"]]
    return ((points - hip) @ turn.T + hip) * (1, -1, -1)


def test_smpl_x_stands_with_its_legs_apart_upside_down_to_the_picture_s_axes(smplx):
    template = SmplxTemplate(smplx)
    assert isinstance(template, BodyTemplate)
    points = template.sample(400)
    assert points.on_head == 100
    assert (points.points[300:, 1] <= -0.999).all()  # y is down
    corners = in_template(np.array([[0, 0, 0], [0, 0, -1], [0, -2, 0]]))
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    np.testing.assert_allclose((points.points[:300] - corners[0]) @ normal, 0, atol=1e-5)
    np.testing.assert_allclose(
        points.joints[JOINT["pelvis"]], PLACES[JOINT["pelvis"]] * (1, -1, -1), atol=1e-6
    )
    knee = PLACES[JOINT["left_knee"]]
    np.testing.assert_allclose(points.joints[JOINT["left_knee"]], in_template(knee), atol=1e-5)
    assert np.array_equal(template.sample(400).points, points.points)


def test_smpl_x_s_weights_change_linearly_with_exact_gradients(smplx):
    points = SmplxTemplate(smplx).sample(400)
    below, along = in_template(np.zeros(3)), in_template(np.array([0, -1.0, 0])) - in_template(np.zeros(3))
    down = (points.points[:300] - below) @ along  # metres from the thigh's edge, of two to the shin's corner
    held = points.binding.indices[:300] == JOINT["left_knee"]
    shin = np.where(held, points.binding.weights[:300], 0).sum(1)
    np.testing.assert_allclose(shin, down / 2, atol=1e-5)
    np.testing.assert_allclose(points.skin[:300].sum(1), 1, atol=1e-6)
    wanted = np.broadcast_to(along / 2, (held.sum(), 3))
    np.testing.assert_allclose(points.binding.gradients[:300][held], wanted, atol=1e-5)
    np.testing.assert_allclose(points.binding.gradients.sum(1), 0, atol=1e-6)
    assert points.binding.indices.shape == (400, SLOTS)
    assert set(points.parts[:300]) == {0}
    # Even by area: half of a triangle's area lies within 1 - sqrt(1/2) of its height from the base.
    assert abs((down < 2 * (1 - 0.5**0.5)).mean() - 0.5) < 0.1


def test_smpl_x_s_normals_are_those_of_its_triangles(smplx):
    points = SmplxTemplate(smplx).sample(40)
    np.testing.assert_allclose(points.normals[30:], np.tile([0, 0, -1], (10, 1)), atol=1e-6)


def test_smpl_x_without_its_package_or_files_is_told(smplx, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r" holds no SMPL-X model for neutral \(Path .* does not exist!\)"):
        SmplxTemplate(tmp_path)
    with pytest.raises(InputError, match="template of 2 points is none"):
        SmplxTemplate(smplx).sample(2)
    monkeypatch.setitem(sys.modules, "smplx", None)
    with pytest.raises(InputError, match=r"not installed: run pip install 'vivavoce\[smplx\]', or leave"):
        SmplxTemplate(tmp_path)
