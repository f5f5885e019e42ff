"""A synthetic person who sits for pictures: numbered poses, seen from any side, with all that is known of them.

A reconstruction's Gaussians stand in the rest pose of one body, `lhm.template.CANONICAL`, and each person has a build
of their own. A picture therefore tells, for each particle of that body, the affine map that takes it into the posed
body of this person: scaled by stature (by the face's height on the head) about the particle's place in the one body,
moved to its place in the other, and then moved rigidly as the person's own particle moves. LHM is told a person's shape
and pose too, as parameters of SMPL-X.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from vivavoce.corpus.synth.actions import ACTIONS, LEFT, RIGHT, ScriptedAction
from vivavoce.corpus.synth.animator import Acting
from vivavoce.corpus.synth.attributes import Attributes
from vivavoce.corpus.synth.coverbal import SpeechCues
from vivavoce.corpus.synth.gestures import perform
from vivavoce.corpus.synth.portrait import habit_of, look_of
from vivavoce.corpus.synth.setting import framed, light
from vivavoce.corpus.synth.truth import truth_of
from vivavoce.splat import topology
from vivavoce.splat.controls import CHANNELS, INDEX
from vivavoce.splat.lhm.template import CANONICAL
from vivavoce.splat.skeleton import JOINT, rotation
from vivavoce.splat.template.look import FACE, TONGUE
from vivavoce.splat.template.person import Person, build_person
from vivavoce.splat.template.stage import Light, Stage
from vivavoce.types import Camera

DETAIL = 5.0
"""mm between a person's Gaussians."""
DRAWN = 384
"""Side that pictures are drawn at before they are averaged down, px."""
_ACTING = 0.7  # share of poses in which the arms act
_ACTION = 2.0  # seconds that an action takes, and when in it people are seen
_MOMENTS = (0.3, 1.2)
_SPREADS = {
    "head_yaw": 0.15,
    "head_pitch": 0.08,
    "head_roll": 0.06,
    "torso_yaw": 0.06,
    "torso_pitch": 0.03,
    "torso_roll": 0.03,
    "brow_raise": 0.4,
    "smile": 0.4,
    "gaze_x": 0.12,
    "gaze_y": 0.06,
}
"""Standard deviations of controls, radians and their own units."""
_OF_THE_FACE = ("head", "jaw", "left_eye", "right_eye")  # joints whose places go with the face's size


@dataclass(frozen=True)
class Subject:
    """A synthetic person."""

    name: str
    attributes: Attributes
    seed: int
    """Of the one who has these attributes."""


@dataclass(frozen=True)
class Shot:
    """A person seen from one side, on white."""

    image: UInt8[np.ndarray, "H W 3"]
    alpha: UInt8[np.ndarray, "H W"]
    keypoints: Float32[np.ndarray, "127 3"]
    """As in `features.physical_state`; what lies in the picture counts as seen, be it hidden."""
    extrinsics: Float32[np.ndarray, "3 4"]
    """From template space to the camera's, metres."""
    pose: Float32[np.ndarray, "M 3 4"]
    """Affine maps of the particles from CANONICAL's rest pose, metres of template space."""


@dataclass(frozen=True)
class _Held:
    """A numbered pose."""

    controls: Float32[np.ndarray, "1 C"]
    transforms: Float[np.ndarray, "1 M 3 4"]
    """Of the person's own particles, mm of template space."""
    pose: Float32[np.ndarray, "M 3 4"]
    """As in `Shot`."""


