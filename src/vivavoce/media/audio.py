"""The sound of any sound or video file: checked in one pass, then read as 16 kHz mono in blocks."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from vivavoce.errors import InputError
from vivavoce.media.files import check_readable, file_sha256
from vivavoce.types import SPEECH_RATE

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer

SHORTEST = 0.2
"""Seconds of sound below which nothing is said."""
SILENCE = 1e-3
"""Peak amplitude (-60 dB of full scale) below which a recording is taken for silent."""
_CHUNK = 1 << 16  # samples that are worth a numpy call
_EXACT_LENGTH = {"wav", "w64", "aiff", "flac", "mov", "caf"}  # formats whose header tells the true length
_FULL_SCALE = {"u1": 128.0, "i2": 32768.0, "i4": 2147483648.0, "i8": 9223372036854775808.0}


@dataclass(frozen=True)
class SpeechFile:
    """A recording that was decoded once from end to end and found usable; see `open_speech`."""

    path: Path
    sha256: str
    duration: float
    """Seconds, exact: decoded samples / `sample_rate`."""
    sample_rate: int
    """Hz, of the file."""
    channels: int
    _mix: Float32[np.ndarray, " C"] = field(repr=False)

    @property
    def samples(self) -> int:
        """Number of samples at 16 kHz."""
        return round(self.duration * SPEECH_RATE)

    def blocks(self, seconds: float = 1.0) -> Iterator[Float32[np.ndarray, " n"]]:
        """16 kHz mono in [-1, 1], in blocks of that length (the last one shorter), without drift or delay."""
        size = max(1, round(seconds * SPEECH_RATE))
        waiting: list[np.ndarray] = []
        held = 0
        for piece in self._exactly(self._resampled()):
            waiting.append(piece)
            held += len(piece)
            if held < size:
                continue
            joined = np.concatenate(waiting)
            whole = held - held % size
            yield from np.split(joined[:whole], whole // size)
            waiting, held = [joined[whole:]], held - whole
        if held:
            yield np.concatenate(waiting)

    def read(self) -> Float32[np.ndarray, " n"]:
        """The whole recording at 16 kHz mono; for short ones."""
        return np.concatenate(list(self.blocks()))

    def spooled(self) -> Float32[np.ndarray, " n"]:
        """The whole recording at 16 kHz mono, in a file without a name that is read as it is needed."""
        with tempfile.TemporaryFile(prefix="vivavoce-") as file:
            for block in self.blocks():
                file.write(block.tobytes())
            file.flush()
            return np.memmap(file, np.float32, "r")

    def _resampled(self) -> Iterator[np.ndarray]:
        import soxr

        mono = self._mono()
        if self.sample_rate == SPEECH_RATE:
            yield from mono
            return
        stream = soxr.ResampleStream(self.sample_rate, SPEECH_RATE, 1, dtype="float32", quality="HQ")
        for chunk in mono:
            yield stream.resample_chunk(chunk)
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)

    def _mono(self) -> Iterator[np.ndarray]:
        with closing(_decode(self.path)) as decoded:
            for _, chunk in decoded:
                mix = (
                    self._mix
                    if len(chunk) == len(self._mix)
                    else np.full(len(chunk), 1 / len(chunk), np.float32)
                )
                yield mix @ chunk

    def _exactly(self, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The pieces clipped to [-1, 1], cut or padded to `samples` in all: resamplers round as they like."""
        left = self.samples
        for piece in pieces:
            yield piece[:left].clip(-1, 1)
            left -= len(piece[:left])
        yield np.zeros(left, np.float32)


def open_speech(path: Path) -> SpeechFile:
    """Decode a recording (or the sound of a video) once, in constant memory, and check that it can be used.

    Warns when the file is cut off or damaged in part. Raises InputError if there is no such file, or it has
    no sound, is silent, is shorter than `SHORTEST` seconds, or holds values that are not finite.
    """
    check_readable(path, "recording")
    sha256 = file_sha256(path)
    rate, count, tally = 0, 0, _Levels()
    with closing(_decode(path, warn=True)) as decoded:
        for rate, chunk in decoded:  # noqa: B007
            count += chunk.shape[1]
            tally.add(path, chunk)
    if not count:
        raise InputError(f"{path} holds no sound that can be decoded: give another file.")
    duration = count / rate
    if duration < SHORTEST:
        raise InputError(f"{path} holds {duration:.2f} s of sound: give at least {SHORTEST} s.")
    if tally.peak < SILENCE:
        raise InputError(f"{path} is silent (peak below -60 dB): give a recording of speech.")
    return SpeechFile(path, sha256, duration, rate, len(tally.power), tally.mix())


