"""Training the motion diffusion (paper 001) on motion that is known, by the curriculum of its appendix B.

First the plain loss of diffusion; then, with it, trajectory alignment of the points that the estimate moves, and the
shared embedding of speech and motion. Further terms are functions of the same estimates (`Term`): a stage that names
one in its losses has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vivavoce.corpus.synth.motions import Motions, MovingClip
from vivavoce.losses.contrastive import pair_contrast
from vivavoce.losses.trajectory import trajectory_alignment
from vivavoce.splat.audiomotion.config import MINIATURE, MotionDiffusionConfig
from vivavoce.splat.audiomotion.diffusion import MotionBatch, MotionDiffusion
from vivavoce.train.motion_model import PROPORTIONS, MotionModel
from vivavoce.train.moving import GROUPS, Performed, Span, evenly
from vivavoce.train.recipe import Recipe
from vivavoce.train.stage import Stage

CODE = 16
"""Coefficients of the face."""
_MEASURED = 120  # clips that statistics are taken from


@dataclass(frozen=True)
class Estimate:
    """What the network makes of a noised span."""

    model: MotionModel
    span: Span
    data: Float[Tensor, "T D"]
    vectors: Float[Tensor, "T D"]
    """The estimate of the data."""
    step: int
    """Of noise, 0 .. 199."""

    @cached_property
    def performed(self) -> Performed:
        """What the span's person does by the estimate."""
        return self.model.performed(self.vectors, self.span.body)


Term = Callable[[Sequence[Estimate]], Float[Tensor, " B"]]
"""A loss of each of a batch's estimates."""


def trajectory(estimates: Sequence[Estimate], *, group: str) -> Float[Tensor, " B"]:
    """Trajectory alignment of a group of points (`losses.trajectory`)."""
    pairs = [(getattr(e.performed.places, group), getattr(e.span.places, group)) for e in estimates]
    found, wanted = (torch.stack(side) for side in zip(*pairs, strict=True))
    return trajectory_alignment(found, wanted, fps=estimates[0].span.fps)


def contrast(estimates: Sequence[Estimate]) -> Float[Tensor, " B"]:
    """How well patches of speech and of true motion find each other in the batch (`losses.contrastive`)."""
    diffusion = estimates[0].model.diffusion
    heard = diffusion.audio_encoder(torch.stack([e.span.audio for e in estimates]))
    seen = diffusion.motion_encoder(torch.stack([e.data for e in estimates]))
    return pair_contrast(heard.flatten(0, 1), seen.flatten(0, 1)).unflatten(0, heard.shape[:2]).mean(1)


TERMS: Mapping[str, Term] = {
    **{name: partial(trajectory, group=name) for name in GROUPS},
    "contrast": contrast,
}


def guessed(
    model: MotionModel, span: Span, *, seed: int, diffusion: MotionDiffusion | None = None
) -> tuple[Float[Tensor, ""], Estimate]:
    """The plain loss of a span under noise of that seed, and what the model, or `diffusion` for it, makes of it."""
    data, identity = model.vectors(span), model.identity(span.body)
    found = (diffusion or model.diffusion).loss(
        MotionBatch(data[None], span.audio[None], None if identity is None else identity[None]),
        generator=torch.Generator().manual_seed(seed),
    )
    return found.loss, Estimate(model, span, data, found.estimate[0], int(found.step))


@dataclass(frozen=True)
class Noised:
    """A span, and what its noise is drawn from."""

    span: Span
    seed: int


class AudioMotionTask:
    """The motion model on motion that is known (`Task`): the plain loss, and the `terms` that its stage names.

    The contrast is among the clips that a process works on at once (`Machine.micro`).
    """

    def __init__(self, model: MotionModel, stage: Stage, *, terms: Mapping[str, Term] = TERMS) -> None:
        self.module: Any = model
        self.weights: Mapping[str, float] = {}
        self.terms = {name: term for name, term in terms.items() if stage.losses.get(name)}
        self.frames = stage.frames or model.diffusion.config.layout.length

    def batch(self, examples: Sequence[MovingClip], generators: Sequence[torch.Generator]) -> list[Noised]:
        """A random span of each clip."""
        device = self.module.face.mean.device
        return [
            Noised(
                Span.drawn(clip, self.frames, generator, device),
                int(torch.randint(2**62, (), generator=generator)),
            )
            for clip, generator in zip(examples, generators, strict=True)
        ]

    def losses(self, batch: list[Noised]) -> dict[str, Float[Tensor, " B"]]:
        """The plain loss, then the stage's other terms."""
        found = [guessed(self.module, noised.span, seed=noised.seed) for noised in batch]
        simple = torch.stack([loss for loss, _ in found])
        estimates = [estimate for _, estimate in found]
        return {"simple": simple, **{name: term(estimates) for name, term in self.terms.items()}}

    def load(self, folder: Path) -> None:
        """Take over what `save` wrote. Raises WeightsError where it does not fit."""
        self.module.take(folder)

    def save(self, folder: Path) -> None:
        """Write the diffusion as `MotionDiffusion.load` reads it, and the face's code beside it."""
        self.module.save(folder)

    def sample(self, folder: Path | None) -> None:
        """Nothing: losses tell it."""


def audiomotion_task(
    stage: Stage,
    clips: Motions,
    *,
    device: torch.device,
    config: MotionDiffusionConfig | None = None,
    terms: Mapping[str, Term] = TERMS,
    seed: int = 0,
) -> AudioMotionTask:
    """The task as training begins: the same every time. The `config` is `MANY` where None."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = MotionModel(config or MANY)
    model.fit([clips[i] for i in evenly(len(clips), _MEASURED)])
    return AudioMotionTask(model.to(device), stage, terms=terms)


MANY = replace(MINIATURE, code=CODE, identity=PROPORTIONS)
"""The miniature for many people, with a code of the face."""
AUDIOMOTION_MINIATURE = Recipe(
    "audiomotion-miniature",
    (
        Stage(
            name="simple",
            steps=800,
            batch=16,
            rate=1e-3,
            trains=("diffusion.*",),
            warmup=50,
            ema=0.995,
        ),
        Stage(
            name="full",
            steps=250,
            batch=16,
            rate=4e-4,
            trains=("diffusion.*",),
            losses={**GROUPS, "contrast": 0.1},
            warmup=20,
            schedule="cosine",
            ema=0.995,
        ),
    ),
)
"""Appendix B of paper 001, whose rate of 1e-5 is for a model some hundred times as large and many more steps."""
