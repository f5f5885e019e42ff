"""Speech features at video rate: Whisper, wav2vec 2.0 and log-mel spectra behind one interface.

A recording of any length is encoded in overlapping windows that lie fixed in its own time, so that a frame has the
same features whatever other frames are asked for, and only windows that hold such frames are encoded.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32, Int

from vivavoce.errors import WeightsError
from vivavoce.features.loudness import Speech
from vivavoce.features.speech import BANDS, HOP, log_mel
from vivavoce.timing import frame_rate, mirrored
from vivavoce.types import SPEECH_RATE

if TYPE_CHECKING:
    import torch

WINDOW = 30 * SPEECH_RATE
"""Samples of a window: those that it is responsible for, and CONTEXT on either side."""
CONTEXT = 5 * SPEECH_RATE // 2
ADVANCE = WINDOW - 2 * CONTEXT
MARGIN = SPEECH_RATE // 2
"""Mirrored samples beyond either end of a recording, for encoders that take windows of any length."""
_KEPT = 2  # windows; successive chunks ask for frames on either side of a border


class SpeechEncoder(ABC):
    """Features of speech at video rate; each encoder says how to encode one window."""

    name: str
    """The architecture, as it is stored with weights that were trained on these features."""
    width: int
    """Values a video frame, A."""
    _first: float
    """Centre of a window's first encoder frame, in samples from the window's start."""
    _stride: int
    """Samples from one encoder frame to the next."""
    _instants = 1
    """Equally spaced instants within a video frame whose features lie side by side."""

    def __init__(self) -> None:
        self._recent: list[tuple[weakref.ref[Speech], int, np.ndarray]] = []

    def features(
        self, speech: Speech, fps: float, frames: Int[np.ndarray, " T"]
    ) -> Float32[np.ndarray, "T A"]:
        """Features around the centres (t + 0.5) / fps of video frames t, in any order.

        They are linearly interpolated between encoder frames. The sound is brought to its common loudness, and
        mirrored beyond its ends. Raises ValueError for frames that begin outside the recording.
        """
        rate, frames = frame_rate(fps), frames.astype(np.int64)
        begin = frames * rate.denominator * SPEECH_RATE
        if len(frames) and (frames.min() < 0 or begin.max() >= len(speech.samples) * rate.numerator):
            raise ValueError(
                f"frames {frames.min()} to {frames.max()} at {fps:g} fps are not all within {speech.duration:.2f} s"
            )
        instants = self._instants * frames[:, None] + np.arange(self._instants)
        found = self._interpolated(speech, rate * self._instants, instants.ravel())
        return found.reshape(len(frames), self.width)

    @abstractmethod
    def _encoded(self, samples: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, "m a"]:
        """The encoder frames of a window, two at least."""

    def _span(self, window: int, count: int) -> tuple[int, int]:
        """First sample of a window and the one behind its last, of a recording with `count` samples."""
        start = window * ADVANCE - CONTEXT
        return max(start, -MARGIN), min(start + WINDOW, count + MARGIN)

    def _interpolated(
        self, speech: Speech, rate: Fraction, instants: Int[np.ndarray, " U"]
    ) -> Float32[np.ndarray, "U a"]:
        """Features at (u + 0.5) / rate for instants u."""
        count = len(speech.samples)
        # In whole numbers of 1 / rate.numerator samples: exact after hours.
        centres = (2 * instants + 1) * rate.denominator * (SPEECH_RATE // 2)
        windows = np.minimum(centres // (ADVANCE * rate.numerator), (count - 1) // ADVANCE)
        out = np.empty((len(instants), self.width // self._instants), np.float32)
        for window in np.unique(windows).tolist():
            here = windows == window
            start, _ = self._span(window, count)
            encoded = self._window(speech, window)
            offset = (centres[here] - start * rate.numerator) / rate.numerator
            position = np.clip((offset - self._first) / self._stride, 0, len(encoded) - 1)
            before = np.minimum(position.astype(np.int64), len(encoded) - 2)
            share = (position - before).astype(np.float32)[:, None]
            out[here] = (1 - share) * encoded[before] + share * encoded[before + 1]
        return out

    def _window(self, speech: Speech, window: int) -> Float32[np.ndarray, "m a"]:
        """A window's encoder frames, from the last few that were computed if they are there."""
        for owner, number, encoded in self._recent:
            if owner() is speech and number == window:
                return encoded
        start, stop = self._span(window, len(speech.samples))
        encoded = self._encoded(_cut(speech, start, stop))
        self._recent = [(weakref.ref(speech), window, encoded), *self._recent][:_KEPT]
        return encoded


class LogMelEncoder(SpeechEncoder):
    """Natural-log mel bands (features/speech.py) at four instants of a video frame; needs no weights."""

    name = "log-mel"
    _first = HOP / 2
    _stride = HOP
    _instants = 4
    width = _instants * BANDS
    _MEAN, _DEVIATION = -11.0, 4.5  # of speech at -23 LUFS, recorded and synthetic, all bands and pauses

    def _encoded(self, samples: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, "m a"]:
        return (log_mel(samples) - np.float32(self._MEAN)) / np.float32(self._DEVIATION)


