"""ActAvatar, table 4, in miniature: what phases in the text, audio that grows with depth, and two stages each do.

    python recipes/proofs/actavatar.py --corpus CORPUS

The paper's numbers, on Action Bench, judged by a vision-language model (H@S: Hit@Segment, TC: temporal correctness):

    configuration                     Sync-C   H@S    AA    TC    AQ    HC
    base (global prompt)               6.37   0.725  3.91  6.47  6.21  7.68
    + PACA                             6.39   0.829  5.78  7.12  7.48  8.36
    + PACA + progressive alignment     6.57   0.831  5.75  7.10  7.52  8.47
    + two-stage training (full)        6.89   0.854  5.97  7.35  7.67  8.48
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import tyro
from bench import prove
from heldout import held_out
from proof import Options, Proof, Shown, Variant

from vivavoce.evaluation.ablation import Claim, Measure
from vivavoce.evaluation.actions import hit_at_segment, temporal_correctness
from vivavoce.evaluation.reader import read
from vivavoce.methods.actavatar import ACTAVATAR_MINIATURE, ActAvatarConfig
from vivavoce.train.recipe import Recipe
from vivavoce.train.recipes import ACTAVATAR, miniature

FRAMES, STEPS = 81, 240


def proof(config: ActAvatarConfig = ACTAVATAR_MINIATURE, *, steps: int = STEPS, rate: float = 1e-3) -> Proof:
    """The four rows; `steps` of training for each of them, over all stages."""
    two = miniature(ACTAVATAR, steps=steps // 2, rate=rate)
    one = Recipe(two.method, miniature(ACTAVATAR, steps=2 * (steps // 2), rate=rate).stages[1:])
    flat = replace(config, gamma=0.0)
    untold = replace(flat, plan="global")
    variants = (
        Variant("global", "global prompt", untold, one, told={"actions": untold}),
        Variant("paca", "+ PACA", flat, one),
        Variant("progressive", "+ progressive alignment", config, one),
        Variant("two-stages", "+ two stages", config, two, told={"adapter": replace(config, plan="base")}),
    )
    return Proof(
        name="actavatar",
        title="ActAvatar: phases, progressive alignment, two stages",
        paper="ActAvatar, table 4",
        frames=FRAMES,
        examples=config,
        variants=variants,
        measures=(
            Measure("hit", "Hit@Segment", "high"),
            Measure("hit_grouped", "Hit@Segment, fingers aside", "high"),
            Measure("time", "temporal correctness", "high"),
            Measure("mouth", "mouth correlation", "high"),
            Measure("mouth_other", "mouth, another's speech"),
        ),
        claims=(
            Claim("hit", "paca", "global", "0.829 against 0.725"),
            Claim("time", "paca", "global", "TC 7.12 against 6.47"),
            Claim("mouth", "progressive", "paca", "Sync-C 6.57 against 6.39"),
            Claim("hit", "two-stages", "progressive", "0.854 against 0.831"),
            Claim("time", "two-stages", "progressive", "TC 7.35 against 7.10"),
            Claim("mouth", "two-stages", "progressive", "Sync-C 6.89 against 6.57"),
        ),
        measured=measured,
        held=lambda corpus, told, frames, clips: held_out(
            corpus, told, frames=frames, clips=clips, acting=True
        ),
        notes=(
            "Global prompt: the texts of all phases in one block, without times and phase embeddings. Without two "
            "stages: everything is trained at once, for as many steps as both stages have together.",
            "The first of two stages has captions without phases, no picture, and a frozen backbone.",
            "Actions are found by rules over the points that a small network reads from the frames, in place of the "
            "paper's vision-language judge; only phases that lie within a span are counted.",
        ),
    )


def measured(shown: Shown) -> Mapping[str, Any]:
    """Of a clip: the share of its phases that is seen, and seen in time; how its mouth goes with the speech."""
    track, script = [shown.reading.track], [shown.held.script]
    return shown.mouths() | {
        "hit": hit_at_segment(track, script),
        "hit_grouped": hit_at_segment(track, script, grouped=True),
        "time": temporal_correctness(track, script),
    }


def main(options: Options) -> None:
    """Make the table."""
    prove(proof(steps=options.steps or STEPS, rate=options.rate), options, read=read)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
