"""What a proof leaves: a record with every number and setting, a table in Markdown, a plot."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vivavoce import __version__
from vivavoce.errors import OutputError
from vivavoce.evaluation.ablation import Claim, Measure, Values, judged, spread, table
from vivavoce.media.files import replacing

TRUTH = "truth"
"""The name of the row that the true clips have."""
_VERDICT = (
    "± is the standard deviation over seeds. Reproduced is a claim that every seed shows and whose interval, by "
    "Student's t over the same clips, leaves out 0; intervals are not corrected for the number of claims."
)
Measured = Mapping[str, Mapping[str, Any]]
"""By clip, then by measure."""
Results = Mapping[str, Mapping[int, Measured]]
"""By variant, then by seed."""


class Row(Protocol):
    """One row of a table: how it came about is told in the record."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def recipe(self) -> Any: ...
    @property
    def sampling(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a paper, in miniature: what is compared, by what measures, and what is claimed of it."""

    name: str
    title: str
    paper: str
    """Where the paper has it."""
    variants: tuple[Row, ...]
    measures: tuple[Measure, ...]
    claims: tuple[Claim, ...]
    notes: tuple[str, ...] = ()
    plot: Callable[[Table, Values, Results, Path], None] | None = None
    """Another picture than `plot_bars`."""


def write_report(
    proof: Table,
    results: Results,
    truth: Measured,
    *,
    clips: Sequence[str],
    out: Path,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Write NAME.json, .md and .png into `out`; the record comes back.

    `results` has what is there of each variant, and `truth` may be empty. In the table are only the seeds that all of
    those variants have, so that they are compared on the same. Raises OutputError where nothing can be written.
    """
    begun = {name: found for name, found in results.items() if found}
    seeds = sorted(set.intersection(*map(set, begun.values()))) if begun else []
    rows = {name: [found[seed] for seed in seeds] for name, found in begun.items()}
    values = values_of(proof, rows | ({TRUTH: [truth]} if truth else {}), clips)
    titles = {variant.name: variant.title for variant in proof.variants} | {TRUTH: "true clips, as read"}
    record = {
        "proof": proof.title,
        "paper": proof.paper,
        "vivavoce": __version__,
        "settings": {**settings, "seeds": seeds},
        "notes": list(proof.notes),
        "variants": {variant.name: _variant(variant) for variant in proof.variants},
        "means": {name: {key: vars(spread(v)) for key, v in row.items()} for name, row in values.items()},
        "claims": [asdict(claim) | vars(judged(claim, values)) for claim in proof.claims],
        "values": results,
        "truth": truth,
    }
    text = _page(proof, table(proof.measures, titles, values, claims=proof.claims), record["settings"])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {out} cannot be made ({error.strerror}): choose another.") from error
    with replacing(out / f"{proof.name}.json") as path:
        path.write_text(json.dumps(plain(record), indent=1) + "\n", encoding="utf-8")
    with replacing(out / f"{proof.name}.md") as path:
        path.write_text(text, encoding="utf-8")
    with replacing(out / f"{proof.name}.png") as path:
        (proof.plot or plot_bars)(proof, values, results, path)
    print(text)
    return record


def values_of(proof: Table, rows: Mapping[str, Sequence[Measured]], clips: Sequence[str]) -> Values:
    """Seeds by clips of each row's measures; NaN where a clip was not measured."""
    return {
        name: {
            m.name: np.array([[_number(by[clip].get(m.name)) for clip in clips] for by in seeds], np.float64)
            for m in proof.measures
        }
        for name, seeds in rows.items()
        if seeds
    }


def plot_bars(proof: Table, values: Values, results: Results, path: Path) -> None:
    """A panel for each measure: a bar for each variant, a dot for each seed, a line for the truth."""
    from matplotlib.figure import Figure

    names = [variant.name for variant in proof.variants if variant.name in values]
    figure = Figure(figsize=(3.2 * len(proof.measures), 3.6), layout="constrained")
    for i, measure in enumerate(proof.measures):
        axes = figure.add_subplot(1, len(proof.measures), i + 1)
        for place, name in enumerate(names):
            rows = values[name][measure.name]
            found = spread(rows)
            axes.bar(place, found.mean, yerr=np.nan_to_num(found.deviation), color=f"C{place}", alpha=0.6)
            means = [spread(row[None]).mean for row in rows]
            axes.plot([place] * len(means), means, "k.", markersize=4)
        true = spread(values[TRUTH][measure.name]).mean if TRUTH in values else math.nan
        if math.isfinite(true):
            axes.axhline(true, color="k", linestyle="--", linewidth=0.8)
        axes.set_title(measure.title, fontsize=9)
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
    figure.suptitle(
        f"{proof.title} (line: true clips; bars: mean, standard deviation and each seed)", fontsize=9
    )
    figure.savefig(path, dpi=120)


def _page(proof: Table, told: str, settings: Mapping[str, Any]) -> str:
    """The table with what one must know to read it."""
    given = ", ".join(f"{name} {value}" for name, value in settings.items())
    notes = "".join(f"- {note}\n" for note in (*proof.notes, _VERDICT, f"Settings: {given}."))
    return f"### {proof.title}\n\nAfter {proof.paper}.\n\n{told}\n\n{notes}\n![{proof.title}]({proof.name}.png)\n"


def _variant(variant: Row) -> dict[str, Any]:
    return {"title": variant.title, "recipe": asdict(variant.recipe), "sampling": dict(variant.sampling)}


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def plain(value: Any) -> Any:
    """The same as JSON has it: without NaN."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
