"""Speech with known phone times from three free synthesisers behind one call: `synthesize`.

The engines do not agree on what a label's time means, so each clock is set right here, once:

* flite and festival give the end time of each phone, shifted against the sound by a constant of the voice
  (`LABEL_LAG`, measured by `vivavoce.corpus.synth.clock.label_lag`);
* espeak-ng reports a voiceless stop at its burst, the silence of its closure belonging to the event before;
  here the closure is found in the samples and given back to its stop.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from vivavoce.corpus.synth.phonemes import from_ipa
from vivavoce.errors import InputError
from vivavoce.features.phones import PAUSE, Phone, from_arpabet, spread
from vivavoce.types import SPEECH_RATE

LABEL_LAG = {
    ("flite", "slt"): 0.004,
    ("flite", "kal16"): 0.003,
    ("festival", "ked_diphone"): 0.004,
    ("festival", "kal_diphone"): 0.006,
    ("festival", "cmu_us_slt_arctic_hts"): 0.010,
}
"""Seconds to add to a voice's labels so that they agree with its sound; absent means under 2 ms."""

_MEAN_F0 = {
    "slt": 170.0,
    "rms": 105.0,
    "awb": 120.0,
    "kal16": 105.0,
}  # Hz, what each flite voice is set to by default
_VOICELESS_STOPS = frozenset(("p", "t", "k", "ch"))
_CLOSURE_DB = 26.0  # a closure is this far below the loudest of the 300 ms around it
_LONGEST_CLOSURE = 0.14


@dataclass(frozen=True)
class Voice:
    """A voice of an engine: flite ("slt"), espeak ("en-us+f3", "de+m4": language + variant) or festival."""

    engine: str
    name: str


def synthesize(
    text: str, voice: Voice, *, rate: float = 1.0, pitch: float = 1.0
) -> tuple[Float32[np.ndarray, " n"], list[Phone]]:
    """Speak `text`: samples at 16 kHz in [-1, 1], and the phones that lie in them without gap or overlap.

    `rate` and `pitch` are relative to the voice's own; festival knows no `pitch`. The same call gives the same
    bits, whatever was spoken before it.
    Raises InputError where the engine is not installed, does not know the voice, or says nothing.
    """
    engines = {"flite": _flite, "espeak": _espeak, "festival": _festival}
    if voice.engine not in engines:
        raise InputError(f"No speech engine is called {voice.engine!r}; use one of {', '.join(engines)}.")
    try:
        samples, phones = engines[voice.engine](text, voice.name, rate, pitch)
    except OSError as missing:
        raise InputError(
            f"{voice.engine} is not installed ({missing}); install the package of that name."
        ) from missing
    if not phones or not len(samples):
        raise InputError(f"{voice.engine} says nothing with voice {voice.name!r} for {text[:60]!r}.")
    lag = LABEL_LAG.get((voice.engine, voice.name), 0.0)
    return samples, _fitted(phones, lag, len(samples) / SPEECH_RATE)


def _fitted(phones: list[Phone], lag: float, duration: float) -> list[Phone]:
    """Phones moved by `lag`, the first from the start of the sound, a pause added up to its end."""
    moved = [
        Phone(p.label, p.start + lag, min(p.end + lag, duration)) for p in phones if p.start + lag < duration
    ]
    moved[0] = moved[0]._replace(start=0.0)
    if moved[-1].end < duration:
        moved.append(Phone(PAUSE, moved[-1].end, duration))
    return [p for p in moved if p.end > p.start]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{command[0]} failed: {done.stderr.strip()[:200] or 'no reason given'}.")
    return done.stdout


def _read(path: Path) -> Float32[np.ndarray, " n"]:
    from scipy.io import wavfile

    rate, pcm = wavfile.read(path)
    return _at_speech_rate(pcm.astype(np.float32) / 32768, rate)


def _at_speech_rate(samples: np.ndarray, rate: int) -> Float32[np.ndarray, " n"]:
    import soxr

    if rate == SPEECH_RATE:
        return samples
    return soxr.resample(samples, rate, SPEECH_RATE).astype(np.float32).clip(-1, 1)  # its ripple goes beyond


def _flite(text: str, name: str, rate: float, pitch: float) -> tuple[np.ndarray, list[Phone]]:
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        settings = {"duration_stretch": 1 / rate, "int_f0_target_mean": _MEAN_F0.get(name, 110.0) * pitch}
        options = [part for key, value in settings.items() for part in ("--setf", f"{key}={value:.4f}")]
        printed = _run(["flite", "-voice", name, *options, "-psdur", "-t", text, "-o", str(wav)])
        ends = [(s, float(e)) for s, e in re.findall(r"(\S+):([\d.]+)(?=\s|$)", printed)]
        return _read(wav), _from_ends(ends)


def _from_ends(ends: list[tuple[str, float]]) -> list[Phone]:
    """Contiguous phones from (ARPAbet symbol, end time) pairs."""
    starts = [0.0, *(end for _, end in ends)]
    return [
        phone
        for (symbol, end), start in zip(ends, starts, strict=False)
        for phone in spread(from_arpabet(symbol), start, end)
    ]


