"""What a user may choose about a video, with the bounds within which it makes sense."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vivavoce.errors import InputError

SPLAT = "splat"
"""The method that needs no weights: Gaussians lifted from the photo."""
OWN = "audioavatar"
"""The same Gaussians by the motion of their own that an avatar was taught."""
FPS = 25.0
"""Frames a second that it draws unless others are asked for."""


@dataclass(frozen=True)
class VideoOptions:
    """What a user may choose of a method that draws every frame by diffusion."""

    base: str | None = None
    """The pretrained model: a diffusers folder, a hub name, or a folder of the original release."""
    weights: Path | None = None
    """The method's own parts, one safetensors file."""
    encoder: str | None = None
    """The speech encoder's folder or hub name, where it is not the method's usual one."""
    plan: Path | None = None
    """A plan in YAML: what happens when (see `vivavoce plan`)."""
    planner: str = "embedded"
    """Who plans without --plan: embedded; a Qwen-Omni folder or hub name; the URL of an OpenAI-compatible server."""
    planner_model: str | None = None
    """The model's name at that URL."""
    pose: Path | None = None
    """A driving video or pose file, as long as the speech."""
    steps: int | None = None
    """Denoising steps, by default the method's own."""
    solver: str | None = None
    """unipc or euler."""
    guidance: str | None = None
    """Scales of guidance, as in text=5,audio=4."""
    guidance_order: str | None = None
    """text_first or audio_first."""
    order: str | None = None
    """In which order chunks are drawn: interleaved or autoregressive."""
    cache: float | None = None
    """Skip most of a step whose first block changed by at most this share, 0..1, as 0.05: faster, not the same."""
    device: str = "auto"
    """cpu, cuda, cuda:1 ...; auto takes a graphics card where there is one."""
    resume: bool = False
    """Go on with a video that was interrupted."""
    states: Path | None = None
    """Folder of X-Pose's exported programs, for weights whose physical states are X-Pose's own."""
    show: tuple[str, ...] = ()
    """Of the network at work: keypoints (drawn over the clip), attention or attention:BLOCK (a plot beside it)."""

    @property
    def scales(self) -> dict[str, float]:
        """The scales of --guidance by name. Raises InputError for what is none."""
        found = {}
        for part in (self.guidance or "").split(","):
            name, _, value = part.partition("=")
            try:
                if part.strip():
                    found[name.strip()] = float(value)
            except ValueError as error:
                raise InputError(
                    f"--guidance {self.guidance!r} is no list of scales: write text=5,audio=4."
                ) from error
        return found


@dataclass(frozen=True)
class GenerateOptions:
    """The options of `vivavoce.generate`. Raises InputError for a value that is out of bounds."""

    size: int | None = None
    """Short side of the frames in pixels, 64..4096; None for the avatar's own."""
    fps: float | None = None
    """Frames a second, 1..120; None for 25, or what the method's weights were trained at."""
    seed: int = 0
    """The same seed gives the same motion."""
    background: str = "photo"
    """`photo`, `transparent`, a colour, or the path of a picture."""
    expressiveness: float = 1.0
    """How lively head, brows, shoulders and hands are, 0..2."""
    text: str | None = None
    """What is said, where that is known; of a method that draws by diffusion, what is to be seen."""
    face: int | None = None
    """Who speaks, counted from the left, from 1; None for the largest face."""
    method: str | None = None
    """`splat`, `audioavatar`, or a method of the video family by its name in `vivavoce methods`; None for
    `audioavatar` where an avatar has a motion of its own, else `splat`."""
    video: VideoOptions = field(default_factory=VideoOptions)

    @property
    def of_splat(self) -> dict[str, Any]:
        """The options that the Gaussian family takes."""
        names = ("size", "seed", "background", "expressiveness", "text", "face")
        return {name: getattr(self, name) for name in names} | {"fps": self.fps or FPS}

    def __post_init__(self) -> None:
        if self.size is not None:
            _check("size", self.size, 64, 4096)
        if self.fps is not None:
            _check("fps", self.fps, 1, 120)
        _check("expressiveness", self.expressiveness, 0, 2)
        _check("seed", self.seed, 0, 2**32 - 1)
        check_face(self.face)
        if self.text is not None and not self.text.strip():
            raise InputError("The text is empty: give the words that are said, or leave --text out.")