class Sitter:
    """A person who holds still in numbered poses, before a camera that goes around."""

    def __init__(self, subject: Subject, *, detail: float = DETAIL, drawn: int = DRAWN) -> None:
        """`detail` as in `build_person`. Pictures are drawn at `drawn` px at least, and averaged down."""
        self.person = build_person(look_of(subject.attributes, subject.seed), detail=detail)
        self._seed, self._habit = subject.seed, habit_of(subject.seed)
        self._light = light(np.random.default_rng([subject.seed, 2]))
        self._fit = _fit(self.person)
        self._poses: dict[int, _Held] = {}
        self._drawn = drawn

    def _posed(self, number: int) -> _Held:
        """Arms in an action or at rest, a turn of head and trunk; the lips are shut in every second pose."""
        rng = np.random.default_rng([self._seed, 5, number])
        moment = float(rng.uniform(*_MOMENTS))
        names = [name for name, action in ACTIONS.items() if action.parts & {LEFT, RIGHT}]
        acts = [names[int(rng.integers(len(names)))]] if rng.random() < _ACTING else []
        moved = perform(
            self.person.joints,
            [ScriptedAction(name, "", 0.0, _ACTION) for name in acts],
            cues=SpeechCues(np.zeros(1), ()),
            habit=self._habit,
            fps=0.5 / moment,  # the middle of the one frame is the moment
            frames=1,
            rng=rng,
            girth=self.person.look.build.girth,
        )
        controls = _expression(rng, speaks=number % 2 == 1)
        for name, added in moved.controls.items():
            controls[:, INDEX[name]] += added.astype(np.float32)
        transforms = self.person.rig.transforms(controls, moved.rotations)
        pose = composed(transforms[0].astype(float), self._fit) * [1.0, 1.0, 1.0, 1e-3]
        return _Held(controls, transforms.astype(float), pose.astype(np.float32))

    def camera(self, size: int) -> Camera:
        """Of square pictures."""
        return framed(self.person.look.build, size, size).camera

    def shot(self, number: int, yaw: float, size: int) -> Shot:
        """A pose, `size` px wide and high; with a positive `yaw` (degrees) it is seen turned to the picture's right.

        The lamp stays with the person.
        """
        if number not in self._poses:
            self._poses[number] = self._posed(number)
        large = size * -(-self._drawn // size)
        held, view = self._poses[number], framed(self.person.look.build, large, large)
        angle, zero = np.array([np.radians(yaw)]), np.zeros(1)
        turn = rotation(angle, zero, zero)[0]
        lamp = tuple((turn @ self._light.direction).tolist())
        stage = Stage(
            self.person,
            view.camera,
            centre=view.centre,
            distance=view.distance,
            light=Light(lamp, self._light.ambient, self._light.warmth),
            background=np.ones((large, large, 3), np.float32),
        )
        about = np.c_[turn, view.centre - turn @ view.centre]
        turned = Acting(held.controls, composed(about, held.transforms).astype(np.float32))
        image, alpha = stage.draw(stage.transforms(turned.transforms)[0], held.controls[0])
        away = np.array([0.0, 0.0, view.distance]) - turn @ view.centre / 1000
        return Shot(
            image=_bytes(image, size),
            alpha=_bytes(alpha, size),
            keypoints=truth_of(stage, turned).keypoints[0],
            extrinsics=np.c_[turn, away].astype(np.float32),
            pose=held.pose,
        )


def composed(
    first: Float[np.ndarray, "*a 3 4"], second: Float[np.ndarray, "*b 3 4"]
) -> Float[np.ndarray, "*c 3 4"]:
    """The affine map that does the second and then the first."""
    linear = first[..., :3]
    shift = (linear @ second[..., 3:]) + first[..., 3:]
    return np.concatenate([linear @ second[..., :3], shift], axis=-1)


def rest_particles(person: Person) -> Float[np.ndarray, "M 3"]:
    """Where a person's particles are at rest, mm: joints, the face's vertices, the tongue."""
    return np.concatenate(
        [person.joints.positions, person.face[: topology.N_FACE], person.rig.tongue[None].astype(float)]
    )


def _fit(person: Person) -> Float[np.ndarray, "M 3 4"]:
    """From CANONICAL at rest to this person at rest, mm."""
    ours, theirs = rest_particles(_canonical()), rest_particles(person)
    one, other = CANONICAL.build, person.look.build
    scale = np.full(len(ours), other.stature / one.stature)
    scale[[JOINT[name] for name in _OF_THE_FACE]] = scale[FACE : TONGUE + 1] = other.face / one.face
    linear = scale[:, None, None] * np.eye(3)
    return np.concatenate([linear, (theirs - scale[:, None] * ours)[..., None]], axis=-1)


@functools.cache
def _canonical() -> Person:
    return build_person(CANONICAL, detail=8.0)


def _expression(rng: np.random.Generator, *, speaks: bool) -> Float32[np.ndarray, "1 C"]:
    """Controls of a face; a mouth that is wide open has the jaw down."""
    controls = np.zeros((1, len(CHANNELS)), np.float32)
    drawn = {name: spread * np.clip(rng.standard_normal(), -2, 2) for name, spread in _SPREADS.items()}
    opened = rng.uniform(0, 0.8) if speaks else 0.0
    drawn |= {"open": opened, "jaw": 0.9 * opened, "blink": float(rng.random() < 0.05)}
    drawn[("wide", "round")[int(rng.integers(2))]] = rng.uniform(0, 0.7)
    for name, value in drawn.items():
        controls[0, INDEX[name]] = value
    return controls


def _bytes(values: Float[np.ndarray, "n n *c"], size: int) -> UInt8[np.ndarray, "m m *c"]:
    """Each pixel the mean of those it covers."""
    import cv2

    small = cv2.resize(values, (size, size), interpolation=cv2.INTER_AREA)
    return (small.clip(0, 1) * 255).round().astype(np.uint8)
