"""Where proofs are made: short runs of a method's variants from one base, held-out people drawn, what is seen in them.

    RUNS/examples/              encoded clips, for all runs
    RUNS/trained/VARIANT-.../   a run of the trainer; its result is the last stage's folder
    RUNS/drawn/VARIANT-.../     held-out clips as that result draws them, in latents
    RUNS/seen/VARIANT-....json  what is seen in them
    OUT/NAME.json, .md, .png    every number and setting, the table, the plot

Names end in the seed and a digest of all that decides what is in them: what is there already is taken, what was stopped
goes on, and what was changed begins anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from heldout import Held
from jaxtyping import UInt8
from proof import Options, Proof, Shown, Variant
from report import Measured, plain, write_report
from retold import Retold

from vivavoce.corpus.cache import CachedExamples
from vivavoce.corpus.cuts import Cutter
from vivavoce.corpus.shard_clips import Shards
from vivavoce.corpus.synth.orders import TRAIN
from vivavoce.corpus.usable import Selection
from vivavoce.errors import InputError, OutputError
from vivavoce.evaluation.reader import WEIGHTS, Reading
from vivavoce.evaluation.speech import shuffled
from vivavoce.media.files import file_sha256, replacing
from vivavoce.methods.load import load
from vivavoce.progress import track
from vivavoce.train.machine import Machine
from vivavoce.train.recipe import Recipe
from vivavoce.train.stage import Stage
from vivavoce.train.trainer import train
from vivavoce.train.video_task import VideoTask
from vivavoce.video.config import VideoConfig
from vivavoce.video.draw import draw, frames_of
from vivavoce.video.method import Sampling, VideoMethod
from vivavoce.video.sample.resume import Job

SAVE_EVERY = 50  # steps: seconds, so that little is lost
Read = Callable[[UInt8[np.ndarray, "F H W 3"], float], Reading]


def prove(proof: Proof, options: Options, *, read: Read) -> dict[str, Any]:
    """Train, draw and read what is not there yet, and write the table; its record comes back.

    `read` is the eye, of which `evaluation.reader.read` is the trained one. Raises InputError for a variant that there
    is none of, and as the trainer and the corpus do.
    """
    names = [variant.name for variant in proof.variants]
    if options.only is not None and options.only not in names:
        raise InputError(f"{proof.name} has no variant {options.only!r}: choose one of {', '.join(names)}.")
    bench = Bench(proof, options, read)
    truth = bench.truth()  # first, so that an eye that cannot see is known before hours of training
    results: dict[str, dict[int, Measured]] = {}
    for variant in proof.variants:
        wanted = options.only in (None, variant.name)
        found = {seed: bench.result(variant, seed, make=wanted) for seed in range(options.seeds)}
        results[variant.name] = {seed: measured for seed, measured in found.items() if measured is not None}
    clips = [clip.key for clip in bench.held]
    return write_report(proof, results, truth, clips=clips, out=options.out, settings=bench.settings)


class Bench:
    """Where variants are trained and looked at."""

    def __init__(self, proof: Proof, options: Options, read: Read) -> None:
        self.proof, self.options, self.read = proof, options, read
        self.frames = options.frames or proof.frames
        self.held = proof.held(options.corpus, proof.examples, self.frames, options.clips)
        self.base = self._load(proof.examples, "cpu").fingerprint()

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the table, as a reader of it wants to know it."""
        o, config = self.options, self.proof.examples
        return {
            "frames": self.frames,
            "size": f"{config.width}x{config.height}",
            "steps": sum(stage.steps for stage in self.proof.variants[-1].recipe.stages),
            "training clips": o.training_clips,
            "examples of each": o.spans,
            "held-out clips": len(self.held),
            "denoising steps": config.steps,
            "base": "random weights" if self._place(config) is None else f"the miniatures' {config.backbone}",
        }

    def result(self, variant: Variant, seed: int, *, make: bool) -> Measured | None:
        """What is seen in the held-out clips as a variant draws them; None where it is not there and not to be made."""
        recipe = replace(variant.recipe, seed=seed)
        sampling = Sampling.of(self._config(variant), seed=seed, **variant.sampling)
        trained = self._name(variant.weights or variant.name, seed, self._training(variant, recipe))
        held = [(clip.key, clip.scene.frames) for clip in self.held]
        drawn = self._name(variant.name, seed, [trained, asdict(sampling), held])
        eye = file_sha256(WEIGHTS) if WEIGHTS.is_file() else ""
        seen = self._name(variant.name, seed, [self.proof.name, drawn, eye])
        path = self.options.runs / "seen" / f"{seen}.json"
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        if not make:
            return None
        method = self._trained(variant, recipe, self.options.runs / "trained" / trained)
        measured = {}
        for clip, other in track(self._pairs(), f"{variant.title}, seed {seed}: drawing"):
            job = Job(self.options.runs / "drawn" / drawn / slug(clip.key), {})
            order = draw(method, self.proof.seen(clip.scene), sampling, job)
            measured[clip.key] = self._measured(clip, other, np.stack(list(frames_of(method, order, job))))
        _make(path.parent)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(measured, indent=1), encoding="utf-8")
        return measured

    def truth(self) -> Measured:
        """The same of the true clips, where there are any."""
        pairs = [(clip, other, clip.frames) for clip, other in self._pairs() if clip.frames is not None]
        return {clip.key: self._measured(clip, other, frames) for clip, other, frames in pairs}

    def _measured(self, clip: Held, other: Held, frames: UInt8[np.ndarray, "F H W 3"]) -> dict[str, Any]:
        return plain(self.proof.measured(Shown(clip, other, frames, self.read(frames, clip.scene.fps))))

    def _pairs(self) -> list[tuple[Held, Held]]:
        return [(clip, self.held[k]) for clip, k in zip(self.held, shuffled(len(self.held)), strict=True)]

    def _trained(self, variant: Variant, recipe: Recipe, folder: Path) -> VideoMethod:
        """The variant's method, ready to draw."""
        _make(folder)
        config = self._config(variant)

        def build(stage: Stage, device: torch.device) -> VideoTask:
            return VideoTask(self._load(config, device), stage)

        machine = Machine(micro=max(stage.batch for stage in recipe.stages), save_every=SAVE_EVERY)
        stages = train(
            recipe, build, data=lambda stage: self._data(variant, stage), folder=folder, machine=machine
        )
        task = VideoTask(self._load(config, "auto"), recipe.stages[-1])
        task.load(stages[-1])
        task.module.eval().requires_grad_(False)
        return task.method

    def _data(self, variant: Variant, stage: Stage) -> CachedExamples | Retold:
        """The examples of a stage; all variants share what is encoded."""
        o, config = self.options, self.proof.examples
        shards = Shards(o.corpus, split=TRAIN, fps=config.fps)
        places = np.linspace(0, len(shards) - 1, min(o.training_clips, len(shards))).round().astype(int)
        source = Selection(shards, places.tolist())
        method = self._load(config, "auto")
        examples = CachedExamples(
            source, method.network, method.make, o.runs / "examples", frames=self.frames, spans=o.spans
        )
        if stage.name not in variant.told:
            return examples
        cutter = Cutter.of(config, frames=self.frames, spans=o.spans)
        return Retold(examples, source, self._load(variant.told[stage.name], "auto"), cutter)

    def _config(self, variant: Variant) -> VideoConfig:
        """With chunks as long as what it is trained on."""
        return replace(variant.config, chunk=self.frames)

    def _load(self, config: VideoConfig, device: str | torch.device) -> VideoMethod:
        # A base that is named comes without the method's own parts, which are trained here.
        return load(config, base=self._place(config), device=device, dtype=torch.float32)

    def _place(self, config: VideoConfig) -> Path | str | None:
        """Of the base."""
        given = self.options.base
        return config.base if given is None else given / f"{config.backbone}-base"

    def _training(self, variant: Variant, recipe: Recipe) -> list[Any]:
        """All that decides a variant's weights."""
        o = self.options
        corpus = [(path.name, path.stat().st_size) for path in sorted(o.corpus.glob("*.tar"))]
        told = {stage: asdict(_placeless(other)) for stage, other in variant.told.items()}
        return [
            *(asdict(_placeless(self._config(variant))), asdict(recipe), told, self.base),
            *(corpus, self.frames, o.training_clips, o.spans),
        ]

    @staticmethod
    def _name(variant: str, seed: int, decided_by: Any) -> str:
        record = json.dumps(decided_by, sort_keys=True, default=sorted)
        return f"{variant}-{seed}-{hashlib.sha256(record.encode()).hexdigest()[:12]}"


def _placeless(config: VideoConfig) -> VideoConfig:
    """Without where its weights lie, which is nobody's concern but this machine's."""
    return replace(config, base=None, own=None)


def slug(key: str) -> str:
    """A key as the name of a folder."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in key)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made ({error.strerror}): choose another."
        ) from error
