"""Training the large reconstruction network on people seen from several sides (LHM, arXiv:2503.10625, section 4.4).

A photo becomes Gaussians at rest, these are posed as each view has the person, and drawn by its camera. There are
five terms: absolute error and squared distance of structure (LHM has LPIPS there) of the pixels, which count more at
face and hands, absolute error of alpha, and LHM's two rules for Gaussians at rest. Its term of the face's identity is
left out, since it needs a network of faces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import save_file
from torch import Tensor

from vivavoce.corpus.synth.sitter import Subject
from vivavoce.corpus.synth.views import Sitting, Sittings, frontal, subjects
from vivavoce.features.focus import focus_of
from vivavoce.losses.photometric import absolute_error, perceptual_error
from vivavoce.losses.rigid import acap, asap
from vivavoce.splat.deformer.skin import Hold, rest_covariances, skin
from vivavoce.splat.lhm.config import MINIATURE, LhmConfig
from vivavoce.splat.lhm.network import PERSONAL, PERSONAL_HANDS, LargeReconstruction
from vivavoce.splat.lhm.pictures import Images, look_at
from vivavoce.splat.lhm.template import PersonTemplate, TemplatePoints
from vivavoce.splat.lhm.tokens import TokenEncoder
from vivavoce.splat.rasterize.differentiable import rasterize_differentiable
from vivavoce.train.recipe import Recipe
from vivavoce.train.stage import Stage
from vivavoce.train.task import Examples
from vivavoce.types import Camera
from vivavoce.weights import load_strictly, read_state

NETWORK = "reconstruction.safetensors"
"""The file of a result that holds the network."""
HEADER = "vivavoce.reconstruction"
"""Under which the file tells the network's config."""
WEIGHTS = {"pixels": 1.0, "structure": 0.2, "alpha": 1.0, "asap": 10.0, "acap": 1000.0}
"""LHM's own (configs/convert/1B-step4.yaml of its release), but for the structure's, which stands for LPIPS."""

LHM_MINIATURE = Recipe(
    "lhm-miniature",
    (
        Stage(
            name="shape",
            steps=500,
            batch=4,
            rate=8e-4,
            trains=("*",),
            warmup=50,
            losses={"structure": 0.0},
        ),
        Stage(
            name="detail",
            steps=900,
            batch=4,
            rate=8e-4,
            trains=("*",),
            warmup=20,
            schedule="cosine",
            ema=0.995,
        ),
    ),
)
"""The miniature: first where everything is and in which colour, then what it looks like."""

LHM_PERSONAL = Recipe(
    "lhm-miniature-personal",
    (
        Stage(
            name="decoder",
            steps=80,
            batch=1,
            rate=3e-4,
            trains=PERSONAL_HANDS,
            warmup=5,
            schedule="cosine",
            decay=0.0,
        ),
    ),
)
"""The miniature for one person (paper 003, section 3.1): the decoder, and what joins the hands' tokens to the rest."""

PEOPLE, SEED = 200, 0
"""Of the corpus whose people the miniature is trained on; those of the miniatures of the video family."""
_PIXEL = 1 / 12  # variance of a pixel's own square: the views are means over it
_EACH = 8  # photos of a person
_PERSONAL_EACH = 12  # the same for one person; each comes with six views


@dataclass(frozen=True)
class Sides:
    """K views of one person."""

    camera: Camera
    images: Float[Tensor, "K H W 3"]
    """RGB in [0, 1], on white."""
    alphas: Float[Tensor, "K H W"]
    focus: Float[Tensor, "K H W"]
    """How much a pixel counts."""
    transforms: Float[Tensor, "K M 3 4"]
    """From the template's rest pose into the camera's space, metres."""


@dataclass(frozen=True)
class Seen:
    """A batch: photos of B people, and views of each."""

    photos: Images
    sides: tuple[Sides, ...]


class ReconstructionTask:
    """The network on `Sitting` examples (`Task`)."""

    def __init__(
        self,
        network: LargeReconstruction,
        template: TemplatePoints,
        *,
        shown: Examples | None = None,
        body: TokenEncoder | None = None,
    ) -> None:
        """Of `shown`, samples are drawn; `body` as in `LargeReconstruction.encode`."""
        self.module = network
        self.weights: Mapping[str, float] = WEIGHTS
        self.template, self.shown, self.body = template, shown, body
        self.hold = Hold.of(template.binding, network.condition.weight.device)

    def batch(self, examples: Sequence[Sitting], generators: Sequence[torch.Generator]) -> Seen:
        """Nothing is random here."""
        del generators
        device = self.module.condition.weight.device
        pictures = torch.stack([_unit(example.photo.image).permute(2, 0, 1) for example in examples])
        keypoints = np.stack([example.photo.keypoints for example in examples])
        photos = look_at(pictures.to(device), keypoints, self.module.config)
        return Seen(photos, tuple(sides_of(example, device) for example in examples))

    def losses(self, batch: Seen) -> dict[str, Float[Tensor, " B"]]:
        """ "pixels" and "structure" (weighted by focus) and "alpha", each a mean over views; "asap" and "acap"."""
        found = self.module(batch.photos, self.template, self.body)
        rows = []
        for index, sides in enumerate(batch.sides):
            image, alpha = draw({name: value[index] for name, value in found.items()}, self.hold, sides)
            pictures = image[None], sides.images[None]
            count, focus = len(image), sides.focus[None]
            rows.append(
                {
                    "pixels": absolute_error(*pictures, weights=focus)[0] / count,
                    "structure": perceptual_error(*pictures, weights=focus)[0] / count,
                    "alpha": (alpha - sides.alphas).abs().mean(),
                }
            )
        terms = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        return terms | {"asap": asap(found["scales"]), "acap": acap(found["offsets"])}

    def load(self, folder: Path) -> None:
        """Take over what `save` wrote. Raises WeightsError where it does not fit."""
        load_network(self.module, folder)

    def save(self, folder: Path) -> None:
        """Write the network, with its config."""
        told = {HEADER: json.dumps(asdict(self.module.config))}
        save_file({k: v.contiguous() for k, v in self.module.state_dict().items()}, folder / NETWORK, told)

    @torch.no_grad()
    def sample(self, folder: Path | None) -> None:
        """Photo and views above, and what is drawn of it below."""
        import cv2

        if self.shown is None:
            return
        sitting = self.shown[0]
        wanted = np.stack([view.image for view in sitting.views])
        drawn = views_of(self.module, self.template, sitting, self.body)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            size = wanted.shape[1:3][::-1]
            photo = cv2.resize(sitting.photo.image, size, interpolation=cv2.INTER_AREA)
            rows = np.concatenate([photo, *wanted], axis=1), np.concatenate([photo, *drawn], axis=1)
            cv2.imwrite(str(folder / "0.png"), np.concatenate(rows)[..., ::-1])


