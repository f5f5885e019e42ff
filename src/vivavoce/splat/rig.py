"""The rig of one avatar: named controls in, rigid transforms of its particles out.

The face's control points (lips, lids, brows) are placed by rules in the face's own axes and spread over the
face by a radial interpolation fitted once; the jaw turns about its hinge; head, spine, collars, arms and eyes
turn in a chain. Everything here is in canvas space (pixels); `drive` lifts the transforms into metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from vivavoce.splat import topology
from vivavoce.splat.controls import INDEX
from vivavoce.splat.faceframe import FaceFrame
from vivavoce.splat.lips import RINGS, LipModel, lip_offsets
from vivavoce.splat.sheet import Sheet
from vivavoce.splat.skeleton import JOINT, Skeleton, chain, rotation
from vivavoce.splat.skinning import smoothstep

JAW_DROP = 18.0
"""How far the lower incisors go down at jaw = 1, mm (loud open vowels)."""
GLIDE = np.array([0.0, 1 / 6, -1 / 3])
"""Of that way, how far the hinge itself goes right, down and inwards: a lowered jaw turns about a joint that
slides forward, so that the chin does not sink into the neck (Ostry & Munhall 1994, JASA 95)."""

# Points of the face that speech leaves in place: without them the interpolation would drag nose and temples.
# fmt: off
ANCHORS = (
    *(1, 2, 4, 5, 6, 168, 8, 9, 151, 10, 98, 327, 97, 326, 94, 19, 195, 197, 101, 330, 117, 346, 111, 340),
    *(234, 454, 127, 356, 162, 389, 54, 284, 67, 297, 103, 332, 109, 338, 21, 251, 93, 323, 116, 345, 123),
    *(352, 50, 280),
    *(24, 254, 23, 253, 22, 252, 110, 339, 26, 256, 112, 341, 243, 463),
    # The chin and the jaw's line follow the jaw alone, however far the lips part.
    *(152, 148, 377, 176, 400, 149, 378, 150, 379, 136, 365, 172, 397, 58, 288, 132, 361),
)
# fmt: on
UNDER_BROWS = (225, 224, 223, 222, 221, 441, 442, 443, 444, 445)
"""Above the lids' fold, where the upper rim of spectacles lies."""
LIDS = (
    (topology.RIGHT_LID_UPPER, topology.RIGHT_LID_LOWER),
    (topology.LEFT_LID_UPPER, topology.LEFT_LID_LOWER),
)
BROWS = (*topology.RIGHT_BROW, *topology.LEFT_BROW)
LIP_POINTS = tuple(v for r in range(RINGS) for v in (*topology.LIP_UPPER[r], *topology.LIP_LOWER[r][1:-1]))
LID_POINTS = tuple(v for upper, lower in LIDS for v in (*upper, *lower[1:-1]))
MOVED = LIP_POINTS + LID_POINTS + BROWS


