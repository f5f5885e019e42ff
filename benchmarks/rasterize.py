"""Frames per second of the CPU rasteriser beside its torch twin, in one run: python benchmarks/rasterize.py.

Threads draw different frames. Rounds of all contestants alternate, so that other work on the machine meets
all alike; medians over the rounds. The first frames, in which numba compiles, are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # torch and its BLAS: one thread each, like a rasteriser

import numpy as np
import torch

from scenes import SCENES, SIZE, Scene
from vivavoce.splat.rasterize.compose import compose
from vivavoce.splat.rasterize.cpu import CpuRasterizer
from vivavoce.splat.rasterize.differentiable import rasterize_differentiable
from vivavoce.splat.rasterize.reference import rasterize_reference

COUNTS = (10_000, 40_000, 100_000)
TWIN_STEP = 10_000
"""Gaussians at most with which the twin's gradient is measured: it keeps gigabytes where there are more."""


def seconds_per_frame(draw: list[Callable[[], object]], frames: int) -> tuple[float, float]:
    """Wall and processor time a frame, each function being called `frames` times in its own thread."""
    busy: list[float] = []

    def work(function: Callable[[], object]) -> None:
        start = time.thread_time()
        for _ in range(frames):
            function()
        busy.append(time.thread_time() - start)

    threads = [threading.Thread(target=work, args=(function,)) for function in draw]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = frames * len(draw)
    return (time.perf_counter() - start) / total, sum(busy) / total


def fast(scene: Scene) -> Callable[[], object]:
    rasterizer = CpuRasterizer(scene.camera, len(scene.means))
    rasterizer(*scene.gaussians)
    return lambda: rasterizer(*scene.gaussians)


def fast_to_bytes(scene: Scene) -> Callable[[], object]:
    """A frame as a video needs it: over a background, in bytes."""
    rasterizer = CpuRasterizer(scene.camera, len(scene.means))
    background = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    frame = np.empty((SIZE, SIZE, 3), np.uint8)
    compose(*rasterizer(*scene.gaussians), background, frame)
    return lambda: compose(*rasterizer(*scene.gaussians), background, frame)


def fit_step(scene: Scene) -> Callable[[], object]:
    """One step of fitting colours: the picture in new colours, and its adjoint."""
    rasterizer = CpuRasterizer(scene.camera, len(scene.means))
    rasterizer(*scene.gaussians)
    rasterizer.color_gradient(rasterizer.blend(scene.colors)[0])
    return lambda: rasterizer.color_gradient(rasterizer.blend(scene.colors)[0])


def twin(scene: Scene) -> Callable[[], object]:
    tensors = [torch.from_numpy(a) for a in scene.gaussians]

    def draw() -> None:
        with torch.no_grad():
            rasterize_reference(*tensors, scene.camera)

    return draw


def training_step(scene: Scene, backend: str) -> Callable[[], object]:
    """The picture, and its gradients by means, covariances, opacities and colours."""
    tensors = [torch.from_numpy(a).requires_grad_() for a in scene.gaussians]
    by_image = torch.randn(SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0))

    def step() -> object:
        image, _, _ = rasterize_differentiable(*tensors, scene.camera, backend=backend)
        return torch.autograd.grad(image, tensors, by_image)

    step()
    return step


def measure(scene: Scene, rounds: int) -> dict[str, float]:
    """Medians over the rounds: frames per second, milliseconds, how many times faster than the twin."""
    contestants = {
        "one thread": ([fast(scene)], 10),
        "two threads": ([fast(scene), fast(scene)], 10),
        "to bytes, two threads": ([fast_to_bytes(scene), fast_to_bytes(scene)], 10),
        "fit step": ([fit_step(scene)], 5),
        "training step": ([training_step(scene, "cpu")], 5),
        "twin": ([twin(scene)], 1),
    }
    if len(scene.means) <= TWIN_STEP:
        contestants["twin's training step"] = ([training_step(scene, "reference")], 1)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, (draw, frames) in contestants.items():
            seconds[name].append(seconds_per_frame(draw, frames))
    median = {name: statistics.median(wall for wall, _ in values) for name, values in seconds.items()}
    ratio = statistics.median(
        t[0] / s[0] for t, s in zip(seconds["twin"], seconds["one thread"], strict=True)
    )
    steps = {}
    if "twin's training step" in seconds:
        pairs = zip(seconds["twin's training step"], seconds["training step"], strict=True)
        steps["training_step_times_faster_than_twin"] = statistics.median(t[0] / s[0] for t, s in pairs)
    return {
        "fps_1_thread": 1 / median["one thread"],
        "processor_ms_per_frame": 1e3 * statistics.median(busy for _, busy in seconds["one thread"]),
        "fps_2_threads": 1 / median["two threads"],
        "fps_2_threads_to_bytes": 1 / median["to bytes, two threads"],
        "color_fit_step_ms": 1e3 * median["fit step"],
        "training_step_ms": 1e3 * median["training step"],
        "training_step_over_drawing": median["training step"] / median["one thread"],
        **steps,
        "twin_ms": 1e3 * median["twin"],
        "times_faster_than_twin_1_thread": ratio,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = {}
    for name, make in SCENES.items():
        for count in COUNTS:
            figures[f"{name} {count}"] = figure = measure(make(count), options.rounds)
            print(f"{name:8} {count:7}", "  ".join(f"{key} {value:.1f}" for key, value in figure.items()))
    if options.json:
        about = {
            "machine": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "size": SIZE,
            "rounds": options.rounds,
        }
        options.json.write_text(json.dumps({"about": about, "scenes": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
