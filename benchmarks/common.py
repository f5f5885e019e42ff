"""What the benchmarks share: a figure beside what is demanded of it, the machine, the test portraits."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Figure:
    """One measured number; `at_least` and `at_most` are what is demanded of it, inclusive."""

    name: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        """Whether the demand holds; True where nothing is demanded. NaN meets no demand."""
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    @property
    def demanded(self) -> str:
        """The demand in words, empty where there is none."""
        if self.at_least is not None and self.at_most is not None:
            return f"{_short(self.at_least)} to {with_unit(self.at_most, self.unit)}"
        if self.at_least is not None:
            return f"≥ {with_unit(self.at_least, self.unit)}"
        return "" if self.at_most is None else f"≤ {with_unit(self.at_most, self.unit)}"


def _short(value: float) -> str:
    """Three significant digits, whole numbers in full, no exponent from a thousandth up."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def with_unit(value: float, unit: str) -> str:
    """The number as a reader wants it: shares as percentages, other units after a space."""
    if unit == "%":
        return f"{100 * value:.3g} %"
    return f"{_short(value)} {unit}".rstrip()


def table(figures: Iterable[Figure]) -> str:
    """A markdown table; what misses its demand is marked."""
    rows = ["| | measured | demanded |", "|---|---|---|"]
    for f in figures:
        mark = "" if f.met else " (missed)"
        rows.append(f"| {f.name} | {with_unit(f.value, f.unit)}{mark} | {f.demanded} |")
    return "\n".join(rows)


def machine() -> dict[str, object]:
    """What the figures depend on: processor, cores, memory (GB), versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2] for line in info.read_text().splitlines() if "model name" in line]
        model = names[0].strip() if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(memory),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "numba", "numpy", "mediapipe")},
    }


def parsed(doc: str | None, quick: str) -> argparse.Namespace:
    """The options of a benchmark: `json`, a file or None, and `quick`, described by the given words."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--quick", action="store_true", help=quick)
    return parser.parse_args()


def publish(figures: list[Figure], details: object, json_file: Path | None) -> None:
    """Print the figures as a table, and write them with all details to a file."""
    print(table(figures))
    if json_file:
        record = {"figures": [asdict(f) for f in figures], "details": details}
        json_file.write_text(json.dumps(record, indent=1) + "\n")


def spread(values: list[float]) -> dict[str, float | int]:
    """Median, least, largest and number of repeated measurements."""
    return {
        "median": statistics.median(values),
        "least": min(values),
        "most": max(values),
        "runs": len(values),
    }


def use_test_portraits() -> None:
    """Make `tests.portraits` importable from a script that was started by its path."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
