"""What each miniature has above trivial baselines, on people and voices that nothing was trained on.

    python recipes/proofs/baselines.py physavatar --corpus CORPUS

Its clips stand beside frames that never move (the mean of all training frames, the photo, the true clip's own mean)
and beside what the same weights draw for somebody else's speech.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from bench import Read, slug
from heldout import Held, held_out
from jaxtyping import Float32, Float64, UInt8
from proof import Options, Proof, Shown, Variant
from report import Measured, plain, write_report

from vivavoce.corpus.shard_clips import Shards
from vivavoce.corpus.synth.orders import TRAIN
from vivavoce.evaluation.ablation import Claim, Measure
from vivavoce.evaluation.reader import read
from vivavoce.evaluation.speech import shuffled
from vivavoce.methods.load import load
from vivavoce.progress import track
from vivavoce.train.recipes import find_recipe
from vivavoce.video.batch import TrainingBatch
from vivavoce.video.config import VideoConfig
from vivavoce.video.draw import draw, frames_of
from vivavoce.video.maker import Scene, Span
from vivavoce.video.method import Sampling, VideoMethod
from vivavoce.video.sample.resume import Job
from vivavoce.video.vae import pictures

FRAMES = 81
_MEAN_OF = 200  # training clips


@dataclass(frozen=True)
class Drawing:
    """What stands for a clip, and the best guess of its frames before any noise is taken away."""

    frames: UInt8[np.ndarray, "F H W 3"]
    expected: UInt8[np.ndarray, "F H W 3"]


def proof(config: VideoConfig) -> Proof:
    """The rows and claims for one method."""
    recipe = find_recipe(config.name)
    titles = {
        "mean": "mean frame of all people",
        "photo": "the photo, still",
        "average": "the true clip's mean frame",
        "other": "another's speech",
        "own": "its own speech",
    }
    return Proof(
        name=f"baselines-{config.name}",
        title=f"{config.name} and trivial baselines",
        paper="no table of a paper",
        frames=FRAMES,
        examples=config,
        variants=tuple(Variant(name, title, config, recipe) for name, title in titles.items()),
        measures=(
            Measure("mouth", "mouth correlation", "high"),
            Measure("mouth_other", "mouth, another's speech"),
            Measure("psnr", "expected frames, dB", "high", digits=2),
            Measure("focus", "the same of face and hands, dB", "high", digits=2),
        ),
        claims=(
            Claim("mouth", "own", "photo", ""),
            Claim("mouth", "own", "other", ""),
            Claim("mouth_other", "other", "own", ""),
            Claim("psnr", "own", "mean", ""),
            Claim("focus", "own", "mean", ""),
            Claim("focus", "own", "photo", ""),
            Claim("focus", "own", "average", ""),
            Claim("focus", "own", "other", ""),
        ),
        measured=measured,
        notes=(
            "People and voices are both held out. Each clip is drawn twice with the same noise, once with the speech "
            "of another of these clips; where its own speech is heard, the mouth must follow that, and not the other.",
            "Expected frames: what the network takes a clip for while it sees nothing but noise, which is the mean "
            "over all clips that it holds possible, as decibels of signal (peak 255) to noise against the true frames. "
            "A still frame is its own expectation; that of the true clip is known to nobody who has only photo and "
            "speech. Face and hands count there as they do in training.",
        ),
    )


def measured(shown: Shown) -> Mapping[str, Any]:
    """Of a clip: how its mouth goes with both speeches."""
    return shown.mouths()


def stills(clip: Held, mean: UInt8[np.ndarray, "H W 3"]) -> dict[str, Drawing]:
    """The clip as frames that never move would have it."""
    assert clip.frames is not None
    assert clip.scene.photo is not None
    held = {"mean": mean, "photo": clip.scene.photo, "average": rounded(clip.frames.mean(axis=0))}
    moving = {name: np.repeat(frame[None], len(clip.frames), axis=0) for name, frame in held.items()}
    return {name: Drawing(frames, frames) for name, frames in moving.items()}


def drawing(method: VideoMethod, scene: Scene, job: Job, *, seed: int) -> Drawing:
    """The scene as the method draws it, and as it expects it."""
    sampling = Sampling.of(method.config, seed=seed)
    order = draw(method, scene, sampling, job)
    return Drawing(np.stack(list(frames_of(method, order, job))), expected(method, scene, seed=seed))


@torch.no_grad()
def expected(method: VideoMethod, scene: Scene, *, seed: int) -> UInt8[np.ndarray, "F H W 3"]:
    """The network's estimate of the frames at noise level 1, where its input is noise alone."""
    network, make = method.network, method.make
    conditions = network.conditions(make, scene, Span(0, scene.frames))
    noise = torch.randn(network.latent_shape(scene.frames), generator=torch.Generator().manual_seed(seed))
    batch = TrainingBatch(torch.zeros_like(noise), conditions, torch.ones(1), noise).to(make.device)
    latents = batch.noise - network.drawn(batch).sample.float()
    if "given" in conditions:
        mask = conditions["given"][:, None, :, None, None].bool()
        latents = torch.where(mask, conditions["given.latents"], latents)
    return np.stack(list(pictures(make.vae, latents[:, :, network.config.references :])))


