"""The pictures of a video by their numbers: found exactly, and decoded only when they are asked for."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from vivavoce.errors import InputError
from vivavoce.media.audio import open_container
from vivavoce.timing import frame_rate

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer


class Footage:
    """A video file, on a disk or in memory, of which nothing is decoded yet."""

    times: tuple[Fraction, ...]
    """When each picture appears, in seconds from the first."""

    def __init__(self, source: Path | bytes, name: str) -> None:
        """Read the table of pictures; `name` stands for the video in errors.

        Raises InputError for what is no video, has no pictures, or is cut off.
        """
        self.name = name
        self._source = source
        with self._opened() as (container, stream):
            packets = [p for p in container.demux(stream) if p.pts is not None]
            # Edited files hold pictures that no player shows.
            stamps = {p.pts for p in packets if not p.is_discard and p.pts is not None}
            self._keys = sorted(p.pts for p in packets if p.is_keyframe and p.pts is not None)
            base, promised, rate = stream.time_base, stream.frames, stream.guessed_rate
        whole = sum(not p.is_corrupt for p in packets)
        if whole < promised:
            raise InputError(
                f"{name} is cut off: {whole} of its {promised} pictures are there, so give an intact copy."
            )
        if not stamps or base is None:
            raise InputError(f"{name} holds no picture (0 frames): give another video.")
        self._stamps = sorted(stamps)
        self.times = tuple((stamp - self._stamps[0]) * base for stamp in self._stamps)
        # The mean interval stands for the last picture's own, which few files tell.
        interval = self.times[-1] / (len(self) - 1) if len(self) > 1 else 1 / (rate or Fraction(25))
        self.length = self.times[-1] + interval
        """Seconds."""

    def __len__(self) -> int:
        return len(self._stamps)

    @property
    def fps(self) -> float:
        """Pictures a second, on average."""
        return float(frame_rate(float(len(self) / self.length)))

    def shown(self, fps: float, frames: int) -> Int[np.ndarray, " F"]:
        """For each of `frames` frames at another rate, the picture that is shown at its middle."""
        rate, half = frame_rate(fps), Fraction(1, 2)
        return np.array([bisect_right(self.times, (t + half) / rate) - 1 for t in range(frames)])

    def pictures(self, numbers: Sequence[int]) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        """The pictures (RGB, upright) of these numbers, which never fall but may repeat.

        Raises InputError where one of them cannot be decoded, ValueError for numbers that fall or are not there.
        """
        wanted = list(dict.fromkeys(numbers))
        if wanted != sorted(wanted) or (wanted and not 0 <= wanted[0] <= wanted[-1] < len(self)):
            raise ValueError(f"numbers rise from 0 to {len(self) - 1}, not {wanted}")
        frames = self._decoded(wanted)
        number, picture = -1, np.zeros((0, 0, 3), np.uint8)
        for n in numbers:
            if n != number:
                number, picture = n, _upright(next(frames))
            yield picture

    def check(self) -> None:
        """Decode every picture. Raises InputError where one of them cannot be."""
        for _ in self._decoded(range(len(self))):
            pass

    def _decoded(self, numbers: Sequence[int]) -> Iterator[VideoFrame]:
        from av.error import EOFError as EndOfFile
        from av.error import FFmpegError

        waiting = list(reversed(numbers))
        if not waiting:
            return
        with self._opened() as (container, stream):
            begin = self._keys[: bisect_right(self._keys, self._stamps[waiting[-1]])]
            if begin and begin[-1] > self._stamps[0]:
                container.seek(begin[-1], stream=stream)
            try:
                for frame in container.decode(stream):
                    if frame.pts == self._stamps[waiting[-1]]:
                        if frame.is_corrupt:  # the decoder has patched it from its neighbours
                            raise self._damaged(waiting[-1])
                        yield frame
                        waiting.pop()
                        if not waiting:
                            return
            except EndOfFile:
                pass
            except FFmpegError as error:
                raise self._damaged(waiting[-1]) from error
        raise self._damaged(waiting[-1])

    def _damaged(self, number: int) -> InputError:
        seconds = float(self.times[number])
        return InputError(
            f"{self.name} is damaged at {seconds:.2f} s (picture {number}): give an intact copy."
        )

    @contextmanager
    def _opened(self) -> Iterator[tuple[InputContainer, VideoStream]]:
        import av
        from av.error import FFmpegError
        from av.stream import Disposition

        if isinstance(self._source, Path):
            opened = open_container(self._source)
        else:
            try:
                opened = av.open(io.BytesIO(self._source), "r")
            except (FFmpegError, OSError, ValueError) as error:
                raise InputError(
                    f"{self.name} is not a video that can be read, or is damaged: give an intact copy."
                ) from error
        with opened as container:
            moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
            if not moving:
                raise InputError(f"{self.name} has no moving pictures: give a video.")
            # Threads of whole pictures now and then lose the mark of a damaged one: once in some hundred times.
            moving[0].thread_type = "SLICE"
            yield container, moving[0]


def _upright(frame: VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
    """As a player shows it: a phone held upright records lying pictures, and by how much."""
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
