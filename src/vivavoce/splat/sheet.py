"""The person as a sheet in depth: a triangle mesh over the photo, with depth, hung on particles.

The sheet lives in canvas space: x and y in pixels of the canvas, z in the same unit, away from the camera.
Inside the face it is the face mesh; around it, rings that follow the face's rim; beyond, a grid over the
whole person.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from vivavoce.splat import topology

STEEPEST = 0.9
"""Largest depth step neighbouring vertices ask of each other, as a share of their distance in the picture."""

RIM_SCALES = (1.09, 1.22, 1.42)
"""The rings around the face, as multiples of its outline."""


@dataclass(frozen=True)
class Sheet:
    """V vertices, F triangles. Vertices 0..467 are the face mesh's, next come the rim's, then the grid's."""

    vertices: Float32[np.ndarray, "V 3"]
    triangles: Int32[np.ndarray, "F 3"]
    n_rim: int
    face_height: float

    @property
    def n_face(self) -> int:
        """Vertices that move with the face: the mesh and its rim."""
        return topology.N_FACE + self.n_rim

    def outline(self) -> Float32[np.ndarray, "36 2"]:
        return self.vertices[list(topology.OVAL), :2]


def build_sheet(face: Float[np.ndarray, "478 3"], matte: Float32[np.ndarray, "H W"]) -> Sheet:
    """Mesh the person: `face` and `matte` on the same canvas, in pixels."""
    import cv2

    mesh = unfold(face[: topology.N_FACE].astype(np.float32))
    outline = mesh[list(topology.OVAL), :2]
    height = float(np.linalg.norm(mesh[topology.CHIN] - mesh[topology.FOREHEAD]))
    centre = outline.mean(0)
    rim = np.concatenate([centre + s * (outline[::2] - centre) for s in RIM_SCALES])
    grid = _grid_over(matte, step=max(8.0, 0.16 * height), margin=int(0.2 * height) + 12)
    ring = (centre + (RIM_SCALES[-1] + 0.08) * (outline - centre)).astype(np.float32)
    outside = [cv2.pointPolygonTest(ring, (float(x), float(y)), False) < 0 for x, y in grid]
    outer = np.concatenate([rim, grid[outside]]).astype(np.float32)

    triangles = np.concatenate([topology.face_triangles(), _triangles_around(outline, outer)])
    vertices = np.concatenate([mesh, np.c_[outer, np.zeros(len(outer))]]).astype(np.float32)
    vertices[:, 2] = _depth(vertices, triangles, matte, height)
    return Sheet(vertices, triangles.astype(np.int32), len(rim), height)


def unfold(mesh: Float32[np.ndarray, "468 3"], *, rounds: int = 80) -> Float32[np.ndarray, "468 3"]:
    """Move vertices of folded and edge-on triangles until each shows its front: a turned face hides a cheek.

    Their texture is what the photo has there; a sliver would spread one pixel of it over a widening cheek.
    Lips, lids and the outline stay where they are.
    """
    triangles = topology.face_triangles()
    fixed = np.zeros(len(mesh), bool)
    fixed[[v for half in (topology.LIP_UPPER, topology.LIP_LOWER) for ring in half for v in ring]] = True
    fixed[[*topology.LEFT_LID_UPPER, *topology.LEFT_LID_LOWER]] = True
    fixed[[*topology.RIGHT_LID_UPPER, *topology.RIGHT_LID_LOWER]] = True
    neighbours = np.zeros((len(mesh), len(mesh)), np.float32)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        neighbours[triangles[:, a], triangles[:, b]] = neighbours[triangles[:, b], triangles[:, a]] = 1
    fixed[list(topology.OVAL)] = True
    neighbours /= neighbours.sum(1, keepdims=True)
    mesh = mesh.copy()
    for _ in range(rounds):
        a, b, c = (mesh[triangles[:, k], :2] for k in range(3))
        area = np.cross(b - a, c - a)
        longest = np.max([((p - q)[:, :2] ** 2).sum(1) for p, q in ((a, b), (b, c), (c, a))], axis=0)
        bad = area < 0.12 * longest
        moving = np.zeros(len(mesh), bool)
        moving[triangles[bad]] = True
        moving &= ~fixed
        if not moving.any():
            break
        mesh[moving] = 0.4 * mesh[moving] + 0.6 * (neighbours @ mesh)[moving]
    return mesh


