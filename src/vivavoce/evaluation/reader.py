"""Reading a person's motion from small frames, real or drawn: points, mouth, head, and who it looks like."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from vivavoce.corpus.clips import fitted
from vivavoce.evaluation.tracks import BodyTrack
from vivavoce.features.physical_state import PARTS

if TYPE_CHECKING:
    from torch import Tensor

    from vivavoce.evaluation.reader_network import ReaderNetwork, Seen

WEIGHTS = Path(__file__).parent / "weights" / "reader.safetensors"
HEADER = "vivavoce.reader"
"""Under which the file tells what the weights were made from."""
_BATCH = 64
_ACCEPTED = 0.5
_SURE = 11  # the points of the body; one who is seen at all shows most of them


@dataclass(frozen=True)
class Reading:
    """What is read from F frames."""

    track: BodyTrack
    """Points that are not seen are NaN: always hips and legs, of which an upper body's picture shows nothing."""
    mouth: Float32[np.ndarray, "F 4 2"]
    """The corners of the lips' inner edges, that on the picture's left first, and the middles of the upper and the
    lower one; half picture widths."""
    aperture: Float32[np.ndarray, " F"]
    """Between the lips' inner edges, in widths of the resting mouth; 0 or more."""
    head: Float32[np.ndarray, "F 3"]
    """Yaw, pitch and roll against the trunk, radians."""
    identity: Float32[np.ndarray, "F 64"]
    """Of unit length; the cosine between two of them tells how alike two heads look."""
    confidence: Float32[np.ndarray, " F"]
    """0 .. 1: how surely somebody is seen, the mean probability over the body's points that are seen best."""


def read(frames: UInt8[np.ndarray, "F H W 3"], fps: float, *, weights: Path = WEIGHTS) -> Reading:
    """What the network reads from the largest middle square of every frame, scaled to 96 pixels.

    Raises ValueError for no frames, WeightsError for weights that do not fit.
    """
    import torch

    if not len(frames):
        raise ValueError("there are no frames to read")
    network = load(weights)
    found = []
    with torch.inference_mode():
        for first in range(0, len(frames), _BATCH):
            found.append(network(pictures_of(frames[first : first + _BATCH])))
    return _reading(found, fps, frames.shape[1:3])


@functools.lru_cache(maxsize=2)
def load(weights: Path = WEIGHTS) -> ReaderNetwork:
    """The network, ready to read. Raises WeightsError where there is none or it does not fit."""
    from vivavoce.evaluation.reader_network import ReaderNetwork
    from vivavoce.weights import load_strictly, read_state

    network = ReaderNetwork()
    load_strictly(network, read_state(weights), str(weights))
    return network.eval()


def pictures_of(frames: UInt8[np.ndarray, "F H W 3"]) -> Tensor:
    """Frames as the network takes them: float32 (F, 3, 96, 96) in [-1, 1]."""
    import torch

    from vivavoce.evaluation.reader_network import SIZE

    squares = np.stack([fitted(frame, (SIZE, SIZE)) for frame in frames])
    return torch.from_numpy(squares).permute(0, 3, 1, 2).float() / 127.5 - 1


def _reading(found: list[Seen], fps: float, shape: tuple[int, ...]) -> Reading:
    from vivavoce.evaluation.reader_network import BODY_POINTS, FACE, REACH

    def joined(parts: list[Tensor]) -> np.ndarray:
        return np.concatenate([part.numpy() for part in parts])

    # From the middle square to half widths of the whole picture.
    scale = np.float32(min(shape) / shape[1])
    body = joined([f.body.points for f in found]) * scale
    seen = joined([f.body.seen.sigmoid() for f in found])
    near = joined([f.head.points * REACH + f.centre[:, None] for f in found]) * scale
    body[:, :FACE] = near[:, :FACE]

    points = np.full((len(body), sum(PARTS.values()), 2), np.nan, np.float32)
    points[:, BODY_POINTS] = np.where(seen[..., None] >= _ACCEPTED, body, np.nan)
    points[:, [85, 106]] = points[:, [9, 10]]  # the hands' wrists are the body's
    all_of_body, _, left, right = np.split(points, np.cumsum(list(PARTS.values()))[:-1], axis=1)
    return Reading(
        BodyTrack(fps, all_of_body, {"left": left, "right": right}),
        near[:, FACE:],
        np.maximum(joined([f.aperture for f in found]), 0),
        joined([f.angles for f in found]),
        joined([f.identity for f in found]),
        np.sort(seen[:, :_SURE], axis=1)[:, 4:].mean(axis=1),
    )
