"""Speech -> the eight articulation channels, streaming, with bounded look-ahead and without torch.

The network of `network.py` in numpy: every block keeps the frames that its next output needs, so pushing
sound in any blocks gives what pushing it whole gives. A track is at (k + 0.5) / RATE seconds; look-ahead is
`LOOK_AHEAD`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from vivavoce.errors import WeightsError
from vivavoce.features.speech import BANDS, FRAME_RATE, HOP, LEAD, LevelNormalizer, LogMel, log_mel
from vivavoce.splat.controls import ARTICULATION, INDEX
from vivavoce.types import SPEECH_RATE

WEIGHTS = Path(__file__).parent / "weights" / "articulation.safetensors"
OUTPUTS = (*ARTICULATION, "contact")
"""What the network says: the channels, and how surely the lips touch, which decides closures."""
STACK = 2
"""Log-mel frames that make one frame of the network."""
RATE = FRAME_RATE / STACK
"""Rows of a track a second."""
HEADER = "vivavoce.articulation"

QUIET = -6.5
"""Nats of power below the speech level (28 dB): quieter frames are silence."""
QUIET_BEFORE, QUIET_AFTER = 7, 4
"""Frames of silence, 140 ms and 80 ms, around a frame that must be shut."""
PREROLL = 20
"""Frames of silence, 0.4 s, that every recording is taken to begin after."""
_SHUTTING = 0.34  # share a frame: the mouth comes to rest in 60 ms
_SNAP = 0.015  # openings up to this are contact: the network rarely says exactly zero
_SURER, _SOONER = 2.0, 1.4  # contact's logits are stretched and raised: half shut looks worse than shut

Track = Float32[np.ndarray, "t 8"]


@dataclass(frozen=True)
class _Block:
    """One residual block, and how many frames it sees back and ahead."""

    taps: Float32[np.ndarray, "k D"]
    bias: Float32[np.ndarray, " D"]
    norm: tuple[np.ndarray, np.ndarray]
    expand: tuple[np.ndarray, np.ndarray]
    contract: tuple[np.ndarray, np.ndarray]
    past: int
    future: int

    def __call__(self, x: Float32[np.ndarray, "n D"]) -> Float32[np.ndarray, "m D"]:
        """The frames of `x` that have all their neighbours, `past` before and `future` after."""
        count = max(0, len(x) - self.past - self.future)
        hidden = np.zeros((count, x.shape[1]), np.float32) + self.bias
        for k, tap in enumerate(self.taps):
            hidden += x[k : k + count] * tap
        hidden = _affine(_normalized(hidden, self.norm), self.expand)
        np.maximum(hidden, 0, out=hidden)
        return x[self.past : self.past + count] + _affine(hidden, self.contract)


def _affine(x: np.ndarray, layer: tuple[np.ndarray, np.ndarray]) -> Float32[np.ndarray, "n M"]:
    return x @ layer[0] + layer[1]


def _normalized(x: np.ndarray, layer: tuple[np.ndarray, np.ndarray]) -> Float32[np.ndarray, "n D"]:
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * layer[0] + layer[1]


@dataclass(frozen=True)
class ArticulationModel:
    """The trained network. Call it on a whole recording, or take a `stream`."""

    inlet: tuple[np.ndarray, np.ndarray]
    blocks: tuple[_Block, ...]
    norm: tuple[np.ndarray, np.ndarray]
    outlet: tuple[np.ndarray, np.ndarray]

    @property
    def look_ahead(self) -> float:
        """Seconds of sound after the moment of a row that the row depends on."""
        frames = sum(block.future for block in self.blocks)
        window = (HOP * (STACK // 2) - HOP + LEAD) / SPEECH_RATE
        return frames / RATE + window

    @classmethod
    def load(cls, path: Path | str | None = None) -> ArticulationModel:
        """The weights that come with the package, or those of `path`.

        Raises WeightsError for a file that is missing, damaged or made for something else.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path or WEIGHTS)
        try:
            with safe_open(path, "numpy") as stored:
                facts = json.loads((stored.metadata() or {}).get(HEADER, "null"))
                tensors = {name: stored.get_tensor(name).astype(np.float32) for name in stored.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, json.JSONDecodeError) as damage:
            raise WeightsError(
                f"{path} cannot be read as articulation weights ({damage}); `make weights` makes them again."
            ) from damage
        if not facts or tuple(facts["outputs"]) != OUTPUTS or facts["rate"] != RATE:
            raise WeightsError(
                f"{path} holds no articulation weights of this version; `make weights` makes them."
            )
        try:
            return cls._assembled(tensors, facts)
        except KeyError as missing:
            raise WeightsError(
                f"{path} lacks the tensor {missing}; `make weights` makes the file again."
            ) from missing

    @classmethod
    def _assembled(cls, tensors: dict[str, np.ndarray], facts: dict) -> ArticulationModel:
        def linear(name: str) -> tuple[np.ndarray, np.ndarray]:
            return np.ascontiguousarray(tensors[f"{name}.weight"].T), tensors[f"{name}.bias"]

        count = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
        blocks = []
        for name in (f"blocks.{i}" for i in range(count)):
            scale = tensors[f"{name}.scale"]
            weight, bias = linear(f"{name}.contract")
            blocks.append(
                _Block(
                    taps=np.ascontiguousarray(tensors[f"{name}.depthwise.weight"][:, 0].T),
                    bias=tensors[f"{name}.depthwise.bias"],
                    norm=linear(f"{name}.norm"),
                    expand=linear(f"{name}.expand"),
                    contract=(weight * scale, bias * scale),
                    past=facts["past"],
                    future=facts["future"],
                )
            )
        return cls(linear("inlet"), tuple(blocks), linear("norm"), linear("outlet"))

    def stream(self) -> ArticulationStream:
        """A fresh stream from the start of a recording."""
        return ArticulationStream(self)

    def __call__(self, samples: Float32[np.ndarray, " n"]) -> Track:
        """The track of a whole recording at 16 kHz, ceil(n / 320) rows."""
        stream = self.stream()
        return np.concatenate([stream.push(samples), stream.finish()])


