"""Make the template's mean face again: `python recipes/template.py` writes src/vivavoce/splat/template/face.npy.

The 478 landmarks of the face in a public portrait that comes with scikit-image, brought upright, made symmetric,
scaled to a distance of 63 mm between the pupils, and with the mouth shut as the project's own lip model shuts it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

import vivavoce.splat.template
from vivavoce.features.portrait import analyze
from vivavoce.splat import topology
from vivavoce.splat.controls import CHANNELS
from vivavoce.splat.create import make_canvas
from vivavoce.splat.faceframe import INTERPUPILLARY_MM
from vivavoce.splat.reconstruct import reconstruct

EARS = (234, 454)


def mean_face() -> Float[np.ndarray, "478 3"]:
    """mm from between the ears: x right, y down, z away from the camera."""
    portrait = analyze(skimage.data.astronaut()[..., :3].astype(np.float32) / 255, None)
    canvas, _, _ = make_canvas(portrait)
    rig = reconstruct(canvas).rig
    shut = rig.vertices + rig.vertex_offsets(np.zeros((1, len(CHANNELS))))[0]
    points = rig.frame.local(np.concatenate([shut[: topology.N_FACE], canvas.face[topology.N_FACE :]]))
    # The rig's depth is limited for a sheet that turns a little; the landmarks' own is that of a head.
    points[:, 2] = rig.frame.local(canvas.face.astype(float))[:, 2]
    pupils = points[topology.LEFT_IRIS] - points[topology.RIGHT_IRIS]
    points *= INTERPUPILLARY_MM / np.linalg.norm(pupils)
    return symmetric(upright(points - points[list(EARS)].mean(0)))


def upright(points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """Nodded until forehead and chin are equally far away."""
    line = points[topology.CHIN] - points[topology.FOREHEAD]
    angle = np.arctan2(line[2], line[1])
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]]).T


def symmetric(points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """The mean of a face and its mirror image, each point with its partner."""
    mirrored = points * (-1, 1, 1)
    far = ((mirrored[:, None] - points[None]) ** 2).sum(-1)
    rows, partner = linear_sum_assignment(far)
    assert (partner[partner] == rows).all(), "some points have no partner"
    return (points + mirrored[partner]) / 2


if __name__ == "__main__":
    out = Path(vivavoce.splat.template.__file__).with_name("face.npy")
    np.save(out, mean_face().astype(np.float32))
    print(out)
