"""How long and how much memory whole commands take, each in a fresh process: what a user waits for.

    python benchmarks/speed.py [--json FILE] [--quick]

Medians of several runs. The photo is scikit-image's astronaut, the speech is flite's, frames are 512x512 at
25 fps. Peak memory is the largest resident set of the process, as the kernel reports it when that ends. The avatar
moves by the rules, and then by a motion of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import Figure, parsed, publish, spread
from own_motion import drift, give_motion
from speech import photo, talk_file

VIVAVOCE = Path(sys.executable).with_name("vivavoce")


@dataclass(frozen=True)
class Run:
    """Wall-clock and processor seconds and the peak resident set (MB) of a finished process."""

    seconds: float
    processor_s: float
    peak_mb: float


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


@dataclass(frozen=True)
class Bench:
    """A folder with the inputs, and how often and how long to measure."""

    folder: Path
    repeats: int
    long: float
    """Seconds of the long recording."""

    @property
    def part(self) -> float:
        """A tenth of them: a minute of ten."""
        return self.long / 10

    def generate(
        self, speech: str, name: str, *options: str, avatar: str = "avatar", cache: Path | None = None
    ) -> Child:
        """The command that a user would give, avatar made beforehand; started."""
        return Child(
            *("generate", self.folder / avatar, self.folder / speech),
            *("-o", self.folder / f"{name}.mp4", "--size", "512", *options),
            cache=cache,
        )

    def create(self, name: str, *, cache: Path | None = None) -> Child:
        """The command that makes an avatar of the photo; started."""
        return Child("create", self.folder / "photo.png", "-o", self.folder / name, cache=cache)


def apart(function: Callable[..., Any], *arguments: object) -> Any:
    """Its result, from a process of its own, whose memory no child of the caller inherits."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(function, arguments)


def prepare(bench: Bench) -> None:
    """The inputs."""
    photo(bench.folder / "photo.png")
    for name, seconds in (("125", 5.0), ("short", 10.0), ("part", bench.part), ("long", bench.long)):
        talk_file(bench.folder / f"{name}.wav", seconds)


def measure(bench: Bench) -> dict:
    """All figures, the first run ever before anything else is warm."""
    cold_create, cold_generate = [], []
    for k in range(max(1, bench.repeats - 2)):
        with tempfile.TemporaryDirectory() as cache:
            cold_create.append(bench.create("avatar", cache=Path(cache)).wait())
            cold_generate.append(bench.generate("short.wav", f"cold{k}", cache=Path(cache)).wait())
    bench.create("avatar").wait()
    bench.generate("short.wav", "warm").wait()
    every = range(bench.repeats)
    runs = {
        "help": [Child("--help").wait() for _ in every],
        "create, first ever": cold_create,
        "generate, first after": cold_generate,
        "create": [bench.create(f"avatar{k}").wait() for k in every],
        "generate 10 s": [bench.generate("short.wav", f"short{k}").wait() for k in every],
        "generate long": [bench.generate("long.wav", "long").wait()],
    }
    figures: dict = {}
    for name, finished in runs.items():
        for quantity in ("seconds", "processor_s", "peak_mb"):
            figures[f"{name}: {quantity}"] = spread([getattr(r, quantity) for r in finished])
    return figures | {
        "two side by side: seconds": spread([_side_by_side(bench, k) for k in every]),
        "long speech: seconds": bench.long,
        "avatar: MB": {f.name: f.stat().st_size / 1e6 for f in (bench.folder / "avatar").iterdir()},
        "video of 10 s: MB": (bench.folder / "short0.mp4").stat().st_size / 1e6,
        "load average at the end": os.getloadavg()[0],
    }