def _festival(text: str, name: str, rate: float, pitch: float) -> tuple[np.ndarray, list[Phone]]:
    if pitch != 1:
        raise InputError("festival voices keep their own pitch; leave pitch at 1.")
    with tempfile.TemporaryDirectory() as folder:
        wav, labels, script = (Path(folder) / f for f in ("speech.wav", "speech.seg", "speech.scm"))
        quoted = text.replace("\\", "").replace('"', "")
        script.write_text(
            f"(voice_{name})(Parameter.set 'Duration_Stretch {1 / rate:.4f})\n"
            f'(set! u (utt.synth (Utterance Text "{quoted}")))\n'
            f'(utt.save.wave u "{wav}" \'riff)(utt.save.segs u "{labels}")\n'
        )
        _run(["festival", "-b", str(script)])
        rows = [line.split() for line in labels.read_text().splitlines()]
        ends = [(row[2], float(row[0])) for row in rows if len(row) >= 3 and row[0][0].isdigit()]
        return _read(wav), _from_ends(ends)


def _espeak(text: str, name: str, rate: float, pitch: float) -> tuple[np.ndarray, list[Phone]]:
    with closing(_Espeak()) as library:
        samples, native_rate, events = library.speak(text, name, int(165 * rate), int(min(99, 50 * pitch)))
    samples = _at_speech_rate(samples, native_rate)
    ends = [*(start for start, _ in events[1:]), len(samples) / SPEECH_RATE]
    phones: list[Phone] = []
    for (start, symbol), end in zip(events, ends, strict=True):
        labels = from_ipa(symbol, re.split(r"[-+]", name)[0])
        if labels and end > start:
            phones += spread(labels, start, end)
        elif phones:
            phones[-1] = phones[-1]._replace(end=end)
    return samples, _with_closures(samples, phones)


def _with_closures(samples: np.ndarray, phones: list[Phone]) -> list[Phone]:
    """Give the silence before each burst to its stop, up to the start of the phone before."""
    hop = SPEECH_RATE // 200
    power = (samples[: len(samples) // hop * hop].reshape(-1, hop) ** 2).mean(1)
    level = 10 * np.log10(power + 1e-9)
    result = list(phones)
    for i in range(1, len(result)):
        stop, before = result[i], result[i - 1]
        if stop.label not in _VOICELESS_STOPS or before.label == PAUSE:
            continue
        burst = min(int(stop.start * 200), len(level))
        loudest = level[max(0, burst - 30) : burst + 30].max()
        k = burst
        while k > 0 and burst - k < 200 * _LONGEST_CLOSURE and level[k - 1] < loudest - _CLOSURE_DB:
            k -= 1
        start = max(k / 200, before.start + 0.02)
        if start < stop.start:
            result[i] = stop._replace(start=start)
            result[i - 1] = before._replace(end=start)
    return result


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


class _Espeak:
    """libespeak-ng, which keeps one global state: never used from two threads.

    What it has spoken moves the phase of the flutter and the noise of the next utterance, and no call sets
    them back: for each utterance it is loaded and unloaded again.
    """

    RETRIEVAL, PHONEME_EVENTS_IPA, EVENT_PHONEME, UTF8, PARAMETER_RATE, PARAMETER_PITCH = 1, 3, 7, 1, 1, 3

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self._rate = self._library.espeak_Initialize(self.RETRIEVAL + 1, 0, None, self.PHONEME_EVENTS_IPA)
        self._chunks: list[np.ndarray] = []
        self._events: list[tuple[float, str]] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._receive)  # the library keeps the bare pointer, so this object must live
        self._library.espeak_SetSynthCallback(self._callback)
        ctypes.CDLL(None).srand(1)  # its noise is the C library's

    def close(self) -> None:
        from _ctypes import dlclose

        self._library.espeak_Terminate()
        dlclose(self._library._handle)

    def _receive(self, samples: int | None, count: int, events) -> int:
        if samples and count > 0:
            self._chunks.append(np.frombuffer(ctypes.string_at(samples, 2 * count), np.int16))
        i = 0
        while events[i].type:
            if events[i].type == self.EVENT_PHONEME:
                symbol = events[i].id.string.decode("utf8", "ignore")
                self._events.append((events[i].audio_position / 1000, symbol))
            i += 1
        return 0

    def speak(
        self, text: str, voice: str, words_per_minute: int, pitch: int
    ) -> tuple[np.ndarray, int, list[tuple[float, str]]]:
        self._chunks, self._events = [], []
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise InputError(f"espeak-ng has no voice {voice!r}; `espeak-ng --voices` lists them.")
        self._library.espeak_SetParameter(self.PARAMETER_RATE, words_per_minute, 0)
        self._library.espeak_SetParameter(self.PARAMETER_PITCH, pitch, 0)
        encoded = text.encode()
        self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, self.UTF8, None, None)
        pcm = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
        return pcm.astype(np.float32) / 32768, self._rate, self._events
