"""A recording as a browser plays it: AAC or MP3 in an mp4, in memory."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

from vivavoce.media.audio import open_container, sound_stream
from vivavoce.media.soundtrack import Soundtrack


def browser_sound(path: Path, seconds: Fraction) -> bytes:
    """The first `seconds` of a recording's sound as the bytes of an .m4a, which starts with its first audible sample.

    Raises InputError if the file has no sound that can be read.
    """
    import av

    with open_container(path) as container:
        rate = sound_stream(container, path).rate
    made = io.BytesIO()
    # In milliseconds, the usual unit of this format, the last samples would be cut off.
    flags = {"fflags": "+bitexact", "movie_timescale": str(rate)}
    with av.open(made, "w", format="mp4", container_options=flags) as output:
        track = Soundtrack(output, path, ".mp4")
        try:
            track.finish(seconds)
        finally:
            track.close()
    return made.getvalue()