def measure_own(bench: Bench) -> dict:
    """The avatar with a motion of its own: by that and by the rules in turns, for a long time, and where it is then."""
    avatar = bench.folder / "own"
    shutil.copytree(bench.folder / "avatar", avatar)
    figures: dict = {"model": apart(give_motion, avatar, bench.folder / "short.wav")}
    contestants = {"own": (), "rules": ("--method", "splat")}
    finished: dict[str, list[Run]] = {}
    for k in range(bench.repeats + 1):
        for name, options in contestants.items():
            run = bench.generate("125.wav", f"{name}{k}", *options, avatar="own").wait()
            if k:  # the first one warms up
                finished.setdefault(f"125 frames, {name}", []).append(run)
    for speech in ("part", "long"):
        finished[f"{speech}, own"] = [bench.generate(f"{speech}.wav", f"own {speech}", avatar="own").wait()]
    for name, runs in finished.items():
        for quantity in ("seconds", "processor_s", "peak_mb"):
            figures[f"{name}: {quantity}"] = spread([getattr(r, quantity) for r in runs])
    degrees = apart(drift, avatar, bench.folder / "long.wav", bench.part)
    return figures | {"long speech: seconds": bench.long, "drift: degrees": degrees}


def _side_by_side(bench: Bench, number: int) -> float:
    """Seconds until two jobs that were started together are both done."""
    began = time.perf_counter()
    jobs = [bench.generate("short.wav", f"pair{number}-{k}") for k in range(2)]
    for job in jobs:
        job.wait()
    return time.perf_counter() - began


def figures(m: dict) -> list[Figure]:
    """What is demanded, and the ratios to real time."""

    def median(name: str, quantity: str = "seconds") -> float:
        return m[f"{name}: {quantity}"]["median"]

    one, long = median("generate 10 s"), m["long speech: seconds"]
    memory = median("generate long", "peak_mb") / median("generate 10 s", "peak_mb")
    minutes = f"{long / 60:g} minutes of speech"
    return [
        Figure("10 s of speech -> mp4, 512x512, 25 fps, avatar made, whole command", one, "s", at_most=5),
        Figure("the same, times real time", 10 / one, "x", 2),
        Figure(f"{minutes} -> mp4, times real time", long / median("generate long"), "x"),
        Figure("Photo -> avatar, whole command", median("create"), "s", at_most=6),
        Figure("the same, first run ever, nothing compiled", median("create, first ever"), "s", at_most=15),
        Figure(f"Peak memory, {minutes} against 10 s", memory, "x", at_most=1.1),
        Figure("Peak memory, 10 s", median("generate 10 s", "peak_mb"), "MB"),
        Figure("Two jobs side by side against one", median("two side by side") / one, "x", at_most=2),
        Figure("`vivavoce --help`", median("help"), "s", at_most=0.5),
        Figure("Avatar on disk", sum(m["avatar: MB"].values()), "MB"),
    ]


def own_figures(m: dict) -> list[Figure]:
    """What is demanded of a motion of its own."""

    def median(name: str, quantity: str = "seconds") -> float:
        return m[f"{name}: {quantity}"]["median"]

    long = m["long speech: seconds"] / 60
    minutes, part = f"{long:g} minutes of speech", f"{6 * long:g} s"
    first, whole = median("part, own", "peak_mb"), median("long, own", "peak_mb")
    return [
        Figure(
            "125 frames at 512x512 from speech file to mp4, own motion",
            median("125 frames, own"),
            "s",
            at_most=5,
        ),
        Figure(
            "the same against the rules' motion, in turns in one run",
            median("125 frames, own") / median("125 frames, rules"),
            "x",
        ),
        Figure(f"{minutes} -> mp4, own motion, times real time", 60 * long / median("long, own"), "x"),
        Figure(f"Peak memory, own motion, {part} of speech", first, "MB"),
        Figure(f"Peak memory, own motion, {minutes}", whole, "MB"),
        Figure(f"the same against {part}", whole / first, "x", at_most=1.1),
        Figure(
            f"Drift, own motion, {minutes}: mean pose of the last tenth against the first, worst joint",
            max(m["drift: degrees"].values()),
            "degrees",
            at_most=1,
        ),
    ]


def main() -> None:
    options = parsed(__doc__, "one run of each, one minute as the long speech")
    repeats, long = (1, 60.0) if options.quick else (5, 600.0)
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary), repeats, long)
        apart(prepare, bench)
        details = measure(bench)
        own = measure_own(bench)
    details["own motion"] = own
    print(json.dumps(details, indent=1))
    publish([*figures(details), *own_figures(own)], details, options.json)


if __name__ == "__main__":
    main()
