"""The video family on a CUDA card, at the papers' sizes: seconds and memory, beside the plain diffusers models.

    python benchmarks/gpu/video.py [--json FILE] [--dry]

Weights are random, in bfloat16, and made on the card; the VAE's in float32, as the program has them. Text and speech
encoders work once a video and are not there. Each method draws one chunk of its own frame size and length, told all
that it can be told. `--dry` runs the same code on the processor with the miniatures in float32: for tests, its
figures say nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import resource
import sys
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import Figure, spread, table

if TYPE_CHECKING:
    from vivavoce.video.config import VideoConfig
    from vivavoce.video.method import VideoMethod

METHODS = ("physavatar", "actavatar", "apoavatar")
ROUNDS = 3
DRY_CHUNK = 13
"""Frames; a miniature's own would take the processor a minute."""


class Device:
    """All that differs between a card and, for a dry run, the processor."""

    def __init__(self, *, dry: bool) -> None:
        import torch

        self.dry = dry
        self.device = torch.device("cpu" if dry else "cuda")
        self.dtype = torch.float32 if dry else torch.bfloat16
        self.side = 512 if dry else 8192
        """Of the matrices whose product is the measure of the card."""

    def clock(self) -> float:
        """Seconds, read when everything asked for is done."""
        import torch

        if not self.dry:
            torch.cuda.synchronize()
        return time.perf_counter()

    def forget_peak(self) -> None:
        """Peak memory counts from here; the processor's cannot be reset."""
        import torch

        if not self.dry:
            torch.cuda.reset_peak_memory_stats()

    def peak_gb(self) -> float:
        """Most memory in use at one time, in GB (1e9 bytes)."""
        import torch

        if self.dry:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        return torch.cuda.max_memory_allocated() / 1e9

    def release(self) -> None:
        """Give back what nothing refers to any more."""
        import torch

        gc.collect()
        if not self.dry:
            torch.cuda.empty_cache()

    def about(self) -> dict[str, object]:
        """Name and memory (GB)."""
        import torch

        if self.dry:
            return {"card": f"none: {platform.processor() or platform.machine()}", "memory_gb": None}
        found = torch.cuda.get_device_properties(self.device)
        return {"card": found.name, "memory_gb": round(found.total_memory / 1e9, 1)}


def matrix_rate(device: Device, *, products: int = 10) -> float:
    """Operations a second of a large product of random matrices of the device's own type."""
    import torch

    a, b = (torch.randn(device.side, device.side, device=device.device, dtype=device.dtype) for _ in range(2))
    for _ in range(3):
        torch.matmul(a, b)
    began = device.clock()
    for _ in range(products):
        torch.matmul(a, b)
    return products * 2 * device.side**3 / (device.clock() - began)


def measure(config: VideoConfig, device: Device) -> dict[str, object]:
    """Everything about one method. Raises torch.cuda.OutOfMemoryError where it does not fit."""
    from networks import (
        PLAN_TOKENS,
        alternated,
        evaluations,
        random_method,
        random_scene,
        ratio,
        step_seconds,
    )
    from vivavoce.video.flops import network_flops
    from vivavoce.video.maker import Span
    from vivavoce.video.method import Sampling
    from vivavoce.video.sample.memory import at_once

    method, scene = random_method(config, device.device, device.dtype), random_scene(config)
    record: dict[str, object] = vae_seconds(method, device)
    both = alternated(evaluations(method, scene), ROUNDS, device.clock)
    began = device.clock()
    conditions = method.network.conditions(method.make, scene, Span(0, scene.frames))
    record["conditions_s"] = device.clock() - began
    device.release()
    sampling = Sampling.of(config, steps=ROUNDS + 1)
    steps, _ = step_seconds(method, scene, sampling, device.clock, after_first=device.forget_peak)
    count = sampling.chain.among(conditions).evaluations
    return record | {
        "size": f"{config.width}x{config.height}",
        "frames": config.chunk,
        "tokens": config.tokens,
        "flops": network_flops(method.network, plan=PLAN_TOKENS),
        "evaluation_s": spread(both["ours"]),
        "plain_evaluation_s": spread(both["plain"]),
        "times_plain": ratio(both, "ours", "plain"),
        "evaluations": count,
        "at_once": at_once(method.network, config.tokens, count, beside=(method.make.vae,)),
        "step_s": spread(steps),
        "peak_gb": device.peak_gb(),
        "steps": config.steps,
    }


