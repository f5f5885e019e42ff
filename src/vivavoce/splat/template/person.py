"""A whole person of Gaussians: body, head and mouth, with the rig that moves them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Float32

from vivavoce.splat import topology
from vivavoce.splat.eyes import eyeball_centres
from vivavoce.splat.faceframe import measure_face
from vivavoce.splat.lips import measure_lips
from vivavoce.splat.rig import Rig, build_rig
from vivavoce.splat.sheet import Sheet
from vivavoce.splat.skeleton import JOINT, JOINTS, Skeleton
from vivavoce.splat.skinning import join
from vivavoce.splat.template.body import body
from vivavoce.splat.template.face import mean_face, shaped
from vivavoce.splat.template.head import Head
from vivavoce.splat.template.joints import Joints, rest_joints
from vivavoce.splat.template.look import Look
from vivavoce.splat.template.surface import joined
from vivavoce.types import Binding

OPACITY = 0.96
WIRE = 3.0
"""mm between Gaussians above which the rims of glasses grow thinner than a pixel."""
_EARS = np.array([0.0, 18.0, 20.0])  # mm from between the ears to the head's joint


@dataclass(frozen=True)
class Person:
    """N Gaussians in template space (mm), what they hang on, and the rig that moves its particles.

    Particles are the 55 joints, the 468 vertices of the face, and the tongue.
    """

    means: Float32[np.ndarray, "N 3"]
    covariances: Float32[np.ndarray, "N 6"]
    opacities: Float32[np.ndarray, " N"]
    albedo: Float32[np.ndarray, "N 3"]
    normals: Float32[np.ndarray, "N 3"]
    inside: Bool[np.ndarray, " N"]
    """True for what lies behind the lips: it has the mouth's light."""
    binding: Binding
    rig: Rig
    joints: Joints
    face: Float[np.ndarray, "478 3"]
    look: Look = field(repr=False)


def build_person(look: Look, *, detail: float = 5.0) -> Person:
    """The person of this look, tiled at about `detail` mm: 2 for a portrait, 8 for a small picture."""
    joints = rest_joints(look.build)
    centre = joints["head"] - _EARS
    scale = look.build.face / float(np.ptp(mean_face()[: topology.N_FACE, 1]))
    face = shaped(look.features) * scale + centre
    joints = _with_face(joints, face)
    rig = _rig(face, joints, look)
    head = Head(face, centre, scale, joints, look, detail)
    inner = head.mouth(rig.frame)
    outer = [*body(joints, look, detail), *head.pieces(np.random.default_rng(look.seed))]
    rims = [] if look.glasses is None else [head.glasses(look.glasses)]
    whole = joined([patch for patch, _ in (*inner, *outer, *rims)])
    return Person(
        means=whole.points.astype(np.float32),
        covariances=_discs(whole.normals, whole.sigmas),
        opacities=_opacities(len(whole), sum(len(patch) for patch, _ in rims), detail),
        albedo=whole.colors.astype(np.float32),
        normals=whole.normals.astype(np.float32),
        inside=np.arange(len(whole)) < sum(len(patch) for patch, _ in inner),
        binding=join([b for _, b in (*inner, *outer, *rims)]),
        rig=rig,
        joints=joints,
        face=face,
        look=look,
    )


def _with_face(joints: Joints, face: Float[np.ndarray, "478 3"]) -> Joints:
    """The jaw's hinge between the ears, and the eyes where the face has them."""
    positions = joints.positions.copy()
    positions[JOINT["jaw"]] = face[[93, 323]].mean(0)
    for name, at in eyeball_centres(face, measure_face(face)).items():
        positions[JOINT[name]] = at
    return replace(joints, positions=positions)


def _rig(face: Float[np.ndarray, "478 3"], joints: Joints, look: Look) -> Rig:
    frame = measure_face(face)
    sheet = Sheet(face[: topology.N_FACE].astype(np.float32), topology.face_triangles(), 0, frame.height)
    skin = np.zeros((topology.N_FACE, len(JOINTS)))
    skin[:, JOINT["head"]] = 1
    skeleton = Skeleton(joints.positions.astype(np.float32), frozenset(JOINTS))
    wears = look.glasses is not None
    return build_rig(sheet, skeleton, frame, measure_lips(face, frame), skin, spectacles=wears)


def _opacities(count: int, rims: int, detail: float) -> Float32[np.ndarray, " N"]:
    """Of all Gaussians, the last `rims` of which are wires: what is thinner than a pixel covers a part of it."""
    out = np.full(count, OPACITY, np.float32)
    out[count - rims :] *= min(1.0, WIRE / detail)
    return out


def _discs(normals: Float[np.ndarray, "N 3"], sigmas: Float[np.ndarray, " N"]) -> Float32[np.ndarray, "N 6"]:
    """Covariances of discs in the surface, a fifth as thick as wide: xx xy xz yy yz zz in mm^2."""
    outer = normals[:, :, None] * normals[:, None]
    full = (sigmas**2)[:, None, None] * (np.eye(3) - 0.96 * outer)
    rows, columns = np.triu_indices(3)
    return full[:, rows, columns].astype(np.float32)
