"""The face mesh as a surface: its triangles, its holes, and the lines that the rig speaks of."""

import itertools
from collections import Counter

import numpy as np
import pytest
from mediapipe.python.solutions.face_mesh_connections import FACEMESH_TESSELATION

from vivavoce.splat import topology

LINES = {
    **{f"upper lip {r}": topology.LIP_UPPER[r] for r in range(4)},
    **{f"lower lip {r}": topology.LIP_LOWER[r] for r in range(4)},
    "right upper lid": topology.RIGHT_LID_UPPER,
    "right lower lid": topology.RIGHT_LID_LOWER,
    "left upper lid": topology.LEFT_LID_UPPER,
    "left lower lid": topology.LEFT_LID_LOWER,
    "oval": (*topology.OVAL, topology.OVAL[0]),
}
EDGES = {frozenset(edge) for edge in FACEMESH_TESSELATION}


def border_loops(triangles: np.ndarray) -> list[set[int]]:
    """The vertices of each closed line of edges that only one triangle has."""
    directed = [(int(a), int(b)) for t in triangles for a, b in zip(t, np.roll(t, -1), strict=True)]
    alone = {edge for edge, n in Counter(map(frozenset, directed)).items() if n == 1}
    after = {a: b for a, b in directed if frozenset((a, b)) in alone}
    loops = []
    while after:
        start, at = next(iter(after.items()))
        del after[start]
        loop = [start]
        while at != start:
            loop.append(at)
            at = after.pop(at)
        loops.append(set(loop))
    return loops


def test_the_triangles_make_a_disc_with_three_holes():
    triangles = topology.face_triangles()
    edges = {frozenset((int(a), int(b))) for t in triangles for a, b in zip(t, np.roll(t, -1), strict=True)}
    assert triangles.shape == (852, 3)
    assert len(np.unique(triangles)) == topology.N_FACE
    assert edges <= EDGES
    # A disc has Euler characteristic 1, and each hole takes one away.
    assert topology.N_FACE - len(edges) + len(triangles) == 1 - 3


def test_the_holes_are_the_mouth_and_the_eyes():
    loops = border_loops(topology.face_triangles())
    expected = [
        {*topology.OVAL},
        {*topology.LIP_UPPER[0], *topology.LIP_LOWER[0]},
        {*topology.RIGHT_LID_UPPER, *topology.RIGHT_LID_LOWER},
        {*topology.LEFT_LID_UPPER, *topology.LEFT_LID_LOWER},
    ]
    assert sorted(map(sorted, loops)) == sorted(map(sorted, expected))


def test_all_triangles_turn_the_same_way(portrait):
    triangles = topology.face_triangles()
    directed = Counter((int(a), int(b)) for t in triangles for a, b in zip(t, np.roll(t, -1), strict=True))
    assert max(directed.values()) == 1  # neighbours run along their common edge in opposite directions
    a, b, c = (portrait.face[triangles[:, k], :2] for k in range(3))
    assert np.mean(np.cross(b - a, c - a) > 0) > 0.98  # of a face that looks at the camera


@pytest.mark.parametrize("name", LINES)
def test_named_lines_are_paths_of_the_mesh(name):
    line = LINES[name]
    assert all(frozenset(pair) in EDGES for pair in itertools.pairwise(line))
    inner = line[:-1] if name == "oval" else line
    assert len(set(inner)) == len(inner)


def test_upper_and_lower_halves_share_their_corners_only():
    halves = [*zip(topology.LIP_UPPER, topology.LIP_LOWER, strict=True)]
    halves += [(topology.RIGHT_LID_UPPER, topology.RIGHT_LID_LOWER)]
    halves += [(topology.LEFT_LID_UPPER, topology.LEFT_LID_LOWER)]
    for upper, lower in halves:
        assert (upper[0], upper[-1]) == (lower[0], lower[-1])
        assert set(upper) & set(lower) == {upper[0], upper[-1]}


def test_lines_run_from_left_to_right_and_lie_where_they_are_named(portrait):
    x, y = portrait.face[:, 0], portrait.face[:, 1]
    for name, line in LINES.items():
        if name != "oval":
            assert x[line[-1]] > x[line[0]], name
    lips = [
        portrait.face[list(ring[1:-1]), 1].mean() for ring in (*topology.LIP_UPPER[::-1], *topology.LIP_LOWER)
    ]
    assert np.all(np.diff(lips) > 0)  # from the nose to the chin
    assert x[topology.RIGHT_IRIS] < x[topology.LEFT_IRIS]
    for brow, lid in (
        (topology.RIGHT_BROW, topology.RIGHT_LID_UPPER),
        (topology.LEFT_BROW, topology.LEFT_LID_UPPER),
    ):
        assert y[list(brow)].max() < y[list(lid)].min()
        assert x[lid[0]] - 40 < x[list(brow)].mean() < x[lid[-1]] + 40
    assert y[topology.FOREHEAD] < y[topology.NOSE_TIP] < y[topology.CHIN]
