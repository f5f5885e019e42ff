"""Spectacles are seen where they are and nowhere else, and keep their shape while the face behind them moves."""

import numpy as np
import pytest

from portraits import portrait as picture_of
from vivavoce.features.portrait import analyze
from vivavoce.splat.create import make_canvas
from vivavoce.splat.faceframe import measure_face
from vivavoce.splat.reconstruct import reconstruct
from vivavoce.splat.rig import BROWS, LIDS, UNDER_BROWS
from vivavoce.splat.spectacles import wears_spectacles


@pytest.fixture(scope="module")
def worn():
    """The canvas of a face with spectacles."""
    return make_canvas(analyze(picture_of("glasses")))[0]


def test_drawn_spectacles_are_seen(worn):
    assert wears_spectacles(worn.image, worn.face, measure_face(worn.face))


@pytest.mark.parametrize("kind", ["shut", "dark_side_light", "side_light", "beard", "painting", "close_up"])
def test_shadows_wrinkles_and_beards_are_no_spectacles(kind):
    canvas, *_ = make_canvas(analyze(picture_of(kind)))
    assert not wears_spectacles(canvas.image, canvas.face, measure_face(canvas.face))


def test_a_line_without_a_bridge_is_none(canvas):
    scarred = canvas.image.copy()
    x, y = canvas.face[145, :2].astype(int)
    scarred[y + 8 : y + 10, x - 6 : x + 6] = 0.1
    assert not wears_spectacles(scarred, canvas.face, measure_face(canvas.face))


def test_the_upper_rim_stays_while_the_eyes_shut_and_the_brows_rise(worn, built, pose):
    def travel(rig, points: tuple[int, ...], **controls: float) -> float:
        offsets = rig.vertex_offsets(np.concatenate([pose(), pose(**controls)]))
        moved = np.linalg.norm((offsets[1] - offsets[0])[list(points)], axis=1)
        return float(moved.max() / rig.frame.millimetre)

    with_frame, bare = reconstruct(worn).rig, built.rig
    assert travel(with_frame, UNDER_BROWS, blink=1.0) < 0.1
    assert travel(bare, UNDER_BROWS, blink=1.0) > 1.0
    assert travel(with_frame, BROWS, brow_raise=1.0) < 0.3 * travel(bare, BROWS, brow_raise=1.0)
    assert travel(with_frame, LIDS[0][0], blink=1.0) > 4.0
