"""Prosody of speech as it comes in: loudness, voicing, pitch, speech activity, pauses and accents.

One hop lasts 10 ms and hop k is centred at (k + 0.5) HOP samples. A hop is given out once LOOK_AHEAD seconds
of sound beyond its centre are known. All normalisation is causal, so that a stream, however it is cut into
blocks, gives what the whole recording gives.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from vivavoce.features.accents import DELAY, AccentPeaks, Measure, Prominence
from vivavoce.features.biquads import VOICE_BAND, sections
from vivavoce.features.pitch import WINDOW, periodicity
from vivavoce.types import SPEECH_RATE

HOP = SPEECH_RATE // 100
LOOK_AHEAD = (WINDOW // 2 + (DELAY + 1) * HOP) / SPEECH_RATE
"""Seconds of sound read after a hop's centre: half a window, a hop for the median, the accent's wait."""

_BATCH = 200  # hops measured at once: enough to be fast, and bounded for a long recording
_SILENCE_DB = -100.0
_FLOOR_RANGE = (-65.0, -45.0)  # dBFS, between which a recording's noise floor is looked for
_FLOOR_SPAN = 200  # hops; speech dips to the floor of its room at least once in two seconds
_ABOVE_FLOOR = 6.0  # dB
_VOICE, _CONSONANTS = 25.0, 15.0  # dB below the loudest; what is softer is echo or breath
_FORGETTING = 0.03  # dB a hop, by which the loudest is forgotten
_CLEAR = 0.65  # clarity of a voiced hop; white noise reaches 0.4 in one window of a hundred
_UNVOICED = 20  # hops; longer than consonants last
_CLOSURE = 0.15  # seconds; a shorter silence is the closure of a consonant


@dataclass(frozen=True)
class ProsodyFrames:
    """T consecutive hops, the first of them hop number `start` of the stream."""

    start: int
    level: Float32[np.ndarray, " T"]
    """dBFS of the hop, at least -100."""
    voicing: Float32[np.ndarray, " T"]
    """Periodicity, 0 .. 1."""
    pitch: Float32[np.ndarray, " T"]
    """F0 in Hz; 0 where unvoiced."""
    loudness: Float32[np.ndarray, " T"]
    """Standard deviations from the speaker's running mean, -3 .. 3; 0 where unvoiced."""
    pitch_height: Float32[np.ndarray, " T"]
    """As loudness, of log F0."""
    speech: Bool[np.ndarray, " T"]
    """True in speech and in gaps too short for a pause."""
    pause: Float32[np.ndarray, " T"]
    """Seconds since sound of speech was last heard; 0 while it is."""
    accent: Float32[np.ndarray, " T"]
    """0, or at the peak of an accent its strength up to 1 (0.5 for the speaker's average)."""

    def __len__(self) -> int:
        return len(self.level)

    @property
    def times(self) -> Float64[np.ndarray, " T"]:
        """Seconds, the hops' centres."""
        return (self.start + np.arange(len(self)) + 0.5) * HOP / SPEECH_RATE


class Activity:
    """Speech against the noise of the room, whose level is the minimum over the last two seconds.

    What is far below the recent loudest is no speech either, nor what goes on for long without voice: breath
    and noise, but whispering too.
    """

    def __init__(self) -> None:
        self._loudest = _SILENCE_DB
        self._minima: deque[tuple[int, float]] = deque()  # increasing: a sliding minimum
        self._hop = 0
        self._unvoiced = _UNVOICED

    def update(self, level: float, voiced: bool) -> bool:
        """Whether this hop sounds of speech."""
        while self._minima and self._minima[-1][1] >= level:
            self._minima.pop()
        self._minima.append((self._hop, level))
        if self._minima[0][0] <= self._hop - _FLOOR_SPAN:
            self._minima.popleft()
        self._hop += 1
        floor = min(max(self._minima[0][1], _FLOOR_RANGE[0]), _FLOOR_RANGE[1])
        self._unvoiced = 0 if voiced else self._unvoiced + 1
        self._loudest = max(level, self._loudest - _FORGETTING)
        range_below = _VOICE if voiced else _CONSONANTS
        loud = level > max(floor + _ABOVE_FLOOR, self._loudest - range_below)
        return loud and self._unvoiced < _UNVOICED