def check_face(face: int | None) -> None:
    """Raise InputError unless `face` can number a person in a photo."""
    if face is not None:
        _check("face", face, 1, 1000)


def _check(name: str, value: float | int, low: int, high: int) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"--{name} {value:g} is out of bounds: give a number from {low} to {high}.")


@dataclass(frozen=True)
class PersonalOptions:
    """What a user may choose of an avatar's own motion. Raises InputError for a number that has no meaning."""

    teacher: str | None = None
    """The method that teaches it: one that `vivavoce methods` lists."""
    motions: int = 120
    """Clips of the person, speaking, that the teacher draws."""
    open_domain: int = 4
    """Clips drawn by the video model that the teacher stands on, in which nothing is said."""
    base: str | None = None
    """The teacher's pretrained model: a diffusers folder, a hub name, or a folder of the original release."""
    weights: Path | None = None
    """The teacher's own parts, one safetensors file."""
    encoder: str | None = None
    """The teacher's speech encoder, by folder or hub name, where it is not its usual one."""
    motion: Path | None = None
    """A motion model to begin with: a folder that `vivavoce train audiomotion-miniature` has made."""
    device: str = "auto"
    """cpu, cuda, cuda:1 ...; auto takes a graphics card where there is one."""
    seed: int = 0
    """Another number gives other clips, and with them another motion."""

    def __post_init__(self) -> None:
        if self.motions < 1:
            raise InputError(f"--motions {self.motions} teach nothing: give a number from 1 up.")
        if self.open_domain < 0:
            raise InputError(f"--open-domain {self.open_domain} has no meaning: give a number from 0 up.")
        _check("seed", self.seed, 0, 2**32 - 1)


@dataclass(frozen=True)
class TrainOptions:
    """What a user may choose of how a machine trains."""

    base: str | None = None
    """The pretrained model: a diffusers folder, a hub name, or a folder of the original release."""
    weights: Path | None = None
    """The method's own parts to begin with, one safetensors file."""
    encoder: str | None = None
    """The speech encoder's folder or hub name, where it is not the method's usual one."""
    split: str = "train"
    """The part of a synthetic corpus to train on."""
    micro: int = 1
    """Examples that a process works on at once; the rest of its share of a batch is accumulated."""
    precision: str = "no"
    """bf16, or no for float32."""
    sharded: bool = False
    """Shard weights, gradients and optimizer over the processes (FSDP2)."""
    cpu: bool = False
    """Train on the processor though there is a graphics card."""
    workers: int = 0
    """Processes that read examples ahead."""
    save_every: int = 500
    """Steps between checkpoints."""
    sample_every: int | None = None
    """Steps between sample clips."""
    accept: bool = False
    """Go on although recipe or data have been changed on purpose since the last checkpoint."""


@dataclass(frozen=True)
class CorpusOptions:
    """Other generators for `vivavoce corpus synth`; None is the embedded one of each."""

    text: str | None = None
    """A file of utterances, a line each, or the URL of an OpenAI-compatible server."""
    text_model: str | None = None
    """The language model's name at that URL; its key is read from OPENAI_API_KEY."""
    voice: str | None = None
    """A command line with {text} and {out} that speaks English, or the URL of a server with OpenAI's /audio/speech."""
    voice_model: str | None = None
    """MODEL/VOICE at that URL; its key is read from OPENAI_API_KEY."""
    portrait: str | None = None
    """A text-to-image pipeline of diffusers, by folder or hub name; its pictures are moved by --method."""
    method: str | None = None
    """A method of the video family that draws the clips."""
    base: str | None = None
    """The pretrained base of that method."""
    weights: Path | None = None
    """That method's own parts."""
