"""Speech encoders at video rate: Whisper and wav2vec 2.0 behind one interface, for recordings of any length.

Long recordings are heard in windows that overlap. Frames near the ends of a window, where the encoder lacks
context, are taken from its neighbour, and in between the two fade into each other, so that no join can be heard.
Where a window's own sound ends, it is the recording that ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int

from vivavoce.errors import InputError, WeightsError
from vivavoce.features.loudness import levelled
from vivavoce.timing import frame_rate
from vivavoce.types import SPEECH_RATE
from vivavoce.weights import locate

if TYPE_CHECKING:
    from transformers import Wav2Vec2Model
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

LAST = (-1,)
"""The choice of the last layer alone."""
_OVERLAP = 1 / 6  # of a window, with each neighbour: 5 of 30 seconds
_MARGIN = 1 / 4  # of the overlap at either side, which is left to the neighbour


class SpeechEncoder(ABC):
    """A pretrained network from sound to features, evenly spaced in time.

    `layers` are the hidden states to put side by side: 0 is the input of the first layer, -1 the last output.
    """

    kind: str
    step: int
    """Samples from one state to the next."""
    first: float
    """Samples from the start of the sound to the centre of state 0."""
    span: int
    """Samples in a window."""

    def __init__(self, network: Any, layers: Sequence[int] = LAST) -> None:
        count = network.config.num_hidden_layers + 1
        wrong = [layer for layer in layers if not -count <= layer < count]
        if wrong or not layers:
            chosen = ", ".join(map(str, layers)) or "none"
            raise InputError(
                f"The layers {chosen} cannot be chosen: give some from 0 to {count - 1}, or from the end, -1 to -{count}."
            )
        self.network = network.eval().requires_grad_(False)
        self.layers = tuple(layers)
        self.width = network.config.hidden_size * len(self.layers)

    @property
    def name(self) -> str:
        """What is stored with weights that were trained on these features."""
        config = self.network.config
        layers = ",".join(map(str, self.layers))
        return f"{self.kind} {config.num_hidden_layers}x{config.hidden_size} layers {layers}"

    def features(
        self, samples: Float32[np.ndarray, " n"], fps: float, frames: int
    ) -> Float32[torch.Tensor, "F A"]:
        """Features of mono speech at SPEECH_RATE for F video frames, on the CPU.

        A frame's features are the mean, over the time that it shows, k / fps to (k + 1) / fps, of the states joined by
        straight lines: centred at (k + 0.5) / fps at every rate, and no state between two frames is lost. Beyond
        the sound the outermost states stay. The sound is brought to one loudness first.

        Raises InputError for an empty or non-finite recording, fewer than one frame, and fps that are not positive.
        """
        if not len(samples) or not np.isfinite(samples).all():
            what = "is empty" if not len(samples) else "has samples that are no numbers"
            raise InputError(f"The speech {what}: give a recording that can be played.")
        if frames < 1 or fps <= 0:
            raise InputError(f"{frames} frames at {fps:g} fps cannot be: give at least one frame and a rate above 0.")
        edges = np.arange(frames + 1) * float(SPEECH_RATE / frame_rate(fps))
        starts = _starts(len(samples), self.span, self.step)
        shares = _shares((edges[:-1] + edges[1:]) / 2, starts, self.span)
        states_from = self._listen(levelled(samples))
        features = np.zeros((frames, self.width), np.float32)
        for start, share in zip(starts.tolist(), shares, strict=True):
            mine = np.flatnonzero(share)  # neighbours all
            if len(mine):
                own = edges[mine[0] : mine[-1] + 2] - (start + self.first)
                features[mine] += share[mine, None] * _means(states_from(start), own / self.step)
        return torch.from_numpy(features)

    @abstractmethod
    def _listen(self, samples: Float32[np.ndarray, " n"]) -> Callable[[int], Float32[np.ndarray, "T A"]]:
        """Prepare a recording; the result gives the states of the window that begins at a sample."""

    def _chosen(self, **inputs: torch.Tensor) -> Float32[np.ndarray, "T A"]:
        parameter = next(self.network.parameters())
        inputs = {key: value.to(parameter.device, parameter.dtype) for key, value in inputs.items()}
        with torch.inference_mode():
            hidden = self.network(**inputs, output_hidden_states=True).hidden_states
        return torch.cat([hidden[layer][0] for layer in self.layers], dim=-1).float().cpu().numpy()


class Whisper(SpeechEncoder):
    """Whisper's encoder (Radford et al. 2023), 50 states a second, of which state i is centred at i / 50 s."""

    kind = "whisper"
    first = 0.0

    def __init__(self, network: WhisperEncoder, layers: Sequence[int] = LAST) -> None:
        from transformers import WhisperFeatureExtractor

        super().__init__(network, layers)
        self._mel = WhisperFeatureExtractor(feature_size=network.config.num_mel_bins)
        self.step = 2 * self._mel.hop_length  # its second convolution has stride 2
        self.span = network.config.max_source_positions * self.step

    def _listen(self, samples: Float32[np.ndarray, " n"]) -> Callable[[int], Float32[np.ndarray, "T A"]]:
        # One spectrum of all: its floor is set by the loudest moment, which windows would each have of their own.
        hop = self._mel.hop_length
        missing = max(self.span - len(samples), -len(samples) % self.step)
        mel = self._mel(
            np.pad(samples, (0, missing)), sampling_rate=SPEECH_RATE, padding=False, truncation=False,
            return_tensors="pt",
        ).input_features  # fmt: skip

        def states_from(start: int) -> Float32[np.ndarray, "T A"]:
            states = self._chosen(input_features=mel[..., start // hop : (start + self.span) // hop])
            return states[: -(-(len(samples) - start) // self.step)]  # of sound, not of the silence behind it

        return states_from


class Wav2Vec2(SpeechEncoder):
    """wav2vec 2.0 (Baevski et al. 2020): a state every 20 ms, each from 25 ms of sound and its context."""

    kind = "wav2vec2"
    span = 30 * SPEECH_RATE

    def __init__(self, network: Wav2Vec2Model, layers: Sequence[int] = LAST) -> None:
        super().__init__(network, layers)
        self.step, self._reach = 1, 1
        for kernel, stride in zip(network.config.conv_kernel, network.config.conv_stride, strict=True):
            self._reach += (kernel - 1) * self.step
            self.step *= stride
        self.first = self._reach / 2

    def _listen(self, samples: Float32[np.ndarray, " n"]) -> Callable[[int], Float32[np.ndarray, "T A"]]:
        deviation = max(float(samples.std()), 1e-4)  # silence stays silence
        heard = (samples - samples.mean()) / np.float32(deviation)
        heard = np.pad(heard, (0, max(0, self._reach - len(heard))))

        def states_from(start: int) -> Float32[np.ndarray, "T A"]:
            return self._chosen(input_values=torch.from_numpy(heard[None, start : start + self.span]))

        return states_from


def load_encoder(source: str | Path, layers: Sequence[int] = LAST) -> SpeechEncoder:
    """The speech encoder in a transformers folder or of a hub name: Whisper or wav2vec 2.0.

    Raises WeightsError where there is none, or it is another model; InputError for layers that it does not have.
    """
    from transformers import AutoConfig, Wav2Vec2Model, WhisperModel

    folder = locate(source, "speech encoder")
    try:
        kind = AutoConfig.from_pretrained(folder).model_type
        if kind == Whisper.kind:
            return Whisper(WhisperModel.from_pretrained(folder).get_encoder(), layers)
        if kind == Wav2Vec2.kind:
            return Wav2Vec2(Wav2Vec2Model.from_pretrained(folder), layers)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0].rstrip(".:")
        raise WeightsError(
            f"The speech encoder {source} cannot be loaded ({first}): download it again."
        ) from error
    raise WeightsError(f"{source} is a {kind} model: give a Whisper or a wav2vec 2.0 one.")


def _starts(samples: int, span: int, step: int) -> Int[np.ndarray, " k"]:
    """First samples of windows that cover a recording; if it fills one at all, every one is full.

    They lie on whole steps, evenly spaced; neighbours overlap by at least `_OVERLAP` of a window.
    """
    beyond = max(0, -(-samples // step) * step - span)
    count = 1 + int(np.ceil(beyond / (span * (1 - _OVERLAP))))
    return np.floor(np.linspace(0, beyond, count) / step).astype(np.int64) * step


def _shares(
    times: Float64[np.ndarray, " F"], starts: Int[np.ndarray, " k"], span: int
) -> Float64[np.ndarray, "k F"]:
    """How much each frame, centred at `times` (in samples), takes from each window; 1 in all.

    A frame goes over from one window to the next on a straight line through what they overlap, less a margin.
    """
    margin = span * _OVERLAP * _MARGIN
    arrived = [np.ones(len(times))]
    for before, start in zip(starts, starts[1:], strict=False):
        begin, end = start + margin, before + span - margin
        arrived.append(np.clip((times - begin) / (end - begin), 0, 1))
    return -np.diff([*arrived, np.zeros(len(times))], axis=0)


def _means(
    states: Float32[np.ndarray, "T A"], edges: Float64[np.ndarray, " G"]
) -> Float64[np.ndarray, "F A"]:
    """Means between neighbouring `edges` of the states joined by straight lines; state i lies at i.

    Before the first state and after the last it is constant.
    """
    area = np.zeros(states.shape)
    np.cumsum((states[1:] + states[:-1]) / 2, axis=0, dtype=np.float64, out=area[1:])
    last = len(states) - 1
    inside = np.clip(edges, 0, last)
    whole = np.minimum(inside.astype(np.int64), max(0, last - 1))
    part = (inside - whole)[:, None]
    slope = states[np.minimum(whole + 1, last)] - states[whole]
    integral = area[whole] + part * states[whole] + part**2 / 2 * slope
    outside = (edges - inside)[:, None]
    integral += np.where(outside < 0, states[0], states[-1]) * outside
    return np.diff(integral, axis=0) / np.diff(edges)[:, None]
