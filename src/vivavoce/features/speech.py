"""Log-mel spectra of speech, whole or as it comes, and their causal level normalisation.

Both streams give the same numbers for whatever blocks the sound arrives in: a frame depends on its own
window and on frames before it only, so the past never changes.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float32

from vivavoce.types import SPEECH_RATE

FRAME_RATE = 100
"""Log-mel frames a second; frame i is centred at (i + 0.5) / FRAME_RATE."""
BANDS = 80
HOP = SPEECH_RATE // FRAME_RATE
WINDOW = 400
LEAD = (WINDOW + HOP) // 2
"""Samples that a frame needs after the start of its 10 ms; 120 before it."""
_FFT = 512
_LOW, _HIGH = 60.0, 7600.0  # Hz
_FLOOR = 1e-9  # power; about the rounding noise of 16-bit sound


@functools.cache
def mel_filters() -> Float32[np.ndarray, "257 80"]:
    """Triangular filters, peak 1, equally spaced in mel(f) = 2595 log10(1 + f / 700) (O'Shaughnessy 1987)."""
    edges = 700 * (10 ** (np.linspace(np.log10(1 + _LOW / 700), np.log10(1 + _HIGH / 700), BANDS + 2)) - 1)
    bins = np.fft.rfftfreq(_FFT, 1 / SPEECH_RATE)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


@functools.cache
def _window() -> Float32[np.ndarray, " 400"]:
    phase = 2 * np.pi * (np.arange(WINDOW) + 0.5) / WINDOW
    return (np.sqrt(2 / WINDOW) * 0.5 * (1 - np.cos(phase))).astype(np.float32)


class LogMel:
    """Log-mel frames of sound that comes in blocks: `push` what is there, `finish` at the end.

    n samples give ceil(n / HOP) frames in all; the sound is taken as silent before its start and after its
    end.
    """

    def __init__(self) -> None:
        self._rest = np.zeros(WINDOW - LEAD, np.float32)
        self._samples = 0
        self._frames = 0

    def push(self, samples: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, "t 80"]:
        """The frames that these samples complete."""
        self._samples += len(samples)
        return self._transform(samples)

    def finish(self) -> Float32[np.ndarray, "t 80"]:
        """The frames whose windows reach past the end."""
        missing = -(-self._samples // HOP) - self._frames
        return self._transform(np.zeros(WINDOW, np.float32))[:missing]

    def _transform(self, samples: np.ndarray) -> Float32[np.ndarray, "t 80"]:
        signal = np.concatenate([self._rest, samples])
        count = max(0, (len(signal) - WINDOW) // HOP + 1)
        self._rest = signal[count * HOP :]
        self._frames += count
        if not count:
            return np.zeros((0, BANDS), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[::HOP][:count]
        spectrum = np.fft.rfft(frames * _window(), _FFT).astype(np.complex64)
        power = spectrum.real**2 + spectrum.imag**2
        return np.log(power @ mel_filters() + _FLOOR)


def log_mel(samples: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, "t 80"]:
    """Natural logarithm of mel band power of a whole recording, t = ceil(n / HOP)."""
    stream = LogMel()
    return np.concatenate([stream.push(samples), stream.finish()])


class LevelNormalizer:
    """Takes the loudness and the colour of a recording out of its log-mel frames, causally.

    Two states: the speech level, a peak follower over the frames' total power; and the mean spectrum of
    loud frames relative to that level, an average with a prior of `PRIOR_FRAMES` frames that forgets after
    `MEMORY_FRAMES`. B recordings are normalised side by side.
    """

    ATTACK = 0.3  # of the way up to a louder frame, each frame
    RELEASE = 0.005  # nats a frame: 0.5 nats (2.2 dB) a second
    FIRST = (
        -2.0
    )  # nats of total power: the level before anything is heard, so that room tone is not taken for speech
    QUIETEST = -9.0  # nats of total power: a level that the follower never falls below
    LOUD = 4.0  # nats below the level that still count as speech
    PRIOR_FRAMES, MEMORY_FRAMES = 60.0, 400.0
    SCALE = 2.5  # nats

    def __init__(self, recordings: int = 1) -> None:
        self._level = np.full((recordings, 1), self.FIRST, np.float32)
        self._shape = np.tile(_prior_shape(), (recordings, 1))
        self._weight = np.full((recordings, 1), self.PRIOR_FRAMES, np.float32)

    def push(
        self, mel: Float32[np.ndarray, "B t 80"]
    ) -> tuple[Float32[np.ndarray, "B t 80"], Float32[np.ndarray, "B t"]]:
        """The next frames of log power, normalised: about unit variance, limited to [-3, 3].

        And their loudness in nats of power, relative to the speech level at that moment.
        """
        total = np.log(np.exp(mel).sum(-1, keepdims=True))
        out, loudness = np.empty_like(mel), np.empty(mel.shape[:2], np.float32)
        for i in range(mel.shape[1]):
            rise = total[:, i] - self._level
            self._level += np.where(rise > 0, self.ATTACK * rise, -self.RELEASE)
            np.maximum(self._level, self.QUIETEST, out=self._level)
            relative = mel[:, i] - self._level
            above = total[:, i] - self._level
            loudness[:, i] = above[:, 0]
            loud = (above > -self.LOUD).astype(np.float32)
            self._weight = np.minimum(self._weight + loud, self.MEMORY_FRAMES)
            np.maximum(relative, -3 * self.SCALE + self._shape, out=relative)
            self._shape += (relative - self._shape) * (loud / self._weight)
            out[:, i] = relative - self._shape
        return np.clip(out / self.SCALE, -3, 3), loudness


@functools.cache
def _prior_shape() -> Float32[np.ndarray, 80]:
    """Long-term spectrum of speech below its level: about -6 dB per octave above 500 Hz (Byrne et al.
    1994).
    """
    edges = np.linspace(np.log10(1 + _LOW / 700), np.log10(1 + _HIGH / 700), BANDS + 2)
    centre = 700 * (10 ** edges[1:-1] - 1)
    return (-4.5 - 1.4 * np.log(np.maximum(centre, 500) / 500)).astype(np.float32)
