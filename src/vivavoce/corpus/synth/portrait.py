"""From attributes to a person: the embedded template, or a text-to-image model's picture of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from vivavoce.corpus.synth.attributes import SKIN_SRGB, Attributes, portrait_prompt
from vivavoce.corpus.synth.coverbal import Habit, SpeechCues, habit
from vivavoce.corpus.synth.gestures import perform
from vivavoce.corpus.synth.setting import background, framed, light
from vivavoce.errors import WeightsError
from vivavoce.splat.controls import CHANNELS
from vivavoce.splat.template.clothes import Clothes
from vivavoce.splat.template.face import Features
from vivavoce.splat.template.hair import Hair, Style
from vivavoce.splat.template.joints import Build
from vivavoce.splat.template.look import Look
from vivavoce.splat.template.paint import Complexion
from vivavoce.splat.template.person import Person, build_person
from vivavoce.splat.template.stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

    import torch

_HAIR: dict[str, Style] = {
    "bald": "bald", "short": "short", "curly": "curly", "shoulder-length": "bob", "long": "long", "bun": "bun",
}  # fmt: skip
_HAIR_COLOR = {
    "black": (0.07, 0.06, 0.06),
    "brown": (0.27, 0.17, 0.10),
    "blond": (0.66, 0.51, 0.29),
    "red": (0.52, 0.22, 0.10),
    "grey": (0.64, 0.63, 0.61),
}
_CLOTHING_COLOR = {
    "white": (0.88, 0.88, 0.88),
    "grey": (0.52, 0.53, 0.55),
    "black": (0.12, 0.12, 0.13),
    "red": (0.68, 0.14, 0.16),
    "orange": (0.86, 0.46, 0.14),
    "yellow": (0.88, 0.76, 0.25),
    "green": (0.18, 0.45, 0.26),
    "blue": (0.17, 0.30, 0.62),
    "purple": (0.42, 0.22, 0.52),
}
_IRIS = ((0.25, 0.15, 0.08), (0.17, 0.1, 0.06), (0.27, 0.38, 0.48), (0.32, 0.36, 0.2))
_TROUSERS = ((0.16, 0.17, 0.22), (0.2, 0.24, 0.36), (0.3, 0.26, 0.22))
_BLOOD, _GLOW = np.array([0.88, 0.79, 0.73]), np.array([0.085, 0.052, 0.036])
"""From a swatch to skin under a lamp: warmer, neither white nor black."""
_FLESH = np.array([0.72, 0.33, 0.33])
_GIRTH = {"slim": 0.86, "average": 1.0, "athletic": 1.05, "heavy": 1.3}
_SHOULDERS = {"slim": 0.97, "average": 1.0, "athletic": 1.1, "heavy": 1.03}
_FACE_WIDTH = {"slim": -0.8, "average": 0.0, "athletic": 0.2, "heavy": 1.3}
_LINES = {"young": 0.0, "middle-aged": 0.4, "old": 1.0}
_CUT: dict[str, dict[str, Any]] = {
    "t-shirt": {"sleeves": "short", "neckline": "crew"},
    "shirt": {"neckline": "collar", "pattern": "buttons"},
    "sweater": {"neckline": "crew", "pattern": "stripes"},
    "jacket": {"neckline": "v", "pattern": "open"},
    "hoodie": {"neckline": "collar", "pattern": "cords"},
}


@runtime_checkable
class PortraitSource(Protocol):
    """Makes the picture of a person who has these attributes; the same seed gives the same picture."""

    def portrait(
        self, attributes: Attributes, seed: int, *, width: int, height: int
    ) -> UInt8[np.ndarray, "H W 3"]: ...


class TemplatePortrait:
    """The project's own person, drawn by its own rasteriser."""

    def portrait(
        self, attributes: Attributes, seed: int, *, width: int, height: int
    ) -> UInt8[np.ndarray, "H W 3"]:
        """At rest, the mouth shut, from above the head to the hips."""
        person = build_person(look_of(attributes, seed), detail=detail_for(height))
        stage = stage_for(person, attributes, seed, width=width, height=height)
        controls = np.zeros((1, len(CHANNELS)), np.float32)
        rest = perform(
            person.joints,
            (),
            cues=SpeechCues(np.zeros(1), ()),
            habit=habit_of(seed),
            fps=25.0,
            frames=1,
            rng=np.random.default_rng(seed),
            girth=person.look.build.girth,
        )
        return stage.picture(
            stage.transforms(person.rig.transforms(controls, rest.rotations))[0], controls[0]
        )


