"""Distillation moves the student: one person's motion before and after each loss, on speech that it never heard.

    python recipes/proofs/distillation.py

A synthetic person's photo becomes an avatar, the teacher draws clips of it, and motion models learn from most of them
that differ in the losses of their last stage. What they do to the speech of the other clips stands beside what the
teacher drew there. It goes on where it was stopped; what was changed begins anew.

    RUNS/person-.../            the photo, the avatar, the teacher's clips and what is found in them
    RUNS/person-.../SEED/       the motion model that all rows go on from
    RUNS/person-.../SEED-ROW/   what each of them makes of it
    RUNS/seen/ROW-SEED-....json what is seen in the clips that were kept back
    OUT/distillation.json, .md, .png
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from particles import measured
from PIL import Image
from report import Measured, Table, plain, write_report

from vivavoce.config import PersonalOptions
from vivavoce.corpus.synth.orders import BOTH, Corpus, orders
from vivavoce.corpus.synth.portrait import TemplatePortrait
from vivavoce.errors import InputError
from vivavoce.evaluation.ablation import Claim, Measure
from vivavoce.evaluation.speech import shuffled
from vivavoce.media.files import replacing
from vivavoce.personal.data import seed_of, spoken
from vivavoce.personal.examples import TaughtClip
from vivavoce.personal.objectives import Objectives
from vivavoce.personal.pipeline import prepared
from vivavoce.personal.sizes import Sizes, sizes_for
from vivavoce.personal.stages import work_folder
from vivavoce.personal.studio import Studio, as_floats
from vivavoce.personal.teacher import teacher_named
from vivavoce.personal.training import Lessons, Taught, plain_motion, refined_motion
from vivavoce.progress import track
from vivavoce.train.motion_model import MotionModel
from vivavoce.train.moving import FACE_POINTS, Performed, Span, places

_PEOPLE = Corpus(people=200, hours=1.6, width=96, height=96, fps=25.0, seed=0)
"""Whom the miniatures know; the one in the photo is none that they were trained on."""
_PHOTO = 384  # pixels: a detector wants to see a face well
_EVERY = 5  # frames of which one is compared with the teacher's
_MEASURING = 1  # grows when what is measured changes
_NONE = Objectives(trajectory=0.0, score=0.0, keypoints=0.0, pictures=0.0, rigid=0.0)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the proof is made from."""

    teacher: str = "physavatar-miniature"
    base: str | None = None
    """The teacher's base; None for its usual one."""
    weights: Path | None = None
    """The teacher's own parts; None for its usual ones."""
    clips: int = 10
    """To learn from."""
    held: int = 6
    """Clips that are kept back."""
    runs: Path = Path("build/proofs")
    """Where everything is kept on the way."""
    out: Path = Path("docs/proofs")
    """Where the table goes."""
    seeds: int = 2
    only: str | None = None
    """One row alone; the table is then of what is there."""


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    name: str
    title: str
    recipe: Objectives
    """Of the last stage."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """As the motion model draws by itself."""


TABLE = Table(
    name="distillation",
    title="Distillation: one person's motion before and after each loss",
    paper="table 4 of paper 001 (supplement, F) and the last rows of table 3 of paper 003",
    variants=(
        Variant("plain", "the plain loss alone", _NONE),
        Variant(
            "trajectory",
            "+ trajectories",
            replace(Objectives(), score=0.0, keypoints=0.0, pictures=0.0, rigid=0.0),
        ),
        Variant("score", "+ score", replace(_NONE, score=Objectives().score)),
        Variant(
            "both", "+ score, trajectories", replace(Objectives(), keypoints=0.0, pictures=0.0, rigid=0.0)
        ),
        Variant("unscored", "all but score", replace(Objectives(), score=0.0)),
        Variant("unseen", "all but keypoints", replace(Objectives(), keypoints=0.0)),
        Variant("all", "all losses", Objectives()),
    ),
    measures=(
        Measure("mouth", "mouth correlation", "high"),
        Measure("aperture", "aperture against the teacher's", "high"),
        Measure("face", "face error, mm", "low", digits=2),
        Measure("hands", "hand error, mm", "low", digits=1),
        Measure("surface", "body error, mm", "low", digits=1),
        Measure("acceleration", "acceleration error, mm/frame²", "low", digits=2),
        Measure("frames", "frames, dB", "high", digits=2),
    ),
    claims=(
        Claim("acceleration", "score", "both", "28.79 against 14.34"),
        Claim("acceleration", "plain", "trajectory", "16.84 against 15.91"),
        Claim("mouth", "all", "unscored", "SyncC 7.20 against 6.90"),
        Claim("mouth", "all", "unseen", "SyncC 7.20 against 6.70"),
        Claim("frames", "all", "unscored", "18.30 against 17.50"),
        Claim("frames", "all", "unseen", "18.30 against 17.60"),
        Claim("mouth", "all", "plain", "no number"),
        Claim("face", "plain", "all", "no number"),
    ),
    notes=(
        "One person, whom the teacher was not trained on. Rows are trained for equally many steps from one model, "
        "which has learned the shared embedding and the plain loss from the same clips.",
        "Errors are against what the deformation field finds in the teacher's own clips of speech that no row was "
        "trained on; the row of true clips is the teacher itself, by that field. Gestures have many right answers, so "
        "that no row comes near 0 in hands.",
        "Frames: decibels of signal (peak 1) to noise of the avatar's frames against the teacher's.",
    ),
)


@dataclass(frozen=True, eq=False)
class Bench:
    """Where rows are trained and looked at."""

    lessons: Lessons
    studio: Studio
    held: list[TaughtClip]
    place: Path


def prove(options: Options, *, sizes: Sizes | None = None) -> dict[str, Any]:
    """Make what is not there yet, and write the table; its record comes back.

    Raises InputError for a row that there is none of and for too few clips, and as `personal.pipeline` does.
    """
    names = [variant.name for variant in TABLE.variants]
    if options.only is not None and options.only not in names:
        raise InputError(f"{TABLE.name} has no variant {options.only!r}: choose one of {', '.join(names)}.")
    if options.clips < 1 or options.held < 2:
        raise InputError(
            f"{options.clips} clips to learn from and {options.held} kept back are too few: 1 and 2 are needed."
        )
    bench = _bench(options, sizes)
    results: dict[str, dict[int, Measured]] = {}
    for variant in TABLE.variants:
        results[variant.name] = {}
        for seed in range(options.seeds):
            made = options.only in (None, variant.name)
            found = result(bench, variant, seed, seen=options.runs / "seen", make=made)
            if found is not None:
                results[variant.name][seed] = found
    truth = {clip.name: plain(measured(clip, other, _taught(clip))) for clip, other in _pairs(bench.held)}
    own = bench.lessons.sizes
    settings = {
        "teacher": options.teacher,
        "clips": options.clips,
        "held-out clips": options.held,
        "frames": own.frames,
        "steps": f"{own.embedding.steps} + {sum(s.steps for s in own.motion)} + {own.refined.steps}",
        "batch of the last stage": own.refined.batch,
    }
    table: Any = TABLE
    clips = [clip.name for clip in bench.held]
    return write_report(table, results, truth, clips=clips, out=options.out, settings=settings)


def result(bench: Bench, variant: Variant, seed: int, *, seen: Path, make: bool) -> Measured | None:
    """What is seen of a row in the clips kept back; None where it is not there and not to be made."""
    held = [clip.name for clip in bench.held]
    told = [bench.lessons.told, asdict(variant.recipe), asdict(bench.lessons.sizes), seed, held, _MEASURING]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:12]
    path = seen / f"{variant.name}-{seed}-{digest}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    if not make:
        return None
    model = MotionModel.load(_trained(bench, variant, seed).folder)
    found = {
        clip.name: plain(_seen(bench.studio, model, clip, other, seed))
        for clip, other in track(_pairs(bench.held), f"{variant.title}, seed {seed}: looking")
    }
    work_folder(seen)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def _trained(bench: Bench, variant: Variant, seed: int) -> Taught:
    lessons = replace(bench.lessons, seed=seed, folder=bench.place / str(seed))
    before = plain_motion(lessons)
    own = replace(lessons.sizes, objectives=variant.recipe)
    row = replace(lessons, sizes=own, folder=bench.place / f"{seed}-{variant.name}")
    return refined_motion(row, bench.studio, before)


@torch.no_grad()
def _seen(
    studio: Studio, model: MotionModel, clip: TaughtClip, other: TaughtClip, seed: int
) -> dict[str, float]:
    """All measures of what the model does to a clip's speech."""
    span = Span.of(clip)
    drawn = model.diffusion.sample(span.audio.numpy(), seed=seed, identity=model.identity(span.body))
    joints, offsets = model.acted(torch.cat(list(drawn)), span.body)
    face = span.body.face + offsets[:, list(FACE_POINTS)]
    found = measured(clip, other, Performed(joints, places(joints, face, span.body)))
    some = slice(None, None, _EVERY)
    error = studio.pictures(joints[some], offsets[some]) - as_floats(clip.clip.pictures()[some])
    return {**found, "frames": float(-10 * error.square().mean().log10())}