def _grid_over(matte: Float32[np.ndarray, "H W"], *, step: float, margin: int) -> Float[np.ndarray, "n 2"]:
    """A triangular grid over every pixel within `margin` of the person, and one row beyond the canvas."""
    import cv2

    h, w = matte.shape
    near = cv2.dilate((matte > 0.02).astype(np.uint8), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    rows = np.arange(-step, h + 2 * step, step * 0.866)
    points = [
        (x, y) for i, y in enumerate(rows) for x in np.arange(-step * (1 + 0.5 * (i % 2)), w + 2 * step, step)
    ]
    grid = np.array(points)
    xi = np.clip(grid[:, 0].astype(int), 0, w - 1)
    yi = np.clip(grid[:, 1].astype(int), 0, h - 1)
    return grid[near[yi, xi] > 0]


def _triangles_around(
    outline: Float32[np.ndarray, "n 2"], outer: Float32[np.ndarray, "m 2"]
) -> Int32[np.ndarray, "F 3"]:
    """Delaunay triangles between the face's outline and the outer vertices, indexing the whole sheet."""
    import cv2
    from scipy.spatial import Delaunay

    points = np.concatenate([outline, outer])
    simplices = Delaunay(points).simplices
    centres = points[simplices].mean(1)
    hull = outline.astype(np.float32)
    keep = [cv2.pointPolygonTest(hull, (float(x), float(y)), False) < 0 for x, y in centres]
    ids = np.concatenate([np.array(topology.OVAL), topology.N_FACE + np.arange(len(outer))])
    return ids[simplices[np.array(keep)]].astype(np.int32)


def _depth(
    vertices: Float32[np.ndarray, "V 3"],
    triangles: Int32[np.ndarray, "F 3"],
    matte: Float32[np.ndarray, "H W"],
    height: float,
) -> Float[np.ndarray, " V"]:
    """Depth of every vertex: the face's as measured, the rest inflated from the silhouette, joined smoothly.

    A sparse least-squares solve: neighbouring vertices keep the depth step of the mesh or of a rounded
    silhouette, no steeper than STEEPEST (a cheek seen edge-on would unfold into a few smeared pixels when the
    head turns), and a weak pull keeps the face where it was measured, head and body near the plane of the
    ears, where the shoulders are.
    """
    import cv2
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import spsolve

    n, nf = len(vertices), topology.N_FACE
    inside = cv2.distanceTransform((np.pad(matte, 1, mode="edge") > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    h, w = matte.shape
    xi, yi = (np.clip(vertices[:, k].astype(int), 0, s - 1) for k, s in ((0, w), (1, h)))
    radius = 0.55 * height
    t = np.clip((inside[yi, xi] + 0.12 * radius) / radius, 0, 1)
    rounded = -radius * np.sqrt(1 - (1 - t) ** 2)
    ears = float(np.percentile(vertices[list(topology.OVAL), 2], 90))

    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    i, j = edges[:, 0], edges[:, 1]
    length = np.linalg.norm(vertices[i, :2] - vertices[j, :2], axis=1) + 1e-3
    weight = 1.0 / length
    both = (i < nf) & (j < nf)
    step = np.where(both, vertices[i, 2] - vertices[j, 2], rounded[i] - rounded[j])
    step = np.clip(step, -STEEPEST * length, STEEPEST * length)
    laplacian = coo_matrix((weight, (i, j)), shape=(n, n))
    laplacian = laplacian + laplacian.T
    laplacian = diags(np.asarray(laplacian.sum(1)).ravel()) - laplacian
    rhs = np.bincount(i, weight * step, n) - np.bincount(j, weight * step, n)
    pull = np.full(n, 0.004)
    target = np.where(rounded < -0.9 * radius, ears - 0.45 * height, ears)
    pull[:nf], target[:nf] = 0.02, vertices[:nf, 2]
    return np.asarray(spsolve((laplacian + diags(pull)).tocsc(), rhs + pull * target))


def triangle_map(sheet: Sheet, shape: tuple[int, int], *, supersample: int = 3) -> Int32[np.ndarray, "H W"]:
    """The triangle under each pixel centre, -1 where there is none (outside, in the mouth's and eyes' holes).

    Triangles are painted from the back to the front, so a folded cheek hides what lies behind it.
    `supersample` is odd, so that a sample lies at each pixel centre.
    """
    import cv2

    h, w = shape
    painted = np.full((h * supersample, w * supersample), -1, np.int32)
    xy = np.round((sheet.vertices[:, :2] * supersample - 0.5) * 16).astype(np.int32)
    depth = sheet.vertices[sheet.triangles, 2].mean(1)
    for f in np.argsort(-depth):
        cv2.fillConvexPoly(painted, xy[sheet.triangles[f]], (int(f),), shift=4)
    k = supersample // 2
    return np.ascontiguousarray(painted[k::supersample, k::supersample])


def barycentric(
    sheet: Sheet, points: Float[np.ndarray, "N 2"], triangles: Int32[np.ndarray, " N"]
) -> tuple[Float[np.ndarray, "N 3"], Float[np.ndarray, "N 3 2"]]:
    """Weights of each point in its triangle's corners, and their gradients (1/pixel)."""
    a, b, c = (sheet.vertices[sheet.triangles[triangles, k], :2].astype(np.float64) for k in range(3))
    area = np.cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-3, 1e-3, area)[:, None]
    gradients = np.stack(
        [np.c_[p[:, 1] - q[:, 1], q[:, 0] - p[:, 0]] / area for p, q in ((b, c), (c, a), (a, b))], 1
    )
    weights = np.stack(
        [np.einsum("nd,nd->n", gradients[:, k], points - p) for k, p in enumerate((b, c, a))], 1
    )
    return weights, gradients


def hole_masks(
    sheet: Sheet, shape: tuple[int, int]
) -> tuple[Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """Where the mouth and the eyes are open in the photo."""
    import cv2

    def fill(upper: tuple[int, ...], lower: tuple[int, ...]) -> np.ndarray:
        mask = np.zeros(shape, np.uint8)
        ring = sheet.vertices[[*upper, *lower[-2:0:-1]], :2]
        cv2.fillPoly(mask, [np.round((ring - 0.5) * 16).astype(np.int32)], (1,), shift=4)
        return mask > 0

    eyes = fill(topology.RIGHT_LID_UPPER, topology.RIGHT_LID_LOWER)
    eyes |= fill(topology.LEFT_LID_UPPER, topology.LEFT_LID_LOWER)
    return fill(topology.LIP_UPPER[0], topology.LIP_LOWER[0]), eyes
