"""Training the particle deformer (paper 003) on motion that is known: speech in, points of the person out.

The person's query tokens are learned here, one for each of some points of the face, where the decoder of a
reconstructed avatar would give its own; what sets a person off from the mean face is told to them. The template's are
one for each joint. So the deformer meets many people, and needs pictures of none.

The two motions of `DeformerConfig` differ in nothing else: the same tokens, points and losses. Points of the face hang
on head and jaw by the best weights there are (`moving.jaw_shares`), and what is left is the Gaussian head's residuals,
of which a motion by joint angles has none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor, nn

from vivavoce.corpus.synth.motions import Motions, MovingClip
from vivavoce.errors import WeightsError
from vivavoce.losses.rigid import arap, knn_graph
from vivavoce.splat.deformer.config import MINIATURE, DeformerConfig
from vivavoce.splat.deformer.deformer import ParticleDeformer
from vivavoce.splat.deformer.residual import Reading
from vivavoce.splat.skeleton import JOINTS
from vivavoce.splat.template.face import mean_face
from vivavoce.train.moving import (
    FACE_POINTS,
    GROUPS,
    HEAD,
    Body,
    Performed,
    Span,
    by_jaw,
    evenly,
    jaw_shares,
    misplaced,
    out_of_head,
    places,
)
from vivavoce.train.recipe import Recipe
from vivavoce.train.stage import Stage
from vivavoce.weights.files import load_strictly, read_metadata, read_state

FRAMES = 125
"""Of a training clip (paper 001, appendix B)."""
TOKENS = (*range(20), *range(60, 80), *range(80, len(FACE_POINTS), 2))
"""Places among `FACE_POINTS` that have a token: the lips' inner and outer edges, every second of what is no lip."""
FILE = "particles.safetensors"
HEADER = "vivavoce.particles"
_READ = 3  # tokens a point reads
_PARTED = 0.03  # metres that the jaw is lowered by where tokens and points are told near from far
_NEIGHBOURS = 6
_RIGID = 4  # frames of a clip whose rigidity is looked at
_MEASURED = 64  # clips that the jaw's shares are taken from
_ASIDE = 100.0  # of a metre: centimetres


class SpeakingParticles(nn.Module):
    """The deformer, the query tokens that it looks at, and what the points of the face hang on."""

    home: Tensor
    jaw: Tensor
    tokens_read: Tensor
    weights_read: Tensor

    def __init__(self, config: DeformerConfig, jaw: Float[Tensor, " 468"], *, residuals: bool = True) -> None:
        """`jaw` are the `jaw_shares`; without `residuals` particles are all that moves the face."""
        super().__init__()
        self.residuals = residuals
        self.deformer = ParticleDeformer(config)
        self.template = nn.Parameter(torch.randn(len(JOINTS), config.width))
        self.avatar = nn.Parameter(torch.randn(len(TOKENS), config.width))
        self.aside = nn.Linear(3, config.width, bias=False)
        home = torch.from_numpy(mean_face()).float()[list(FACE_POINTS)] / 1000
        share = jaw[list(FACE_POINTS)]
        reading = _nearest(parted(home, share), TOKENS)
        buffers = {
            "home": home,
            "jaw": share,
            "tokens_read": reading.tokens,
            "weights_read": reading.weights,
        }
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def forward(self, audio: Float[Tensor, "T A"], body: Body, *, first: int = 0) -> Performed:
        """The motion of a clip from rest; `first` is the position of its first frame."""
        avatar = self.avatar + self.aside(_ASIDE * self._departure(body))
        subject = self.deformer.prepare(avatar[None], self.template[None], body.joints[None])
        found = self.deformer(audio[None], subject, first=first)
        joints = found.transforms[0]
        face = body.face + self.jaw[:, None] * by_jaw(joints, body.face)
        if self.residuals and found.residuals is not None:
            own = found.residuals.read(Reading(self.tokens_read, self.weights_read))
            face = face + own.offsets[0] @ joints[:, HEAD, :, :3]
        return Performed(joints, places(joints, face, body))

    def _departure(self, body: Body) -> Float[Tensor, "Q 3"]:
        """How far the tokens' points are off the mean face's, both about their middles."""
        away = (body.face - body.face.mean(0)) - (self.home - self.home.mean(0))
        return away[list(TOKENS)]


def parted(face: Float[Tensor, "F 3"], jaw: Float[Tensor, " F"]) -> Float[Tensor, "F 3"]:
    """The resting face with its mouth open: there, lips that touch are not neighbours."""
    return face + _PARTED * jaw[:, None] * torch.tensor([0.0, 1.0, 0.0]).to(face)


