"""Train the articulation model: speech made here -> weights -> figures, in one run.

    python recipes/articulation.py

One core makes speech until there is enough (about 15 minutes), the other trains beside it, then both train.
Speech that was made is kept in --work, one shard after the other, and only what is missing is made again.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import tyro
from safetensors.numpy import save_file
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from vivavoce.corpus.synth.judge import score
from vivavoce.corpus.synth.utterances import TEST_SETS, Utterance, random_utterance, test_set
from vivavoce.features.speech import BANDS, LevelNormalizer, log_mel
from vivavoce.splat.controls import ARTICULATION
from vivavoce.splat.motion.articulation import HEADER, OUTPUTS, RATE, STACK, WEIGHTS
from vivavoce.splat.motion.network import ArticulationNetwork
from vivavoce.splat.motion.targets import articulation_from_phones, contacts

SHARD = 1000  # utterances, 76 minutes of speech


@dataclass
class Options:
    """What to make and for how long."""

    utterances: int = 20_000
    """How many; 4.6 s each on average."""
    minutes: float = 70.0
    """Of training, data and figures not counted."""
    out: Path = WEIGHTS
    work: Path = Path("build/articulation")
    """Where the data is kept."""
    batch: int = 12
    seconds: float = 6.0
    """Length of a training crop."""
    rate: float = 3e-3
    """Peak learning rate."""
    seed: int = 0
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    check: float = 4.0
    """Minutes between looks at the held-out sets."""


def frames_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One training utterance in half precision: log-mel (t, 80) and targets (t / 2, 9)."""
    utterance = random_utterance(seed)
    mel = log_mel(utterance.samples)
    goal = goals(utterance.phones, utterance.duration)
    count = min(len(mel) // STACK, len(goal))
    return mel[: count * STACK].astype(np.float16), goal[:count].astype(np.float16)


def goals(phones: list, duration: float) -> np.ndarray:
    """The articulation channels and, last, how much of each frame the lips touch."""
    channels = articulation_from_phones(phones, duration, RATE)
    edges = np.arange(len(channels) + 1) / RATE
    touch = np.zeros(len(channels), np.float32)
    for start, end in contacts(phones):
        until = max(end, start + 0.03)
        touch += np.clip(np.minimum(edges[1:], until) - np.maximum(edges[:-1], start), 0, None) * RATE
    return np.concatenate([channels, np.minimum(touch, 1)[:, None]], 1)


def make_shard(path: Path, first: int) -> None:
    """SHARD utterances, seeds from `first` on, end to end: log-mel, targets, where each begins."""
    made = [frames_of(seed) for seed in range(first, first + SHARD)]
    starts = np.cumsum([0, *(len(goal) for _, goal in made[:-1])])
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        mel=np.concatenate([m for m, _ in made]),
        goal=np.concatenate([g for _, g in made]),
        starts=starts,
    )
    partial.rename(path)


