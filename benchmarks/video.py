"""The video family on a processor: what its parts cost beside what they are attached to, side by side in one run.

    python benchmarks/video.py [--json FILE] [--quick]

One thread, random weights. Ratios are medians over rounds in which the contestants take turns, of processor time, so
that other work on the machine hardly counts. Networks have the papers' widths and fewer blocks and tokens, where what
is added weighs more than in the whole: the shares of operations at full size stand beside them. The rest is measured
on the miniatures; whole videos in seconds on the clock.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

from common import Figure, parsed, publish, spread
from speech import photo, talk_file

if TYPE_CHECKING:
    from vivavoce.video.config import VideoConfig
    from vivavoce.video.method import VideoMethod

NAMES = {"physavatar": "PhysAvatar", "actavatar": "ActAvatar", "apoavatar": "ApoAvatar"}
OVERHEAD = 1.15
"""Of PhysAvatar's evaluation against plain VACE, at most."""
NOISE = 1.05
"""Of ratios whose true value is a whole number."""
THRESHOLD = 0.1
"""Of the first-block cache."""
TINY_VAE: dict[str, Any] = {"base_dim": 8, "z_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}
"""Where what it encodes is not timed."""


@dataclass(frozen=True)
class Effort:
    """How often and how long to measure."""

    rounds: int
    seconds: float
    """Of speech."""
    side: int
    """Pixels of the frames that networks of the papers' widths see."""
    cached_steps: int
    latents: int
    """That are decoded."""


FULL = Effort(rounds=4, seconds=10.0, side=256, cached_steps=25, latents=21)
QUICK = Effort(rounds=1, seconds=1.0, side=128, cached_steps=8, latents=3)


def few_blocks(name: str, side: int) -> VideoConfig:
    """A method at its paper's widths: 2 blocks of 30, of VACE 1 of 15; a few small frames, a small VAE."""
    from vivavoce.methods import METHODS

    config = METHODS[name]
    small: dict[str, Any] = {
        "width": side,
        "height": side,
        "transformer": {**config.transformer, "num_layers": 2},
    }
    if config.backbone == "vace":
        small["transformer"]["vace_layers"] = [0]
        return replace(config, **small, vae=TINY_VAE, chunk=5)
    vae = {**config.vae, "base_dim": 16, "decoder_base_dim": 16, "num_res_blocks": 1}
    return replace(config, **small, vae=vae, chunk=9)


def overhead(name: str, rounds: int, side: int) -> dict[str, Any]:
    """An evaluation of the network against one of the plain diffusers model on the same weights and inputs."""
    import torch

    from networks import PLAN_TOKENS, alternated, evaluations, random_method, random_scene, ratio
    from vivavoce.methods import METHODS
    from vivavoce.video.flops import Load, backbone_flops, network_flops

    config = few_blocks(name, side)
    method = random_method(config, torch.device("cpu"), torch.float32)
    seconds = alternated(evaluations(method, random_scene(config)), rounds, time.process_time)
    whole = METHODS[name]
    with torch.device("meta"):
        network = whole.build()
    full = network_flops(network, plan=PLAN_TOKENS)
    return {
        "tokens": config.tokens,
        "evaluation_s": spread(seconds["ours"]),
        "plain_evaluation_s": spread(seconds["plain"]),
        "times_plain": ratio(seconds, "ours", "plain"),
        "operations_times_plain_at_full_size": full / backbone_flops(whole, Load.of(whole, plan=0, audio=0)),
    }


def miniature(name: str, chunk: int) -> VideoMethod:
    """A miniature with short chunks and a VAE smaller still, at random."""
    import torch

    from networks import random_method
    from vivavoce.methods import METHODS

    config = replace(METHODS[f"{name}-miniature"], chunk=chunk, vae=TINY_VAE)
    return random_method(config, torch.device("cpu"), torch.float32)


def guidance(name: str, rounds: int) -> dict[str, Any]:
    """A guided step of all links against one of a single evaluation, as the program draws them."""
    from networks import alternated_steps, random_scene, ratio
    from vivavoce.video.method import Sampling

    method = miniature(name, 33)
    config = method.config
    samplings = {
        "guided": Sampling.of(config, steps=4),
        "single": Sampling.of(config, steps=4, scales=dict.fromkeys(config.scales, 1.0)),
    }
    seconds = alternated_steps(method, random_scene(config), samplings, rounds, time.process_time)
    links = samplings["guided"].chain.links
    return {
        "links": [name for name, _ in links],
        "evaluations": samplings["guided"].chain.evaluations,
        "step_s": spread(seconds["guided"]),
        "single_step_s": spread(seconds["single"]),
        "times_single": ratio(seconds, "guided", "single"),
    }


def cache(steps: int, rounds: int) -> dict[str, Any]:
    """PhysAvatar's miniature with the first-block cache against itself without: time, and error of the latents."""
    from networks import random_scene, step_seconds
    from vivavoce.video.method import Sampling

    method = miniature("physavatar", 17)
    scene = random_scene(method.config)
    faster, errors = [], []
    for seed in range(rounds):
        seconds, latents = {}, {}
        for threshold in (None, THRESHOLD):
            sampling = Sampling.of(method.config, steps=steps, cache=threshold, seed=seed)
            each, latents[threshold] = step_seconds(method, scene, sampling, time.process_time)
            seconds[threshold] = sum(each)
        faster.append(seconds[None] / seconds[THRESHOLD])
        difference = latents[THRESHOLD] - latents[None]
        errors.append(float(difference.norm() / latents[None].norm()))
    return {"threshold": THRESHOLD, "steps": steps, "times_faster": spread(faster), "error": spread(errors)}


def decoding(latents: int, rounds: int) -> dict[str, Any]:
    """Frames latent by latent against all together: processor time, and memory, each in a process of its own."""
    from networks import alternated, ratio

    ways = {way: decode_by(way, latents) for way in ("streamed", "whole")}
    decode_by("whole", 2)()
    seconds = alternated(ways, rounds, time.process_time)
    processes, memory = multiprocessing.get_context("spawn"), {}
    for way in ways:
        # Tensors then go back to the system at once: the peak is what is in use, not what the C library keeps.
        with mock.patch.dict(os.environ, MALLOC_MMAP_THRESHOLD_="65536"), processes.Pool(1) as pool:
            memory[way] = pool.apply(peak_mb, (way, latents))
    return {
        "frames": 4 * (latents - 1) + 1,
        "streamed_s": spread(seconds["streamed"]),
        "whole_s": spread(seconds["whole"]),
        "streamed_times_whole": ratio(seconds, "streamed", "whole"),
        "peak_mb": memory,
    }


def decode_by(way: str, latents: int) -> Callable[[], None]:
    """The miniature's VAE on random latents of 96x96 frames, "streamed" or "whole"."""
    import torch

    from vivavoce.methods.load import untrained_vae
    from vivavoce.methods.miniature import SMALL_VAE
    from vivavoce.video.vae import streamed

    vae: Any = untrained_vae(SMALL_VAE).eval()
    given = torch.randn(1, SMALL_VAE["z_dim"], latents, 12, 12)

    def run() -> None:
        with torch.no_grad():
            if way == "whole":
                vae.decode(given)
            else:
                for _ in streamed(vae, given):
                    pass

    return run


def peak_mb(way: str, latents: int) -> float:
    """Most resident memory of a decode beyond what was there before it (MB)."""
    run = decode_by(way, latents)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = status_mb("VmRSS")
    run()
    return status_mb("VmHWM") - before


def status_mb(field: str) -> float:
    """A field of the process's own status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024 / 1e6


class Stopwatch:
    """Seconds on the clock in calls of named functions, generators among them, while it watches them."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def counting(self, part: str) -> Iterator[None]:
        """What runs within counts for this part."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - began

    def watch(self, part: str, owner: object, name: str) -> mock._patch:
        """While the result is entered, calls of `owner.name` count for this part; of generators, each step."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.counting(part):
                result = function(*args, **kwargs)
            return self._stepped(part, result) if isinstance(result, Iterator) else result

        return mock.patch.object(owner, name, call)

    def _stepped(self, part: str, items: Iterator[Any]) -> Iterator[Any]:
        while True:
            with self.counting(part):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


def whole_video(name: str, folder: Path, seconds: float) -> dict[str, Any]:
    """A photo and a speech to a file by a miniature: seconds on the clock, and shares of what they are spent on.

    The program's own modules are there before; the photo's analysis and the model's making count.
    """
    import vivavoce
    from vivavoce.features import portrait  # noqa: F401
    from vivavoce.media.video import VideoWriter
    from vivavoce.video import draw
    from vivavoce.video.drift import DriftMeter
    from vivavoce.video.maker import Maker

    watch = Stopwatch()
    parts = [
        ("control", Maker, "control"),
        ("control", Maker, "beginning"),
        ("denoise", draw, "sample"),
        ("decode", draw, "pictures"),
        ("drift", DriftMeter, "add"),
        ("write", VideoWriter, "write"),
    ]
    began = time.perf_counter()
    with ExitStack() as watched:
        watched.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # that it is untrained
        for part, owner, attribute in parts:
            watched.enter_context(watch.watch(part, owner, attribute))
        vivavoce.generate(
            folder / "photo.png", folder / "talk.wav", folder / f"{name}.mp4", method=f"{name}-miniature"
        )
    total = time.perf_counter() - began
    shares = {part: spent / total for part, spent in watch.seconds.items()}
    return {
        "speech_s": seconds,
        "seconds": total,
        "times_real_time": seconds / total,
        "shares": shares | {"rest": 1 - sum(shares.values())},
    }


def measure(effort: Effort) -> dict[str, Any]:
    """Everything, one after another."""
    import torch

    torch.set_num_threads(1)
    details: dict[str, Any] = {
        "overhead": {name: overhead(name, effort.rounds, effort.side) for name in NAMES},
        "guidance": {name: guidance(name, effort.rounds) for name in NAMES},
        "cache": cache(effort.cached_steps, -(-effort.rounds // 2)),
        "decoding": decoding(effort.latents, -(-effort.rounds // 2)),
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        photo(folder / "photo.png")
        talk_file(folder / "talk.wav", effort.seconds)
        return details | {"videos": {name: whole_video(name, folder, effort.seconds) for name in NAMES}}


def figures(m: dict[str, Any]) -> list[Figure]:
    """What is demanded, and where the time goes."""
    result = []
    for name, title in NAMES.items():
        o, most = m["overhead"][name], OVERHEAD if name == "physavatar" else None
        plain = "VACE" if name == "physavatar" else "Wan"
        few = f"{title} at its width, few blocks, {o['tokens']} tokens"
        result += [
            Figure(
                f"{few}: an evaluation against plain diffusers {plain}", o["times_plain"], "x", at_most=most
            ),
            Figure("the same in operations at full size", o["operations_times_plain_at_full_size"], "x"),
        ]
    for name, title in NAMES.items():
        g = m["guidance"][name]
        count = g["evaluations"]
        what = f"{title}: a guided step of {count} evaluations against one of 1 evaluation"
        result.append(Figure(what, g["times_single"], "x", at_most=count * NOISE))
    c, d = m["cache"], m["decoding"]
    title = f"First-block cache at {c['threshold']:g}, PhysAvatar's miniature, {c['steps']} steps, untrained"
    memory = d["peak_mb"]["streamed"] / d["peak_mb"]["whole"]
    result += [
        Figure(f"{title}: times faster", c["times_faster"]["median"], "x"),
        Figure("the same, error of the latents, relative", c["error"]["median"], "%"),
        Figure(f"VAE decode of {d['frames']} frames, streamed against whole", d["streamed_times_whole"], "x"),
        Figure("the same, peak memory", memory, "x"),
    ]
    for name, title in NAMES.items():
        v = m["videos"][name]
        parts = ", ".join(f"{part} {100 * share:.0f} %" for part, share in v["shares"].items())
        result += [
            Figure(f"{title}'s miniature, {v['speech_s']:g} s of speech -> mp4", v["seconds"], "s"),
            Figure(f"the same, times real time ({parts})", v["times_real_time"], "x"),
        ]
    return result


def main() -> None:
    options = parsed(__doc__, "one round of each, one second of speech")
    details = measure(QUICK if options.quick else FULL)
    publish(figures(details), details, options.json)


if __name__ == "__main__":
    main()
