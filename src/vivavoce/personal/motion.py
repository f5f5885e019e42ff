"""The motion model of one person in training: windows of clips, what the model makes of them, and its plain stages."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vivavoce.losses.contrastive import cosine_distance
from vivavoce.personal.examples import TaughtClip
from vivavoce.personal.studio import Studio
from vivavoce.splat.audiomotion.diffusion import MotionDiffusion
from vivavoce.train.audiomotion import TERMS as POINT_TERMS
from vivavoce.train.audiomotion import Estimate, guessed
from vivavoce.train.motion_model import MotionModel
from vivavoce.train.moving import GROUPS, Body, Span
from vivavoce.train.stage import Stage


@dataclass(frozen=True, eq=False)
class Shot:
    """A window of a clip, and what is random about it."""

    clip: TaughtClip
    span: Span
    first: int
    """The frame of the clip that the window begins with."""
    begin: int
    """The frame of the window that those which are drawn begin with."""
    count: int
    """How many are drawn."""
    opened: bool
    """Whether the window's first frames are given, as the window before gives them: none of these is drawn."""
    seed: int

    @property
    def drawn(self) -> slice:
        """In the window."""
        return slice(self.begin, self.begin + self.count)


@dataclass(frozen=True, eq=False)
class Guess(Estimate):
    """What the model makes of a noised window; what follows from it is computed once, for all terms of the loss."""

    shot: Shot
    studio: Studio | None

    @cached_property
    def body(self) -> Body:
        """The person at rest, on the CPU."""
        return Body.of(self.shot.clip.rest)

    @cached_property
    def acted(self) -> tuple[Float[Tensor, "t 55 3 4"], Float[Tensor, "t 468 3"]]:
        """Joints, and offsets of the face, in the frames that are drawn; on the CPU."""
        joints, offsets = self.model.acted(self.vectors[self.shot.drawn], self.span.body)
        return joints.cpu(), offsets.cpu()

    @cached_property
    def pictures(self) -> Float[Tensor, "t H W 3"]:
        """Those frames. Raises ValueError without a studio."""
        if self.studio is None:
            raise ValueError("nothing is drawn without a studio")
        return self.studio.pictures(*self.acted)


Term = Callable[[Sequence[Guess]], Float[Tensor, " B"]]
"""A loss of each of a batch's guesses."""


def contrast(guesses: Sequence[Guess]) -> Float[Tensor, " B"]:
    """The contrast of `train.audiomotion` among the clips that speak, 0 for the others."""
    speak = [guess.shot.clip.heard for guess in guesses]
    total = torch.zeros(len(guesses), device=guesses[0].vectors.device)
    if any(speak):
        total[torch.tensor(speak)] = POINT_TERMS["contrast"]([g for g in guesses if g.shot.clip.heard])
    return total


TERMS: Mapping[str, Term] = {**{name: POINT_TERMS[name] for name in GROUPS}, "contrast": contrast}
"""The terms that need no pictures."""


class PersonalTask:
    """The motion model on one person's clips (`train.task.Task`): the plain loss, and the terms that its stage names.

    Of clips in which nothing is said it learns motion without speech, from which guidance departs.
    """

    def __init__(
        self,
        model: MotionModel,
        stage: Stage,
        *,
        terms: Mapping[str, Any] = TERMS,
        drawn: int = 1,
        studio: Studio | None = None,
    ) -> None:
        """`drawn` frames of each window are drawn, in a studio, where a term asks for them."""
        self.module = model
        self.weights: Mapping[str, float] = {}
        self.terms = {name: term for name, term in terms.items() if stage.losses.get(name)}
        self.frames = stage.frames or model.diffusion.config.layout.length
        self.drawn, self.studio = drawn, studio

    def batch(self, examples: Sequence[TaughtClip], generators: Sequence[torch.Generator]) -> list[Shot]:
        """A random window of each clip."""
        return [self._shot(*pair) for pair in zip(examples, generators, strict=True)]

    def _shot(self, clip: TaughtClip, generator: torch.Generator) -> Shot:
        def below(count: int) -> int:
            return int(torch.randint(max(1, count), (), generator=generator))

        config = self.module.diffusion.config
        frames = min(self.frames, len(clip))
        opened = bool(torch.rand((), generator=generator) < config.given)
        held = min(config.layout.held, frames - self.drawn) if opened else 0
        first, begin = below(len(clip) - frames + 1), held + below(frames - self.drawn - held + 1)
        device = self.module.face.mean.device
        span = Span.of(clip, first=first, frames=frames, device=device)
        return Shot(clip, span, first, begin, self.drawn, opened, below(2**62))

    def losses(self, batch: list[Shot]) -> dict[str, Float[Tensor, " B"]]:
        """The plain loss, then the stage's other terms."""
        plain, guesses = [], []
        for shot in batch:
            diffusion = asked(self.module.diffusion, shot)
            loss, estimate = guessed(self.module, shot.span, seed=shot.seed, diffusion=diffusion)
            plain.append(loss)
            guesses.append(Guess(**vars(estimate), shot=shot, studio=self.studio))
        simple = torch.stack(plain)
        return {"simple": simple, **{name: term(guesses).to(simple) for name, term in self.terms.items()}}

    def load(self, folder: Path) -> None:
        """Take over what `save` wrote. Raises WeightsError where it does not fit."""
        self.module.take(folder)

    def save(self, folder: Path) -> None:
        """Write it as `MotionModel.load` reads it."""
        self.module.save(folder)

    def sample(self, folder: Path | None) -> None:
        """Nothing: losses tell it."""


class EmbeddingTask(PersonalTask):
    """The two encoders of the shared embedding alone, on clips that speak.

    Cosine distance of speech and motion of a patch, as paper 001 has it, and their contrast with other patches,
    without which all patches would be the same.
    """

    def losses(self, batch: list[Shot]) -> dict[str, Float[Tensor, " B"]]:
        """ "cosine" and "contrast", by the mean over patches."""
        diffusion = self.module.diffusion
        data = torch.stack([self.module.vectors(shot.span) for shot in batch])
        heard = diffusion.audio_encoder(torch.stack([shot.span.audio for shot in batch]))
        seen = diffusion.motion_encoder(data)
        apart = cosine_distance(heard.flatten(0, 1), seen.flatten(0, 1)).unflatten(0, heard.shape[:2])
        guesses = [
            Guess(self.module, shot.span, own, own, 0, shot=shot, studio=None)
            for shot, own in zip(batch, data, strict=True)
        ]
        return {"cosine": apart.mean(dim=1), "contrast": contrast(guesses)}


def asked(diffusion: MotionDiffusion, shot: Shot) -> MotionDiffusion:
    """The same model, parameters and all, that gives the window's first frames or not, and hears it or does not."""
    same, config = copy.copy(diffusion), diffusion.config
    dropout = config.dropout if shot.clip.heard else 1.0
    same.config = replace(config, given=float(shot.opened), dropout=dropout)
    return same