class ProsodyStream:
    """Turns blocks of speech into prosody; the result does not depend on how the speech is cut."""

    def __init__(self) -> None:
        self._filter_state = np.zeros((len(VOICE_BAND), 2))
        lead = WINDOW // 2 - HOP // 2
        self._sound = np.zeros(lead)
        self._voice = np.zeros(lead)
        self._samples = 0
        self._hops = _Hops()

    def push(self, samples: Float[np.ndarray, " n"]) -> ProsodyFrames:
        """The hops that `samples` (finite, mono, SPEECH_RATE) complete; often none, then one or more."""
        self._samples += len(samples)
        if not len(samples):
            return self._measure(0, 0)
        block = samples.astype(np.float64)
        voice = sections(VOICE_BAND, block, self._filter_state)
        self._sound = np.concatenate([self._sound, block])
        self._voice = np.concatenate([self._voice, voice])
        count = max(0, (len(self._sound) - WINDOW) // HOP + 1)
        parts = [
            self._measure(first, min(first + _BATCH, count)) for first in range(0, max(count, 1), _BATCH)
        ]
        self._sound, self._voice = self._sound[count * HOP :], self._voice[count * HOP :]
        return _join(parts)

    def finish(self) -> ProsodyFrames:
        """The remaining hops, up to the last one that begins within the speech."""
        total = -(-self._samples // HOP)
        silence = np.zeros(WINDOW + (DELAY + 2) * HOP)
        return _first(self.push(silence), total)

    def _measure(self, first: int, last: int) -> ProsodyFrames:
        """What hops `first` to `last` of the buffers complete."""
        if first == last:
            return self._hops.push(*np.zeros((3, 0)))
        sound, voice = (_windows(signal, first, last) for signal in (self._sound, self._voice))
        return self._hops.push(_level(sound), *periodicity(voice))


def prosody(samples: Float[np.ndarray, " n"]) -> ProsodyFrames:
    """The prosody of a whole recording at SPEECH_RATE."""
    stream = ProsodyStream()
    return _join([stream.push(samples), stream.finish()])


class _Hops:
    """The serial part of the stream: from measures of each hop to its prosody, DELAY + 1 hops later."""

    def __init__(self) -> None:
        self._activity, self._prominence, self._peaks = Activity(), Prominence(), AccentPeaks()
        self._last: deque[tuple[float, float, float]] = deque(maxlen=3)
        self._pending: deque[tuple[float, ...]] = deque()
        self._pause = 10.0
        self._given = 0

    def push(self, level: np.ndarray, hz: np.ndarray, clarity: np.ndarray) -> ProsodyFrames:
        rows = []
        for measures in zip(level.tolist(), hz.tolist(), clarity.tolist(), strict=True):
            if not self._last:
                self._last.append(measures)
            self._last.append(measures)
            if len(self._last) == 3:
                rows += self._step(*self._last)
        return self._frames(rows)

    def _step(
        self,
        before: tuple[float, float, float],
        hop: tuple[float, float, float],
        after: tuple[float, float, float],
    ) -> list[tuple[float, ...]]:
        level, _, clarity = hop
        # The median of three takes out single hops on a wrong octave and single voiced hops.
        hz = sorted(f if c >= _CLEAR else 0.0 for _, f, c in (before, hop, after))[1]
        active = self._activity.update(level, hz > 0)
        self._pause = 0.0 if active else self._pause + HOP / SPEECH_RATE
        speech = self._pause < _CLOSURE
        semitones = 12 * float(np.log2(hz)) if hz > 0 else None
        loudness, height, prominence = self._prominence.update(Measure(level, semitones, clarity, speech))
        self._pending.append((level, clarity, hz, loudness, height, float(speech), self._pause))
        strength = self._peaks.update(prominence)
        if len(self._pending) <= DELAY:
            return []
        return [(*self._pending.popleft(), strength)]

    def _frames(self, rows: list[tuple[float, ...]]) -> ProsodyFrames:
        start = self._given
        self._given += len(rows)
        table = np.array(rows, np.float32).reshape(len(rows), 8).T
        level, voicing, pitch, loudness, height, speech, pause, accent = table
        return ProsodyFrames(start, level, voicing, pitch, loudness, height, speech > 0, pause, accent)


def _windows(signal: Float64[np.ndarray, " n"], first: int, last: int) -> Float64[np.ndarray, "T 640"]:
    return np.lib.stride_tricks.sliding_window_view(signal, WINDOW)[first * HOP : last * HOP : HOP]


def _level(windows: Float64[np.ndarray, "T 640"]) -> Float64[np.ndarray, " T"]:
    """dBFS under a Hann window of 25 ms about the centre of each window, without the sound's constant part."""
    weights = np.hanning(402)[1:-1]
    weights /= weights.sum()
    middle = windows[:, (WINDOW - 400) // 2 : (WINDOW + 400) // 2]
    constant = (middle * weights).sum(axis=1, keepdims=True)
    power = ((middle - constant) ** 2 * weights).sum(axis=1)
    return 10 * np.log10(np.maximum(power, 10 ** (_SILENCE_DB / 10)))


def _join(parts: list[ProsodyFrames]) -> ProsodyFrames:
    if len(parts) == 1:
        return parts[0]
    names = [f.name for f in fields(ProsodyFrames) if f.name != "start"]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return ProsodyFrames(parts[0].start, **joined)


def _first(frames: ProsodyFrames, total: int) -> ProsodyFrames:
    """Those of the frames that lie before hop `total`."""
    keep = max(0, total - frames.start)
    values = {f.name: getattr(frames, f.name)[:keep] for f in fields(frames) if f.name != "start"}
    return ProsodyFrames(frames.start, **values)
