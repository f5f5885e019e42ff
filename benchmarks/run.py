"""All benchmarks, one after another: `make bench`.

    python benchmarks/run.py [--only NAME ...] [--quick]

Writes benchmarks/results/cpu.json (when, on what machine, by which commands, every figure with all its
details) and puts one table of the figures between the marks in README.md. `--only` measures some again and
keeps the others; `--quick` measures less and leaves both files alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from common import RESULTS, ROOT, Figure, machine, table

MARKS = ("<!-- figures -->", "<!-- /figures -->")


@dataclass(frozen=True)
class Benchmark:
    """A script beside this one, how to make it short, and how to read its JSON."""

    figures: Callable[[dict], list[Figure]]
    quick: tuple[str, ...] = ()
    option: str | None = "--json"
    """Of the script, before the file to write; None where it always writes results/NAME.json."""


def own(record: dict) -> list[Figure]:
    """The figures of a script that publishes them itself."""
    return [Figure(**f) for f in record["figures"]]


def of_rasterize(record: dict) -> list[Figure]:
    """At 40 000 Gaussians, the scene that does worse."""
    scenes = [scene for name, scene in record["scenes"].items() if name.endswith(" 40000")]
    fps = min(scene["fps_2_threads"] for scene in scenes)
    ratio = min(scene["times_faster_than_twin_1_thread"] for scene in scenes)
    return [
        Figure(
            "Rasteriser, 40 k Gaussians, 512x512, two threads, worse scene, frames a second", fps, "", 120
        ),
        Figure("the same against the plain torch twin, one thread each, in one run", ratio, "x", 40),
    ]


def of_articulation(record: dict) -> list[Figure]:
    """The worst set of each group on dry sound, and the best that loudness alone reaches anywhere.

    Of the held-out engine all voices together, and the hardest of them alone.
    """
    dry = {name: row for name, row in record["sets"].items() if not name.endswith(("noise", "telephone"))}
    result = []
    for title, word, r, closed in (
        ("seen voices, worst set", "seen", 0.95, 0.95),
        ("held-out voice", "held-out voice", 0.90, 0.90),
        ("held-out engine, its three voices together", "all voices", 0.90, 0.90),
        ("held-out engine, its hardest voice alone", "held-out engine", 0.90, 0.90),
    ):
        rows = [row for name, row in dry.items() if word in name]
        where = f"held-out sentences, {title}"
        recall, timing = min(x["closure_recall"] for x in rows), max(x["timing_p90_ms"] for x in rows)
        result += [
            Figure(f"Lip opening from speech, {where}, r", min(x["r_open"] for x in rows), "", r),
            Figure(f"Lips shut within 40 ms of p, b, m, {where}", recall, "%", closed),
            Figure(f"Timing of closures, 90th percentile, {where}", timing, "ms", at_most=25),
        ]
    rows, known = list(dry.values()), list(record["text_known"].values())
    shut, late = min(x["closure_recall"] for x in known), max(x["timing_p90_ms"] for x in known)
    return [
        *result,
        Figure(
            "With the text known (`--text`), worst set, r of lip opening", min(x["r_open"] for x in known)
        ),
        Figure("the same, lips shut within 40 ms of p, b, m", shut, "%"),
        Figure("the same, timing of closures, 90th percentile", late, "ms"),
        Figure("Loudness alone: r of lip opening, best set", max(x["r_open_loudness_only"] for x in rows)),
        Figure(
            "Mouth shut and still in silence, worst set", min(x["silence_still"] for x in rows), "%", 0.97
        ),
        Figure("Look-ahead of the articulation", record["look_ahead_ms"], "ms", at_most=160),
    ]


def of_lives(record: dict) -> list[Figure]:
    """Blinks, alignment with the speech's accents, variety, seams."""
    beats = record["beat_alignment"]["accents_to_beats"]
    seams = record["seams"]
    return [
        Figure("Blinks a minute", record["blinks"]["per_minute"], "", 8, 25),
        Figure("Head and torso meet accents: score above shifted accents", beats["gain"], at_least=0),
        Figure("the same, lower end of its 95 % interval", beats["gain_95"][0], at_least=0),
        Figure(
            "Two seeds: absolute r of their motion, largest of the channels", max(record["variety"].values())
        ),
        Figure(
            "Motion made in blocks against made at once, difference",
            seams["largest_difference"],
            at_most=1e-4,
        ),
        Figure(
            "Frames at seams whose acceleration is above the 99th percentile elsewhere",
            seams["share_of_seam_frames_above_99th_percentile"],
            "%",
        ),
    ]


