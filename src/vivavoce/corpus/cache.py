"""Examples for training, made once: encoding takes longer than a step of training, and every epoch needs the same.

A file for each clip holds the latents and conditions of all its spans. Its name is the digest of everything that
decides them, so that what is there already is known, whatever was changed or stopped in between.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vivavoce import __version__
from vivavoce.corpus.clips import ClipSource, TrainingClip
from vivavoce.corpus.cuts import Cut, Cutter
from vivavoce.corpus.usable import MOST_BAD, gathered
from vivavoce.errors import InputError, OutputError
from vivavoce.media.files import check_folder, replacing
from vivavoce.video.example import Example, example_of
from vivavoce.video.maker import Maker
from vivavoce.video.network import AvatarNetwork

_APART = frozenset(
    (
        *("name", "paper", "base", "own", "transformer", "lora", "losses", "dropout", "chunk"),
        *("steps", "shift", "solver", "scales", "vace_scale", "guidance", "negative"),
        *(
            "gamma",
            "phases",
            "state_layer",
            "window",
            "planner_width",
            "pose_dropout",
            "supervised",
        ),  # methods/*.py
    )
)
"""Fields of a config that no example depends on, so that runs which vary them share their examples.

Others, of methods yet to come, count as if examples did depend on them.
"""
_LATENTS, _CONDITIONS = "latents", "conditions"
_HALF = torch.finfo(torch.float16).max


class CachedExamples:
    """The examples of all clips of a source, by number, as `train.video_task.example_of` makes them.

    Floats are kept in float16, which halves the disk that they need. It rounds by at most 2^-11 of a value, a quarter
    of what bfloat16 does, in which networks are trained; what it cannot hold stays float32. Pictures, as of drawn
    poses, are kept as the bytes that they were. All are given in float32, on the CPU.
    """

    def __init__(
        self,
        source: ClipSource,
        network: AvatarNetwork,
        make: Maker,
        folder: Path,
        *,
        frames: int,
        spans: int,
        seed: int = 0,
        most_bad: float = MOST_BAD,
    ) -> None:
        """Make what is not in `folder` yet: up to `spans` examples of `frames` frames of each clip (`cuts.Cutter`).

        Clips that cannot be used are left out and told in `bad`, by name.

        Raises InputError where more than the share `most_bad` of the clips is broken, and as `Cutter.of` does;
        OutputError where `folder` cannot be written, as on a full disk. Files that are finished are kept.
        """
        _made(folder)
        cutter = Cutter.of(network.config, frames=frames, spans=spans, seed=seed)
        common = f"{_digest_of(network, make)} {frames}"

        def kept(clip: TrainingClip) -> list[_Place]:
            cuts = cutter.cuts(clip.name, len(clip))
            sha = hashlib.sha256(f"{common} {clip.digest} {cuts}".encode()).hexdigest()
            path = folder / f"{sha}.safetensors"
            names = [f"{clip.name} from frame {cut.first}" for cut in cuts]
            if not _whole(path, len(cuts)):
                examples = (
                    _example(clip, cut, network, make, frames=frames, name=name)
                    for cut, name in zip(cuts, names, strict=True)
                )
                tensors = {f"{i}/{key}": v for i, e in enumerate(examples) for key, v in _flat(e).items()}
                with replacing(path) as temporary:
                    temporary.write_bytes(save(tensors))
            return [_Place(path, i, name) for i, name in enumerate(names)]

        found, self.bad = gathered(source, kept, "Encoding clips", most_bad=most_bad)
        self._places = [place for _, places in found for place in places]

    @property
    def fingerprint(self) -> str:
        """A digest of all examples."""
        places = "\n".join(f"{place.path.name} {place.number}" for place in self._places)
        return hashlib.sha256(places.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Example:
        """Raises InputError where it cannot be read."""
        path, number, name = self._places[index]
        try:
            with safe_open(path, "pt") as file:
                keys = [key for key in file.keys() if key.startswith(f"{number}/")]  # noqa: SIM118  # no mapping
                tensors = {tuple(key.split("/")[1:]): _restored(file.get_tensor(key)) for key in keys}
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"The example {name} cannot be read, since {path} is damaged or gone: begin again, and it is made anew."
            ) from error
        given: dict[str, dict[str, Tensor]] = {}
        for place, value in tensors.items():
            given.setdefault(place[0], {})[place[-1]] = value
        latents, conditions = given.pop(_LATENTS)[_LATENTS], given.pop(_CONDITIONS)
        return Example(name, latents, conditions, given)


class _Place(NamedTuple):
    """Where an example is kept."""

    path: Path
    number: int
    name: str


@torch.no_grad()
def _example(
    clip: TrainingClip, cut: Cut, network: AvatarNetwork, make: Maker, *, frames: int, name: str
) -> Example:
    scene = clip.scene(network.config, photo=cut.photo)
    pictures = clip.frames(cut.first, frames, size=make.size)
    return example_of(network, make, scene=scene, frames=pictures, name=name, first=cut.first)


def _flat(example: Example) -> dict[str, Tensor]:
    """The tensors of an example as they lie on the disk: the kind of given frames, a slash, their own name."""
    kinds = {_LATENTS: {_LATENTS: example.latents}, _CONDITIONS: example.conditions, **example.given}
    found = {f"{kind}/{name}": value for kind, told in kinds.items() for name, value in told.items()}
    for name, value in found.items():
        if not value.isfinite().all():
            raise InputError(
                f"The example {example.name} has {name.partition('/')[2]} that are not finite (NaN or infinite): look "
                "at the clip, and at the encoders' weights."
            )
    return {name: _stored(value.cpu()) for name, value in found.items()}


def _stored(value: Tensor) -> Tensor:
    """As it lies on the disk: pictures as bytes, other floats in half precision where they fit."""
    if value.dtype == torch.uint8:
        raise ValueError("bytes stand for pictures in [-1, 1]")
    if not value.is_floating_point():
        return value.clone(memory_format=torch.contiguous_format)
    levels = ((value.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    if torch.equal(_restored(levels), value.float()):
        return levels.contiguous()
    fits = value.abs().max() <= _HALF
    return value.to(torch.float16 if fits else torch.float32, copy=True).contiguous()


def _restored(stored: Tensor) -> Tensor:
    if stored.dtype == torch.uint8:
        return stored.float() / 127.5 - 1
    return stored.float() if stored.is_floating_point() else stored


def _whole(path: Path, count: int) -> bool:
    """Whether a file holds that many examples."""
    if not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as file:
            return f"{count - 1}/{_LATENTS}/{_LATENTS}" in file.keys()  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError):
        warnings.warn(f"{path} is damaged and is made again.", stacklevel=2)
        return False


def _digest_of(network: AvatarNetwork, make: Maker) -> str:
    """Of what decides every clip's examples: this program, what the method tells its network, and all encoders."""
    config = asdict(network.config)
    told = {name: value for name, value in config.items() if name not in _APART}
    record = {"version": __version__, "method": type(network).__qualname__, **told}
    digest = hashlib.sha256(json.dumps(record, sort_keys=True, default=sorted).encode())
    hearing = [part for part in vars(make.speech_encoder).values() if isinstance(part, nn.Module)]
    for model in (make.vae, make.text_encoder.model, *hearing):
        for name, value in model.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made ({error.strerror}): choose another place."
        ) from error
    check_folder(folder)
    for path in folder.glob(".vivavoce-*"):  # what a killed run was writing
        path.unlink(missing_ok=True)