class ArticulationStream:
    """One recording on its way through the network."""

    def __init__(self, model: ArticulationModel) -> None:
        self._model = model
        self._mel = LogMel()
        self._level = LevelNormalizer()
        self._stacked = np.zeros((0, BANDS), np.float32)
        self._loudness = np.zeros(0, np.float32)
        width = len(model.outlet[0])
        self._kept = [np.zeros((block.past, width), np.float32) for block in model.blocks]
        self._gate = _SilenceGate()
        # a network that has seen nothing guesses; one that has seen silence keeps the mouth shut
        self._surplus = PREROLL
        self._advance(log_mel(np.zeros(PREROLL * STACK * HOP, np.float32)), last=False)

    def push(self, samples: Float32[np.ndarray, " n"]) -> Track:
        """The rows that these samples complete: `look_ahead` behind the sound."""
        return self._advance(self._mel.push(samples), last=False)

    def finish(self) -> Track:
        """The remaining rows; the stream is used up."""
        return self._advance(self._mel.finish(), last=True)

    def _advance(self, mel: np.ndarray, *, last: bool) -> Track:
        frames, loudness = self._level.push(mel[None])
        frames = np.concatenate([self._stacked, frames[0]])
        loudness = np.concatenate([self._loudness, loudness[0]])
        if last and len(frames) % STACK:
            frames, loudness = (
                np.concatenate([frames, frames[-1:]]),
                np.concatenate([loudness, loudness[-1:]]),
            )
        whole = len(frames) // STACK * STACK
        self._stacked, self._loudness = frames[whole:], loudness[whole:]
        self._gate.hear(loudness[:whole].reshape(-1, STACK).max(1) < QUIET)
        x = _affine(frames[:whole].reshape(-1, STACK * BANDS), self._model.inlet)
        for i, block in enumerate(self._model.blocks):
            ahead = [np.zeros((block.future, x.shape[1]), np.float32)] if last else []
            x = np.concatenate([self._kept[i], x, *ahead])
            self._kept[i] = x[max(0, len(x) - block.past - block.future) :]
            x = block(x)
        logits = _affine(_normalized(x, self._model.norm), self._model.outlet)
        track = self._gate.shut(_channels(logits))
        dropped = min(self._surplus, len(track))
        self._surplus -= dropped
        return track[dropped:]


