"""How long and how much memory whole commands take, each in a fresh process: what a user waits for.

    python benchmarks/speed.py [--json FILE] [--quick]

Medians of several runs. The photo is scikit-image's astronaut, the speech is flite's, frames are 512x512 at
25 fps. Peak memory is the largest resident set of the process, as the kernel reports it when that ends.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from common import Figure, publish, spread
from speech import photo, talk_file

VIVAVOCE = Path(sys.executable).with_name("vivavoce")


@dataclass(frozen=True)
class Run:
    """Wall-clock and processor seconds and the peak resident set (MB) of a finished process."""

    seconds: float
    processor: float
    peak: float


class Child:
    """A `vivavoce` command on its way; what it has to say goes where ours goes."""

    def __init__(self, *arguments: str | Path, cache: Path | None = None) -> None:
        """`cache` is where numba finds what it compiled before; by default its usual place."""
        environment = os.environ | ({"NUMBA_CACHE_DIR": str(cache)} if cache else {})
        command = [str(VIVAVOCE), *map(str, arguments)]
        self._began = time.perf_counter()
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    def wait(self) -> Run:
        """Raises CalledProcessError if the command failed."""
        _, status, usage = os.wait4(self._process.pid, 0)
        seconds = time.perf_counter() - self._began
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.returncode:
            raise subprocess.CalledProcessError(self._process.returncode, self._process.args)
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes on Linux
        return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 1e6)


def run(*arguments: str | Path, cache: Path | None = None) -> Run:
    """One command from start to end."""
    return Child(*arguments, cache=cache).wait()


@dataclass(frozen=True)
class Bench:
    """A folder with the inputs, and how often and how long to measure."""

    folder: Path
    repeats: int
    long: float
    """Seconds of the long recording."""

    def generate(
        self, speech: str, name: str, *, wait: bool = True, cache: Path | None = None
    ) -> Child | Run:
        """The command that a user would give, avatar made beforehand."""
        child = Child(
            *("generate", self.folder / "avatar", self.folder / speech),
            *("-o", self.folder / f"{name}.mp4", "--size", "512"),
            cache=cache,
        )
        return child.wait() if wait else child

    def create(self, name: str, *, cache: Path | None = None) -> Run:
        return run("create", self.folder / "photo.png", "-o", self.folder / name, cache=cache)


def prepare(folder: Path, long: float) -> None:
    """The inputs; in a process of its own, whose memory no child of the caller inherits."""
    photo(folder / "photo.png")
    talk_file(folder / "short.wav", 10)
    talk_file(folder / "long.wav", long)


def measure(bench: Bench) -> dict[str, object]:
    """All figures, the first run ever before anything else is warm."""
    cold, cold_generate = [], []
    for k in range(max(1, bench.repeats - 2)):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(bench.create("avatar", cache=Path(cache)))
            cold_generate.append(bench.generate("short.wav", f"cold{k}", cache=Path(cache)))
    bench.create("avatar")
    bench.generate("short.wav", "warm")
    every = range(bench.repeats)
    helps = [run("--help") for _ in every]
    creates = [bench.create(f"avatar{k}") for k in every]
    shorts = [bench.generate("short.wav", f"short{k}") for k in every]
    pairs = [_side_by_side(bench, k) for k in every]
    long = bench.generate("long.wav", "long")
    files = list((bench.folder / "avatar").iterdir())
    return {
        "help_s": spread([r.seconds for r in helps]),
        "create_first_ever_s": spread([r.seconds for r in cold]),
        "generate_first_after_s": spread([r.seconds for r in cold_generate]),
        "create_s": spread([r.seconds for r in creates]),
        "create_processor_s": spread([r.processor for r in creates]),
        "create_peak_mb": spread([r.peak for r in creates]),
        "generate_10_s": spread([r.seconds for r in shorts]),
        "generate_processor_s": spread([r.processor for r in shorts]),
        "generate_peak_mb": spread([r.peak for r in shorts]),
        "two_side_by_side_s": spread(pairs),
        "long": {"speech_s": bench.long, "seconds": long.seconds, "peak_mb": long.peak},
        "avatar_mb": {f.name: f.stat().st_size / 1e6 for f in files},
        "video_mb": (bench.folder / "short0.mp4").stat().st_size / 1e6,
        "load_average_at_the_end": os.getloadavg()[0],
    }


def _side_by_side(bench: Bench, number: int) -> float:
    """Seconds until two jobs that were started together are both done."""
    began = time.perf_counter()
    jobs = [bench.generate("short.wav", f"pair{number}-{k}", wait=False) for k in range(2)]
    for job in jobs:
        job.wait()
    return time.perf_counter() - began


def figures(m: dict) -> list[Figure]:
    """What is demanded, and the ratios to real time."""

    def median(name: str) -> float:
        return m[name]["median"]

    one, long = median("generate_10_s"), m["long"]
    return [
        Figure("10 s of speech -> mp4, 512x512, 25 fps, avatar made, whole command", one, "s", at_most=5),
        Figure("the same, times real time", 10 / one, "x", 2),
        Figure("Photo -> avatar, whole command", median("create_s"), "s", at_most=6),
        Figure("the same, first run ever (nothing compiled)", median("create_first_ever_s"), "s", at_most=15),
        Figure(
            f"Peak memory, {long['speech_s'] / 60:g} minutes of speech against 10 s",
            long["peak_mb"] / median("generate_peak_mb"),
            "x",
            at_most=1.1,
        ),
        Figure("Peak memory of 10 s", median("generate_peak_mb"), "MB"),
        Figure(
            f"{long['speech_s'] / 60:g} minutes of speech, times real time",
            long["speech_s"] / long["seconds"],
            "x",
        ),
        Figure("Two jobs side by side against one", median("two_side_by_side_s") / one, "x", at_most=2),
        Figure("vivavoce --help", median("help_s"), "s", at_most=0.5),
        Figure("Avatar on disk", sum(m["avatar_mb"].values()), "MB"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--quick", action="store_true", help="one run of each, one minute as the long speech")
    options = parser.parse_args()
    repeats, long = (1, 60.0) if options.quick else (5, 600.0)
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary), repeats, long)
        maker = multiprocessing.get_context("spawn").Process(target=prepare, args=(bench.folder, long))
        maker.start()
        maker.join()
        details = measure(bench)
    print(json.dumps(details, indent=1))
    publish(figures(details), details, options.json)


if __name__ == "__main__":
    main()