class DiffusersPortrait:
    """A text-to-image pipeline of diffusers, by hub name or folder, told what `attributes.portrait_prompt` says."""

    def __init__(self, source: str | Path, device: str | torch.device = "cpu") -> None:
        """Raises WeightsError where there is no such pipeline."""
        from diffusers.pipelines.auto_pipeline import AutoPipelineForText2Image

        from vivavoce.weights import locate

        folder = locate(source, "text-to-image pipeline")
        try:
            self._pipeline: Any = AutoPipelineForText2Image.from_pretrained(folder).to(device)
        except Exception as error:  # a folder of something else raises whatever its reader stumbles over
            raise WeightsError(
                f"{source} is no text-to-image pipeline of diffusers: give a folder with a model_index.json of one."
            ) from error
        self._pipeline.set_progress_bar_config(disable=True)

    def portrait(
        self, attributes: Attributes, seed: int, *, width: int, height: int
    ) -> UInt8[np.ndarray, "H W 3"]:
        """What the model draws for the attributes."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        drawn = self._pipeline(
            portrait_prompt(attributes), width=width, height=height, generator=generator, output_type="np"
        )
        return (np.clip(drawn.images[0], 0, 1) * 255).round().astype(np.uint8)


def habit_of(seed: int) -> Habit:
    """How the person of that seed holds the hands."""
    return habit(np.random.default_rng([seed, 3]))


def detail_for(height: int) -> float:
    """Distance between Gaussians in mm for a picture of this height: about one a pixel."""
    return float(np.clip(768 / height, 2.5, 8.0))


def stage_for(person: Person, attributes: Attributes, seed: int, *, width: int, height: int) -> Stage:
    """The person before the background that the attributes ask for, in light of that seed."""
    rng = np.random.default_rng([seed, 2])
    view = framed(person.look.build, width, height)
    return Stage(
        person,
        view.camera,
        centre=view.centre,
        distance=view.distance,
        light=light(rng),
        background=background(attributes.background, width, height, rng),
    )


def look_of(attributes: Attributes, seed: int) -> Look:
    """One of the many who have these attributes."""
    a, rng = attributes, np.random.default_rng([seed, 1])
    man = a.gender == "man"
    tone = np.array(SKIN_SRGB[a.skin]) / 255 * rng.uniform(0.95, 1.04) + rng.uniform(-0.015, 0.015, 3)
    skin = np.clip(tone * _BLOOD + _GLOW, 0, 1)
    hair = np.clip(np.array(_HAIR_COLOR[a.hair_color]) * rng.uniform(0.85, 1.15), 0, 1)
    return Look(
        build=Build(
            stature=float(rng.normal(1765 if man else 1640, 45)),
            shoulders=_SHOULDERS[a.body] * (1.05 if man else 0.94),
            girth=_GIRTH[a.body] * (1.04 if man else 0.96),
            face=float(rng.normal(180 if man else 168, 4)),
        ),
        features=_features(a, man, rng),
        complexion=_complexion(a, man, skin, hair, rng),
        hair=Hair(_HAIR[a.hair], _triple(hair)),
        clothes=Clothes(
            _CLOTHING_COLOR[a.clothing_color],
            _TROUSERS[int(rng.integers(len(_TROUSERS)))],
            second=_second(a.clothing, np.array(_CLOTHING_COLOR[a.clothing_color])),
            **_CUT[a.clothing],
        ),
        glasses=(0.1, 0.09, 0.09) if a.glasses == "glasses" else None,
        seed=seed,
    )


def _features(a: Attributes, man: bool, rng: np.random.Generator) -> Features:
    drawn = np.clip(rng.standard_normal(10), -1.6, 1.6) * 0.7
    width, jaw, length, nose_width, nose_length, lips, mouth, eyes, distance, brows = drawn.tolist()
    sign = 1.0 if man else -1.0
    return Features(
        width=width + _FACE_WIDTH[a.body],
        jaw=jaw + 0.6 * sign + 0.4 * _FACE_WIDTH[a.body],
        length=length + 0.3 * sign,
        nose_width=nose_width + 0.2 * sign,
        nose_length=nose_length + 0.4 * (a.age == "old"),
        lips=lips - 0.5 * sign - 0.5 * (a.age == "old"),
        mouth=mouth,
        eyes=eyes - 0.3 * sign - 0.4 * (a.age == "old"),
        eye_distance=distance,
        brows=brows - 0.5 * sign,
    )


def _complexion(
    a: Attributes, man: bool, skin: np.ndarray, hair: np.ndarray, rng: np.random.Generator
) -> Complexion:
    tint = np.array([0.88, 0.62, 0.62]) if man else np.array([0.9, 0.52, 0.54])
    brows = 0.8 * hair + 0.1 * skin
    return Complexion(
        skin=_triple(skin),
        lips=_triple(0.8 * skin * tint + 0.2 * _FLESH),
        brows=_triple(brows),
        iris=_IRIS[int(rng.integers(2 if a.hair_color == "black" else len(_IRIS)))],
        blush=float(rng.uniform(0.1, 0.3) if man else rng.uniform(0.25, 0.5)),
        lines=_LINES[a.age],
        beard=0.9 if a.beard == "beard" else 0.0,
        moustache=0.95 if a.beard != "none" else 0.0,
        freckles=float(0.5 * (a.hair_color == "red" and skin.mean() > 0.5)),
        lashes=0.3 if man else 0.9,
    )


def _second(clothing: str, color: np.ndarray) -> tuple[float, float, float]:
    """The other colour of a garment: a shirt under a jacket, the stripes of a sweater."""
    if clothing == "jacket":
        return (0.86, 0.86, 0.84) if color.mean() < 0.6 else (0.2, 0.22, 0.28)
    return _triple(0.72 * color if color.mean() > 0.5 else color + 0.28 * (1 - color))


def _triple(color: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = (float(c) for c in np.clip(color, 0, 1))
    return red, green, blue
