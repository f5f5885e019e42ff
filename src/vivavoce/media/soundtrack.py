"""The user's own recording on its way into a video: as it is where the container takes it, else encoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vivavoce.media.audio import decoded_frames, open_container, sound_stream

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream, Packet
    from av.container import InputContainer, OutputContainer

COPIED = {
    ".mp4": ("aac", "mp3", "mp3float"),  # ALAC would fit as well, but browsers stay silent on it
    ".mov": ("aac", "mp3", "mp3float", "alac"),  # PCM needs no copying: encoding it loses nothing
    ".webm": ("opus", "vorbis"),
}
"""By suffix, the names of the decoders whose sound goes into the file untouched."""
_GAP = Fraction(1, 20)  # seconds; smaller jumps of time stamps are their rounding
_AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)


class Soundtrack:
    """Sound that is muxed up to a given moment at a time; its first audible sample is heard at 0 s."""

    def __init__(self, output: OutputContainer, path: Path, suffix: str) -> None:
        """Add the stream to `output`. Raises InputError if the file has no sound that can be read."""
        self._output = output
        self._input = open_container(path)
        stream = sound_stream(self._input, path)
        if stream.codec_context.name in COPIED[suffix]:
            self._track: _Copy | _Encoding = _Copy(output, self._input, stream, _start(path))
        else:
            self._track = _Encoding(output, self._input, stream, suffix)

    def advance(self, end: Fraction) -> None:
        """Mux what sounds before `end` seconds and has not been muxed yet."""
        for packets in self._track.until(end):
            self._output.mux(packets)

    def finish(self, end: Fraction) -> None:
        """Mux the rest, cut at `end` seconds: to the sample when encoding, else to the packet."""
        self.advance(end)
        self._output.mux(self._track.rest(end))

    def close(self) -> None:
        """Close the recording."""
        self._input.close()


def _start(path: Path) -> Fraction:
    """The time stamp of the first audible sample: after what encoders put before it."""
    with open_container(path) as container:
        stream = sound_stream(container, path)
        with closing(decoded_frames(container, stream, [])) as frames:
            first = next(frames, None)
    if first is None or first.pts is None or first.time_base is None:
        return Fraction(0)
    return first.pts * first.time_base


class _Copy:
    """Packets as they stand in the recording, moved in time so that its first audible sample comes at 0."""

    def __init__(
        self, output: OutputContainer, container: InputContainer, stream: AudioStream, start: Fraction
    ) -> None:
        self._stream = output.add_stream_from_template(stream)
        self._packets = container.demux(stream)
        self._shift = -start
        self._expected: Fraction | None = None
        self._duration: Fraction | None = None
        self._held: Packet | None = None

    def until(self, end: Fraction) -> Iterator[list[Packet]]:
        while (packet := self._held or self._next()) is not None:
            self._held = packet
            if self._time(packet) >= end:
                return
            self._held = None
            yield [self._moved(packet)]

    def rest(self, end: Fraction) -> list[Packet]:
        return []

    def _next(self) -> Packet | None:
        from av.error import FFmpegError

        while True:
            try:
                packet = next(self._packets, None)
            except FFmpegError:  # a damaged stretch, told about when the recording was checked
                continue
            if packet is None or packet.pts is not None:
                return packet

    def _time(self, packet: Packet) -> Fraction:
        """Seconds in the video. Gaps are closed: the motion was made from the samples, which have none."""
        assert packet.pts is not None
        time = packet.pts * Fraction(packet.time_base) + self._shift
        if self._expected is not None and abs(time - self._expected) > _GAP:
            self._shift += self._expected - time
            return self._expected
        return time

    def _moved(self, packet: Packet) -> Packet:
        base = Fraction(packet.time_base)
        time = self._time(packet)
        if packet.duration:  # before a gap it may reach across; the sound itself does not
            duration = packet.duration * base
            self._duration = min(duration, self._duration or duration)
            self._expected = time + self._duration
        packet.pts = packet.dts = round(time / base)
        packet.stream = self._stream
        return packet


class _Encoding:
    """Decoded sound at the recording's own rate and channels, encoded for the container."""

    def __init__(
        self, output: OutputContainer, container: InputContainer, stream: AudioStream, suffix: str
    ) -> None:
        deep = stream.format.bytes > 2 if stream.format else False
        codec, sample_format = {
            ".mp4": ("aac", "fltp"),
            ".mov": ("pcm_s24le", "s32") if deep else ("pcm_s16le", "s16"),
            ".webm": ("libopus", "flt"),
        }[suffix]
        rate = _supported_rate(codec, stream.rate)
        layout = _supported_layout(codec, stream.channels, stream.layout.name)
        added = output.add_stream(codec, rate=rate, layout=layout, format=sample_format)
        self._stream = cast("AudioStream", added)
        if not codec.startswith("pcm"):
            self._stream.bit_rate = self._stream.channels * min(128_000, 5 * rate)
        self._rate = rate
        self._frames = _uniform(decoded_frames(container, stream, []), sample_format, layout, rate)
        self._held: AudioFrame | None = None
        self._count = 0

    def until(self, end: Fraction) -> Iterator[list[Packet]]:
        while (frame := self._held or next(self._frames, None)) is not None:
            self._held = frame
            if self._count + frame.samples > end * self._rate:
                return
            self._held = None
            yield self._encode(frame)

    def rest(self, end: Fraction) -> list[Packet]:
        packets: list[Packet] = []
        left = round(end * self._rate) - self._count
        if self._held is not None and left > 0:
            packets += self._encode(_cut(self._held, left))
        return packets + self._stream.encode(None)

    def _encode(self, frame: AudioFrame) -> list[Packet]:
        frame.pts, frame.time_base = self._count, Fraction(1, self._rate)
        self._count += frame.samples
        return self._stream.encode(frame)


def _supported_rate(codec: str, rate: int) -> int:
    if codec == "aac":
        return next((r for r in _AAC_RATES if r >= rate), _AAC_RATES[-1])
    return 48_000 if codec == "libopus" else rate  # Opus is played at 48 kHz whatever it was made from


def _supported_layout(codec: str, channels: int, own: str) -> str:
    if channels <= 2:
        return "mono" if channels == 1 else "stereo"
    if codec.startswith("pcm"):
        return own
    return "5.1" if channels == 6 else "stereo"


def _uniform(
    frames: Iterator[AudioFrame], sample_format: str, layout: str, rate: int
) -> Iterator[AudioFrame]:
    """Frames of one format, layout and rate, also where the recording changes its own in the middle."""
    import av

    resampler, seen = None, None
    for frame in frames:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != seen:
            resampler, seen = av.AudioResampler(format=sample_format, layout=layout, rate=rate), kind
        frame.pts = None  # counted again: gaps are closed
        assert resampler is not None
        yield from resampler.resample(frame)
    if resampler is not None:
        yield from resampler.resample(None)


def _cut(frame: AudioFrame, samples: int) -> AudioFrame:
    import av

    values = frame.to_ndarray()
    width = samples if frame.format.is_planar else samples * frame.layout.nb_channels
    short = av.AudioFrame.from_ndarray(
        values[:, :width].copy(), format=frame.format.name, layout=frame.layout.name
    )
    short.sample_rate = frame.sample_rate
    return short