def shard_paths(options: Options) -> list[Path]:
    """Where each shard lies or will lie."""
    return [
        options.work / f"shard-{options.seed}-{i:03d}.npz" for i in range(-(-options.utterances // SHARD))
    ]


def make_shards(options: Options) -> None:
    """Every shard that is missing, one after the other; runs beside the training."""
    for i, path in enumerate(shard_paths(options)):
        if not path.exists():
            make_shard(path, options.seed * 10_000_000 + i * SHARD)


class Crops:
    """Random crops, disguised anew: mel axis warped, spectrum tilted, gain, noise floor, masked bands."""

    def __init__(self, options: Options) -> None:
        self.frames, self.batch = int(options.seconds * RATE), options.batch
        self.rng = np.random.default_rng(options.seed)
        self.ready: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.awaited = shard_paths(options)
        self.shards: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def gather(self) -> None:
        """Take in the shards that have been made by now; wait where there is none yet."""
        while not self.shards and not self.awaited[0].exists():
            time.sleep(1)
        while self.awaited and self.awaited[0].exists():
            with np.load(self.awaited.pop(0)) as stored:
                mel, goal, starts = stored["mel"], stored["goal"], stored["starts"]
            self.shards.append((mel, goal, starts[starts < len(goal) - self.frames]))

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs (B, T, 160) and targets (B, T, 9)."""
        if not self.ready:
            self.ready = self._several(4)
        return self.ready.pop()

    def _several(self, batches: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        self.gather()
        crops = [self._crop() for _ in range(batches * self.batch)]
        mel = np.stack([self._disguised(m) for m, _ in crops])
        goal = np.stack([g for _, g in crops]).astype(np.float32)
        inputs = LevelNormalizer(len(mel)).push(mel)[0].reshape(len(mel), self.frames, STACK * BANDS)
        for row in inputs:
            if self.rng.random() < 0.3:
                low = self.rng.integers(0, BANDS - 12)
                row.reshape(-1, STACK, BANDS)[:, :, low : low + self.rng.integers(2, 12)] = 0
        cut = [slice(k * self.batch, (k + 1) * self.batch) for k in range(batches)]
        return [(torch.from_numpy(inputs[c]), torch.from_numpy(goal[c])) for c in cut]

    def _crop(self) -> tuple[np.ndarray, np.ndarray]:
        mel, goal, starts = self.shards[self.rng.integers(len(self.shards))]
        first = min(self.rng.choice(starts) + self.rng.integers(60), len(goal) - self.frames)
        last = first + self.frames
        return mel[STACK * first : STACK * last], goal[first:last]

    def _disguised(self, mel: np.ndarray) -> np.ndarray:
        mel, rng = mel.astype(np.float32), self.rng
        if rng.random() < 0.6:
            position = np.clip(
                np.arange(BANDS) * rng.uniform(0.93, 1.07) + rng.uniform(-1, 1), 0, BANDS - 1.001
            )
            low = position.astype(int)
            part = (position - low).astype(np.float32)
            mel = mel[:, low] * (1 - part) + mel[:, low + 1] * part
        axis = np.linspace(-1, 1, BANDS, dtype=np.float32)
        mel = mel + np.float32(rng.normal(0, 0.6)) * axis + np.float32(rng.uniform(-7, 0.5))
        if rng.random() < 0.4:
            floor = mel.max() - rng.uniform(5, 14) - 0.8 * axis * rng.uniform(0, 2)
            mel = np.logaddexp(mel, floor + rng.normal(0, 0.5, mel.shape).astype(np.float32))
        return mel.astype(np.float32)


def opening_gate(logits: torch.Tensor) -> torch.Tensor:
    """Channels (..., 8) from logits (..., 9): the gap is shut as far as contact is probable."""
    channels = torch.sigmoid(logits[..., :-1])
    gap = channels[..., :1] * torch.sigmoid(-logits[..., -1:])
    return torch.cat([gap, channels[..., 1:]], -1)


def loss(logits: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
    """Errors of place and speed, heavier where the lips should be shut and are not, and of contact."""
    channels, wanted = opening_gate(logits), goal[..., :-1]
    weight = (
        torch.tensor([3.0, 1.2, 1.0, 1.0, 1.0, 0.7, 0.7, 0.8], device=goal.device).expand_as(wanted).clone()
    )
    weight[..., 0] *= 1 + 2.5 * ((wanted[..., 0] < 0.03) & (channels[..., 0] > 0.03))
    error = channels - wanted
    entropy = binary_cross_entropy(channels.clamp(1e-5, 1 - 1e-5), wanted, reduction="none")
    distance = ((error.abs() + entropy) * weight).mean()
    speed = (error[:, 1:] - error[:, :-1]).abs() * weight[:, 1:]
    touch = binary_cross_entropy_with_logits(
        logits[..., -1], goal[..., -1], pos_weight=torch.tensor(2.0, device=goal.device)
    )
    return distance + 1.5 * speed.mean() + 0.3 * touch


def train(options: Options) -> None:
    """Data, training with a cosine schedule over wall-clock time, an average of the weights, figures."""
    torch.manual_seed(options.seed)
    options.work.mkdir(parents=True, exist_ok=True)
    maker = multiprocessing.get_context("spawn").Process(target=make_shards, args=(options,), daemon=True)
    maker.start()
    crops = Crops(options)
    judges = {name: judged(name) for name in TEST_SETS}
    network = ArticulationNetwork().to(options.device)
    average = ArticulationNetwork().to(options.device)
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(network.parameters(), options.rate, betas=(0.9, 0.98), weight_decay=0.02)
    began, step, checked, losses = time.time(), 0, time.time(), []
    while (share := (time.time() - began) / (60 * options.minutes)) < 1:
        # Beside another busy process a second thread would slow both down several times.
        torch.set_num_threads(1 if maker.is_alive() else os.cpu_count() or 1)
        for group in optimizer.param_groups:
            group["lr"] = (
                options.rate * min(1, (step + 1) / 200) * (0.01 + 0.5 * (1 + math.cos(math.pi * share)))
            )
        inputs, goal = (tensor.to(options.device) for tensor in crops.next())
        with torch.autocast(options.device, torch.bfloat16):
            logits = network(inputs)
        value = loss(logits.float(), goal)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        keep = min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, new in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(new, 1 - keep)
        losses.append(value.item())
        if time.time() - checked > 60 * options.check:
            report(
                f"step {step}, {share:.0%}, {len(crops.shards)} shards, loss {np.mean(losses[-200:]):.4f}",
                average,
                judges,
                options.device,
            )
            save(average, options.out.with_suffix(".partial.safetensors"), step)
            checked = time.time()
    report(f"step {step}, done, loss {np.mean(losses[-200:]):.4f}", average, judges, options.device)
    save(average, options.out, step)
    options.out.with_suffix(".partial.safetensors").unlink(missing_ok=True)


def judged(name: str) -> tuple[list[Utterance], list[np.ndarray]]:
    """A test set: its utterances, and the network's inputs for each."""
    utterances = test_set(name)
    inputs = []
    for utterance in utterances:
        mel = log_mel(utterance.samples)
        frames, _ = LevelNormalizer().push(mel[None, : len(mel) // STACK * STACK])
        inputs.append(frames.reshape(-1, STACK * BANDS))
    return utterances, inputs


@torch.no_grad()
def report(title: str, network: ArticulationNetwork, judges: dict, device: str) -> None:
    """One line for each test set."""
    network.eval()
    print(title)
    for name, (utterances, inputs) in judges.items():
        tracks = [
            opening_gate(network(torch.from_numpy(i[None]).to(device)))[0].cpu().numpy() for i in inputs
        ]
        s = score(tracks, utterances, RATE)
        channels = " ".join(f"{c} {s['r_' + c]:.3f}" for c in ARTICULATION)
        print(
            f"  {name:34s} {channels} | closed {s['closure_recall']:.1%} of {s['closures']:.0f}, "
            f"time {s['timing_median_ms']:.0f}/{s['timing_p90_ms']:.0f} bias {s['timing_bias_ms']:+.0f} ms, "
            f"false {s['false_closures']:.2%}, still {s['silence_still']:.1%}, lag {s['best_lag_ms']:+.0f}",
            flush=True,
        )
    network.train()


def save(network: ArticulationNetwork, path: Path, steps: int) -> None:
    """Half-precision safetensors with what the reader must know in the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = network.blocks[0]
    facts = {"outputs": OUTPUTS, "rate": RATE, "past": block.past, "future": block.future, "steps": steps}
    tensors = {k: v.detach().cpu().numpy().astype(np.float16) for k, v in network.state_dict().items()}
    save_file(tensors, path, {HEADER: json.dumps(facts)})


if __name__ == "__main__":
    train(tyro.cli(Options))