def _nearest(points: Float[Tensor, "F 3"], tokens: Sequence[int]) -> Reading:
    """For each point the tokens that lie nearest, weighed by one over their squared distance."""
    near, which = torch.cdist(points, points[list(tokens)]).topk(_READ, largest=False)
    weights = 1 / near.clamp(min=1e-5).square()
    return Reading(which, weights / weights.sum(1, keepdim=True))


@dataclass(frozen=True)
class Heard:
    """A span of a clip, and what is random about it."""

    span: Span
    first: int
    """The position that the deformer takes its first frame for."""
    rigid: Int[Tensor, " r"]
    """Frames whose rigidity is looked at."""


class ParticleTask:
    """The deformer on motion that is known (`Task`)."""

    def __init__(self, model: SpeakingParticles, stage: Stage) -> None:
        self.module: Any = model
        self.weights: Mapping[str, float] = {**GROUPS, "arap": 100.0}
        self.frames = stage.frames or FRAMES

    @property
    def _device(self) -> torch.device:
        return self.module.home.device

    def batch(self, examples: Sequence[MovingClip], generators: Sequence[torch.Generator]) -> list[Heard]:
        """A random span of each clip, taken for a random place in a speech."""
        found = []
        for clip, generator in zip(examples, generators, strict=True):
            span = Span.drawn(clip, self.frames, generator, self._device)
            first = int(torch.randint(self.module.deformer.config.period, (), generator=generator))
            rigid = torch.randperm(self.frames, generator=generator)[:_RIGID]
            found.append(Heard(span, first, rigid.to(self._device)))
        return found

    def losses(self, batch: list[Heard]) -> dict[str, Float[Tensor, " B"]]:
        """Trajectory alignment of each group of points, and how far they are from moving rigidly (`losses.rigid`)."""
        each = [self._of(heard) for heard in batch]
        return {name: torch.stack([terms[name] for terms in each]) for name in each[0]}

    def _of(self, heard: Heard) -> dict[str, Float[Tensor, ""]]:
        span, body = heard.span, heard.span.body
        found = self.module(span.audio, body, first=heard.first)
        at = heard.rigid
        face = out_of_head(found.joints[at], found.places.face[at])
        apart = torch.cat([parted(body.face, self.module.jaw), body.surface])
        rigid = arap(
            torch.cat([body.face, body.surface]),
            torch.cat([face, found.places.surface[at]], 1),
            knn_graph(apart, _NEIGHBOURS),
        )
        return {**misplaced(found.places, span.places, fps=span.fps), "arap": rigid.mean()}

    def load(self, folder: Path) -> None:
        """Take over what `save` wrote. Raises WeightsError where it does not fit."""
        load_strictly(self.module, read_state(folder / FILE), str(folder / FILE))

    def save(self, folder: Path) -> None:
        """Write weights, tokens and shares with the deformer's config."""
        state = {name: value.contiguous().cpu() for name, value in self.module.state_dict().items()}
        told = {"residuals": self.module.residuals, **asdict(self.module.deformer.config)}
        save_file(state, folder / FILE, {HEADER: json.dumps(told)})

    def sample(self, folder: Path | None) -> None:
        """Nothing: losses tell it."""


def load_particles(path: Path) -> SpeakingParticles:
    """The model that a `ParticleTask` saved, ready to perform.

    Raises WeightsError for a file that is missing, damaged or made by something else.
    """
    stored = read_metadata(path).get(HEADER)
    if stored is None:
        raise WeightsError(f"{path} holds no particle deformer: give the file that its training saved.")
    told = json.loads(stored)
    residuals = told.pop("residuals")
    state = read_state(path)
    model = SpeakingParticles(DeformerConfig(**told), torch.zeros(468), residuals=residuals)
    load_strictly(model, state, str(path))
    return model.eval()


def particle_task(
    stage: Stage,
    clips: Motions,
    *,
    device: torch.device,
    config: DeformerConfig = MINIATURE,
    residuals: bool = True,
    seed: int = 0,
) -> ParticleTask:
    """The task as training begins: the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        jaw = jaw_shares(clips[i] for i in evenly(len(clips), _MEASURED))
        model = SpeakingParticles(config, jaw, residuals=residuals)
    return ParticleTask(model.to(device), stage)


ANGLES = replace(MINIATURE, motion="joint angles")
"""The pose bottleneck at the same size."""
PARTICLES_MINIATURE = Recipe(
    "particles-miniature",
    (
        Stage(
            name="motion",
            steps=450,
            batch=4,
            rate=2e-3,
            trains=("*",),
            frames=FRAMES,
            warmup=30,
            schedule="cosine",
            ema=0.99,
        ),
    ),
)
"""On speech and motion of many synthetic people."""
ANGLES_MINIATURE = replace(PARTICLES_MINIATURE, method="joint-angles-miniature")
"""The same with a motion by joint angles."""
