"""New people who speak, drawn in a test: clips of a few seconds with all that is known of them."""

import functools
import io
import json
from dataclasses import dataclass, replace

import numpy as np

from vivavoce.corpus.shard_clips import Shards
from vivavoce.corpus.shards import write_shard
from vivavoce.corpus.synth.clip import Animator, make_clip
from vivavoce.corpus.synth.orders import Corpus, orders
from vivavoce.corpus.synth.text_sources import Grammar
from vivavoce.features.phones import Phone
from vivavoce.media.footage import Footage

FPS = 25.0


@dataclass(frozen=True)
class Filmed:
    """F frames of a clip, its truth by name, and what is said in it."""

    frames: np.ndarray
    truth: dict[str, np.ndarray]
    phones: list[Phone]
    fps: float = FPS


@functools.cache
def files(person, seconds=2.0, size=96):
    """Of the clip of one of three people whom no weights were trained on, the last two of whom are held out."""
    order = orders(Corpus(3, 0.01, size, size, FPS, 4242))[f"{person:04d}-0000"]
    return make_clip(replace(order, seconds=seconds), texts=Grammar(), clips=Animator())


@functools.cache
def filmed(person, seconds=2.0, size=96):
    """The same, opened."""
    stored = files(person, seconds, size)
    footage = Footage(stored["mp4"], "a clip")
    with np.load(io.BytesIO(stored["truth.npz"])) as arrays:
        truth = {name: arrays[name] for name in arrays.files}
    phones = [Phone(*phone) for phone in json.loads(stored["json"])["phones"]]
    return Filmed(np.stack(list(footage.pictures(range(len(footage))))), truth, phones)


def shards(folder, people, seconds=2.0, size=96):
    """Their clips in a folder of shards."""
    samples = [(f"{person}", files(person, seconds, size)) for person in people]
    write_shard(folder / "shard-000000.tar", samples)
    return Shards(folder)
