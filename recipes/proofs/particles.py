"""Speech straight to particles against the pose bottleneck: when lips close, on people and voices that are held out.

    python recipes/proofs/particles.py

Everything is made in one run: motion without pictures of synthetic people, deformers that differ in what speech moves,
and the table. It goes on where it was stopped; what was changed begins anew.

    RUNS/motions-.../           what people say, and where it takes their particles
    RUNS/trained/VARIANT-.../   a run of the trainer
    RUNS/seen/VARIANT-....json  what is seen in the held-out clips
    OUT/particles.json, .md, .png
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from jaxtyping import Float, Float64
from report import Measured, Table, plain, write_report
from torch import Tensor

from vivavoce.corpus.synth.motions import Motions, MovingClip, synthesise_motions
from vivavoce.corpus.synth.orders import BOTH, Corpus
from vivavoce.errors import InputError, OutputError
from vivavoce.evaluation.ablation import Claim, Measure
from vivavoce.evaluation.closures import closures, dips, timing
from vivavoce.evaluation.speech import correlation, mouth_correlation, shuffled
from vivavoce.media.files import replacing
from vivavoce.progress import track
from vivavoce.splat.deformer.config import MINIATURE, DeformerConfig
from vivavoce.train.machine import Machine
from vivavoce.train.moving import Body, Performed, Span, evenly, moved
from vivavoce.train.particles import (
    ANGLES,
    ANGLES_MINIATURE,
    FILE,
    PARTICLES_MINIATURE,
    SpeakingParticles,
    load_particles,
    particle_task,
)
from vivavoce.train.recipe import Recipe
from vivavoce.train.trainer import train

SAVE_EVERY = 50
_SIZE, _FPS = 96, 25.0  # of pictures that nobody draws, and of frames
_MEASURING = 1  # grows when what is measured changes


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the proof is made from."""

    people: int = 100
    hours: float = 1.6
    """Of speech, in clips of seven seconds; a tenth of the people is held out."""
    corpus_seed: int = 0
    motions: Path | None = None
    """Where `synthesise_motions` made them; None to make them from the numbers above."""
    runs: Path = Path("build/proofs")
    """Where everything is kept on the way."""
    out: Path = Path("docs/proofs")
    """Where the table goes."""
    seeds: int = 2
    steps: int | None = None
    """Of training; None for the recipe's own number."""
    frames: int | None = None
    """Of a training example; None for the recipe's own number."""
    clips: int = 40
    """Held-out clips to look at."""
    only: str | None = None
    """One variant alone; the table is then of what is there."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    title: str
    recipe: Recipe
    config: DeformerConfig
    residuals: bool = True
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Nothing is drawn by chance."""


TABLE = Table(
    name="particles",
    title="Speech straight to particles against joint angles",
    paper="paper 003, sections 1 and 4: speech moves particles, without a pose in between",
    variants=(
        Variant("particles", "particles and residuals", PARTICLES_MINIATURE, MINIATURE),
        Variant("alone", "particles alone", PARTICLES_MINIATURE, MINIATURE, residuals=False),
        Variant("angles", "joint angles", ANGLES_MINIATURE, ANGLES),
    ),
    measures=(
        Measure("closed", "closures met", "high"),
        Measure("false", "false closures", "low"),
        Measure("f1", "closure F1", "high"),
        Measure("f1_other", "F1, another's speech"),
        Measure("narrowed", "closures at a dip", "high"),
        Measure("gap", "gap at closures", "low"),
        Measure("aperture", "aperture correlation", "high"),
        Measure("mouth", "mouth correlation", "high"),
        Measure("face", "face error, mm", "low", digits=2),
        Measure("hands", "hand error, mm", "low", digits=1),
        Measure("surface", "body error, mm", "low", digits=1),
        Measure("acceleration", "acceleration error, mm/frame²", "low", digits=2),
    ),
    claims=(
        Claim("f1", "particles", "angles", "no number"),
        Claim("closed", "particles", "angles", "no number"),
        Claim("narrowed", "particles", "angles", "no number"),
        Claim("gap", "angles", "particles", "no number"),
        Claim("aperture", "particles", "angles", "no number"),
        Claim("face", "angles", "particles", "no number"),
        Claim("f1", "particles", "alone", "no number"),
    ),
    notes=(
        "People and voices are both held out; all that is known of them is their rest. Motion is compared as such, "
        "without pictures.",
        "All rows hear the same speech and are trained on the same motion by the same losses from the same seeds. The "
        "face hangs on head and jaw by the weights that come nearest to true faces where joints move as they truly do.",
        "A closure is a stretch of frames within speech in which the gap between the lips' inner edges is below 0.02 "
        "widths of the resting mouth. It is met by one of the drawn mouth whose middle is at most 40 ms away, each "
        "once; false are those drawn that meet none. F1 is the harmonic mean of closures met and of those not false.",
        "A dip is where the drawn mouth is narrowest between two openings, shut or not: it tells of timing alone. The "
        "gap at closures, in widths of the mouth, is the drawn mouth's where the true one is shut.",
        "Face: mean distance of 169 vertices in the head's frame. Hands: wrists, fingers and their tips. Acceleration: "
        "mean distance of the joints' second differences.",
    ),
)


