"""The sheet over the photo: no folds, no cliffs, and an exact map from pixels to triangles."""

import numpy as np
import pytest

from vivavoce.splat import topology
from vivavoce.splat.sheet import STEEPEST, Sheet, barycentric, build_sheet, hole_masks, triangle_map, unfold

HELD = [v for half in (topology.LIP_UPPER, topology.LIP_LOWER) for ring in half for v in ring]
HELD += [*topology.RIGHT_LID_UPPER, *topology.RIGHT_LID_LOWER, *topology.LEFT_LID_UPPER]
HELD += [*topology.LEFT_LID_LOWER, *topology.OVAL]


def areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Twice the signed area in the picture; positive shows its front."""
    a, b, c = (vertices[triangles[:, k], :2] for k in range(3))
    return np.cross(b - a, c - a)


def edge_steps(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Depth step of every edge longer than a pixel, as a share of its length in the picture."""
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    along = vertices[pairs[:, 0]] - vertices[pairs[:, 1]]
    length = np.linalg.norm(along[:, :2], axis=1)
    return np.abs(along[length > 1, 2]) / length[length > 1]


def turned(face: np.ndarray, degrees: float) -> np.ndarray:
    """The face's mesh seen with the head turned."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return ((face[:468] - face[1]) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T + face[1]).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def inside(built):
    """Random points of random triangles: (sheet, points, triangles)."""
    rng = np.random.default_rng(0)
    sheet = built.sheet
    plain = np.flatnonzero(areas(sheet.vertices, sheet.triangles) > 8)
    triangles = rng.choice(plain, 400).astype(np.int32)
    share = rng.dirichlet([1, 1, 1], len(triangles))
    corners = sheet.vertices[sheet.triangles[triangles], :2].astype(np.float64)
    return sheet, np.einsum("nk,nkd->nd", share, corners), triangles


def test_unfold_turns_folded_triangles_over_and_holds_lips_lids_and_outline(canvas):
    triangles = topology.face_triangles()
    folded = turned(canvas.face, 20)
    flat = unfold(folded)
    assert (areas(folded, triangles) < 0).sum() > 40
    assert (areas(flat, triangles) < 0).sum() < 0.1 * (areas(folded, triangles) < 0).sum()
    np.testing.assert_array_equal(flat[HELD], folded[HELD])


def test_unfold_leaves_a_mesh_without_folds_alone():
    # Each vertex where it lies when the mesh's outline is stretched to a circle (Tutte 1963): nothing folds.
    triangles, n = topology.face_triangles(), topology.N_FACE
    links = np.zeros((n, n))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        links[triangles[:, a], triangles[:, b]] = links[triangles[:, b], triangles[:, a]] = 1
    holes = (
        (topology.LIP_UPPER[0], topology.LIP_LOWER[0]),
        (topology.RIGHT_LID_UPPER, topology.RIGHT_LID_LOWER),
    )
    for upper, lower in (*holes, (topology.LEFT_LID_UPPER, topology.LEFT_LID_LOWER)):
        ring = [*upper, *lower]
        links[np.ix_(ring, ring)] = 1
    np.fill_diagonal(links, 0)
    system = np.diag(links.sum(1)) - links
    angle = np.linspace(0, 2 * np.pi, len(topology.OVAL), endpoint=False)
    outline = list(topology.OVAL)
    system[outline] = np.eye(n)[outline]
    wanted = np.zeros((n, 2))
    wanted[outline] = 200 * np.c_[np.sin(angle), -np.cos(angle)]
    flat = np.c_[np.linalg.solve(system, wanted), np.zeros(n)].astype(np.float32)
    assert (areas(flat, triangles) > 0).all()
    moved = np.abs(unfold(flat) - flat).max(1) > 0
    sliver = areas(flat, triangles) < 0.2 * edge_lengths(flat, triangles).max(1) ** 2
    assert not moved[np.setdiff1d(np.arange(n), triangles[sliver])].any()


def edge_lengths(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    corners = vertices[triangles, :2]
    return np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)


def test_the_sheet_of_a_turned_head_has_few_cliffs(canvas):
    face = canvas.face.copy()
    face[:468] = turned(canvas.face, 20)
    steep = edge_steps(face[:468], topology.face_triangles())
    sheet = build_sheet(face, canvas.matte)
    gentle = edge_steps(sheet.vertices, topology.face_triangles())
    around = edge_steps(sheet.vertices, sheet.triangles[852:])
    assert np.percentile(steep, 99) > 4.0
    # The cap is on what neighbours ask of each other: where they disagree a step may be twice as high.
    assert np.percentile(gentle, 99) < 2.2 * STEEPEST
    assert around.max() < 2 * STEEPEST
    assert np.percentile(around, 95) < 1.05 * STEEPEST


def test_the_sheet_keeps_the_faces_relief_and_covers_the_person(canvas, built):
    sheet = built.sheet
    held = np.setdiff1d(np.arange(468), topology.OVAL)
    relief = np.corrcoef(sheet.vertices[held, 2], canvas.face[held, 2])[0, 1]
    assert relief > 0.9
    nose, ears = sheet.vertices[topology.NOSE_TIP, 2], sheet.vertices[[127, 356], 2].mean()
    assert nose < ears - 0.2 * sheet.face_height
    under = triangle_map(sheet, canvas.matte.shape)
    holes = np.logical_or(*hole_masks(sheet, canvas.matte.shape))
    bare = (under < 0) & (canvas.matte > 0.5) & ~holes
    assert bare.sum() < 0.001 * (canvas.matte > 0.5).sum()


def test_barycentric_weights_rebuild_the_points(inside):
    sheet, points, triangles = inside
    weights, _ = barycentric(sheet, points, triangles)
    corners = sheet.vertices[sheet.triangles[triangles], :2]
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(np.einsum("nk,nkd->nd", weights, corners), points, atol=1e-4)
    assert weights.min() > -1e-6


def test_barycentric_gradients_are_finite_differences(inside):
    sheet, points, triangles = inside
    _, gradients = barycentric(sheet, points, triangles)
    for axis in range(2):
        step = np.zeros(2)
        step[axis] = 1e-3
        ahead, behind = (barycentric(sheet, points + s * step, triangles)[0] for s in (1, -1))
        np.testing.assert_allclose(gradients[..., axis], (ahead - behind) / 2e-3, atol=1e-7)


def brute_force(sheet: Sheet, points: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """The front triangle under each point (-1: none), and whether no edge passes within `margin` of it."""
    corners = sheet.vertices[sheet.triangles, :2].astype(np.float64)
    sign = np.where(areas(sheet.vertices, sheet.triangles) < 0, -1.0, 1.0)
    depth = sheet.vertices[sheet.triangles, 2].mean(1)
    front, clear = np.full(len(points), -1), np.ones(len(points), bool)
    along = np.roll(corners, -1, axis=1) - corners
    length = np.linalg.norm(along, axis=2) + 1e-9
    for n, point in enumerate(points):
        distance = np.cross(along, point - corners) / length * sign[:, None]
        nearest = distance.min(1)
        clear[n] = not (np.abs(nearest) < margin).any()
        under = np.flatnonzero(nearest > 0)
        if len(under):
            front[n] = under[np.argmin(depth[under])]
    return front, clear


def test_the_triangle_map_agrees_with_brute_force(built, canvas):
    h, w = canvas.matte.shape
    under = triangle_map(built.sheet, (h, w))
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, w, 600), rng.integers(0, h, 600)
    faces = rng.integers(150, 350, 600), rng.integers(60, 260, 600)
    x, y = np.r_[x, faces[0]], np.r_[y, faces[1]]
    front, clear = brute_force(built.sheet, np.c_[x + 0.5, y + 0.5], margin=0.25)
    assert clear.sum() > 800
    np.testing.assert_array_equal(under[y, x][clear], front[clear])


def test_no_triangle_lies_in_the_holes(built, canvas):
    import cv2

    under = triangle_map(built.sheet, canvas.matte.shape)
    mouth, eyes = hole_masks(built.sheet, canvas.matte.shape)
    assert mouth.sum() > 50  # she smiles
    assert eyes.sum() > 50
    for hole in (mouth, eyes):
        core = cv2.erode(hole.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert core.any()
        assert (under[core] == -1).all()