def weighted_psnr(
    frames: UInt8[np.ndarray, "F H W 3"],
    truth: UInt8[np.ndarray, "F H W 3"],
    weights: Float32[np.ndarray, "F h w"] | None = None,
) -> float:
    """Peak signal-to-noise ratio of a clip, dB, its squared errors weighted by cells where `weights` are given."""
    error = ((frames.astype(np.float64) - truth) ** 2).mean(axis=3)
    if weights is None:
        return float(10 * np.log10(255**2 / error.mean()))
    height, width = (n // m for n, m in zip(error.shape[1:], weights.shape[1:], strict=True))
    fine = weights.repeat(height, axis=1).repeat(width, axis=2)
    return float(10 * np.log10(255**2 / np.average(error, weights=fine)))


def rounded(values: Float64[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Whole levels."""
    return values.round().clip(0, 255).astype(np.uint8)


def mean_frame(corpus: Path, fps: float, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """Of the people who are trained on: each of some clips gives the frame in its middle."""
    shards = Shards(corpus, split=TRAIN, fps=fps)
    places = np.linspace(0, len(shards) - 1, min(_MEAN_OF, len(shards))).round().astype(int).tolist()
    total = np.zeros((size[1], size[0], 3))
    for place in track(places, "Mean frame"):
        clip = shards[place]
        total += clip.frames(len(clip) // 2, 1, size=size)[0]
    return rounded(total / len(places))


def compare(method: VideoMethod, options: Options, *, read: Read) -> dict[str, Any]:
    """Draw and read what is not there yet, and write the table; its record comes back."""
    table, frames = proof(method.config), options.frames or FRAMES
    config = replace(method.config, chunk=frames)
    method = replace(method, config=config)
    held = held_out(options.corpus, config, frames=frames, clips=options.clips)
    mean = mean_frame(options.corpus, config.fps, (config.width, config.height))
    partners = [held[k] for k in shuffled(len(held))]
    folder = options.runs / "baselines" / f"{config.name}-{method.fingerprint()}"
    results: dict[str, dict[int, Measured]] = {variant.name: {0: {}} for variant in table.variants}
    truth: dict[str, Any] = {}
    for clip, other in track(list(zip(held, partners, strict=True)), f"{config.name}: drawing"):
        assert clip.frames is not None
        rows = stills(clip, mean)
        for row, heard in (("own", clip), ("other", other)):
            scene = replace(clip.scene, speech=heard.scene.speech)
            job = Job(folder / slug(clip.key) / row, {"speech": heard.key})
            rows[row] = drawing(method, scene, job, seed=0)
        for row, drawn in rows.items():
            results[row][0][clip.key] = plain(numbers(table, clip, other, drawn, read))
        seen = read(clip.frames, config.fps)
        truth[clip.key] = plain(table.measured(Shown(clip, other, clip.frames, seen)))
    settings = {
        "frames": frames,
        "size": f"{config.width}x{config.height}",
        "held-out clips": len(held),
        "denoising steps": config.steps,
        "weights": method.fingerprint(),
    }
    return write_report(
        table, results, truth, clips=[clip.key for clip in held], out=options.out, settings=settings
    )


def numbers(table: Proof, clip: Held, other: Held, drawn: Drawing, read: Read) -> dict[str, Any]:
    """All measures of a row's clip."""
    assert clip.frames is not None
    seen = read(drawn.frames, clip.scene.fps)
    return {
        **table.measured(Shown(clip, other, drawn.frames, seen)),
        "psnr": weighted_psnr(drawn.expected, clip.frames),
        "focus": weighted_psnr(drawn.expected, clip.frames, clip.scene.focus),
    }


def main(method: Literal["physavatar", "actavatar", "apoavatar"], options: Options) -> None:
    """Make the table of one method's miniature, as it comes with the program."""
    compare(load(f"{method}-miniature"), options, read=read)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