@torch.no_grad()
def views_of(
    network: LargeReconstruction,
    template: TemplatePoints,
    sitting: Sitting,
    body: TokenEncoder | None = None,
) -> UInt8[np.ndarray, "K H W 3"]:
    """What a network makes of a sitting's photo, drawn as its views are."""
    task = ReconstructionTask(network, template, body=body)
    batch = task.batch([sitting], [])
    found = network(batch.photos, template, body)
    image, _ = draw({name: value[0] for name, value in found.items()}, task.hold, batch.sides[0])
    return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()


def draw(
    gaussians: Mapping[str, Tensor], hold: Hold, sides: Sides
) -> tuple[Float[Tensor, "K H W 3"], Float[Tensor, "K H W"]]:
    """One person's Gaussians (as `LargeReconstruction` gives them, without B) in K views: on white, and alpha."""
    covariances = rest_covariances(gaussians["quats"], gaussians["scales"])
    means, covariances = skin(gaussians["means"], covariances, hold, sides.transforms)
    shape = (len(means), -1)
    image, alpha, _ = rasterize_differentiable(
        means,
        covariances,
        gaussians["opacities"].expand(*shape),
        gaussians["colors"].expand(*shape, -1),
        sides.camera,
        background=means.new_ones(3),
        eps2d=_PIXEL,
    )
    return image, alpha


def sides_of(sitting: Sitting, device: torch.device | str = "cpu") -> Sides:
    """A sitting's views as tensors."""
    size = (sitting.camera.width, sitting.camera.height)
    views = sitting.views
    focus = focus_of(np.stack([view.keypoints for view in views]), *size)
    pose = torch.from_numpy(np.stack([view.pose for view in views])).double()
    away = torch.from_numpy(np.stack([view.extrinsics for view in views])).double()[:, None]
    linear, shift = away[..., :3] @ pose[..., :3], away[..., :3] @ pose[..., 3:] + away[..., 3:]
    return Sides(
        sitting.camera,
        images=_unit(np.stack([view.image for view in views])).to(device),
        alphas=_unit(np.stack([view.alpha for view in views])).to(device),
        focus=torch.from_numpy(focus).to(device),
        transforms=torch.cat([linear, shift], dim=-1).float().to(device),
    )


def new_network(config: LhmConfig, seed: int) -> LargeReconstruction:
    """With random weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return LargeReconstruction(config)


def load_network(network: LargeReconstruction, folder: Path) -> None:
    """Fill a network from a stage's result. Raises WeightsError where it does not fit."""
    path = folder / NETWORK
    load_strictly(network, read_state(path), str(path))


class Reconstruction:
    """What a run is made of: `build` and `data` for `train.trainer.train`."""

    def __init__(
        self, recipe: Recipe, sittings: Sittings, *, config: LhmConfig = MINIATURE, begun: Path | None = None
    ) -> None:
        """`begun` is the folder of a stage's result to begin with, in place of random weights."""
        self._config, self._seed, self._begun = config, recipe.seed, begun
        self._sittings = sittings
        self._template = PersonTemplate().sample(config.points)

    def build(self, stage: Stage, device: torch.device) -> ReconstructionTask:
        network = new_network(self._config, self._seed)
        if self._begun is not None:
            load_network(network, self._begun)
        return ReconstructionTask(network.to(device), self._template, shown=self._sittings)

    def data(self, stage: Stage) -> Sittings:
        return self._sittings


def training_sittings(people: int = PEOPLE) -> Sittings:
    """What the miniature is trained on: eight photos of each person of a corpus of so many who is not held out."""
    return Sittings(subjects(people, SEED)[0], each=_EACH)


def personal_sittings(subject: Subject) -> Sittings:
    """What it is trained on further for one synthetic person: one photo, and frontal views in sixty other poses.

    As clips that a video model makes from the photo: from other sides nothing is known.
    """
    return Sittings([subject], each=_PERSONAL_EACH, plan=frontal)


def personal(recipe: Recipe, config: LhmConfig) -> Recipe:
    """A recipe for one person, for a network with hands or without."""
    trains = PERSONAL if config.hands is None else PERSONAL_HANDS
    return replace(recipe, stages=tuple(replace(stage, trains=trains) for stage in recipe.stages))


def _unit(values: np.ndarray) -> Float[Tensor, "*n"]:
    return torch.from_numpy(values).float() / 255
