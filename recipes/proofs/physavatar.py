"""PhysAvatar, table 2, in miniature: whether, where and how a block of the backbone is held to the physical state.

    python recipes/proofs/physavatar.py --corpus CORPUS

The paper's numbers, on its own test set; J is the block of 30 that is held to it:

    variant              FID    FVD   VQA   ASE   FGD   DIV   Hand-C  Hand-V  Sync-C  Sync-D  CSIM
    only continuous      66.6   746  3.16  2.01  2.68  3.67   0.69    1.24    4.55    6.23   0.978
    J = 10 (discrete)    64.8   732  3.12  2.08  1.70  4.31   0.68    2.27    4.65    6.12   0.956
    J = 15 (discrete)    62.3   713  3.29  2.13  1.57  4.33   0.72    2.33    4.76    6.02   0.955
    J = 15 (full)        66.6   762  3.15  2.01  2.60  4.22   0.66    2.14    4.40    6.29   0.956
    J = 20 (discrete)    66.9   752  3.16  2.03  2.15  4.08   0.67    2.20    4.46    6.31   0.975
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import tyro
from bench import prove
from jaxtyping import UInt8
from proof import Options, Proof, Shown, Variant, known

from vivavoce.evaluation.ablation import Claim, Measure
from vivavoce.evaluation.actions import hand_variance
from vivavoce.evaluation.quality import sharpness
from vivavoce.evaluation.reader import read
from vivavoce.methods.physavatar import PHYSAVATAR_MINIATURE, PhysAvatarConfig
from vivavoce.train.recipes import PHYSAVATAR, miniature

FRAMES, STEPS = 49, 300


def proof(
    config: PhysAvatarConfig = PHYSAVATAR_MINIATURE, *, steps: int = STEPS, rate: float = 1e-3
) -> Proof:
    """The five rows, `steps` of training each."""
    recipe = miniature(PHYSAVATAR, steps=steps, rate=rate)
    stateless = tuple(replace(stage, without=(*stage.without, "states")) for stage in recipe.stages)
    blocks = config.transformer["num_layers"]
    early, late = blocks // 4, blocks - blocks // 4
    variants = (
        Variant("continuous", "only continuous", config, replace(recipe, stages=stateless)),
        Variant("full", "full supervision", replace(config, supervised="all"), recipe),
        Variant("early", f"discrete, block {early}", replace(config, state_layer=early), recipe),
        Variant("late", f"discrete, block {late}", replace(config, state_layer=late), recipe),
        Variant("middle", f"discrete, block {config.state_layer}", config, recipe),
    )
    paper = {
        "hands": ("Hand-V 2.33", {"continuous": 1.24, "full": 2.14, "early": 2.27, "late": 2.20}),
        "mouth": ("Sync-C 4.76", {"continuous": 4.55, "full": 4.40, "early": 4.65, "late": 4.46}),
        "likeness": ("FID 62.3", {"continuous": 66.6, "full": 66.6, "early": 64.8, "late": 66.9}),
    }
    return Proof(
        name="physavatar",
        title="PhysAvatar: physical state supervision",
        paper="PhysAvatar, table 2",
        frames=FRAMES,
        examples=config,
        variants=variants,
        measures=(
            Measure("hands", "hand variance", "high"),
            Measure("mouth", "mouth correlation", "high"),
            Measure("mouth_other", "mouth, another's speech"),
            Measure("likeness", "nearest true frame, dB", "high", digits=2),
            Measure("sharpness", "sharpness (log)", digits=2),
            Measure("confidence", "reader's confidence", "high"),
        ),
        claims=tuple(
            Claim(measure, "middle", rival, f"{ours} against {theirs:g}")
            for measure, (ours, others) in paper.items()
            for rival, theirs in others.items()
        ),
        measured=measured,
        notes=(
            f"Of {blocks} blocks; the paper holds block 15 of 30 to the state, and tries 10 and 20. Early and late are "
            "a quarter from either end here, since a third is next to the middle.",
            "Only continuous: no states and no hidden audio, the flow loss alone. Full: audio is hidden as ever, and "
            "all latent frames must know their state, whether or not theirs is; the paper does not say which, and "
            "hiding none would change two things at once.",
            "Nearest true frame: signal-to-noise ratio (peak 255) of a drawn frame to the true one that is most like "
            "it, in place of FID: it falls with blur and wrong colours, and not for another time of the same motion.",
        ),
    )


def measured(shown: Shown) -> Mapping[str, Any]:
    """Of a clip: how much its hands move (squared shoulder widths), its mouth, and how good its frames are."""
    truth = shown.held.frames
    likeness = None if truth is None or truth is shown.frames else nearest_psnr(shown.frames, truth)
    return shown.mouths() | {
        "hands": known(hand_variance(shown.reading.track)),
        "likeness": likeness,
        "sharpness": float(sharpness(shown.frames).mean()),
        "confidence": float(shown.reading.confidence.mean()),
    }


def nearest_psnr(frames: UInt8[np.ndarray, "F H W 3"], truth: UInt8[np.ndarray, "G H W 3"]) -> float:
    """Mean over frames of the peak signal-to-noise ratio, dB, to the true frame that is most like it."""
    drawn, true = (part.reshape(len(part), -1).astype(np.float64) for part in (frames, truth))
    products = drawn @ true.T
    error = (drawn**2).sum(axis=1)[:, None] - 2 * products + (true**2).sum(axis=1)
    nearest = np.maximum(
        error.min(axis=1) / drawn.shape[1], 1 / 12
    )  # no nearer than rounding to whole levels
    return float((10 * np.log10(255**2 / nearest)).mean())


def main(options: Options) -> None:
    """Make the table."""
    prove(proof(steps=options.steps or STEPS, rate=options.rate), options, read=read)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
