"""The trainings of a personal motion model: runs of the trainer that go on from one another's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from vivavoce.errors import InputError
from vivavoce.media.files import file_sha256
from vivavoce.personal.data import Clip
from vivavoce.personal.examples import TaughtClips
from vivavoce.personal.motion import EmbeddingTask, PersonalTask
from vivavoce.personal.refine import terms
from vivavoce.personal.sizes import Sizes
from vivavoce.personal.stages import make_stage
from vivavoce.personal.studio import Studio
from vivavoce.splat.audiomotion.config import MotionDiffusionConfig
from vivavoce.splat.audiomotion.diffusion import MotionDiffusion
from vivavoce.train.machine import Machine
from vivavoce.train.motion_model import FACE_FILE, MOTION_FILE, MotionModel
from vivavoce.train.recipe import Recipe
from vivavoce.train.stage import Stage
from vivavoce.train.task import Task
from vivavoce.train.trainer import train

METHOD = "personal-motion"
_SAVES = 10  # checkpoints in a stage
_EVERY = 4  # frames that the components of the face are taken from, of which there must be as many at least

AsTask = Callable[[MotionModel, Stage], Task]


@dataclass(frozen=True, eq=False)
class Lessons:
    """What the trainings stand on."""

    folder: Path
    clips: Sequence[Clip]
    examples: Callable[[Sequence[Clip]], TaughtClips]
    """Clips with what was found in them."""
    told: str
    """A digest of all that."""
    sizes: Sizes
    start: Path | None
    """A motion model to begin with, as `MotionModel.save` writes it; None for one at random."""
    seed: int
    cpu: bool


@dataclass(frozen=True)
class Taught:
    """A motion model after a training."""

    folder: Path
    """As `MotionModel.load` reads it."""
    told: str
    """A digest of all that it stands on."""


def plain_motion(lessons: Lessons) -> Taught:
    """The model after the trainings that compare motion alone: the embedding, then the diffusion.

    Raises as the trainer does.
    """
    sizes = lessons.sizes
    speak = [clip for clip in lessons.clips if clip.heard]
    inputs = {"start": _digest(lessons.start), "model": sizes.model.to_json(), "data": lessons.told}
    embedded = _trained(lessons, "embedding", [sizes.embedding], EmbeddingTask, inputs, clips=speak)
    return _trained(lessons, "motion", sizes.motion, PersonalTask, {}, after=embedded)


def refined_motion(lessons: Lessons, studio: Studio, before: Taught) -> Taught:
    """The model after the training by `Sizes.objectives`, which draws what it does. Raises as the trainer does."""
    sizes = lessons.sizes
    stage = replace(sizes.refined, losses=sizes.objectives.losses)
    task = partial(PersonalTask, terms=terms(sizes.objectives), drawn=sizes.drawn, studio=studio)
    inputs = {"objectives": asdict(sizes.objectives), "teacher": studio.teacher.told, "drawn": sizes.drawn}
    return _trained(lessons, "refined", [stage], task, inputs, after=before, micro=1)


def begun_from(sizes: Sizes, start: Path | None) -> Sizes:
    """The sizes with the network of a motion model to begin with.

    Raises WeightsError for one that cannot be read, InputError where it heard or moved otherwise.
    """
    if start is None:
        return sizes
    config, wanted = MotionDiffusion.load(start / MOTION_FILE).config, sizes.model
    for what, has, needs in (
        ("frames a second", config.fps, wanted.fps),
        ("speech features", config.encoder, wanted.encoder),
    ):
        if has != needs:
            raise InputError(
                f"{start} was trained on {what} {has}, and the teacher's are {needs}: leave it out, or give another."
            )
    return replace(sizes, model=config)


def _trained(
    lessons: Lessons,
    name: str,
    stages: Sequence[Stage],
    task: AsTask,
    inputs: dict[str, object],
    *,
    clips: Sequence[Clip] | None = None,
    after: Taught | None = None,
    micro: int | None = None,
) -> Taught:
    """The result of a training."""
    examples = lessons.examples(lessons.clips if clips is None else clips)
    recipe = Recipe(METHOD, tuple(stages), lessons.seed)
    steps = min(stage.steps for stage in stages)
    machine = Machine(
        micro=micro or max(stage.batch for stage in stages),
        cpu=lessons.cpu,
        save_every=max(1, steps // _SAVES),
    )

    def build(stage: Stage, device: torch.device) -> Task:
        model = _fresh(lessons) if after is None else MotionModel.load(after.folder)
        return task(model.to(device), stage)

    folder = lessons.folder / name
    inputs = {**inputs, "seed": lessons.seed, "stages": [asdict(stage) for stage in stages]}
    told = inputs if after is None else {**inputs, "after": after.told}
    run = partial(_run, recipe, build, examples, machine)
    return Taught(folder / f"{len(stages)}-{stages[-1].name}", make_stage(folder, told, run))


def _run(
    recipe: Recipe,
    build: Callable[[Stage, torch.device], Task],
    examples: TaughtClips,
    machine: Machine,
    folder: Path,
) -> None:
    train(recipe, build, data=lambda stage: examples, folder=folder, machine=machine)


def _fresh(lessons: Lessons) -> MotionModel:
    """The model that the first training begins with, the same every time."""
    if lessons.start is not None:
        return MotionModel.load(lessons.start)
    examples = lessons.examples(lessons.clips)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(lessons.seed)
        model = MotionModel(_coded(lessons.sizes.model, sum(clip.frames for clip in lessons.clips)))
    model.fit([examples[i] for i in range(len(examples))])
    return model


def _coded(config: MotionDiffusionConfig, frames: int) -> MotionDiffusionConfig:
    """With no more coefficients of the face than so many frames have components."""
    return replace(config, code=min(config.code, frames // _EVERY - 1))


def _digest(start: Path | None) -> list[str]:
    return [] if start is None else [file_sha256(start / name) for name in (MOTION_FILE, FACE_FILE)]
