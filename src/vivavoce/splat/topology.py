"""The face mesh's named lines: which of the 468 vertices make lips, lids, jaw and rim (indices of MediaPipe's
mesh).

Every list runs from the picture's left to its right, for a face that looks at the camera.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

N_FACE = 468
"""Vertices of the face mesh without the ten iris points that follow them."""

# Four rings around the mouth, from the seam outwards; each upper and lower half shares its two corners.
LIP_UPPER = (
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
)
LIP_LOWER = (
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
)
# The person's right eye is on the picture's left.
RIGHT_LID_UPPER = (33, 246, 161, 160, 159, 158, 157, 173, 133)
RIGHT_LID_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
LEFT_LID_UPPER = (362, 398, 384, 385, 386, 387, 388, 466, 263)
LEFT_LID_LOWER = (362, 382, 381, 380, 374, 373, 390, 249, 263)
RIGHT_IRIS, LEFT_IRIS = 468, 473
RIGHT_BROW = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55)
LEFT_BROW = (336, 296, 334, 293, 300, 285, 295, 282, 283, 276)
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
CHIN, FOREHEAD, NOSE_TIP = 152, 10, 4


def face_triangles() -> Int[np.ndarray, "F 3"]:
    """The 852 triangles of the mesh, equally oriented, with holes at the mouth and the eyes.

    The mesh library publishes edges only: the faces are the triangles of the graph, less those that enclose
    others.
    """
    from mediapipe.python.solutions.face_mesh_connections import FACEMESH_TESSELATION

    edges = {(min(a, b), max(a, b)) for a, b in FACEMESH_TESSELATION}
    near: dict[int, set[int]] = {}
    for a, b in edges:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    cycles = {tuple(sorted((a, b, c))) for a, b in edges for c in near[a] & near[b]}
    shared: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for t in cycles:
        for edge in ((t[0], t[1]), (t[0], t[2]), (t[1], t[2])):
            shared.setdefault(edge, []).append(t)
    crowded = [set(ts) for ts in shared.values() if len(ts) > 2]
    enclosing = {t for t in cycles if sum(t in ts for ts in crowded) == 3}
    return np.array(_oriented(sorted(cycles - enclosing)), np.int32)


def _oriented(triangles: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The same triangles, all turning the same way (clockwise in a picture of a face that looks at the
    camera)."""
    by_edge: dict[frozenset[int], list[int]] = {}
    for k, t in enumerate(triangles):
        for edge in (t[:2], t[1:], (t[2], t[0])):
            by_edge.setdefault(frozenset(edge), []).append(k)
    first = triangles.index((0, 11, 37))
    turned, waiting = {first: (0, 11, 37)}, [first]
    while waiting:
        k = waiting.pop()
        a, b, c = turned[k]
        for x, y in ((a, b), (b, c), (c, a)):
            for other in by_edge[frozenset((x, y))]:
                if other not in turned:
                    (z,) = set(triangles[other]) - {x, y}
                    turned[other] = (y, x, z)
                    waiting.append(other)
    return [turned[k] for k in range(len(triangles))]
