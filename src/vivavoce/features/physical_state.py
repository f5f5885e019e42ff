"""Physical state: what body, face and hands do in a frame, as 1024 numbers (PhysAvatar, appendix B).

Four object tokens of 256 stand side by side: body, face, left hand, right hand. X-Pose's own are used where its
exported programs are given; by default they are made from landmarks by an orthonormal map, which can be taken back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8

from vivavoce.errors import InputError, WeightsError
from vivavoce.features.portrait import Landmarks, Portrait, find_landmarks
from vivavoce.timing import frames_of_latents, latent_frames

TOKEN = 256
PARTS = {"body": 17, "face": 68, "left_hand": 21, "right_hand": 21}
"""Keypoints of each object, in the order of figure S2 (COCO, the 68 of iBUG 300-W, a wrist and five fingers)."""
WIDTH = TOKEN * len(PARTS)
POINTS = sum(PARTS.values())

# mediapipe's indices of the same points; where a point lies between two, their mean.
_BODY = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
_JAW = (
    (127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,), (152,),
    (400,), (379,), (365,), (397, 288), (361,), (323,), (454,), (356,),
)  # fmt: skip
FACE_POINTS = (
    *_JAW,
    *((i,) for i in (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)),
    (168, 6), (197, 195), (5,), (4,),
    *((i,) for i in (75, 97, 2, 326, 305, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)),
    *((i,) for i in (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)),
    *((i,) for i in (78, 82, 13, 312, 308, 317, 14, 87)),
)  # fmt: skip
"""The 68 points of the face: each is the mean of these vertices of the face mesh."""
_VISIBLE = 0.5

Keypoints = Float32[np.ndarray, "F 127 3"]
"""x and y over the picture's width and height, from -1 to 1 within it; 1 where the point is seen, else 0, 0, 0."""


@runtime_checkable
class StateEncoder(Protocol):
    """Frames to physical state, and predicted state to keypoints that can be drawn."""

    @property
    def name(self) -> str:
        """What is stored with weights that were trained on these tokens."""
        ...

    def states(self, frames: UInt8[np.ndarray, "F H W 3"]) -> Float32[np.ndarray, "F 1024"]:
        """The tokens of every frame (RGB)."""
        ...

    def keypoints(self, states: Float32[np.ndarray, "F 1024"]) -> Keypoints:
        """The keypoints that tokens, true or predicted, stand for."""
        ...


class LandmarkEncoder:
    """Tokens from landmarks: each object's coordinates in the first vectors of an orthonormal cosine basis."""

    name = "landmarks"

    def states(self, frames: UInt8[np.ndarray, "F H W 3"]) -> Float32[np.ndarray, "F 1024"]:
        """The tokens of every frame. Raises InputError where a frame shows no face."""
        return self.encode(np.stack([keypoints_of(find_landmarks(frame)) for frame in frames]))

    def encode(self, keypoints: Keypoints) -> Float32[np.ndarray, "F 1024"]:
        """The tokens of keypoints; distances between tokens are distances between keypoints, object by object."""
        tokens, first = [], 0
        for count in PARTS.values():
            values = keypoints[:, first : first + count].reshape(len(keypoints), -1)
            tokens.append(values @ _basis(count).T)
            first += count
        return np.concatenate(tokens, axis=1, dtype=np.float32)

    def keypoints(self, states: Float32[np.ndarray, "F 1024"]) -> Keypoints:
        """The inverse of `encode`; of other tokens, the keypoints whose tokens are nearest.

        A point is seen where its third value is above a half.
        """
        tokens = np.split(states, len(PARTS), axis=1)
        scales = (_basis(count) / _gain(count) ** 2 for count in PARTS.values())
        found = [token @ scale for token, scale in zip(tokens, scales, strict=True)]
        points = np.concatenate(found, axis=1).reshape(len(states), POINTS, 3)
        seen = points[..., 2:] > _VISIBLE
        points[..., 2:] = 1
        return np.where(seen, points, 0).astype(np.float32)


