"""Frames as a small mp4 in memory, exactly: what a corpus keeps must not blur a mouth of eight pixels."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8

from vivavoce.media.video import repeatable
from vivavoce.timing import frame_rate


def lossless_mp4(frames: Iterable[UInt8[np.ndarray, "H W 3"]], fps: float) -> bytes:
    """An mp4 of H.264 in RGB without loss, the same bytes for the same frames.

    Sizes are even. Players may refuse its profile (High 4:4:4 Predictive); FFmpeg and all that is built on it reads it.
    """
    import av

    stored = io.BytesIO()
    options = {"fflags": "+bitexact"}
    stream = None
    with av.open(stored, "w", format="mp4", container_options=options) as output:
        for index, frame in enumerate(frames):
            if stream is None:
                quality = {"qp": "0", "preset": "veryfast", "threads": "1"} | repeatable()
                stream = output.add_stream("libx264rgb", rate=frame_rate(fps), options=quality)
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "rgb24"
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = index, 1 / frame_rate(fps)
            output.mux(stream.encode(picture))
        if stream is None:
            raise ValueError("a video needs a frame")
        output.mux(stream.encode(None))
    return stored.getvalue()
