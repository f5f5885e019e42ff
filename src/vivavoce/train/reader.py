"""Training the reader of motion: points, mouth, head and looks of people of whom all is known, in disguised frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
    normalize,
    one_hot,
)

from vivavoce.errors import InputError
from vivavoce.evaluation.reader import HEADER, WEIGHTS
from vivavoce.evaluation.reader_network import (
    BODY_POINTS,
    EMBEDDING,
    FACE,
    HEAD_POINTS,
    REACH,
    SIZE,
    Located,
    ReaderNetwork,
    cells,
)
from vivavoce.progress import track
from vivavoce.train.disguise import SPARE, Draws, disguised
from vivavoce.train.stage import Stage
from vivavoce.weights import load_strictly, read_state

if TYPE_CHECKING:
    from vivavoce.corpus.shard_clips import ShardClip, Shards

_LATER = 2  # frames from a frame to the one that shines through it
_ACTING = 3.0  # how much oftener a frame of an action is taken
_SPREAD = 0.8  # cells, standard deviation of a heatmap's wanted bell
_AWAY = 0.06  # half picture widths that the closer look is off the face's middle at most
_GAP, _TURN = (
    0.065,
    0.06,
)  # deviations of aperture and angles in people who speak: below them, errors are squared
_SHARPNESS, _MARGIN = 16.0, 0.2  # of looks: scale and margin of CosFace (Wang et al. 2018)
_POSE_WEIGHT = 3.0  # of the body's points against those of the hands, which are four times as many


@dataclass(frozen=True)
class Glimpse:
    """A frame of a clip, and what is known of it."""

    name: str
    frames: UInt8[np.ndarray, "2 96 96 3"]
    """It, and one a moment later."""
    keypoints: Float32[np.ndarray, "127 3"]
    aperture: float
    head: Float32[np.ndarray, "3"]
    person: int
    """From 0 up among the people of all glimpses."""


class Glimpses:
    """`each` frames of every clip (`train.task.Examples`), read in the beginning and kept in memory.

    They are random ones, those of actions three times as often as others: hands are mostly at rest, and little is to be
    learnt of that.
    """

    def __init__(self, clips: Shards, *, each: int, seed: int = 0) -> None:
        """Raises InputError for a clip that is too short, of which nothing is known, or that cannot be read."""
        persons: list[int] = []
        self._glimpses: list[Glimpse] = []
        digest = hashlib.sha256(f"{each} {seed}".encode())
        for index in track(range(len(clips)), "Reading clips"):
            clip = clips[index]
            if clip.meta["person"] not in persons:
                persons.append(clip.meta["person"])
            self._glimpses += _glimpses(clip, persons.index(clip.meta["person"]), each, seed)
            digest.update(clip.digest.encode())
        self.people = len(persons)
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._glimpses)

    def __getitem__(self, index: int) -> Glimpse:
        return self._glimpses[index]


def _glimpses(clip: ShardClip, person: int, each: int, seed: int) -> list[Glimpse]:
    points, truth = clip.keypoints((SIZE, SIZE)), clip.truth
    if points is None or not {"aperture", "head"} <= truth.keys():
        raise InputError(
            f"The clip {clip.name} does not tell what is in its pictures: give a corpus that `vivavoce corpus synth` "
            "animated."
        )
    if len(clip) < each + _LATER:
        raise InputError(f"The clip {clip.name} has {len(clip)} frames, and {each + _LATER} are needed.")
    times = (np.arange(len(clip) - _LATER) + 0.5) / clip.fps
    acting = [(times > action["start"]) & (times < action["end"]) for action in clip.meta["actions"]]
    weights = np.where(np.any(acting, axis=0), _ACTING, 1.0) if acting else np.ones(len(times))
    own = int.from_bytes(hashlib.sha256(clip.name.encode()).digest()[:8], "big")
    draws = np.random.default_rng([seed, own])
    chosen = np.sort(draws.choice(len(times), each, replace=False, p=weights / weights.sum())).tolist()
    frames = clip.frames(size=(SIZE, SIZE))
    return [
        Glimpse(
            f"{clip.name}@{t}",
            frames[[t, t + _LATER]],
            points[t],
            float(truth["aperture"][t]),
            truth["head"][t],
            person,
        )
        for t in chosen
    ]


@dataclass(frozen=True)
class Wanted:
    """Where P points are in a square, -1 to 1, and which of them are seen."""

    points: Float[Tensor, "B P 2"]
    seen: Bool[Tensor, "B P"]


@dataclass(frozen=True)
class Disguised:
    """A batch of pictures in [-1, 1] and what should be read from them."""

    pictures: Float[Tensor, "B 3 96 96"]
    centre: Float[Tensor, "B 2"]
    body: Wanted
    head: Wanted
    aperture: Float[Tensor, " B"]
    angles: Float[Tensor, "B 3"]
    person: Int[Tensor, " B"]
    somebody: Bool[Tensor, " B"]
    """False where the picture shows nobody."""


class Learner(nn.Module):
    """The reader, and the direction of each person among the embeddings, which is thrown away in the end."""

    def __init__(self, people: int) -> None:
        super().__init__()
        self.reader = ReaderNetwork()
        self.people = nn.Parameter(torch.randn(people, EMBEDDING))


class ReaderTask:
    """The reader on glimpses (`Task`)."""

    def __init__(self, stage: Stage, device: torch.device, *, people: int, told: Mapping[str, Any]) -> None:
        """`told` are JSON values that are kept with the weights: what they were made from."""
        self.module: Any = Learner(people).to(device)
        self.weights: Mapping[str, float] = {
            "body_heat": 0.1,
            "body_points": 4.0,
            "body_seen": 0.2,
            "head_heat": 0.1,
            "head_points": 3.0,
            "head_seen": 0.1,
            "aperture": 1.0,
            "angles": 0.5,
            "identity": 0.05,
        }
        self.stage, self.told, self.device = stage, told, device

    def batch(self, examples: Sequence[Glimpse], generators: Sequence[torch.Generator]) -> Disguised:
        """Half of the frames mirrored, and all disguised."""
        draws = Draws.of(generators, SIZE).to(self.device)
        spare = draws.uniform[:, -SPARE:]
        frames = torch.from_numpy(np.stack([e.frames for e in examples])).to(self.device)
        points = torch.from_numpy(np.stack([e.keypoints for e in examples])).to(self.device)
        angles = torch.from_numpy(np.stack([e.head for e in examples])).to(self.device)
        frames = frames.permute(0, 1, 4, 2, 3).float() / 255
        flip = spare[:, 0] < 0.5
        frames = torch.where(flip[:, None, None, None, None], frames.flip(-1), frames)
        points = torch.where(flip[:, None, None], mirrored(points), points)
        angles = angles * torch.where(flip[:, None], torch.tensor([-1.0, 1, -1], device=self.device), 1.0)

        pictures, maps, nobody = disguised(frames[:, 0], frames[:, 1], draws)
        at = torch.einsum("bij,bpj->bpi", maps[..., :2], points[..., :2]) + maps[:, None, :, 2]
        seen = (points[..., 2] > 0) & (at.abs() <= 1).all(-1) & ~nobody[:, None]
        somebody = seen[:, :FACE].all(1)
        centre = at[:, :FACE].mean(1) + _AWAY * (2 * spare[:, 1:] - 1)
        centre = torch.where(somebody[:, None], centre, 0.0)
        near = (at[:, HEAD_POINTS] - centre[:, None]) / REACH
        return Disguised(
            2 * pictures - 1,
            centre,
            Wanted(at[:, BODY_POINTS], seen[:, BODY_POINTS]),
            Wanted(near, seen[:, HEAD_POINTS] & (near.abs() <= 1).all(-1) & somebody[:, None]),
            torch.tensor([e.aperture for e in examples], device=self.device),
            angles,
            torch.tensor([e.person for e in examples], device=self.device),
            somebody,
        )

    def losses(self, batch: Disguised) -> dict[str, Float[Tensor, " B"]]:
        """Of points their cross-entropy, distance and visibility; of looks the large-margin cosine's cross-entropy.

        Of mouth and head Huber's: absolute errors leave them at their medians, from which small frames hardly tell.
        """
        found = self.module.reader(batch.pictures, batch.centre)
        weights = torch.ones(len(BODY_POINTS), device=self.device)
        weights[:11] = _POSE_WEIGHT
        even = torch.ones(len(HEAD_POINTS), device=self.device)
        cosines = found.identity @ normalize(self.module.people, dim=1).T
        cosines = cosines - _MARGIN * one_hot(batch.person, cosines.shape[1])
        each = {
            "aperture": huber_loss(found.aperture / _GAP, batch.aperture / _GAP, reduction="none"),
            "angles": huber_loss(found.angles / _TURN, batch.angles / _TURN, reduction="none").mean(1),
            "identity": cross_entropy(_SHARPNESS * cosines, batch.person, reduction="none"),
        }
        return {
            **{f"body_{name}": term for name, term in _located(found.body, batch.body, weights).items()},
            **{f"head_{name}": term for name, term in _located(found.head, batch.head, even).items()},
            **{name: term * batch.somebody for name, term in each.items()},
        }

    def load(self, folder: Path) -> None:
        """Take over what `save` wrote. Raises WeightsError where it does not fit."""
        path = folder / WEIGHTS.name
        load_strictly(self.module.reader, read_state(path), str(path))

    def save(self, folder: Path) -> None:
        """Write the reader alone, in half precision, with what it was made from."""
        state = {name: value.half().cpu() for name, value in self.module.reader.state_dict().items()}
        told = {"steps": self.stage.steps, "batch": self.stage.batch, **self.told}
        save_file(state, folder / WEIGHTS.name, {HEADER: json.dumps(told)})

    def sample(self, folder: Path | None) -> None:
        """Nothing: losses tell it."""


def mirrored(points: Float[Tensor, "B 127 3"]) -> Float[Tensor, "B 127 3"]:
    """The points that are read, in the mirrored picture: what was left is right; all others are not to be used."""
    partners = list(range(127))
    pairs = [(i, i + 1) for i in range(1, 11, 2)] + [(85 + i, 106 + i) for i in range(21)]
    for left, right in [*pairs, HEAD_POINTS[FACE : FACE + 2]]:
        partners[left], partners[right] = right, left
    return points[:, partners] * torch.tensor([-1.0, 1, 1], device=points.device)


def _located(found: Located, wanted: Wanted, weights: Float[Tensor, " P"]) -> dict[str, Float[Tensor, " B"]]:
    """Means over the points that are seen, 0 where none is; of the visibility over all."""
    _, _, h, w = found.heat.shape
    x, y = (cells(n, found.heat.device) for n in (w, h))
    bells = [
        (-0.5 * ((wanted.points[..., k : k + 1] - c) * len(c) / (2 * _SPREAD)) ** 2).softmax(-1)
        for k, c in enumerate((x, y))
    ]
    bell = bells[1][..., :, None] * bells[0][..., None, :]
    heat = -(bell * found.heat.flatten(2).log_softmax(2).view_as(found.heat)).sum((2, 3))
    away = (found.points - wanted.points).abs().sum(2)
    shares = weights * wanted.seen
    shares = shares / shares.sum(1, keepdim=True).clamp(min=1)
    seen = binary_cross_entropy_with_logits(found.seen, wanted.seen.float(), reduction="none")
    return {"heat": (shares * heat).sum(1), "points": (shares * away).sum(1), "seen": seen.mean(1)}
