"""The template's face: its mesh, its variations, its tiling and its paint."""

import numpy as np
import pytest
from people import LOOKS

from vivavoce.splat import topology
from vivavoce.splat.template.face import Features, face_patch, mean_face, shaped, vertex_normals
from vivavoce.splat.template.paint import FaceCanvas, paint


def test_the_mean_face_is_symmetric_upright_and_of_human_size():
    face = mean_face()
    assert face.shape == (478, 3)
    pupils = face[topology.LEFT_IRIS] - face[topology.RIGHT_IRIS]
    assert np.allclose(pupils, (63, 0, 0), atol=1e-3)
    assert face[topology.CHIN, 2] == pytest.approx(face[topology.FOREHEAD, 2], abs=1e-3)
    assert 120 < np.ptp(face[:468, 0]) < 145  # bizygomatic breadth of adults
    mirrored = face * (-1, 1, 1)
    far = np.linalg.norm(mirrored[:, None] - face[None], axis=-1).min(1)
    assert far.max() < 1e-3
    upper, lower = face[list(topology.LIP_UPPER[0])], face[list(topology.LIP_LOWER[0])]
    assert np.abs(upper - lower).max() < 3  # the mouth is shut


@pytest.mark.parametrize(
    ("features", "measure"),
    [
        ({"width": 1.0}, lambda f: np.ptp(f[[234, 454], 0])),
        ({"jaw": 1.0}, lambda f: np.ptp(f[[172, 397], 0])),
        ({"length": 1.0}, lambda f: f[152, 1] - f[4, 1]),
        ({"nose_width": 1.0}, lambda f: np.ptp(f[[98, 327], 0])),
        ({"lips": 1.0}, lambda f: f[17, 1] - f[0, 1]),
        ({"mouth": 1.0}, lambda f: np.ptp(f[[61, 291], 0])),
        ({"eyes": 1.0}, lambda f: f[145, 1] - f[159, 1]),
        ({"eye_distance": 1.0}, lambda f: np.ptp(f[[468, 473], 0])),
        ({"brows": 1.0}, lambda f: f[159, 1] - f[105, 1]),
        ({"nose_length": 1.0}, lambda f: f[4, 1] - f[6, 1]),
    ],
)
def test_each_feature_changes_what_it_names(features, measure):
    more, mean, less = (shaped(Features(**{k: s * v for k, v in features.items()})) for s in (1, 0, -1))
    assert measure(more) > measure(mean) + 0.3
    assert measure(less) < measure(mean) - 0.3
    for face in (more, less):
        assert np.allclose(face[10] * (1, 0, 0), 0, atol=1e-3)  # still symmetric
        assert np.abs(face - mean).max() < 8


def test_the_tiles_lie_in_their_triangles_and_cover_them():
    face = mean_face()
    patch, binding = face_patch(face, 3.0, 55)
    # Each point is the weighted mean of the vertices that it hangs on.
    vertices = face[binding.indices - 55] * (binding.weights > 0)[..., None]
    assert np.allclose((vertices * binding.weights[..., None]).sum(1), patch.points, atol=1e-3)
    # The discs' area sums to the mesh's, but for the slivers that get more.
    triangles = topology.face_triangles()
    a, b, c = (face[triangles[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    assert 1.0 < ((patch.sigmas / 0.62) ** 2).sum() / area < 3.0


def test_the_weights_gradient_stretches_with_the_triangle():
    face = mean_face()
    patch, binding = face_patch(face, 4.0, 0)
    stretch = np.diag([1.3, 0.8, 1.0])
    moved = face @ stretch.T
    used = binding.indices[:, :3]
    jacobian = np.einsum("nka,nkb->nab", moved[used], binding.gradients[:, :3])
    # Along a tangent of its triangle every point is stretched as the whole face is.
    tangent = face[used[:, 1]] - face[used[:, 0]]
    assert np.allclose(np.einsum("nab,nb->na", jacobian, tangent), tangent @ stretch.T, atol=2e-3)
    assert len(patch) == len(used)


def test_normals_of_the_face_look_at_the_camera():
    face = mean_face()[:468]
    normals = vertex_normals(face, topology.face_triangles())
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    assert (normals[[4, 10, 152, 50, 280], 2] < -0.3).all()
    assert normals[454, 0] > 0.5
    assert normals[234, 0] < -0.5


def test_paint_puts_lips_brows_and_beard_where_they_are():
    for look in LOOKS:
        face = shaped(look.features)
        canvas = paint(face, look.complexion, np.random.default_rng(0))
        skin = np.array(look.complexion.skin)

        def color(*vertices, canvas=canvas, face=face):
            return canvas.sample(face[list(vertices)], 0.5).mean(0)

        assert (
            np.abs(color(17, 84, 314) / color(17, 84, 314).sum() - _shares(look.complexion.lips)).max() < 0.06
        )
        assert color(105, 334).mean() < 0.85 * skin.mean()
        assert np.abs(color(151, 108, 337) - skin).max() < 0.12
        if look.complexion.beard > 0.5:
            assert color(152, 175, 199).mean() < 0.7 * skin.mean()


def _shares(color):
    return np.array(color) / sum(color)


def test_a_canvas_takes_points_of_the_template_to_pixels():
    face = mean_face()
    canvas = FaceCanvas(face, (0.5, 0.5, 0.5))
    at = canvas.at([4])[0]
    canvas.mix((1.0, 0.0, 0.0), canvas.bell(at, 3.0))
    y, x = np.unravel_index(canvas.image[..., 0].argmax(), canvas.image.shape[:2])
    assert np.hypot(x + 0.5 - at[0], y + 0.5 - at[1]) < 1.5
    assert canvas.sample(face[[4]], 0.3)[0, 0] > 0.95
