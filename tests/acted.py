"""People of known build who act scripts: their joints in space, and their keypoints before a camera 3 m away."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from syllables import talk
from vivavoce.corpus.synth.actions import ScriptedAction
from vivavoce.corpus.synth.bodywork import ADDED
from vivavoce.corpus.synth.coverbal import SpeechCues, habit, speech_cues
from vivavoce.corpus.synth.gestures import Performance, perform
from vivavoce.features.physical_state import Keypoints
from vivavoce.splat.controls import RHYTHM
from vivavoce.splat.motion.rhythm import rhythm
from vivavoce.splat.skeleton import JOINT, chain, rotation
from vivavoce.splat.template.joints import FINGERS, Build, Joints, rest_joints
from vivavoce.types import SPEECH_RATE

_MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Acted:
    """T frames of a person in template space, mm."""

    build: Build
    joints: Joints
    performance: Performance
    transforms: np.ndarray
    fps: float

    def at(self, joint: str, point: np.ndarray | None = None) -> np.ndarray:
        """Where a point that rides on a joint goes, the joint itself by default (T, 3)."""
        rest = self.joints[joint] if point is None else point
        return self.transforms[:, JOINT[joint], :, :3] @ rest + self.transforms[:, JOINT[joint], :, 3]

    def hand(self, side: str) -> np.ndarray:
        """The 21 points of a hand (T, 21, 3)."""
        points = [self.at(f"{side}_wrist")]
        for finger in FINGERS:
            points += [self.at(f"{side}_{finger}{k}") for k in (1, 2, 3)]
            points.append(self.at(f"{side}_{finger}3", self.joints.tips[f"{side}_{finger}"]))
        return np.stack(points, axis=1)

    def keypoints(self, noise: float = 0.0, seed: int = 0) -> Keypoints:
        """As a camera at the chest's height sees them, with noise in picture widths; what is outside is unseen."""
        face = self.build.face
        eye = self.joints["left_eye"] - [0.0, 0.0, 11.0]
        nose = np.array([0.0, eye[1] + 0.22 * face, eye[2] - 0.13 * face])
        ear = np.array([0.42 * face, eye[1] + 0.08 * face, self.joints["head"][2] - 0.08 * face])
        head = [self.at("head", p) for p in (nose, eye, eye * _MIRROR, ear, ear * _MIRROR)]
        body = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        limbs = [self.at(f"{side}_{name}") for name in body for side in ("left", "right")]
        points = np.zeros((len(self.transforms), 127, 3))
        points[:, :17] = np.stack([*head, *limbs], axis=1)
        points[:, 85:106], points[:, 106:] = self.hand("left"), self.hand("right")
        half = 0.5 * self.build.stature * 0.58  # mm from the middle of the picture to its edge
        seen = points - [0.0, -0.27 * self.build.stature, -3000.0]
        at = 3000 * seen[..., :2] / seen[..., 2:] / half
        at += np.random.default_rng([seed, 5]).normal(0, 2 * noise, at.shape)
        inside = (np.abs(at) <= 1).all(axis=2, keepdims=True)
        inside[:, 17:85] = False
        return np.concatenate([at * inside, inside], axis=2).astype(np.float32)


def random_build(rng: np.random.Generator) -> Build:
    return Build(
        stature=float(rng.uniform(1520, 1930)),
        shoulders=float(rng.uniform(0.9, 1.1)),
        girth=float(rng.uniform(0.85, 1.3)),
        face=float(rng.uniform(162, 188)),
    )


@functools.cache
def speech(seconds: float, seed: int) -> np.ndarray:
    return talk(seconds, seed).samples[: int(seconds * SPEECH_RATE)]


@functools.cache
def heard(seconds: float, fps: float, seed: int) -> SpeechCues:
    return speech_cues(speech(seconds, seed), fps, round(seconds * fps))


@functools.cache
def sway(seconds: float, fps: float, seed: int) -> np.ndarray:
    """What speech alone does to head, torso and shoulders (T, len(ADDED))."""
    channels = rhythm(speech(seconds, seed), fps, seed=seed)
    return channels[:, [RHYTHM.index(name) for name in ADDED]].astype(float)


def acted(
    script: Sequence[ScriptedAction],
    seconds: float,
    *,
    fps: float = 25.0,
    seed: int = 0,
    build: Build | None = None,
    talking: bool = True,
) -> Acted:
    """A random person who follows the script; one of four recordings is heard where `talking`, else silence."""
    rng = np.random.default_rng(seed)
    own = random_build(rng)
    build = build or own
    joints, frames = rest_joints(build), round(seconds * fps)
    silence = SpeechCues(np.zeros(frames), ())
    cues = heard(seconds, fps, seed % 4) if talking else silence
    performance = perform(
        joints, script, cues=cues, habit=habit(rng), fps=fps, frames=frames, rng=rng, girth=build.girth
    )
    c = {name: performance.controls[name].copy() for name in ADDED}
    if talking:
        for k, name in enumerate(ADDED):
            c[name] += sway(seconds, fps, seed % 4)[:frames, k]
    turns = {
        joint: rotation(c["head_yaw"] * k, c["head_pitch"] * k, c["head_roll"] * k)
        for joint, k in (("head", 0.6), ("neck", 0.4))
    }
    turns |= {
        f"spine{k}": rotation(c["torso_yaw"] / 3, c["torso_pitch"] / 3, c["torso_roll"] / 3)
        for k in (1, 2, 3)
    }
    lift = np.zeros((frames, 3))
    lift[:, 1] = -0.055 * build.face * c["shoulders"]
    shifts = {f"{side}_collar": lift for side in ("left", "right")}
    transforms = chain(joints.positions, turns | performance.rotations, shifts, frames)
    return Acted(build, joints, performance, transforms, fps)