class _Levels:
    """Peak and power of the channels and of their mean, over a whole recording."""

    def __init__(self) -> None:
        self.peak = 0.0
        self.power = np.zeros(0)
        self.mean_power = 0.0

    def add(self, path: Path, chunk: Float32[np.ndarray, "C n"]) -> None:
        peak = max(float(chunk.max()), -float(chunk.min()))
        if not np.isfinite(peak):  # NaN and infinity pass through max and min
            raise InputError(
                f"{path} holds samples that are not finite numbers (NaN or infinite): export it again."
            )
        self.peak = max(self.peak, peak)
        if len(self.power) != len(chunk):
            self.power, self.mean_power = np.zeros(len(chunk)), 0.0
        self.power += np.einsum("cn,cn->c", chunk, chunk)
        mean = chunk.mean(0)
        self.mean_power += float(mean @ mean)

    def mix(self) -> Float32[np.ndarray, " C"]:
        """Weights of the channels in the mono signal: their mean, brought down where it exceeds full scale.

        Channels that cancel in the mean (one wired with the wrong polarity) leave the loudest of them alone.
        """
        weights = np.full(len(self.power), 1 / len(self.power), np.float32)
        if self.mean_power < 0.01 * self.power.max():
            weights = np.eye(len(self.power), dtype=np.float32)[self.power.argmax()]
        return weights / np.float32(max(1.0, self.peak))


def open_container(path: Path) -> InputContainer:
    """Open a sound or video file for reading: this file only, never what it may link to."""
    import av
    from av.error import FFmpegError

    try:
        return av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except (FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a sound or video that can be read, or is damaged: give another."
        ) from error


def sound_stream(container: InputContainer, path: Path) -> AudioStream:
    """The main sound of a file. Raises InputError if it has none."""
    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if streams:  # without a codec context there is no decoder
        best = container.streams.best("audio")
        return next((stream for stream in streams if stream is best), streams[0])
    if container.streams.video:
        raise InputError(f"{path} has a picture but no sound: give a recording, or a video with sound.")
    raise InputError(f"{path} holds no sound: give a recording of speech.")


def _decode(path: Path, *, warn: bool = False) -> Generator[tuple[int, Float32[np.ndarray, "C n"]]]:
    """Sample rate and samples of a file, about `_CHUNK` at a time; `warn` of what could not be decoded."""
    with open_container(path) as container:
        stream = sound_stream(container, path)
        rate, total, held = 0, 0, 0
        damage: list[str] = []
        waiting: list[np.ndarray] = []
        for frame in decoded_frames(container, stream, damage):
            rate = rate or frame.sample_rate
            if frame.sample_rate != rate:
                raise InputError(
                    f"{path} changes its sample rate after {total / rate:.1f} s: export it again."
                )
            samples = _to_float(frame)
            if waiting and (held >= _CHUNK or len(samples) != len(waiting[0])):
                yield rate, np.concatenate(waiting, axis=1)
                waiting, held = [], 0
            waiting.append(samples)
            held += frame.samples
            total += frame.samples
        if waiting:
            yield rate, np.concatenate(waiting, axis=1)
        if warn and rate:
            _warn_of_damage(path, total / rate, _promised(container, stream), damage)


def decoded_frames(
    container: InputContainer, stream: AudioStream, damage: list[str]
) -> Generator[AudioFrame]:
    """The frames of a sound; what cannot be decoded is passed over and its error put into `damage`."""
    from av.error import EOFError as EndOfFile
    from av.error import FFmpegError

    packets = container.demux(stream)
    while True:
        try:
            decoded = next(packets).decode()
        except (StopIteration, EndOfFile):
            return
        except FFmpegError as error:
            damage.append(str(error))
            continue
        for frame in decoded:
            if frame.samples:
                yield frame


def _promised(container: InputContainer, stream: AudioStream) -> float:
    """Seconds of sound that the header speaks of; 0 where the format only lets one guess."""
    names = set(container.format.name.split(","))
    exact = names & _EXACT_LENGTH or (names == {"mp3"} and stream.start_time)  # a Xing header tells both
    if exact and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if "matroska" in names and not container.streams.video:
        return (container.duration or 0) / 1e6
    return 0.0


def _warn_of_damage(path: Path, decoded: float, promised: float, damage: list[str]) -> None:
    if _riff_is_cut(path) or decoded < promised - 0.25:
        warnings.warn(f"{path} is cut off: the {decoded:.1f} s that are there are used.", stacklevel=1)
    elif damage:
        warnings.warn(f"{path} is damaged in {len(damage)} places, which were left out.", stacklevel=1)


def _riff_is_cut(path: Path) -> bool:
    """Whether a wav file is shorter than its header says (FFmpeg does not tell)."""
    with path.open("rb") as file:
        head = file.read(8)
    length = int.from_bytes(head[4:8], "little")
    unknown = (0, 0xFFFFFFFF)  # written by programs that did not know the length yet
    return head[:4] == b"RIFF" and length not in unknown and length + 8 > path.stat().st_size + 1


def _to_float(frame: AudioFrame) -> Float32[np.ndarray, "C n"]:
    """The samples of a frame with full scale at 1."""
    samples: np.ndarray[Any, Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    kind = samples.dtype.str[1:]
    if kind[0] == "f":
        return samples.astype(np.float32)
    offset = 128.0 if kind == "u1" else 0.0
    return ((samples.astype(np.float32) - np.float32(offset)) / np.float32(_FULL_SCALE[kind])).astype(
        np.float32
    )
