"""Speech -> articulation on speech that was never trained on, beside what loudness alone gives.

    python benchmarks/articulation.py

Prints a table and writes benchmarks/results/articulation.json. Needs flite, espeak-ng and festival.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from vivavoce.corpus.synth import augment
from vivavoce.corpus.synth.judge import score
from vivavoce.corpus.synth.utterances import HELD_OUT_ENGINE, TEST_SETS, Utterance, test_set
from vivavoce.features.align import align
from vivavoce.splat.controls import ARTICULATION
from vivavoce.splat.motion.articulation import RATE, ArticulationModel
from vivavoce.splat.motion.targets import articulation_from_phones
from vivavoce.types import SPEECH_RATE

RESULTS = Path(__file__).parent / "results" / "articulation.json"
SMOOTHING = 0.04  # seconds, standard deviation, of the loudness baseline


def noisy(utterances: Sequence[Utterance]) -> list[Utterance]:
    """The same 20 dB quieter in a room (0.4 s, direct sound 6 dB over the rest) with noise 15 dB below."""
    result = []
    for i, utterance in enumerate(utterances):
        rng = np.random.default_rng(i)
        wet = augment.in_room(utterance.samples, rng, decay=0.4, direct_db=6.0)
        sound = (0.1 * augment.with_noise(wet, rng, 15.0)).astype(np.float32)
        result.append(Utterance(sound, utterance.phones, utterance.text, utterance.voice))
    return result


def telephone(utterances: Sequence[Utterance]) -> list[Utterance]:
    """The same through a telephone line: 300-3400 Hz, mu-law at 8 bits."""
    return [
        Utterance(augment.mu_law(augment.band_limited(u.samples, 300.0, 3400.0)), u.phones, u.text, u.voice)
        for u in utterances
    ]


def loudness_only(utterances: Sequence[Utterance]) -> list[np.ndarray]:
    """Tracks from the smoothed RMS level alone: per channel the affine map that fits these very targets best."""
    from scipy.ndimage import gaussian_filter1d

    hop = int(SPEECH_RATE / RATE)
    levels, targets = [], []
    for utterance in utterances:
        samples = np.pad(utterance.samples, (0, -len(utterance.samples) % hop)).reshape(-1, hop)
        power = gaussian_filter1d((samples.astype(np.float64) ** 2).mean(1), SMOOTHING * RATE)
        levels.append(np.sqrt(np.maximum(power, 0)))
        targets.append(articulation_from_phones(utterance.phones, utterance.duration, RATE))
    design = np.stack([np.concatenate(levels), np.ones(sum(map(len, levels)))], 1)
    fit = np.linalg.lstsq(design, np.concatenate(targets), rcond=None)[0]
    return [(level[:, None] * fit[0] + fit[1]).astype(np.float32) for level in levels]


def scripted(utterance: Utterance) -> np.ndarray:
    """The track of `--text`: forced alignment of the known words in place of the network."""
    return articulation_from_phones(align(utterance.samples, utterance.text), utterance.duration, RATE)


def seconds_for_ten(model: ArticulationModel) -> float:
    """Median seconds on this machine for ten seconds of sound, one thread."""
    sound = np.random.default_rng(0).normal(0, 0.05, 10 * SPEECH_RATE).astype(np.float32)
    times = []
    for _ in range(7):
        began = time.perf_counter()
        model(sound)
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def main() -> None:
    model = ArticulationModel.load()
    conditions: dict[str, Callable[[Sequence[Utterance]], Sequence[Utterance]]] = {
        "": lambda sets: sets,
        ", room and noise": noisy,
        ", telephone": telephone,
    }
    results: dict = {"look_ahead_ms": 1e3 * model.look_ahead, "seconds_for_10_s": seconds_for_ten(model)}
    results["sets"] = sets = {}
    print(
        f"look-ahead {results['look_ahead_ms']:.1f} ms; 10 s of speech in {results['seconds_for_10_s']:.3f} s"
    )
    tested = {name: test_set(name) for name in TEST_SETS}
    engine = f"held-out engine, {HELD_OUT_ENGINE}"
    tested[f"{engine}, all voices"] = [
        u for name, us in tested.items() if name.startswith(engine) for u in us
    ]
    for name, dry in tested.items():
        for suffix, change in conditions.items():
            utterances = change(dry)
            figures = score([model(u.samples) for u in utterances], utterances, RATE)
            baseline = score(loudness_only(utterances), utterances, RATE)
            figures["r_open_loudness_only"] = baseline["r_open"]
            figures["closure_recall_loudness_only"] = baseline["closure_recall"]
            sets[name + suffix] = {key: round(value, 4) for key, value in figures.items()}
            print(line(name + suffix, figures), flush=True)
        figures = score([scripted(u) for u in dry], dry, RATE)
        results.setdefault("text_known", {})[name] = {key: round(value, 4) for key, value in figures.items()}
        print(line(name + ", text known", figures), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def line(name: str, s: dict[str, float]) -> str:
    """One row of the table, with the loudness baseline where it was measured."""
    channels = " ".join(f"{c} {s['r_' + c]:.3f}" for c in ARTICULATION)
    loudness = (
        f" | loudness only r {s['r_open_loudness_only']:.2f}, closed {s['closure_recall_loudness_only']:.0%}"
        if "r_open_loudness_only" in s
        else ""
    )
    return (
        f"{name:48s} {channels} | closed {s['closure_recall']:.1%} of {s['closures']:.0f}, timing "
        f"{s['timing_median_ms']:.0f}/{s['timing_p90_ms']:.0f} bias {s['timing_bias_ms']:+.0f} ms, "
        f"false {s['false_closures']:.2%} | still {s['silence_still']:.1%} | lag {s['best_lag_ms']:+.0f} ms | "
        f"shuffled {s['r_shuffled']:+.2f}{loudness}"
    )


if __name__ == "__main__":
    main()
