"""How an arm gets its wrist to a place: inverse kinematics of two bones, and the hand's three angles.

Everything is solved for the left arm; a right arm is solved in the mirror. Directions that people write down
are (out, up, forward) as the arm's owner sees them: away from the midline, against gravity, towards the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vivavoce.splat.template.joints import Joints

MIRROR = np.array([-1.0, 1.0, 1.0])
ROLL_SHARE = 0.5
"""Of the forearm's roll that turns at the elbow; the wrist turns the rest, so that no skin is wrung."""

# Radians; pronation and supination from thumbs up, flexion and extension, radial and ulnar deviation
# (norms of the American Academy of Orthopaedic Surgeons, 1965).
LIMITS = np.radians([[-85.0, 85.0], [-70.0, 80.0], [-32.0, 22.0]])

_FAR, _NEAR = 0.985, 0.34
"""Shares of the arm's length that the wrist may be away from the shoulder: elbows neither lock nor fold flat."""
_EASE = 0.07  # of the arm's length, over which a limit is approached


@dataclass(frozen=True)
class Arm:
    """The resting left arm, or the right one in the mirror. Millimetres; axes have unit length."""

    side: str
    shoulder: Float[np.ndarray, " 3"]
    upper: float
    fore: float
    along: Float[np.ndarray, " 3"]
    """From shoulder to wrist and on to the fingers."""
    thumb: Float[np.ndarray, " 3"]
    palm: Float[np.ndarray, " 3"]
    """Out of the palm; also the hinge that the elbow bends about."""
    hand: Float[np.ndarray, "P 3"]
    """Points of the hand from the wrist: the knuckle and the tip of the middle finger, and the thumb's tip."""

    @property
    def length(self) -> float:
        """Of upper arm and forearm."""
        return self.upper + self.fore