class WhisperEncoder(SpeechEncoder):
    """The last hidden state of Whisper's encoder (Radford et al. 2023), on windows of exactly 30 s."""

    def __init__(self, model: Any, extractor: Any) -> None:
        """`model` is transformers' WhisperModel or WhisperEncoder, `extractor` its WhisperFeatureExtractor.

        Raises WeightsError where the two do not fit each other, or windows of 30 s.
        """
        super().__init__()
        config = model.config
        self._model = (model.get_encoder() if hasattr(model, "get_encoder") else model).eval()
        self._extractor = extractor
        self.name = f"{config.model_type} {config.d_model}x{config.encoder_layers}"
        self.width = config.d_model
        # The spectrum's frames are centred at multiples of its hop, and the convolutions at every second of them.
        self._first = 0.0
        self._stride = 2 * extractor.hop_length
        if config.max_source_positions * self._stride != WINDOW or extractor.n_samples != WINDOW:
            raise WeightsError(
                f"This Whisper takes {extractor.n_samples} samples to {config.max_source_positions} frames, not "
                f"{WINDOW} to {WINDOW // self._stride}: give the model and preprocessor of one release of Whisper."
            )
        if extractor.feature_size != config.num_mel_bins:
            raise WeightsError(
                f"This Whisper takes {config.num_mel_bins} mel bands, its preprocessor gives "
                f"{extractor.feature_size}: give the model and preprocessor of one release."
            )

    def _span(self, window: int, count: int) -> tuple[int, int]:
        start = window * ADVANCE - CONTEXT
        return start, start + WINDOW

    def _encoded(self, samples: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, "m a"]:
        mel = self._extractor(samples, sampling_rate=SPEECH_RATE, return_tensors="pt").input_features
        return _last_hidden_state(self._model, mel)


class Wav2Vec2Encoder(SpeechEncoder):
    """The last hidden state of wav2vec 2.0 (Baevski et al. 2020)."""

    def __init__(self, model: Any, extractor: Any) -> None:
        """`model` is transformers' Wav2Vec2Model, `extractor` its Wav2Vec2FeatureExtractor."""
        super().__init__()
        config = model.config
        self._model = model.eval()
        self._extractor = extractor
        self.name = f"{config.model_type} {config.hidden_size}x{config.num_hidden_layers}"
        self.width = config.hidden_size
        seen, stride = 1, 1
        for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
            seen += (kernel - 1) * stride
            stride *= step
        self._first = seen / 2
        self._stride = stride

    def _encoded(self, samples: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, "m a"]:
        values = self._extractor(samples, sampling_rate=SPEECH_RATE, return_tensors="pt").input_values
        return _last_hidden_state(self._model, values)


def load_encoder(
    source: str | Path,
    *,
    kind: Literal["whisper", "wav2vec2"],
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> SpeechEncoder:
    """Whisper's encoder or wav2vec 2.0 from a transformers folder or hub name.

    `dtype` is its parameters' (float32 where None). Whisper's decoder is not loaded.

    Raises WeightsError where there is none, where it is another architecture, and for missing, damaged or
    misshapen parameters.
    """
    from transformers import AutoConfig, Wav2Vec2FeatureExtractor, Wav2Vec2Model, WhisperFeatureExtractor
    from transformers.models.whisper import modeling_whisper

    from vivavoce.weights import locate

    folder = locate(source, "speech encoder")
    with _damage_told(folder):
        found = AutoConfig.from_pretrained(folder).model_type
        if found != kind:
            raise WeightsError(
                f"{folder} holds a {found} model, where {kind} is needed: give another folder."
            )
        if kind == "whisper":
            extractor = WhisperFeatureExtractor.from_pretrained(folder)
            # Of the whole model's files, the encoder alone is read.
            mapping = {r"^(model\.)?encoder\.": ""}
            model = _strictly(modeling_whisper.WhisperEncoder, folder, dtype=dtype, key_mapping=mapping)
        else:
            extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
            model = _strictly(Wav2Vec2Model, folder, dtype=dtype)
    encoder = WhisperEncoder if kind == "whisper" else Wav2Vec2Encoder
    return encoder(model.to(device), extractor)


def _cut(speech: Speech, start: int, stop: int) -> Float32[np.ndarray, " n"]:
    """Samples of the recording, mirrored beyond its ends, at its common loudness."""
    count = len(speech.samples)
    if start >= 0 and stop <= count:
        samples = speech.samples[start:stop]
    else:
        samples = speech.samples[mirrored(np.arange(start, stop), count)]
    return np.asarray(samples) * np.float32(speech.gain)


def _last_hidden_state(model: Any, given: torch.Tensor) -> Float32[np.ndarray, "m a"]:
    import torch

    with torch.no_grad():
        states = model(given.to(model.device, model.dtype)).last_hidden_state
    return states[0].float().cpu().numpy()


def _strictly(cls: Any, folder: Path, *, dtype: torch.dtype | None, **options: Any) -> Any:
    """A transformers model every parameter of which comes from the folder; what else is there is left out."""
    import torch

    from vivavoce.weights import complain, mismatched

    model, report = cls.from_pretrained(
        folder,
        dtype=dtype or torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are told below, by their names
        **options,
    )
    # Models fine-tuned without masking were stored without its embedding, which is for training only.
    missing = set(report["missing_keys"]) - {"masked_spec_embed"}
    complain(str(folder), missing, (), mismatched(report))
    return model


@contextmanager
def _damage_told(folder: Path) -> Iterator[None]:
    """What transformers raises over a folder as one sentence, and none of its tables on the way."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:  # a damaged file raises whatever its reader stumbles over
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0].rstrip(".:")
        raise WeightsError(
            f"No speech encoder can be loaded from {folder} ({reason}): give a transformers folder with config.json, "
            "preprocessor_config.json and undamaged weights."
        ) from error
    finally:
        logging.set_verbosity(verbosity)