def vae_seconds(method: VideoMethod, device: Device) -> dict[str, object]:
    """Of one chunk's frames to latents, and of the latents to the frames that are written, one latent at a time."""
    import torch

    from vivavoce.video.vae import encoded, pictures

    config, make = method.config, method.make
    frames = torch.rand(1, 3, config.chunk, config.height, config.width, device=make.device) * 2 - 1
    encoded(make.vae, frames[:, :, :5])
    device.forget_peak()
    began = device.clock()
    latents = encoded(make.vae, frames)
    seconds, peak = device.clock() - began, device.peak_gb()
    del frames
    sum(1 for _ in pictures(make.vae, latents[:, :, :2]))
    device.release()
    device.forget_peak()
    began = device.clock()
    assert sum(1 for _ in pictures(make.vae, latents)) == config.chunk
    return {
        "encode_s": seconds,
        "encode_peak_gb": peak,
        "decode_s": device.clock() - began,
        "decode_peak_gb": device.peak_gb(),
    }


def figures_of(name: str, record: dict, rate: float) -> list[Figure]:
    """What a reader wants of one method; of one that does not fit, nothing."""
    if "does_not_fit" in record:
        return []
    evaluation, step = record["evaluation_s"]["median"], record["step_s"]["median"]
    whole = record["conditions_s"] + record["steps"] * step + record["decode_s"]
    what = f"{name}, {record['size']}, {record['frames']} frames"
    return [
        Figure(f"{what}: one evaluation, {record['tokens']} tokens", evaluation, "s"),
        Figure(f"{name}: the same against plain diffusers, in one run", record["times_plain"], "x"),
        Figure(f"{name}: its share of the measured matrix rate", record["flops"] / evaluation / rate, "%"),
        Figure(f"{name}: one step of {record['evaluations']} evaluations", step, "s"),
        Figure(f"{name}: peak memory of a step", record["peak_gb"], "GB"),
        Figure(f"{name}: VAE encode of the chunk", record["encode_s"], "s"),
        Figure(f"{name}: VAE decode of the chunk, streamed", record["decode_s"], "s"),
        Figure(f"{name}: peak memory of the decode", record["decode_peak_gb"], "GB"),
        Figure(f"{name}: the chunk in {record['steps']} steps, predicted", whole, "s"),
    ]


def every_method(device: Device) -> dict[str, dict]:
    """One after another, memory given back between them."""
    import torch

    from vivavoce.methods import find

    records: dict[str, dict] = {}
    for name in METHODS:
        config = find(f"{name}-miniature" if device.dry else name)
        config = replace(config, chunk=DRY_CHUNK) if device.dry else config
        began = time.perf_counter()
        try:
            records[name] = measure(config, device)
        except torch.cuda.OutOfMemoryError as error:
            records[name] = {"does_not_fit": str(error).partition("\n")[0]}
            print(f"{name} does not fit into this card's memory", file=sys.stderr)
        records[name]["measuring_s"] = round(time.perf_counter() - began, 1)
        device.release()
    return records


def checked(options: argparse.Namespace) -> Device:
    """The device to measure, or an end with one sentence about what is missing."""
    try:
        import diffusers  # noqa: F401
        import torch
    except ImportError as error:
        sys.exit(f"{error.name} is missing: pip install -e '.[video]'")
    if not options.dry and not torch.cuda.is_available():
        sys.exit("There is no CUDA card here: --dry runs the same code on the processor.")
    return Device(dry=options.dry)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--dry", action="store_true", help="the miniatures on the processor, for tests")
    options = parser.parse_args()
    device = checked(options)
    began = time.time()
    rate = matrix_rate(device)
    records = every_method(device)
    figures = [Figure("Matrix rate, measured", rate / 1e12, "TFLOP/s")]
    figures += [figure for name in METHODS for figure in figures_of(name, records[name], rate)]
    print(table(figures))
    if options.json:
        import torch

        packages = {name: version(name) for name in ("torch", "diffusers")}
        record = {
            "dry": options.dry,
            "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime(began)) + " UTC",
            **device.about(),
            "versions": {"python": platform.python_version(), "cuda": torch.version.cuda, **packages},
            "command": " ".join(["python", *sys.argv]),
            "seconds": round(time.time() - began),
            "figures": [asdict(figure) for figure in figures],
            "details": records,
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
