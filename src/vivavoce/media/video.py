"""Video files: frames stream in, the user's own sound beside them, and the file appears when it is whole."""

from __future__ import annotations

import functools
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from vivavoce.errors import OutputError
from vivavoce.media.audio import open_container, sound_stream
from vivavoce.media.files import check_target, put_in_place, temporary_beside, write_error
from vivavoce.media.provenance import Provenance, append_xmp_box
from vivavoce.media.soundtrack import Soundtrack
from vivavoce.timing import frame_rate

if TYPE_CHECKING:
    from av import VideoFrame

_H264 = ("libx264", "yuv420p", {"crf": "17", "preset": "veryfast"})
_VP9 = {"crf": "18", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
_CODECS = {
    (".mp4", False): _H264,
    (".mov", False): _H264,
    (".mov", True): ("prores_ks", "yuva444p10le", {"profile": "4444"}),
    (".webm", False): ("libvpx-vp9", "yuv420p", _VP9),
    (".webm", True): ("libvpx-vp9", "yuva420p", _VP9 | {"auto-alt-ref": "0"}),  # alternate frames lose alpha
}
"""(suffix, transparent) to encoder, pixel format and options."""
SUFFIXES = (".mp4", ".mov", ".webm")
_QUEUE = 8  # frames that may wait for the encoder: enough to ride over its uneven pace
_BT709 = 1  # ITU-T H.273: primaries, transfer and matrix of BT.709 all have this number
_LIMITED = 1  # AVCOL_RANGE_MPEG


def check_video_target(path: Path, *, alpha: bool = False) -> None:
    """Raise OutputError unless a video (with transparency, if `alpha`) can be written to `path`."""
    check_target(path, SUFFIXES)
    if (path.suffix.lower(), alpha) not in _CODECS:
        raise OutputError(f"{path.name} cannot be transparent: give a name that ends in .webm or .mov.")


class VideoWriter:
    """A video that is written frame by frame; use as a context manager.

    The file takes its name when the block ends. A block that ends with an exception (Ctrl-C too) leaves what
    was finished as `<stem>.partial<suffix>`, a complete file, if that is a second or more, else nothing.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        fps: float,
        *,
        sound: Path | None = None,
        seconds: Fraction | None = None,
        provenance: Provenance,
        alpha: bool = False,
    ) -> None:
        """Sizes in pixels, even; `sound` is any file with sound, and is cut where the pictures end.

        Where the video's pictures end within a frame of `seconds`, the sound ends there instead.

        Raises OutputError if the file cannot be written there, InputError if `sound` has no sound.
        """
        check_video_target(path, alpha=alpha)
        if width % 2 or height % 2:
            raise ValueError(f"video sizes are even, got {width}x{height}")
        self.path = path
        self.frames = 0
        self._suffix = path.suffix.lower()
        self._shape = (height, width, 4 if alpha else 3)
        self._rate = frame_rate(fps)
        self._seconds = seconds
        self._temporary = temporary_beside(path)
        self._jobs: deque[Future[None]] = deque()
        self._failed = False
        try:
            self._open(provenance, sound)
        except OSError as error:
            self._temporary.unlink(missing_ok=True)
            raise write_error(path, error) from error

    def _open(self, provenance: Provenance, sound: Path | None) -> None:
        import av

        height, width, channels = self._shape
        codec, self._pixels, options = _CODECS[self._suffix, channels == 4]
        flags = {"fflags": "+bitexact"}  # no random ids: the same input gives the same bytes
        if self._suffix != ".webm":
            flags["movflags"] = "+faststart"
            if sound is not None:  # in milliseconds the last samples would be cut off
                flags["movie_timescale"] = str(_sample_rate(sound))
        self._output = av.open(f"file:{self._temporary}", "w", container_options=flags)
        self._output.metadata["comment"] = provenance.to_json()
        options = options | (repeatable() if codec == "libx264" else {})
        stream = self._output.add_stream(codec, rate=self._rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, self._pixels
        context = stream.codec_context
        context.thread_count = 0  # the encoder's own choice
        context.color_range = _LIMITED
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        self._stream = stream
        self._sound = Soundtrack(self._output, sound, self._suffix) if sound else None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="video")

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, frame: UInt8[np.ndarray, "H W C"]) -> None:
        """Append a frame, RGB, or RGBA with straight alpha if `alpha` was asked for; the array may be reused.

        Raises OutputError when the file can grow no more, as on a full disk.
        """
        import av

        if frame.shape != self._shape:
            raise ValueError(f"expected a frame of shape {self._shape}, got {frame.shape}")
        picture = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(frame), format="rgba" if frame.shape[2] == 4 else "rgb24"
        )
        # Encoding in another thread keeps Ctrl-C, which strikes in this one, out of half-done packets.
        self._jobs.append(self._worker.submit(self._encode, picture, self.frames))
        self.frames += 1
        if len(self._jobs) > _QUEUE:
            self._wait(self._jobs.popleft())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        keep = error is None or (self.frames >= self._rate and not self._failed)
        try:
            self._finish(flush=keep)
            if error is None:
                put_in_place(self._temporary, self.path)
            elif keep:
                self._keep_part()
        except OSError as failure:
            if error is None:
                raise write_error(self.path, failure) from failure
        finally:
            self._temporary.unlink(missing_ok=True)

    def _finish(self, *, flush: bool) -> None:
        """Encode what waits if `flush`, else drop it, and close the file."""
        try:
            while self._jobs:
                job = self._jobs.popleft()
                if flush or not job.cancel():
                    self._wait(job)
            if flush:
                self._wait(self._worker.submit(self._flush))
        finally:
            self._worker.shutdown()
            if self._sound:
                self._sound.close()
            self._output.close()
        if flush and self._suffix != ".webm":
            append_xmp_box(self._temporary)

    def _keep_part(self) -> None:
        part = self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}")
        put_in_place(self._temporary, part)
        seconds = float(self.frames / self._rate)
        warnings.warn(f"The {seconds:.1f} s that were finished are in {part}.", stacklevel=1)

    def _wait(self, job: Future[None]) -> None:
        try:
            job.result()
        except OSError as error:
            raise write_error(self.path, error) from error

    def _encode(self, picture: VideoFrame, index: int) -> None:
        if self._failed:
            return
        try:
            picture = picture.reformat(
                format=self._pixels, dst_colorspace=_BT709, src_color_range=2, dst_color_range=_LIMITED
            )
            picture.pts, picture.time_base = index, 1 / self._rate
            self._output.mux(self._stream.encode(picture))
            if self._sound:
                self._sound.advance((index + 1) / self._rate)
        except BaseException:
            self._failed = True
            raise

    def _flush(self) -> None:
        self._output.mux(self._stream.encode(None))
        if self._sound:
            end = self.frames / self._rate
            if self._seconds is not None and abs(self._seconds - end) * self._rate < 1:
                end = self._seconds
            self._sound.finish(end)


def _sample_rate(sound: Path) -> int:
    with open_container(sound) as container:
        return sound_stream(container, sound).rate


@functools.cache
def repeatable() -> dict[str, str]:
    """Options without which x264 now and then gives other bytes for the same frames.

    Its AVX-512 code for macroblock trees reads memory that nobody wrote, as one in forty clips of 480 pixels shows;
    its AVX2 code, which every processor with AVX-512 has, gives the bytes that all others give.
    """
    processor = Path("/proc/cpuinfo")
    return {"x264-params": "asm=AVX2"} if processor.exists() and "avx512" in processor.read_text() else {}