BENCHMARKS = {
    "portrait": Benchmark(own, ("--quick",)),
    "articulation": Benchmark(of_articulation, option=None),
    "speaks": Benchmark(own, ("--quick",)),
    "lives": Benchmark(of_lives),
    "rasterize": Benchmark(of_rasterize, ("--rounds", "3")),
    "speed": Benchmark(own, ("--quick",)),
    "streaming": Benchmark(own, ("--quick",)),
    "video": Benchmark(own, ("--quick",)),
}


def measure(name: str, *, quick: bool) -> dict:
    """Run one benchmark as its own process; its record with the command, the time and the machine's load.

    Raises CalledProcessError if it fails.
    """
    benchmark = BENCHMARKS[name]
    command = ["python", f"benchmarks/{name}.py", *(benchmark.quick if quick else ())]
    print(f"\n== {' '.join(command)}", flush=True)
    load, began = os.getloadavg()[0], time.time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json" if benchmark.option else RESULTS / f"{name}.json"
        output = [benchmark.option, str(path)] if benchmark.option else []
        subprocess.run([sys.executable, *command[1:], *output], cwd=ROOT, check=True)
        record = json.loads(path.read_text())
    figures = benchmark.figures(record)
    return {
        "command": " ".join(command),
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime(began)) + " UTC",
        "seconds": round(time.time() - began),
        "load_average_before": round(load, 2),
        "figures": [asdict(f) for f in figures],
        "details": record.get("details", record),
    }


def replaced(text: str, block: str) -> str:
    """`text` with `block` between the marks, whatever stood there.

    Raises ValueError where a mark is missing.
    """
    before, start, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not start or not end:
        raise ValueError(f"the marks {MARKS[0]} and {MARKS[1]} are missing")
    return f"{before}{start}\n{block}\n{end}{after}"


def summary(results: dict[str, dict], computer: dict) -> str:
    """The table of all figures, and on what they were measured."""
    figures = [Figure(**f) for name in BENCHMARKS if name in results for f in results[name]["figures"]]
    days = sorted(result["date"][:10] for result in results.values())
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    where = "{processor}, {cores} cores, Python {python}, torch {torch}".format(**computer)
    source = f"By `make bench`, {when}, on {where}. All details: `benchmarks/results/cpu.json`."
    return f"{table(figures)}\n\n{source}"


def main() -> None:
    parser = argparse.ArgumentParser(description="All benchmarks, one after another.")
    parser.add_argument(
        "--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="some of them"
    )
    parser.add_argument("--quick", action="store_true", help="less of each; prints, and writes nothing")
    options = parser.parse_args()
    path, computer = RESULTS / "cpu.json", machine()
    kept = json.loads(path.read_text()) if path.exists() and not options.quick else {}
    # Figures of another machine do not belong in one table with those of this one.
    results = kept["results"] if kept.get("machine") == computer else {}
    failed = []
    for name in options.only:
        try:
            results[name] = measure(name, quick=options.quick)
        except subprocess.CalledProcessError:
            results.pop(name, None)
            failed.append(name)
        if results and not options.quick:
            write(path, results, computer)
    if results:
        print("\n" + summary(results, computer))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def write(path: Path, results: dict[str, dict], computer: dict) -> None:
    """Keep what has been measured so far."""
    path.parent.mkdir(exist_ok=True)
    record = {"machine": computer, "results": {name: results[name] for name in BENCHMARKS if name in results}}
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    readme = ROOT / "README.md"
    readme.write_text(replaced(readme.read_text(), summary(results, computer)))


if __name__ == "__main__":
    main()