class XPose:
    """X-Pose (Yang et al. 2024) from a folder with its two programs, exported by `torch.export`.

    `tokens.pt2` takes frames (1, 3, H, W) in [0, 1] to its object tokens (1, 4, 256): the best query of body and
    face and the best two of hands, left before right. `keypoints.pt2` takes such tokens to keypoints (1, 127, 3)
    as in `Keypoints`.
    """

    name = "x-pose"

    def __init__(self, folder: Path) -> None:
        self._tokens, self._keypoints = (_program(folder, part) for part in ("tokens", "keypoints"))

    def states(self, frames: UInt8[np.ndarray, "F H W 3"]) -> Float32[np.ndarray, "F 1024"]:
        """The tokens of every frame."""
        pictures = frames.transpose(0, 3, 1, 2).astype(np.float32) / 255
        return np.concatenate([_run(self._tokens, picture[None], (1, 4, TOKEN)) for picture in pictures])

    def keypoints(self, states: Float32[np.ndarray, "F 1024"]) -> Keypoints:
        """X-Pose's keypoint decoder on the tokens of every frame."""
        tokens = states.reshape(-1, 1, len(PARTS), TOKEN)
        found = [_run(self._keypoints, token, (1, POINTS, 3)) for token in tokens]
        return np.concatenate(found).reshape(-1, POINTS, 3)


def load_state_encoder(folder: Path | None = None) -> StateEncoder:
    """X-Pose where a folder with its programs is given, else the landmark encoder.

    Raises WeightsError where the programs cannot be loaded.
    """
    return LandmarkEncoder() if folder is None else XPose(folder)


def reference_states(states: Float[np.ndarray, "F 1024"]) -> Float[np.ndarray, "f 4 1024"]:
    """The four tokens of each latent frame, the first frame's four times: 84 for 81 frames.

    Raises ValueError where F is not 1 more than a multiple of 4.
    """
    return states[frames_of_latents(latent_frames(len(states)))]


def keypoints_of(person: Portrait | Landmarks) -> Float32[np.ndarray, "127 3"]:
    """The keypoints of figure S2 among what was found in a picture; what was not found is 0, 0, 0."""
    points = np.zeros((POINTS, 3))
    parts = dict(zip(PARTS, np.split(points, np.cumsum(list(PARTS.values()))[:-1]), strict=True))
    parts["face"][:] = _seen(np.array([person.face[list(i), :2].mean(axis=0) for i in FACE_POINTS]))
    if person.body is not None:
        body = person.body[list(_BODY)]
        parts["body"][:] = _seen(body[:, :2]) * (body[:, 3:] >= _VISIBLE)
    for side, hand in person.hands.items():
        parts[f"{side}_hand"][:] = _seen(hand[:, :2])
    points[:, :2] = (2 * points[:, :2] / person.size - 1) * points[:, 2:]
    return points.astype(np.float32)


def _seen(points: np.ndarray) -> Float64[np.ndarray, "P 3"]:
    return np.column_stack([points, np.ones(len(points))])


def _gain(count: int) -> float:
    """So that coordinates of size 1 give tokens whose 256 components have size 1."""
    return (TOKEN / (3 * count)) ** 0.5


def _basis(count: int) -> Float64[np.ndarray, "256 v"]:
    """The first 3 `count` orthonormal DCT-II vectors times the gain."""
    k, n = np.arange(3 * count), np.arange(TOKEN)[:, None]
    vectors = np.sqrt(2 / TOKEN) * np.cos(np.pi * (n + 0.5) * k / TOKEN)
    vectors[:, 0] /= np.sqrt(2)
    return _gain(count) * vectors


def _program(folder: Path, part: str) -> Any:
    import torch

    path = folder / f"{part}.pt2"
    try:
        return torch.export.load(path).module()
    except Exception as error:  # a damaged archive raises whatever its reader stumbles over
        raise WeightsError(
            f"X-Pose's {part} cannot be loaded from {path}: export the network with torch.export to tokens.pt2 and "
            "keypoints.pt2 in one folder, or leave it out for the landmark encoder."
        ) from error


def _run(program: Any, given: np.ndarray, shape: tuple[int, ...]) -> Float32[np.ndarray, "1 n"]:
    import torch

    with torch.inference_mode():
        found = program(torch.from_numpy(np.ascontiguousarray(given)))
    if tuple(found.shape) != shape:
        raise InputError(
            f"The X-Pose program gives {tuple(found.shape)}, not {shape}: export it again with these outputs."
        )
    return found.float().numpy().reshape(1, -1)