def prove(options: Options) -> dict[str, Any]:
    """Make what is not there yet, and write the table; its record comes back.

    Raises InputError for a variant that there is none of, for too few clips, and as corpus and trainer do.
    """
    names = [variant.name for variant in TABLE.variants]
    if options.only is not None and options.only not in names:
        raise InputError(f"{TABLE.name} has no variant {options.only!r}: choose one of {', '.join(names)}.")
    motions = options.motions or _made(options)
    clips, held = Motions(motions), _held_out(motions, options.clips)
    results: dict[str, dict[int, Measured]] = {}
    for variant in TABLE.variants:
        results[variant.name] = {}
        for seed in range(options.seeds):
            made = options.only in (None, variant.name)
            found = result(variant, seed, clips=clips, held=held, options=options, make=made)
            if found is not None:
                results[variant.name][seed] = found
    pairs = zip(held, [held[k] for k in shuffled(len(held))], strict=True)
    truth = {clip.name: plain(measured(clip, other, _true(clip))) for clip, other in pairs}
    stage = PARTICLES_MINIATURE.stages[-1]
    settings = {
        "training clips": len(clips),
        "held-out clips": len(held),
        "steps": options.steps or stage.steps,
        "batch": stage.batch,
        "frames": options.frames or stage.frames,
    }
    table: Any = TABLE
    return write_report(
        table, results, truth, clips=[clip.name for clip in held], out=options.out, settings=settings
    )


def result(
    variant: Variant, seed: int, *, clips: Motions, held: list[MovingClip], options: Options, make: bool
) -> Measured | None:
    """What is seen of a variant in the held-out clips; None where it is not there and not to be made."""
    recipe = _recipe(variant, seed, options)
    decided = [asdict(variant.config), variant.residuals, asdict(recipe), clips.fingerprint]
    trained = _name(variant, seed, decided)
    seen = _name(variant, seed, [trained, [clip.name for clip in held], _MEASURING])
    path = options.runs / "seen" / f"{seen}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    if not make:
        return None
    model = _trained(variant, recipe, clips, options.runs / "trained" / trained)
    pairs = list(zip(held, [held[k] for k in shuffled(len(held))], strict=True))
    found = {
        clip.name: plain(measured(clip, other, _performed(model, clip)))
        for clip, other in track(pairs, f"{variant.title}, seed {seed}: looking")
    }
    _folder(path.parent)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def measured(clip: MovingClip, other: MovingClip, found: Performed) -> dict[str, float]:
    """All measures of what somebody does to a clip's speech; `other` is a clip whose speech it should not follow."""
    span = Span.of(clip)
    wanted = _true(clip)
    drawn, true = (_aperture(performed, span.body) for performed in (found, wanted))
    events = closures(true, clip.phones, clip.fps)
    closed = closures(drawn, clip.phones, clip.fps)
    met = timing(events, closed)
    strange = closures(_aperture(_true(other), Span.of(other).body), other.phones, other.fps)
    errors = {
        name: float(_distance(getattr(found.places, name), getattr(wanted.places, name)))
        for name in ("face", "hands", "surface")
    }
    second = [moved(p.joints, span.body.joints).diff(n=2, dim=0) for p in (found, wanted)]
    return {
        "closed": met.recall,
        "false": met.false,
        "f1": met.f1,
        "f1_other": timing(strange, closed).f1,
        "narrowed": timing(events, dips(drawn, clip.phones, clip.fps)).recall,
        "gap": _gap(drawn, events, clip.fps),
        "aperture": correlation(drawn, true),
        "mouth": mouth_correlation(drawn, clip.phones, clip.fps).together,
        **errors,
        "acceleration": float(_distance(*second)),
    }


