"""ApoAvatar, table 4, in miniature: which poses training drops, and what that does to gestures drawn from speech alone.

    python recipes/proofs/apoavatar.py --corpus CORPUS

The paper's numbers, on EMTD, drawn without a pose (HKV tells how much hands move, and has no better or worse):

    method                          FID      FVD    IQA   ASE   SYNC   SYND   FSIM   HKC   HKV
    baseline (train w/o pose)      117.11  1166.27  2.15  1.48  6.33  11.22  0.78  0.78   9.2
    + pose dropout                 107.61  1141.53  2.24  1.53  6.49   9.99  0.81  0.80  12.9
    + temporal pose dropout         99.17  1107.32  2.21  1.57  6.64  10.73  0.83  0.82  17.4
    + refocusing                    67.11  1020.54  2.31  1.65  6.88   8.17  0.86  0.93  14.5

That gestures go with the loudness is shown in its figure 5 and in user studies (table 3), not as a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import tyro
from bench import prove
from proof import Options, Proof, Shown, Variant, known

from vivavoce.evaluation.ablation import Claim, Measure
from vivavoce.evaluation.actions import gesture_size, hand_variance
from vivavoce.evaluation.reader import read
from vivavoce.evaluation.speech import gesture_correlation
from vivavoce.methods.apoavatar import APOAVATAR_MINIATURE, ApoAvatarConfig
from vivavoce.train.recipes import APOAVATAR, miniature

FRAMES, STEPS = 81, 200


def proof(config: ApoAvatarConfig = APOAVATAR_MINIATURE, *, steps: int = STEPS, rate: float = 1e-3) -> Proof:
    """The four rows; `steps` of training for each of them, over both stages."""
    recipe = miniature(APOAVATAR, steps=steps // 2, rate=rate)
    poseless = tuple(replace(stage, without=(*stage.without, "pose", "pose_drop")) for stage in recipe.stages)
    variants = (
        Variant("no-pose", "no pose", config, replace(recipe, stages=poseless)),
        Variant("clip", "+ pose dropout", replace(config, pose_dropout="clip"), recipe),
        Variant("frames", "+ temporal dropout", replace(config, pose_dropout="frames"), recipe),
        Variant("refocusing", "+ refocusing", config, recipe),
    )
    rivals = ("no-pose", "clip", "frames")
    sync = {"no-pose": "6.33", "clip": "6.49", "frames": "6.64"}
    return Proof(
        name="apoavatar",
        title="ApoAvatar: which poses are dropped in training",
        paper="ApoAvatar, table 4",
        frames=FRAMES,
        examples=config,
        variants=variants,
        measures=(
            Measure("gesture", "gestures with loudness", "high"),
            Measure("mouth", "mouth correlation", "high"),
            Measure("mouth_other", "mouth, another's speech"),
            Measure("size", "gesture size"),
            Measure("hands", "hand variance"),
        ),
        claims=(
            *(Claim("gesture", "refocusing", rival, "figure 5") for rival in rivals),
            *(Claim("mouth", "refocusing", rival, f"SYNC 6.88 against {sync[rival]}") for rival in rivals),
            Claim("size", "refocusing", "no-pose", "HKV 14.5 against 9.2"),
            Claim("size", "frames", "clip", "HKV 17.4 against 12.9"),
        ),
        measured=measured,
        seen=lambda scene: replace(scene, pose=None),
        notes=(
            "Drawn without a pose, as in the paper.",
            "All three kinds of dropout drop a clip's poses at the same mean rate, that of equation 4: all frames of "
            "the clip together, any of its latent frames, or those where the speech is quiet.",
            "Gestures with loudness: Pearson's correlation over time of how fast the wrists move with how loud the "
            "speech is; 0 where no hand is seen.",
        ),
    )


def measured(shown: Shown) -> Mapping[str, Any]:
    """Of a clip: how its gestures go with loudness, how large they are (shoulder widths a second), and its mouth."""
    track, scene = shown.reading.track, shown.held.scene
    size, speech = gesture_size(track), scene.speech.samples * np.float32(scene.speech.gain)
    return shown.mouths() | {
        "gesture": known(gesture_correlation(track, speech)),
        "size": float(np.nanmean(size)) if np.isfinite(size).any() else 0.0,
        "hands": known(hand_variance(track)),
    }


def main(options: Options) -> None:
    """Make the table."""
    prove(proof(steps=options.steps or STEPS, rate=options.rate), options, read=read)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
