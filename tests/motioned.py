"""New people who speak and move, without pictures: clips of a few seconds in a folder of shards."""

import functools
from dataclasses import replace

from vivavoce.corpus.shards import Index, write_index, write_shard
from vivavoce.corpus.synth.motions import make_motion
from vivavoce.corpus.synth.orders import Corpus, orders
from vivavoce.corpus.synth.text_sources import Grammar

FPS = 25.0


@functools.cache
def order(person, clip=0, seconds=2.04):
    """Of one of three people whom no weights were trained on, the last two of whom are held out."""
    made = orders(Corpus(3, 0.03, 96, 96, FPS, 4242))[f"{person:04d}-{clip:04d}"]
    return replace(made, seconds=seconds)


@functools.cache
def files(person, clip=0, seconds=2.04):
    return make_motion(order(person, clip, seconds), texts=Grammar())


def motions(folder, *, seconds=2.04, each=((0, 0), (0, 1), (1, 1), (2, 1))):
    """The folder, with these clips of these people: two to train on and two of held-out people and voices."""
    samples = [(f"{person:04d}-{clip:04d}", files(person, clip, seconds)) for person, clip in each]
    write_index(folder, Index((write_shard(folder / "shard-000000.tar", samples),), {}))
    return folder
