"""Train the reader of motion: a corpus of synthetic people -> weights -> how well it reads, in one run.

    python recipes/reader.py

The corpus is made where it is not there yet (about an hour on 2 cores); training takes about ten minutes on one.
Both go on where they were stopped.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import tyro

from vivavoce.config import CorpusOptions
from vivavoce.corpus.shard_clips import Shards
from vivavoce.corpus.synth.make import synthesise
from vivavoce.corpus.synth.orders import BOTH, PEOPLE, VOICES, Corpus
from vivavoce.errors import InputError
from vivavoce.evaluation.agreement import agreement
from vivavoce.evaluation.reader import WEIGHTS
from vivavoce.evaluation.reader_network import SIZE
from vivavoce.media.files import replacing
from vivavoce.train.machine import Machine
from vivavoce.train.reader import Glimpses, ReaderTask
from vivavoce.train.recipe import Recipe
from vivavoce.train.stage import Stage
from vivavoce.train.trainer import train


@dataclass
class Options:
    """What to make, and where."""

    corpus: Path = Path("build/corpus")
    """Synthetic people; made there unless it is there."""
    work: Path = Path("build/reader")
    """Checkpoints and losses."""
    out: Path = WEIGHTS
    steps: int = 1600
    each: int = 32
    """Frames taken of every clip."""
    people: int = 200
    hours: float = 1.6
    seed: int = 0


def main(options: Options) -> None:
    """Everything, then one line of JSON for each part of the corpus."""
    corpus = Corpus(options.people, options.hours, SIZE, SIZE, 25.0, options.seed)
    if not (options.corpus / "index.json").is_file():
        synthesise(corpus, options.corpus, sources=CorpusOptions())
    stage = Stage(
        name="reader",
        steps=options.steps,
        batch=32,
        rate=2e-3,
        trains=("*",),
        warmup=options.steps // 16,
        schedule="cosine",
        ema=0.995,
    )
    glimpses = Glimpses(Shards(options.corpus, split="train"), each=options.each, seed=options.seed)
    told = {
        "made by": "python recipes/reader.py",
        "corpus seed": options.seed,
        "people": glimpses.people,
        "frames": len(glimpses),
        "data": glimpses.fingerprint,
        "seed": options.seed,
    }

    def build(stage: Stage, device: torch.device) -> ReaderTask:
        torch.manual_seed(options.seed)
        return ReaderTask(stage, device, people=glimpses.people, told=told)

    results = train(
        Recipe("reader", (stage,), seed=options.seed),
        build,
        data=lambda stage: glimpses,
        folder=options.work,
        machine=Machine(micro=32, precision="bf16", save_every=200),
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(options.out) as temporary:
        temporary.write_bytes((results[-1] / WEIGHTS.name).read_bytes())
    for split in (PEOPLE, VOICES, BOTH):
        try:
            clips = Shards(options.corpus, split=split)
        except InputError:  # a small corpus holds out less
            continue
        if len(clips) < 2:  # there is no other speech
            continue
        found = agreement([clips[i] for i in range(len(clips))], weights=options.out)
        print(json.dumps({"split": split, **found}), flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options))
