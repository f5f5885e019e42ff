"""Speech that arrives block by block: how fast frames follow, and how far they lag behind the sound.

    python benchmarks/streaming.py [--json FILE] [--quick]

A live microphone gives 40 ms at a time. Each repetition is a fresh process that loads the avatar, then feeds
a Driver and draws its frames at 512x512: first in real time up to the first frame, then as fast as it goes.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from common import Figure, parsed, publish, spread
from speech import photo, talk

FPS = 25.0
RATE = 16_000
BLOCK = 640
"""Samples in 40 ms."""
FINE = 16
"""Samples in a millisecond: blocks small enough to show the look-ahead itself."""


def first_frame(avatar, samples: np.ndarray) -> float:
    """Seconds from a loaded avatar to its first frame when sound begins to arrive then, in real time."""
    from vivavoce.splat.backgrounds import resolve_background
    from vivavoce.splat.driver import Driver
    from vivavoce.splat.render import Renderer

    began = time.perf_counter()
    driver = Driver(avatar, fps=FPS)
    renderer = Renderer(avatar, 512, 512, background=resolve_background("photo", avatar, 512, 512))
    for start in range(0, len(samples), BLOCK):
        arrives = began + (start + BLOCK) / RATE
        time.sleep(max(0.0, arrives - time.perf_counter()))
        for _ in renderer(driver.push(samples[start : start + BLOCK])):
            renderer.close()
            return time.perf_counter() - began
    raise AssertionError("no frame came while the sound lasted")


def flat_out(avatar, samples: np.ndarray) -> dict[str, float]:
    """Times real time with blocks pushed as fast as the frames of earlier ones are drawn."""
    from vivavoce.splat.backgrounds import resolve_background
    from vivavoce.splat.driver import Driver
    from vivavoce.splat.render import Renderer

    driver = Driver(avatar, fps=FPS)
    renderer = Renderer(avatar, 512, 512, background=resolve_background("photo", avatar, 512, 512))
    blocks = (samples[start : start + BLOCK] for start in range(0, len(samples), BLOCK))
    motions = itertools.chain(map(driver.push, blocks), (driver.finish() for _ in range(1)))
    began = time.perf_counter()
    frames = sum(1 for _ in renderer.stream(motions))
    total = time.perf_counter() - began
    renderer.close()
    assert frames == round(len(samples) * FPS / RATE)
    return {"times_real_time": len(samples) / RATE / total, "ms_per_frame": 1e3 * total / frames}


def one_by_one(avatar, samples: np.ndarray) -> dict[str, float]:
    """The seconds that blocks take from their arrival to their last frame, each waited for as a live call does."""
    from vivavoce.splat.backgrounds import resolve_background
    from vivavoce.splat.driver import Driver
    from vivavoce.splat.render import Renderer

    driver = Driver(avatar, fps=FPS)
    renderer = Renderer(avatar, 512, 512, background=resolve_background("photo", avatar, 512, 512))
    seconds, frames = [], 0
    for start in range(0, len(samples), BLOCK):
        began = time.perf_counter()
        frames += sum(1 for _ in renderer(driver.push(samples[start : start + BLOCK])))
        seconds.append(time.perf_counter() - began)
    renderer.close()
    return {
        "one_by_one_ms_per_frame": 1e3 * sum(seconds) / max(frames, 1),
        "worst_ms": 1e3 * max(seconds),
        "p99_ms": 1e3 * float(np.percentile(seconds, 99)),
    }


def look_ahead(avatar, samples: np.ndarray) -> float:
    """Largest number of seconds of sound past the end of a frame's interval that had to arrive before it came."""
    from vivavoce.splat.driver import Driver

    driver, frames, worst = Driver(avatar, fps=FPS), 0, 0.0
    for start in range(0, len(samples), FINE):
        came = len(driver.push(samples[start : start + FINE]).transforms)
        if came:
            worst = max(worst, (start + FINE) / RATE - (frames + 1) / FPS)
        frames += came
    return worst


def session(folder: Path, samples: np.ndarray) -> dict[str, float]:
    """One process' figures."""
    from vivavoce.splat.avatar import load_avatar

    began = time.perf_counter()
    avatar = load_avatar(folder)
    loading = time.perf_counter() - began
    return {
        "first_frame_s": first_frame(avatar, samples),
        "loading_s": loading,
        **flat_out(avatar, samples),
        **one_by_one(avatar, samples),
    }


def main() -> None:
    options = parsed(__doc__, "one repetition on five seconds")
    repeats, seconds = (1, 5) if options.quick else (5, 20)
    samples = talk(seconds)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "avatar"
        context = multiprocessing.get_context("spawn")
        with context.Pool(1, maxtasksperchild=1) as fresh:
            fresh.apply(photo_to_avatar, (Path(temporary) / "photo.png", folder))
            fresh.apply(session, (folder, samples[: 2 * RATE]))  # fills numba's cache
            runs = [fresh.apply(session, (folder, samples)) for _ in range(repeats)]
            ahead = fresh.apply(look_ahead_of, (folder, samples[: 5 * RATE]))
    details = {key: spread([run[key] for run in runs]) for key in runs[0]} | {"look_ahead_s": ahead}
    print(json.dumps(details, indent=1))
    median = {key: value["median"] for key, value in details.items() if isinstance(value, dict)}
    figures = [
        Figure(
            "Streaming in blocks of 40 ms at 512x512, 25 fps, times real time",
            median["times_real_time"],
            "x",
            3,
        ),
        Figure("Loaded avatar to first frame, sound arriving live", median["first_frame_s"], "s", at_most=1),
        Figure("Slowest block, from its arrival to its frame", median["worst_ms"], "ms"),
        Figure("Look-ahead: sound needed past the end of a frame's interval", 1e3 * ahead, "ms", at_most=160),
    ]
    publish(figures, details, options.json)


def photo_to_avatar(picture: Path, folder: Path) -> None:
    """The avatar that is measured."""
    from vivavoce.splat.create import create_avatar

    photo(picture)
    create_avatar(picture, folder)


def look_ahead_of(folder: Path, samples: np.ndarray) -> float:
    """`look_ahead` of an avatar on disk."""
    from vivavoce.splat.avatar import load_avatar

    return look_ahead(load_avatar(folder), samples)


if __name__ == "__main__":
    main()