def arm_of(joints: Joints, side: str) -> Arm:
    """The arm of one side, "left" or "right"."""
    flip = MIRROR if side == "right" else np.ones(3)
    shoulder, elbow, wrist = (flip * joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
    along = (elbow - shoulder) / np.linalg.norm(elbow - shoulder)
    thumb = np.array([0.0, 0.0, -1.0])
    points = (joints[f"{side}_middle1"], joints.tips[f"{side}_middle"], joints.tips[f"{side}_thumb"])
    return Arm(
        side,
        shoulder,
        float(np.linalg.norm(elbow - shoulder)),
        float(np.linalg.norm(wrist - elbow)),
        along,
        thumb,
        np.cross(along, thumb),
        np.stack([flip * point - wrist for point in points]),
    )


def outwards(directions: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """(out, up, forward) of a left arm in template axes, or the other way round."""
    return directions * np.array([1.0, -1.0, -1.0])


def within_reach(arm: Arm, wrist: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "T 3"]:
    """The wrist's places, those too far or too near drawn smoothly to where the arm gets them."""
    away = wrist - arm.shoulder
    distance = np.linalg.norm(away, axis=1, keepdims=True)
    ease, far, near = _EASE * arm.length, _FAR * arm.length, _NEAR * arm.length
    over = np.maximum(distance - (far - ease), 0)
    under = np.maximum((near + ease) - distance, 0)
    # tanh leaves slope and curvature as they are where it sets in.
    eased = distance - over + ease * np.tanh(over / ease) + under - ease * np.tanh(under / ease)
    return arm.shoulder + away * eased / np.maximum(distance, 1e-9)


@dataclass(frozen=True)
class Bend:
    """T solutions: the shoulder's turn, and the angle (radians, 0 straight) that the elbow is bent by."""

    shoulder: Float[np.ndarray, "T 3 3"]
    elbow: Float[np.ndarray, " T"]

    def forearm(self, arm: Arm) -> Float[np.ndarray, "T 3 3"]:
        """The turn of the forearm from rest, without its roll."""
        return self.shoulder @ about(arm.palm, self.elbow)


def bend(arm: Arm, wrist: Float[np.ndarray, "T 3"], pole: Float[np.ndarray, "T 3"]) -> Bend:
    """The arm whose wrist is at `wrist`, within reach, and whose elbow points as far to `pole` as it can."""
    away = wrist - arm.shoulder
    distance = np.linalg.norm(away, axis=1, keepdims=True)
    ahead = away / distance
    side = pole - (pole * ahead).sum(axis=1, keepdims=True) * ahead
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    upper, fore = arm.upper, arm.fore
    at_shoulder = (distance**2 + upper**2 - fore**2) / (2 * distance * upper)
    at_elbow = (upper**2 + fore**2 - distance**2) / (2 * upper * fore)
    down = at_shoulder * ahead + np.sqrt(np.maximum(1 - at_shoulder**2, 0)) * side
    hinge = np.cross(side, ahead)
    posed = np.stack([down, hinge, np.cross(down, hinge)], axis=2)
    rest = np.stack([arm.along, arm.palm, np.cross(arm.along, arm.palm)], axis=1)
    return Bend(posed @ rest.T, np.pi - np.arccos(np.clip(at_elbow[:, 0], -1, 1)))


def hand_angles(
    arm: Arm,
    forearm: Float[np.ndarray, "3 3"],
    *,
    fingers: Float[np.ndarray, " 3"],
    palm: Float[np.ndarray, " 3"],
) -> Float[np.ndarray, " 3"]:
    """Roll of the forearm, flexion and deviation of the wrist that point `fingers` and `palm` as wanted.

    `forearm` is its turn from rest. What a wrist cannot do stops at LIMITS.
    """
    from scipy.spatial.transform import Rotation

    fingers = fingers / np.linalg.norm(fingers)
    palm = palm - (palm @ fingers) * fingers
    palm = palm / np.linalg.norm(palm)
    wanted = np.stack([fingers, np.cross(palm, fingers), palm], axis=1)
    rest = np.stack([arm.along, arm.thumb, arm.palm], axis=1)
    turn = forearm.T @ wanted @ rest.T
    x, y, z, w = Rotation.from_matrix(turn).as_quat()
    roll = 2 * np.arctan2(np.array([x, y, z]) @ arm.along, w)
    roll = (roll + np.pi) % (2 * np.pi) - np.pi
    swing = Rotation.from_matrix(about(arm.along, np.array([-roll]))[0] @ turn).as_rotvec()
    return np.clip(np.array([roll, -swing @ arm.thumb, swing @ arm.palm]), *LIMITS.T)


def arm_turns(arm: Arm, bent: Bend, hand: Float[np.ndarray, "T 3"]) -> dict[str, Float[np.ndarray, "T 3 3"]]:
    """What `skeleton.chain` takes: the turns of shoulder, elbow and wrist; `hand` as `hand_angles` gives it."""
    turns = {
        "shoulder": bent.shoulder,
        "elbow": about(arm.palm, bent.elbow) @ about(arm.along, ROLL_SHARE * hand[:, 0]),
        "wrist": about(arm.along, (1 - ROLL_SHARE) * hand[:, 0]) @ _swing(arm, hand),
    }
    return {f"{arm.side}_{name}": mirrored(arm, turn) for name, turn in turns.items()}


def hand_points(
    arm: Arm, wrist: Float[np.ndarray, "T 3"], bent: Bend, hand: Float[np.ndarray, "T 3"]
) -> Float[np.ndarray, "T P 3"]:
    """The wrist, the middle of the forearm, and the points of `Arm.hand`, fingers stretched."""
    forearm = bent.forearm(arm)
    turn = forearm @ about(arm.along, hand[:, 0]) @ _swing(arm, hand)
    half = wrist - 0.5 * arm.fore * (forearm @ arm.along)
    return np.concatenate([wrist[:, None], half[:, None], wrist[:, None] + arm.hand @ turn.swapaxes(1, 2)], 1)


def mirrored(arm: Arm, turns: Float[np.ndarray, "T 3 3"]) -> Float[np.ndarray, "T 3 3"]:
    """Turns of the left arm as those of `arm`."""
    return turns * np.outer(MIRROR, MIRROR) if arm.side == "right" else turns


def about(axis: Float[np.ndarray, " 3"], angles: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T 3 3"]:
    """Rotations about one axis of unit length (Rodrigues)."""
    x, y, z = axis
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    s, c = np.sin(angles)[:, None, None], np.cos(angles)[:, None, None]
    return np.eye(3) + s * k + (1 - c) * (k @ k)


def _swing(arm: Arm, hand: Float[np.ndarray, "T 3"]) -> Float[np.ndarray, "T 3 3"]:
    from scipy.spatial.transform import Rotation

    vectors = -hand[:, 1:2] * arm.thumb + hand[:, 2:3] * arm.palm
    return Rotation.from_rotvec(vectors).as_matrix()
