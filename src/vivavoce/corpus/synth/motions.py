"""Motion without pictures: what the people of a synthetic corpus say, and where that takes each of their particles.

The clip of an order has the sound, the words and the acting that `vivavoce corpus synth` gives it, and is made in a
hundredth of the time. Clips lie in shards as KEY.json, KEY.wav (both as there) and KEY.motion.npz.

A person's particles are 55 joints and what rides on them: the face's 468 vertices on the head, the tongue's tip on the
jaw. A rider turns with its joint, so that all that is to be told of it is how far it moves in that joint's frame.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from vivavoce.corpus.produce import produce
from vivavoce.corpus.shards import Place, read_at, read_index, table
from vivavoce.corpus.synth.animator import act
from vivavoce.corpus.synth.attributes import Attributes
from vivavoce.corpus.synth.clip import Made, Order, Scripted, make_clip
from vivavoce.corpus.synth.orders import TRAIN, Corpus, orders
from vivavoce.corpus.synth.portrait import habit_of, look_of
from vivavoce.corpus.synth.text_sources import Grammar, TextSource
from vivavoce.errors import InputError
from vivavoce.features.encoders import LogMelEncoder, SpeechEncoder
from vivavoce.features.loudness import leveled
from vivavoce.features.phones import Phone
from vivavoce.splat import topology
from vivavoce.splat.lhm.template import PARTS, part_of, spread
from vivavoce.splat.skeleton import JOINT, JOINTS
from vivavoce.splat.template.joints import FINGERS, SIDES
from vivavoce.splat.template.look import FACE
from vivavoce.splat.template.person import Person, build_person

if TYPE_CHECKING:
    from vivavoce.corpus.synth.animator import Acting

CARRIERS = (*[JOINT["head"]] * topology.N_FACE, JOINT["jaw"])
"""The joint that each of the 469 riders turns with: the face's vertices, then the tongue's tip."""
TIPS = tuple(f"{side}_{finger}" for side in SIDES for finger in FINGERS)
"""The fingers' ends, which ride on the fingers' last joints."""
SURFACE = {"lower_body": 24, "upper_body": 72, "left_hand": 36, "right_hand": 36, "head": 24}
"""How many points of the body, clothes, hair and skull are told of each of `PARTS`; none of them is on the face."""
PER_SHARD = 50
MOTION = "motion.npz"
_DETAIL = 14.0  # mm between the Gaussians that surface points are chosen from
_VERSION = 1
_AT_REST = "rest_"  # how the names of a `Rest` begin in a file


@dataclass(frozen=True)
class Rest:
    """A person at rest in template space: metres, x right, y down, z away from the viewer."""

    joints: Float32[np.ndarray, "55 3"]
    riders: Float32[np.ndarray, "469 3"]
    tips: Float32[np.ndarray, "10 3"]
    """Of the fingers, in the order of `TIPS`."""
    surface: Float32[np.ndarray, "192 3"]
    """Points that hang on joints alone."""
    skin: Float32[np.ndarray, "192 55"]
    """Their weights; rows sum to one."""
    mouth: float
    """Inner width of the relaxed mouth."""


@dataclass(frozen=True)
class MovingClip:
    """T frames of somebody who speaks and moves."""

    name: str
    split: str
    fps: float
    phones: tuple[Phone, ...]
    audio: Float32[np.ndarray, "T A"]
    """Features of the speech."""
    joints: Float32[np.ndarray, "T 55 3 4"]
    """Rigid transforms [R | t] from rest, metres."""
    riders: Float32[np.ndarray, "T 469 3"]
    """How far each rider has moved in the frame of its carrier, metres: it goes from v to R (v + offset) + t."""
    rest: Rest

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def transforms(self) -> Float32[np.ndarray, "T 524 3 4"]:
        """Rigid transforms of all particles, as `animator.act` gives them, in metres."""
        carried = self.joints[:, list(CARRIERS)].copy()
        carried[..., 3] += np.einsum("tnab,tnb->tna", carried[..., :3], self.riders)
        return np.concatenate([self.joints, carried], axis=1)


def synthesise_motions(corpus: Corpus, out: Path, *, workers: int | None = None) -> Path:
    """Make the motion of a corpus's clips, or go on with it, and write it to `out` as shards; returns `out`.

    Equal options give equal bytes, whatever the number of `workers` is: by default one a core. Pictures' width and
    height count for nothing. Raises InputError and OutputError as `orders` and `produce` do.
    """
    make = functools.partial(make_motion, texts=Grammar())
    settings = {**asdict(corpus), "motion": _VERSION}
    workers = workers or os.cpu_count() or 1
    produce(orders(corpus), make, out, per_shard=PER_SHARD, workers=workers, settings=settings)
    return out


def make_motion(order: Order, *, texts: TextSource) -> dict[str, bytes]:
    """The files of a clip, by extension: wav, json and motion.npz.

    Raises InputError where the voice or the texts fail.
    """
    rehearsal = _Rehearsal()
    files = make_clip(order, texts=texts, clips=rehearsal)
    stored = io.BytesIO()
    np.savez(stored, **rehearsal.arrays)
    return {**files, MOTION: stored.getvalue()}


class _Rehearsal:
    """The animator without a camera (`ClipMaker`): the acting is kept."""

    def __init__(self) -> None:
        self.arrays: Mapping[str, np.ndarray] = {}

    def film(self, order: Order, scripted: Scripted) -> Made:
        person, rest = _person(order.attributes, order.person)
        spoken = scripted.spoken
        habit = habit_of(order.person)
        acting = act(
            *(person, spoken.samples, spoken.phones, scripted.actions),
            habit=habit,
            fps=order.fps,
            seed=order.seed,
        )
        self.arrays = {
            **{f"{_AT_REST}{name}": values for name, values in vars(rest).items()},
            **_told(acting),
        }
        return Made(None, None)


def _told(acting: Acting) -> dict[str, np.ndarray]:
    """Joints as they are, riders in half precision: it rounds by a hundredth of a millimetre at most."""
    transforms = acting.transforms.astype(np.float64)
    transforms[..., 3] /= 1000
    joints, riders = transforms[:, :FACE], transforms[:, FACE:]
    carriers = joints[:, list(CARRIERS)]
    away = np.einsum("tnba,tnb->tna", carriers[..., :3], riders[..., 3] - carriers[..., 3])
    return {"joints": joints.astype(np.float32), "riders": away.astype(np.float16)}


@functools.lru_cache(maxsize=2)
def _person(attributes: Attributes, seed: int) -> tuple[Person, Rest]:
    person = build_person(look_of(attributes, seed), detail=_DETAIL)
    return person, rest_of(person)


def rest_of(person: Person) -> Rest:
    """What is told of a person at rest."""
    b = person.binding
    used = b.weights > 0
    alone = ((b.indices < FACE) | ~used).all(axis=1) & ~person.inside
    skin = np.zeros((len(alone), len(JOINTS)), np.float32)
    rows, slots = np.nonzero(used & alone[:, None])
    np.add.at(skin, (rows, b.indices[rows, slots]), b.weights[rows, slots])
    parts = part_of(skin)
    chosen = np.concatenate(
        [_spread(person, alone & (parts == PARTS.index(part)), count) for part, count in SURFACE.items()]
    )
    positions = {
        "joints": person.joints.positions,
        "riders": np.concatenate([person.face[: topology.N_FACE], person.rig.tongue[None]]),
        "tips": np.stack([person.joints.tips[tip] for tip in TIPS]),
        "surface": person.means[chosen],
    }
    metres = {name: (values / 1000).astype(np.float32) for name, values in positions.items()}
    return Rest(**metres, skin=skin[chosen], mouth=person.rig.lips.width / 1000)


def _spread(person: Person, kept: np.ndarray, count: int) -> Int64[np.ndarray, " n"]:
    places = np.flatnonzero(kept)
    return places[spread(person.means[places], count)]


class _Files(NamedTuple):
    """Where a clip lies."""

    shard: Path
    key: str
    places: Mapping[str, Place]


class Motions:
    """The clips of a folder of `synthesise_motions` by number (`train.task.Examples`), read when they are asked for.

    Features of speech are kept once they are known.
    """

    def __init__(
        self, folder: Path, *, split: str | None = TRAIN, encoder: SpeechEncoder | None = None
    ) -> None:
        """`split` takes the clips of that part of the corpus alone; the `encoder` is log-mel where None.

        Raises InputError where there is no such folder, it is unfinished or damaged, or no clip is of `split`.
        """
        index = read_index(folder)
        self._encoder = encoder or LogMelEncoder()
        found = [
            _Files(folder / shard.name, key, places)
            for shard in index.shards
            for key, places in table(folder / shard.name).items()
        ]
        splits = [json.loads(_read(files, "json"))["split"] for files in found]
        if split is not None and split not in splits:
            raise InputError(
                f"No clip in {folder} is of the split {split!r}: there is {', '.join(sorted(set(splits)))}."
            )
        self._clips = [f for f, own in zip(found, splits, strict=True) if split in (None, own)]
        self._heard: dict[int, Float32[np.ndarray, "T A"]] = {}
        told = [f"{split} {self._encoder.name}", *(shard.sha256 for shard in index.shards)]
        self.fingerprint = hashlib.sha256("\n".join(told).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> MovingClip:
        """Raises InputError, with the clip's name, where it cannot be read."""
        files = self._clips[index]
        name = f"{files.shard.name}/{files.key}"
        try:
            told = json.loads(_read(files, "json"))
            with np.load(io.BytesIO(_read(files, MOTION)), allow_pickle=False) as stored:
                arrays = {key: stored[key].astype(np.float32) for key in stored.files}
            still = {field.name: arrays.pop(_AT_REST + field.name) for field in fields(Rest)}
            rest = Rest(**{**still, "mouth": float(still["mouth"])})
            if index not in self._heard:
                self._heard[index] = self._features(files, told["fps"], len(arrays["joints"]))
        except Exception as error:  # a damaged archive raises whatever its reader stumbles over
            raise InputError(f"The clip {name} is damaged or holds no motion: make it again.") from error
        phones = tuple(Phone(*phone) for phone in told["phones"])
        return MovingClip(name, told["split"], told["fps"], phones, self._heard[index], **arrays, rest=rest)

    def _features(self, files: _Files, fps: float, frames: int) -> Float32[np.ndarray, "T A"]:
        from scipy.io import wavfile

        _, stored = wavfile.read(io.BytesIO(_read(files, "wav")))
        speech = leveled(stored.astype(np.float32) / 32768)
        return self._encoder.features(speech, fps, np.arange(frames))


def _read(files: _Files, extension: str) -> bytes:
    with files.shard.open("rb") as shard:
        return read_at(shard, files.places[extension])
