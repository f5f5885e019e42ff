"""PhysAvatar, table 2, in miniature: a minute drawn chunk after chunk against odd chunks first, even ones between them.

    python recipes/proofs/longform.py --corpus CORPUS

The paper's numbers, on its own test set:

    order           FID    FVD   VQA   ASE   FGD   DIV   Hand-C  Hand-V  Sync-C  Sync-D  CSIM
    vanilla AR      64.8   748  3.21  2.10  1.85  4.27   0.70    2.02    4.61    6.04   0.948
    our inference   62.3   713  3.29  2.13  1.57  4.33   0.72    2.33    4.76    6.02   0.955

Both are drawn with the weights of `physavatar.py`'s middle block, which are trained here if they are not there yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import physavatar
import tyro
from bench import prove
from heldout import long_speeches
from proof import Options, Proof, Shown, Variant, known
from report import Results, Table

from vivavoce.evaluation.ablation import Claim, Measure, Values
from vivavoce.evaluation.actions import hand_variance
from vivavoce.evaluation.likeness import likeness
from vivavoce.evaluation.reader import read
from vivavoce.methods.physavatar import PHYSAVATAR_MINIATURE, PhysAvatarConfig

SECONDS, PEOPLE = 60.0, 4
CURVES = {"identity": "identity (cosine)", "color": "colour difference (CIE76)", "contrast": "contrast"}
"""What is told second by second, each to the first one."""


def proof(
    config: PhysAvatarConfig = PHYSAVATAR_MINIATURE,
    *,
    steps: int = physavatar.STEPS,
    rate: float = 1e-3,
    seconds: float = SECONDS,
) -> Proof:
    """The two rows, drawn with the same weights."""
    recipe = physavatar.proof(config, steps=steps, rate=rate).variants[-1].recipe
    orders = {"autoregressive": "one after another", "interleaved": "odd, then even"}
    variants = tuple(
        Variant(order, title, config, recipe, sampling={"order": order}, weights="middle")
        for order, title in orders.items()
    )
    return Proof(
        name="longform",
        title=f"PhysAvatar: the order of chunks over {seconds:g} s",
        paper="PhysAvatar, table 2",
        frames=physavatar.FRAMES,
        examples=config,
        variants=variants,
        measures=(
            Measure("identity", "identity at the end", "high"),
            Measure("color", "colour drift at the end", "low", digits=2),
            Measure("contrast", "contrast at the end"),
            Measure("mouth", "mouth correlation", "high"),
            Measure("mouth_other", "mouth, another's speech"),
            Measure("hands", "hand variance", "high"),
        ),
        claims=(
            Claim("identity", "interleaved", "autoregressive", "CSIM 0.955 against 0.948"),
            Claim("color", "autoregressive", "interleaved", "figure 5 (c)"),
            Claim("mouth", "interleaved", "autoregressive", "Sync-C 4.76 against 4.61"),
            Claim("hands", "interleaved", "autoregressive", "Hand-V 2.33 against 2.02"),
        ),
        measured=measured,
        held=lambda corpus, told, _, clips: long_speeches(
            corpus, told, seconds=seconds, people=min(clips, PEOPLE)
        ),
        plot=plot_curves,
        notes=(
            "Identity, colour and contrast of a second are told against the first second of the same video; the table "
            "has their means over the last quarter.",
            "Chunks are as long as the training examples are, so that a minute has many.",
        ),
    )


def measured(shown: Shown) -> Mapping[str, Any]:
    """Of a video: what has become of the person in its last quarter, and second by second."""
    found = likeness(shown.frames, shown.reading)
    curves = {name: getattr(found, name) for name in CURVES}
    last = max(1, len(found.identity) // 4)
    return (
        shown.mouths()
        | {name: float(np.mean(curve[-last:])) for name, curve in curves.items()}
        | {f"{name}_by_second": curve.tolist() for name, curve in curves.items()}
        | {"hands": known(hand_variance(shown.reading.track))}
    )


def plot_curves(proof: Table, values: Values, results: Results, path: Path) -> None:
    """Second by second: the mean over people and seeds, and its standard deviation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(CURVES), 3.4), layout="constrained")
    for i, (name, title) in enumerate(CURVES.items()):
        axes = figure.add_subplot(1, len(CURVES), i + 1)
        for variant in proof.variants:
            by_seed = results[variant.name].values()
            curves = [clip[f"{name}_by_second"] for measured in by_seed for clip in measured.values()]
            if curves:
                rows = np.ma.masked_invalid(np.array(curves, np.float64))
                mean, deviation = (part.filled(np.nan) for part in (rows.mean(axis=0), rows.std(axis=0)))
                at = np.arange(rows.shape[1]) + 0.5
                axes.plot(at, mean, label=variant.title)
                axes.fill_between(at, mean - deviation, mean + deviation, alpha=0.2)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("seconds", fontsize=8)
        axes.legend(fontsize=8)
    figure.suptitle(f"{proof.title} (mean and standard deviation over people and seeds)", fontsize=9)
    figure.savefig(path, dpi=120)


def main(options: Options) -> None:
    """Make the table."""
    prove(proof(steps=options.steps or physavatar.STEPS, rate=options.rate), options, read=read)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
