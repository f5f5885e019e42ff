"""A synthetic person who speaks and acts: from sound, phones and a script to the motion of every particle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from vivavoce.corpus.synth.actions import ScriptedAction
from vivavoce.corpus.synth.coverbal import Habit, speech_cues
from vivavoce.corpus.synth.gestures import perform
from vivavoce.features.phones import Phone
from vivavoce.splat.controls import ARTICULATION, CHANNELS, INDEX, RHYTHM
from vivavoce.splat.driver import eased
from vivavoce.splat.motion.articulation import RATE, at_frames
from vivavoce.splat.motion.rhythm import rhythm
from vivavoce.splat.motion.targets import articulation_from_phones
from vivavoce.splat.template.person import Person
from vivavoce.types import SPEECH_RATE


@dataclass(frozen=True)
class Acting:
    """T frames of a person in template space."""

    controls: Float32[np.ndarray, "T C"]
    transforms: Float32[np.ndarray, "T M 3 4"]
    """Rigid motions [R | t] of the person's particles, mm."""


def act(
    person: Person,
    samples: Float32[np.ndarray, " n"],
    phones: Sequence[Phone],
    script: Sequence[ScriptedAction],
    *,
    habit: Habit,
    fps: float,
    seed: int,
) -> Acting:
    """Speak and act: lips by the phones, head, brows, lids and breath by prosody, arms by the script and the beat.

    `samples` are mono at 16 kHz. There are ceil(duration fps) frames; frame k shows the time (k + 0.5) / fps.
    """
    duration = len(samples) / SPEECH_RATE
    frames = int(np.ceil(duration * fps - 1e-6))
    controls = np.zeros((frames, len(CHANNELS)), np.float32)
    track = articulation_from_phones(phones, duration, RATE)
    spoken = at_frames(track, fps, frames)
    gap = 0.0
    for row in spoken:
        gap = row[INDEX["open"]] = eased(gap, float(row[INDEX["open"]]), fps)
    controls[:, : len(ARTICULATION)] = spoken
    controls[:, len(ARTICULATION) :][:, : len(RHYTHM)] = rhythm(samples, fps, seed=seed)
    motion = perform(
        person.joints,
        script,
        cues=speech_cues(samples, fps, frames),
        habit=habit,
        fps=fps,
        frames=frames,
        rng=np.random.default_rng([seed, 1]),
        girth=person.look.build.girth,
    )
    for name, added in motion.controls.items():
        controls[:, INDEX[name]] += added.astype(np.float32)
    return Acting(controls, person.rig.transforms(controls, motion.rotations))


def moved(
    points: Float[np.ndarray, "M 3"], transforms: Float32[np.ndarray, "T M 3 4"]
) -> Float[np.ndarray, "T M 3"]:
    """Where points go that each ride on a particle of their own."""
    return np.einsum("tmab,mb->tma", transforms[..., :3].astype(float), points) + transforms[..., 3]
