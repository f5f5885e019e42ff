"""A person's clips with what a teacher's deformation field and a detector tell of them, to train on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from vivavoce.corpus.synth.motions import CARRIERS, MovingClip, Rest
from vivavoce.errors import InputError
from vivavoce.features.encoders import SpeechEncoder
from vivavoce.features.loudness import leveled
from vivavoce.features.physical_state import POINTS, keypoints_of
from vivavoce.personal.data import Clip
from vivavoce.personal.field import Field
from vivavoce.splat import topology

_SHORTEST = 384  # pixels of the shorter side at which a detector finds hands and eyes


@dataclass(frozen=True, eq=False)
class TaughtClip(MovingClip):
    """A clip by the deformation field that was fitted to it."""

    clip: Clip
    keypoints: Float32[np.ndarray, "T 127 3"]
    """That a detector finds in it (`features.physical_state`)."""

    @property
    def heard(self) -> bool:
        """Whether something is said in it."""
        return self.clip.heard


class TaughtClips:
    """The clips of a person by number (`train.task.Examples`), read when they are asked for.

    Features of speech are kept once they are known.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        rest: Rest,
        encoder: SpeechEncoder,
        *,
        fields: Path,
        keypoints: Path | None,
        told: str,
    ) -> None:
        """`fields` and `keypoints` are the folders of what was found in each clip; without the latter nothing is seen.

        `told` is a digest of everything that decides them.
        """
        self._clips, self._rest, self._encoder = list(clips), rest, encoder
        self._fields, self._keypoints = fields, keypoints
        self._heard: dict[int, Float32[np.ndarray, "T A"]] = {}
        self.fingerprint = hashlib.sha256(f"{told} {encoder.name} {len(clips)}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> TaughtClip:
        clip = self._clips[index]
        field = Field.load(field_file(self._fields, clip))
        frames = len(field.joints)
        riders = np.zeros((frames, len(CARRIERS), 3), np.float32)
        riders[:, : topology.N_FACE] = field.face
        if index not in self._heard:
            self._heard[index] = self._features(clip, frames)
        seen = np.zeros((frames, POINTS, 3), np.float32)
        if self._keypoints is not None:
            seen = np.load(keypoints_file(self._keypoints, clip))
        told = (clip.name, "train", clip.fps, (), self._heard[index], field.joints, riders, self._rest)
        return TaughtClip(*told, clip, seen)

    def _features(self, clip: Clip, frames: int) -> Float32[np.ndarray, "T A"]:
        """Of what is said; zeros where nothing is."""
        if not clip.heard:
            return np.zeros((frames, self._encoder.width), np.float32)
        return self._encoder.features(leveled(clip.samples()), clip.fps, np.arange(frames))


def field_file(folder: Path, clip: Clip) -> Path:
    """A clip's deformation field, in the folder of all of them."""
    return folder / clip.name / "field.safetensors"


def keypoints_file(folder: Path, clip: Clip) -> Path:
    """A clip's keypoints, in the folder of all of them."""
    return folder / clip.name / "keypoints.npy"


def seen_keypoints(frames: UInt8[np.ndarray, "T H W 3"]) -> Float32[np.ndarray, "T 127 3"]:
    """The keypoints that a detector finds in each frame, which small frames are enlarged for; none without a face."""
    import cv2

    from vivavoce.features.portrait import find_landmarks

    found = np.zeros((len(frames), POINTS, 3), np.float32)
    scale = max(1.0, _SHORTEST / min(frames.shape[1:3]))
    for t, frame in enumerate(frames):
        large = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        try:
            found[t] = keypoints_of(find_landmarks(np.asarray(large, np.uint8)))
        except InputError:  # a frame that shows no face says nothing
            continue
    return found