def _taught(clip: TaughtClip) -> Performed:
    span = Span.of(clip)
    return Performed(span.joints, span.places)


def _pairs(held: list[TaughtClip]) -> list[tuple[TaughtClip, TaughtClip]]:
    """Each clip with another."""
    return list(zip(held, [held[k] for k in shuffled(len(held))], strict=True))


def _bench(options: Options, sizes: Sizes | None) -> Bench:
    """The person, the teacher's clips, and those of them that are kept back."""
    given = {"base": options.base, "weights": options.weights, "device": "cpu"}
    count = options.clips + options.held
    personal = PersonalOptions(teacher=options.teacher, motions=count, open_domain=0, **given)
    teacher = teacher_named(options.teacher, base=options.base, weights=options.weights)
    own = sizes or sizes_for(teacher.config)
    own = replace(own, motion=own.motion[:1])  # trajectories come with the last stage, or not at all
    place = work_folder(options.runs / f"person-{options.teacher}-{count}")
    lessons, studio = prepared(_photo(place / "photo.png"), place / "avatar", personal, sizes=own)
    taught = lessons.examples(lessons.clips)
    held = [
        replace(taught[i], phones=tuple(spoken(clip, seed_of(clip, lessons.seed)).phones))
        for i, clip in enumerate(lessons.clips)
        if i >= options.clips
    ]
    return Bench(replace(lessons, clips=lessons.clips[: options.clips]), studio, held, place)


def _photo(path: Path) -> Path:
    """Somebody whom nothing was trained on."""
    if not path.exists():
        order = next(order for order in orders(_PEOPLE).values() if order.split == BOTH)
        drawn = TemplatePortrait().portrait(order.attributes, order.person, width=_PHOTO, height=_PHOTO)
        with replacing(path) as temporary:
            Image.fromarray(drawn).save(temporary)
    return path


if __name__ == "__main__":
    prove(tyro.cli(Options, description=__doc__))
