"""Training a method of the video family: clips in latents, flow matching at random noise levels, sample clips."""

from __future__ import annotations

import tempfile
import wave
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vivavoce.errors import InputError, OutputError
from vivavoce.flow import shifted
from vivavoce.media.provenance import Provenance
from vivavoce.media.video import VideoWriter
from vivavoce.methods.load import add_lora, header_of, load_backbone, save_parts
from vivavoce.train.stage import Stage
from vivavoce.types import SPEECH_RATE
from vivavoce.video.batch import TrainingBatch
from vivavoce.video.draw import draw, frames_of
from vivavoce.video.example import Example
from vivavoce.video.maker import Scene
from vivavoce.video.method import Sampling, VideoMethod
from vivavoce.video.network import AvatarNetwork
from vivavoce.video.sample.resume import Job
from vivavoce.video.wan.sockets import Conditions
from vivavoce.weights import PARTS, load_method

TRANSFORMER = "transformer"
"""Of a result: the backbone, where it was trained itself."""
WITHOUT: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "given", "given.latents"),
    "audio": ("audio",),
    "pose": ("pose",),
    "pose_drop": ("pose_drop",),
    "plan": ("plan",),
    "states": ("states",),
    "phases": (),
}
"""What a stage may leave out, and the entries that go with it. Without "phases" no token is told its phase; what the
text says of them is the data's matter."""
_SEED = 0
"""Of a fresh adapter, which is random but the same every time."""


Grouped = list[tuple[list[int], TrainingBatch]]
"""Examples of one form together, with their places: plans are of any length, and not every clip has a pose."""


class VideoTask:
    """An AvatarNetwork in a stage (`task.Task`)."""

    def __init__(
        self, method: VideoMethod, stage: Stage, *, scenes: Sequence[Scene] = (), seed: int = 0
    ) -> None:
        """`scenes` are drawn with `seed` for samples. Adds the method's LoRA where the stage has it.

        Raises InputError for a stage that leaves out what no method has, or has LoRA where the method has none.
        """
        unknown = ", ".join(sorted(set(stage.without) - set(WITHOUT)))
        if unknown:
            raise InputError(
                f"Stage {stage.name!r} leaves out {unknown}: it can leave out {', '.join(sorted(WITHOUT))}."
            )
        self.method, self.stage, self.scenes, self.seed = method, stage, scenes, seed
        self.module = network = method.network
        self.weights = network.config.losses
        if stage.lora and not network.adapted and not _seeded_lora(network):
            raise InputError(
                f"Stage {stage.name!r} has lora, but {network.config.name} is trained without it."
            )
        if stage.dropout is not None:
            network.config = replace(network.config, dropout=stage.dropout)
        if stage.checkpointing:
            network.backbone.enable_gradient_checkpointing()
        with torch.no_grad():
            self.nulls = {"text": method.make.text([network.config.negative]).features.cpu()}
        self._moved = False

    def batch(self, examples: Sequence[Example], generators: Sequence[torch.Generator]) -> Grouped:
        """Each example with its noise, noise level and masks, in groups of one form.

        Noise levels are uniform in (0, 1], shifted as in sampling: ActAvatar (section 3.4.1) draws uniformly from its
        scheduler's timesteps, which are Wan's shifted ones; the other papers do not say.
        """
        groups: dict[object, tuple[list[int], list[TrainingBatch]]] = {}
        for place, (example, generator) in enumerate(zip(examples, generators, strict=True)):
            item = self._item(example, generator)
            places, items = groups.setdefault(item.form, ([], []))
            places.append(place)
            items.append(item)
        device = next(self.module.parameters()).device
        return [(places, TrainingBatch.cat(items).to(device)) for places, items in groups.values()]

    def losses(self, batch: Grouped) -> dict[str, Float[Tensor, " B"]]:
        """The network's, in the order of the examples."""
        order = torch.tensor([place for places, _ in batch for place in places]).argsort()
        found = [self.module.losses(group) for _, group in batch]
        return {name: torch.cat([terms[name] for terms in found])[order] for name in found[0]}

    def load(self, folder: Path) -> None:
        """Take over what `save` wrote. Raises WeightsError where it was made for something else."""
        network = self.module
        lora = network.backbone if network.adapted else None
        load_method(folder / PARTS, header_of(network), network.parts, lora_of=lora)
        if (folder / TRANSFORMER).is_dir():
            trained = load_backbone(network.config, folder, torch.float32)
            network.backbone.load_state_dict(trained.state_dict())
            self._moved = True

    def save(self, folder: Path) -> None:
        """Write the method's own parts, with LoRA; and a backbone that was trained itself, in diffusers' layout."""
        network = self.module
        save_parts(network, folder / PARTS)
        parameters = network.backbone.named_parameters()
        if self._moved or any(value.requires_grad and "lora_" not in name for name, value in parameters):
            network.backbone.save_pretrained(folder / TRANSFORMER)

    def sample(self, folder: Path | None) -> None:
        """Draw the scenes as a user would, into 0.mp4, 1.mp4, ... of the folder."""
        sampling = Sampling.of(self.module.config, seed=self.seed)
        for i, scene in enumerate(self.scenes):
            with tempfile.TemporaryDirectory() as place:
                job = Job(Path(place) / "job", {})
                order = draw(self.method, scene, sampling, job)
                if folder is not None:
                    _make(folder)
                    shown = frames_of(self.method, order, job)
                    sound = _wav(scene, Path(place) / "speech.wav")
                    record = Provenance(self.module.config.name, self.seed, {}, {"sample": folder.name})
                    size = self.module.config.width, self.module.config.height
                    path = folder / f"{i}.mp4"
                    with VideoWriter(path, *size, scene.fps, sound=sound, provenance=record) as writer:
                        for frame in shown:
                            writer.write(frame)

    def _item(self, example: Example, generator: torch.Generator) -> TrainingBatch:
        """An example at a random noise level, as the stage wants it."""
        told = self._told(example, generator)
        level = 1 - torch.rand(1, generator=generator)
        sigma = shifted(level, self.module.config.shift)
        noise = torch.randn(example.latents.shape, generator=generator)
        conditions = self.module.randomised(told, sigma, nulls=self.nulls, generator=generator)
        return TrainingBatch(example.latents, conditions, sigma, noise)

    def _told(self, example: Example, generator: torch.Generator) -> Conditions:
        """The example's conditions with given frames or not, but for those that the stage leaves out."""
        told, draw = dict(example.conditions), torch.rand((), generator=generator).item()
        for kind, share in self.stage.given.items():
            if 0 <= draw < share:
                if kind not in example.given:
                    raise InputError(
                        f"Example {example.name} was not prepared to be given frames {kind}: prepare the data for "
                        f"{self.module.config.name} again, or leave `given` out of stage {self.stage.name!r}."
                    )
                told |= example.given[kind]
            draw -= share
        if "phases" in self.stage.without and "phases" in told:
            told["phases"] = torch.zeros_like(told["phases"])
        gone = {key for name in self.stage.without for key in WITHOUT[name]}
        return {key: value for key, value in told.items() if key not in gone}


def _seeded_lora(network: AvatarNetwork) -> bool:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_SEED)
        return add_lora(network)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made ({error.strerror}): choose another."
        ) from error


def _wav(scene: Scene, path: Path) -> Path:
    """The scene's speech as a file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_RATE)
        file.writeframes((scene.speech.samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path