@dataclass(frozen=True)
class Rig:
    """Turns controls into particle transforms of one avatar; V face and rim vertices, P control points."""

    frame: FaceFrame
    lips: LipModel
    skeleton: Skeleton
    vertices: Float32[np.ndarray, "V 3"]
    spread: Float32[np.ndarray, "V P"]
    """Displacement of each vertex per unit displacement of each control point."""
    jaw: Float32[np.ndarray, " V"]
    """How much each vertex follows the jaw, 0..1."""
    skin: Float32[np.ndarray, "V J"]
    """Joint weights of each face and rim vertex."""
    tongue: Float32[np.ndarray, " 3"]
    """Rest position of the tongue's tip."""
    brows: float
    """How far brows follow their control: less behind spectacles, which would bend with them."""

    def transforms(
        self,
        controls: Float32[np.ndarray, "T C"],
        turns: Mapping[str, Float[np.ndarray, "T 3 3"]] | None = None,
    ) -> Float32[np.ndarray, "T M 3 4"]:
        """Rigid transforms [R | t] of all particles: joints, face and rim vertices, tongue.

        `turns` of joints from rest, by name, take the place of those that the controls give.
        """
        controls = controls.astype(np.float64)
        joints = self._joints(controls, turns or {})
        face = self._face(controls, joints)
        tongue = self._tongue(controls, joints)
        return np.concatenate([joints, face, tongue], axis=1).astype(np.float32)

    def _joints(
        self, controls: Float[np.ndarray, "T C"], given: Mapping[str, Float[np.ndarray, "T 3 3"]]
    ) -> Float[np.ndarray, "T J 3 4"]:
        c = {name: controls[:, i] for name, i in INDEX.items()}
        h, zero = self.frame.height, np.zeros(len(controls))
        head = {
            name: rotation(c["head_yaw"] * k, c["head_pitch"] * k, c["head_roll"] * k)
            for name, k in (("head", 0.6), ("neck", 0.4))
        }
        torso = rotation(c["torso_yaw"] / 3, c["torso_pitch"] / 3, c["torso_roll"] / 3)
        turns = {**head, "spine1": torso, "spine2": torso, "spine3": torso}
        lift = 0.055 * np.clip(c["shoulders"], 0, 1.5) + 0.008 * c["breath"]
        shifts = {f"{side}_collar": np.stack([zero, -h * lift, zero], 1) for side in ("left", "right")}
        shifts["spine3"] = np.stack([zero, -0.006 * h * c["breath"], -0.01 * h * c["breath"]], 1)
        for side in ("left", "right"):
            turns[f"{side}_eye"] = rotation(c["gaze_x"], c["gaze_y"], zero)
            turns.update(self._arm(side, c[f"hand_{side}"]))
        turns["jaw"], shifts["jaw"] = self._jaw_motion(controls)
        return chain(self.skeleton.positions, {**turns, **given}, shifts, len(controls))

    def _arm(self, side: str, beat: Float[np.ndarray, " T"]) -> dict[str, Float[np.ndarray, "T 3 3"]]:
        """A beat lifts the hand: the forearm turns about the elbow in the picture's plane, with the hand."""
        if f"{side}_wrist" not in self.skeleton.seen or f"{side}_elbow" not in self.skeleton.seen:
            return {}
        reach = self.skeleton[f"{side}_wrist"] - self.skeleton[f"{side}_elbow"]
        length = float(np.linalg.norm(reach[:2])) + 1e-6
        sense = (
            -np.sign(reach[0]) if abs(reach[0]) > 0.25 * length else (1.0 if side == "left" else -1.0) * -0.6
        )
        # A hand travels at most a seventh of the face's height, whatever the forearm's length in the picture.
        angle = sense * beat * min(0.16, 0.14 * self.frame.height / length)
        zero = np.zeros_like(beat)
        turns = {
            f"{side}_elbow": rotation(zero, zero, angle),
            f"{side}_wrist": rotation(zero, zero, 0.5 * angle),
        }
        for k, finger in enumerate(("index", "middle", "ring", "pinky")):
            turns[f"{side}_{finger}1"] = rotation(zero, zero, -(0.25 + 0.08 * k) * angle)
        return turns

    def _jaw_motion(
        self, controls: Float[np.ndarray, "T C"]
    ) -> tuple[Float[np.ndarray, "T 3 3"], Float[np.ndarray, "T 3"]]:
        """Turn of the jaw and way of its hinge, from the photo's pose.

        A photo with parted lips has its jaw lowered already: by 0.55 of the gap.
        """
        drop = JAW_DROP * self.frame.millimetre * controls[:, INDEX["jaw"]] - 0.55 * self.frame.gap
        behind = float(self.frame.local(self.skeleton["jaw"].astype(np.float64))[2])
        angle = np.arcsin((1 - GLIDE[1]) * drop / max(behind, 0.3 * self.frame.height))
        return self._about_hinge(angle), self.frame.canvas(drop[:, None] * GLIDE)

    def _about_hinge(self, angle: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T 3 3"]:
        """Rotation about the face's own left-right axis; positive opens."""
        x, y, z = self.frame.axes[0]
        k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        s, c = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
        # The chin lies in front of the hinge (towards -z): moving it down is a positive turn about +x.
        return np.eye(3) + s * k + (1 - c) * (k @ k)

    def _face(
        self, controls: Float[np.ndarray, "T C"], joints: Float[np.ndarray, "T J 3 4"]
    ) -> Float[np.ndarray, "T V 3 4"]:
        offsets = self.vertex_offsets(controls)
        # One matrix product over all frames: the plain einsum takes ten times as long.
        flat = joints.transpose(1, 0, 2, 3).reshape(joints.shape[1], 12 * len(joints))
        blended = (
            (self.skin.astype(np.float64) @ flat).reshape(len(self.skin), len(controls), 3, 4).swapaxes(0, 1)
        )
        R = _orthonormal(blended[..., :3])
        moved = self.vertices + offsets
        target = np.einsum("tvab,tvb->tva", blended[..., :3], moved) + blended[..., 3]
        t = target - np.einsum("tvab,vb->tva", R, self.vertices)
        return np.concatenate([R, t[..., None]], axis=-1)

    def vertex_offsets(self, controls: Float[np.ndarray, "T C"]) -> Float[np.ndarray, "T V 3"]:
        """Displacement of face and rim vertices in the head's frame, canvas pixels."""
        turn, glide = self._jaw_motion(controls)
        centre = self.skeleton["jaw"].astype(np.float64)
        arm = self.vertices - centre
        by_jaw = self.jaw[None, :, None] * (np.einsum("tab,vb->tva", turn, arm) - arm + glide[:, None])
        points = self._control_points(controls) - by_jaw[:, list(MOVED)]
        spread = self.spread.astype(np.float64) @ points.swapaxes(0, 1).reshape(len(MOVED), 3 * len(points))
        return by_jaw + spread.reshape(len(self.vertices), len(controls), 3).swapaxes(0, 1)

    def _control_points(self, controls: Float[np.ndarray, "T C"]) -> Float[np.ndarray, "T P 3"]:
        lips = lip_offsets(self.lips, controls)
        rings = np.concatenate([lips[:, :, 0], lips[:, :, 1, 1:-1]], axis=2)
        lip = self.frame.canvas(rings.reshape(len(controls), len(LIP_POINTS), 3))
        lids = [self._lid(upper, lower, controls) for upper, lower in LIDS]
        raise_ = self.brows * controls[:, INDEX["brow_raise"], None]
        outside_in = [0.6, 0.9, 1.0, 0.9, 0.75]
        arch = np.array([*outside_in * 2, *outside_in[::-1] * 2])
        brow = -0.035 * self.frame.height * raise_ * arch
        brow = brow[..., None] * self.frame.axes[1]
        return np.concatenate([lip, *lids, brow], axis=1)

    def _lid(
        self, upper: tuple[int, ...], lower: tuple[int, ...], controls: Float[np.ndarray, "T C"]
    ) -> Float[np.ndarray, "T p 3"]:
        """The upper lid falls almost to the lower, which rises a little (Evinger 1991); gaze moves both."""
        blink = np.clip(controls[:, INDEX["blink"]], 0, 1)[:, None, None]
        up, low = self.vertices[list(upper)], self.vertices[list(lower)]
        span = low - up
        opening = np.linalg.norm(span, axis=1).max()
        follow = np.clip(controls[:, INDEX["gaze_y"], None, None] * 1.2, -0.25, 0.25) * (1 - blink)
        squint = 0.12 * np.clip(controls[:, INDEX["smile"], None, None], 0, 1) * (1 - blink)
        arch = np.linalg.norm(span, axis=1, keepdims=True) / (opening + 1e-6)
        down = self.frame.axes[1]
        top = blink * (0.93 * span) + follow * opening * arch * down
        bottom = -(0.10 * blink + squint) * span[1:-1] + 0.5 * follow * opening * arch[1:-1] * down
        return np.concatenate([top, bottom], axis=1)

    def _tongue(
        self, controls: Float[np.ndarray, "T C"], joints: Float[np.ndarray, "T J 3 4"]
    ) -> Float[np.ndarray, "T 1 3 4"]:
        """The tongue rides on the jaw; its tip rises to the ridge or comes out between the teeth."""
        up, out = controls[:, INDEX["tongue_up"], None], controls[:, INDEX["tongue_out"], None]
        shift = self.frame.millimetre * (
            -(7.0 * up + 4.0 * out) * self.frame.axes[1] - 9.0 * out * self.frame.axes[2]
        )
        T = joints[:, JOINT["jaw"]].copy()
        T[..., 3] += np.einsum("tab,tb->ta", T[..., :3], shift)
        return T[:, None]


def _orthonormal(blended: Float[np.ndarray, "T V 3 3"]) -> Float[np.ndarray, "T V 3 3"]:
    """Rotations by Gram-Schmidt: blends of turns of a few degrees are nearly rotations already."""
    x = blended[..., 0] / np.linalg.norm(blended[..., 0], axis=-1, keepdims=True)
    y = blended[..., 1] - (blended[..., 1] * x).sum(-1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def build_rig(
    sheet: Sheet,
    skeleton: Skeleton,
    frame: FaceFrame,
    lips: LipModel,
    skin: Float[np.ndarray, "V J"],
    *,
    spectacles: bool = False,
) -> Rig:
    """Fit the rig of one face: where control displacements go, and what follows the jaw.

    Behind `spectacles` lids move below the fold only, and brows by a fifth: the frame keeps its shape.
    """
    vertices = sheet.vertices[: sheet.n_face]
    local = frame.local(vertices.astype(np.float64))
    tongue = frame.mouth + frame.canvas(np.array([0.0, 6.0, 9.0]) * frame.millimetre)
    return Rig(
        frame=frame,
        lips=lips,
        skeleton=skeleton,
        vertices=vertices,
        spread=_spread(sheet, local, frame, ANCHORS + (UNDER_BROWS if spectacles else ())),
        jaw=_jaw_share(sheet, local, frame),
        skin=skin.astype(np.float32),
        tongue=tongue.astype(np.float32),
        brows=0.2 if spectacles else 1.0,
    )


def _rim_decay(sheet: Sheet, frame: FaceFrame, reach: float) -> Float[np.ndarray, " V"]:
    """1 on the face, falling to 0 at `reach` face heights outside its outline."""
    import cv2

    outline = sheet.outline().astype(np.float32)
    points = sheet.vertices[: sheet.n_face, :2]
    outside = np.array([-cv2.pointPolygonTest(outline, (float(x), float(y)), True) for x, y in points])
    outside[: topology.N_FACE] = 0.0
    return 1.0 - smoothstep(0.0, reach, np.clip(outside, 0, None) / frame.height)


def _spread(
    sheet: Sheet, local: Float[np.ndarray, "V 3"], frame: FaceFrame, fixed: tuple[int, ...]
) -> Float32[np.ndarray, "V P"]:
    """Radial interpolation (kernel r, affine part) from control points to vertices; exact at the points.

    The `fixed` vertices stay where they are.
    """
    anchors = [a for a in dict.fromkeys(fixed) if a not in MOVED]
    nodes = [*MOVED, *anchors]
    scale = frame.height
    X, Y = local[nodes, :2] / scale, local[:, :2] / scale

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1) + 1e-5)

    n = len(nodes)
    P = np.c_[np.ones(n), X]
    system = np.block([[kernel(X, X) + 2e-4 * np.eye(n), P], [P.T, np.zeros((3, 3))]])
    evaluate = np.c_[kernel(Y, X), np.ones(len(Y)), Y]
    spread = (evaluate @ np.linalg.inv(system))[:, : len(MOVED)]
    spread *= _rim_decay(sheet, frame, 0.2)[:, None]
    spread[list(MOVED)] = np.eye(len(MOVED))
    return spread.astype(np.float32)


def _jaw_share(sheet: Sheet, local: Float[np.ndarray, "V 3"], frame: FaceFrame) -> Float32[np.ndarray, " V"]:
    """Share of the jaw's turn: none above the mouth, all at the chin, fading into the neck."""
    chin = local[topology.CHIN, 1]
    below = smoothstep(-0.15, 0.75, local[:, 1] / chin)
    return (below * _rim_decay(sheet, frame, 0.24)).astype(np.float32)