def _aperture(performed: Performed, body: Body) -> Float64[np.ndarray, " T"]:
    return performed.places.aperture(body).double().numpy()


def _gap(aperture: Float64[np.ndarray, " T"], events: Float64[np.ndarray, " n"], fps: float) -> float:
    """Mean of the aperture, where it is open, at some moments; NaN for none."""
    if not len(events):
        return float("nan")
    places = np.clip((events * fps).astype(int), 0, len(aperture) - 1)
    return float(np.maximum(aperture[places], 0).mean())


def _distance(a: Float[Tensor, "T n 3"], b: Float[Tensor, "T n 3"]) -> Tensor:
    """Mean distance in millimetres."""
    return 1000 * (a - b).norm(dim=-1).mean()


def _true(clip: MovingClip) -> Performed:
    span = Span.of(clip)
    return Performed(span.joints, span.places)


@torch.no_grad()
def _performed(model: SpeakingParticles, clip: MovingClip) -> Performed:
    span = Span.of(clip)
    return model(span.audio, span.body)


def _trained(variant: Variant, recipe: Recipe, clips: Motions, folder: Path) -> SpeakingParticles:
    _folder(folder)
    machine = Machine(micro=recipe.stages[-1].batch, save_every=SAVE_EVERY)
    results = train(
        recipe,
        lambda stage, device: particle_task(
            stage, clips, device=device, config=variant.config, residuals=variant.residuals, seed=recipe.seed
        ),
        data=lambda stage: clips,
        folder=folder,
        machine=machine,
    )
    return load_particles(results[-1] / FILE)


def _recipe(variant: Variant, seed: int, options: Options) -> Recipe:
    (stage,) = variant.recipe.stages
    steps = options.steps or stage.steps
    changed = replace(
        stage, steps=steps, frames=options.frames or stage.frames, warmup=min(stage.warmup, steps // 2)
    )
    return replace(variant.recipe, stages=(changed,), seed=seed)


def _made(options: Options) -> Path:
    """The motions of the options' corpus."""
    folder = options.runs / f"motions-{options.people}-{options.hours:g}-{options.corpus_seed}"
    if not (folder / "index.json").is_file():
        _folder(folder)
        corpus = Corpus(options.people, options.hours, _SIZE, _SIZE, _FPS, options.corpus_seed)
        synthesise_motions(corpus, folder)
    return folder


def _held_out(motions: Path, most: int) -> list[MovingClip]:
    clips = Motions(motions, split=BOTH)
    if min(len(clips), most) < 2:
        raise InputError(f"{min(len(clips), most)} held-out clips are too few: two at least are compared.")
    return [clips[i] for i in evenly(len(clips), most)]


def _name(variant: Variant, seed: int, decided_by: Any) -> str:
    record = json.dumps(decided_by, sort_keys=True)
    return f"{variant.name}-{seed}-{hashlib.sha256(record.encode()).hexdigest()[:12]}"


def _folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made ({error.strerror}): choose another."
        ) from error


if __name__ == "__main__":
    prove(tyro.cli(Options, description=__doc__))