class _SilenceGate:
    """Brings every channel to rest while the sound is silent, and lets go in time for the next word."""

    def __init__(self) -> None:
        self._quiet: Bool[np.ndarray, " n"] = np.ones(QUIET_BEFORE, bool)
        self._open = 0.0

    def hear(self, quiet: Bool[np.ndarray, " n"]) -> None:
        """Whether each of the next frames is silent; runs ahead of `shut` by the network's look-ahead."""
        self._quiet = np.concatenate([self._quiet, quiet])

    def shut(self, track: Track) -> Track:
        """The next rows, drawn to rest where all frames around them are silent."""
        reach = QUIET_BEFORE + 1 + QUIET_AFTER
        gain = np.empty((len(track), 1), np.float32)
        for k in range(len(track)):
            step = -_SHUTTING if self._quiet[k : k + reach].all() else 2 * _SHUTTING
            self._open = float(np.clip(self._open + step, 0, 1))
            gain[k] = self._open
        self._quiet = self._quiet[len(track) :]
        return track * gain


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _channels(logits: Float32[np.ndarray, "t 9"]) -> Track:
    """Channels from the network's logits: the gap is shut as far as contact is probable."""
    track = _sigmoid(logits[:, :-1])
    gap = track[:, INDEX["open"]] * _sigmoid(-_SURER * (logits[:, -1] + _SOONER))
    track[:, INDEX["open"]] = np.maximum(gap - _SNAP, 0) / (1 - _SNAP)
    return track


def frame_reach(fps: float, *, rate: float = RATE) -> float:
    """Seconds from a frame's centre to the last row that lies within the frame's time, at most."""
    return max(0.0, 0.5 / fps - 0.5 / rate)


def at_frames(
    track: Track, fps: float, count: int, *, rate: float = RATE, first: int = 0, start: float = 0.0
) -> Float32[np.ndarray, "f 8"]:
    """A track at the centres (k + 0.5) / fps of `count` video frames, k = first, first + 1, ...

    `track` is a piece that begins at `start` seconds; beyond its ends its first and last rows hold.

    A contact that falls between two centres is not lost: where the lips nearly meet in a row that lies within
    a frame's time, the frame shows the smallest gap and the strongest press and tuck of that time.
    """
    if count == 0:
        return np.zeros((0, len(ARTICULATION)), np.float32)
    times = start + (np.arange(len(track)) + 0.5) / rate
    centres = (first + np.arange(count) + 0.5) / fps
    offsets = np.linspace(-1, 1, 9) * frame_reach(fps, rate=rate)
    within = np.stack([_interpolated(track, times, centres + offset) for offset in offsets])
    frames = within[len(offsets) // 2].copy()
    gap = INDEX["open"]
    smallest = within[..., gap].min(0)
    near = np.clip((0.10 - smallest) / 0.06, 0, 1)
    frames[:, gap] += near * (smallest - frames[:, gap])
    for name in ("press", "tuck"):
        frames[:, INDEX[name]] += near * (within[..., INDEX[name]].max(0) - frames[:, INDEX[name]])
    return frames


def _interpolated(track: np.ndarray, times: np.ndarray, wanted: np.ndarray) -> Float32[np.ndarray, "f 8"]:
    return np.stack([np.interp(wanted, times, column) for column in track.T], 1).astype(np.float32)
