"""What the benchmarks of the video family time: networks at random, what they are told, the plain model beside them.

Clocks are functions that give seconds; two readings are subtracted.
"""

from __future__ import annotations

import inspect
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel

from vivavoce.features.encoders import SpeechEncoder
from vivavoce.features.loudness import Speech
from vivavoce.methods.load import untrained_vae
from vivavoce.types import SPEECH_RATE
from vivavoce.video.config import VideoConfig
from vivavoce.video.draw import draw_chunk
from vivavoce.video.maker import Maker, Scene, Span
from vivavoce.video.method import Sampling, VideoMethod
from vivavoce.video.network import AvatarNetwork
from vivavoce.video.plan import Plan
from vivavoce.video.sample.sampler import noise
from vivavoce.video.text import EncodedText, TextEncoder

PLAN_TOKENS = 128
"""Of a planner's brief: 80 words."""
Clock = Callable[[], float]


class RandomText(TextEncoder):
    """Numbers in the place of a text's features; umT5 itself is no part of a step."""

    def __init__(self, width: int, length: int) -> None:
        self.model: Any = torch.nn.Module()  # none: it takes no memory either
        self._width = width
        self.length = length

    def encode(self, blocks: Sequence[str]) -> EncodedText:
        """Of any text, without padding."""
        tokens = 1, self.length
        words = torch.ones(tokens, dtype=torch.bool)
        return EncodedText(torch.randn(*tokens, self._width), words.long(), words)

    def states(self, text: str) -> torch.Tensor:
        """Of a brief."""
        return torch.randn(1, PLAN_TOKENS, self._width)


class RandomSpeech(SpeechEncoder):
    """Numbers in the place of a speech's features, 50 a second."""

    _first, _stride = 160.0, 320

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        self.name, self.width = name, width

    def _encoded(self, samples: np.ndarray) -> np.ndarray:
        count = max(2, len(samples) // self._stride)
        return np.random.default_rng(0).standard_normal((count, self.width), np.float32)


@contextmanager
def made_as(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Within it, tensors are made on this device and floating-point ones of this kind."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def random_method(config: VideoConfig, device: torch.device, dtype: torch.dtype) -> VideoMethod:
    """The method at random, made on the device itself; its VAE in float32, as the program has it."""
    with made_as(device, dtype):
        network = config.build()
    for parameter in network.branches.parameters():
        if not parameter.any():  # zeros, as branches begin, draw less power and so are multiplied faster
            torch.nn.init.normal_(parameter, std=0.02)
    for name, parameter in network.backbone.named_parameters():
        if set(name.split(".")) & set(network.backbone._keep_in_fp32_modules):
            parameter.data = parameter.data.float()
    with made_as(device, torch.float32):
        vae = untrained_vae(config.vae)
    text = RandomText(config.transformer["text_dim"], config.text_length)
    speech = RandomSpeech(config.encoder.name, config.encoder.width)
    for model in (network, vae):
        model.eval().requires_grad_(False)
    return VideoMethod(config, network, Maker(vae, text, speech, size=(config.width, config.height)))


def random_scene(config: VideoConfig) -> Scene:
    """One chunk with everything that the method can be told: photo, speech, a brief, a pose."""
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal(round(config.chunk / config.fps * SPEECH_RATE))
    planned = getattr(config, "planner_width", None)
    posed = "pose" in config.modes
    return Scene(
        photo=rng.integers(0, 256, (config.height, config.width, 3), np.uint8),
        speech=Speech(samples.astype(np.float32), 1.0),
        plan=Plan(base="A person speaks."),
        frames=config.chunk,
        fps=config.fps,
        embeddings=torch.randn(1, PLAN_TOKENS, planned) if planned else None,
        pose=rng.uniform(0, 1, (config.chunk, 127, 3)).astype(np.float32) if posed else None,
    )


def evaluations(method: VideoMethod, scene: Scene) -> dict[str, Callable[[], object]]:
    """One evaluation of the network, "ours", and of the plain diffusers model on exactly the same inputs, "plain".

    Each has been called once.
    """
    network, make = method.network, method.make
    with torch.no_grad():
        conditions = network.conditions(make, scene, Span(0, scene.frames))
    x = noise(network.latent_shape(scene.frames), 0).to(make.device)
    if "given" in conditions:
        conditions["given.noise"] = x
    sigma = torch.full((1,), 0.7, device=make.device)
    given: dict[str, Any] = {}
    hook = network.backbone.register_forward_pre_hook(
        lambda module, args, inputs: given.update(inputs), with_kwargs=True
    )

    def ours() -> object:
        with torch.no_grad():
            return network(x, sigma, conditions).sample

    ours()
    hook.remove()
    model = plain_model(network)
    known = inspect.signature(model.forward).parameters
    inputs = {name: value for name, value in given.items() if name in known}

    def plain() -> object:
        with torch.no_grad():
            return model(**inputs, return_dict=False)[0]

    plain()
    return {"ours": ours, "plain": plain}


def plain_model(network: AvatarNetwork) -> Any:
    """diffusers' own model on the very parameters of the network's backbone."""
    vace = network.config.backbone == "vace"
    with torch.device("meta"):
        model = (WanVACETransformer3DModel if vace else WanTransformer3DModel)(**network.config.transformer)
    model.load_state_dict(network.backbone.state_dict(), assign=True)
    model.rope = network.backbone.rope  # its tables are in no state
    return model.eval()


def alternated(
    contestants: Mapping[str, Callable[[], object]], rounds: int, clock: Clock
) -> dict[str, list[float]]:
    """Seconds of each, round by round in turn, so that other work on the machine meets all alike.

    The order turns round after every round. Nothing goes before: call each once if the first call is slower.
    """
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds):
        for name in names if k % 2 == 0 else reversed(names):
            began = clock()
            contestants[name]()
            seconds[name].append(clock() - began)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """How many times longer `one` takes than `other`: the median over the rounds."""
    return statistics.median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))


def step_seconds(
    method: VideoMethod,
    scene: Scene,
    sampling: Sampling,
    clock: Clock,
    *,
    after_first: Callable[[], None] = lambda: None,
) -> tuple[list[float], torch.Tensor]:
    """Seconds of each denoising step of a chunk but the first, as the program draws it; and the latents.

    The first step warms up; `after_first` is called behind it.
    """
    stamps: list[float] = []

    def on_step() -> None:
        if not stamps:
            after_first()
        stamps.append(clock())

    chunk = sampling.chunks(method.config, scene.frames)[0]
    kept = draw_chunk(method, scene, chunk, sampling, given={}, on_step=on_step)
    return np.diff(stamps).tolist(), kept["latents"]


def alternated_steps(
    method: VideoMethod, scene: Scene, samplings: Mapping[str, Sampling], rounds: int, clock: Clock
) -> dict[str, list[float]]:
    """Seconds of a step of each way of sampling, the median of a chunk's, round by round in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in samplings}
    for _ in range(rounds):
        for name, sampling in samplings.items():
            steps, _latents = step_seconds(method, scene, sampling, clock)
            seconds[name].append(statistics.median(steps))
    return seconds
