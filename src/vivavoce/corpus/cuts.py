"""Which spans of a clip become examples: at random, and the same ones again, whatever other clips there are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vivavoce.errors import InputError
from vivavoce.timing import latent_frames

if TYPE_CHECKING:
    from vivavoce.video.config import VideoConfig


@dataclass(frozen=True)
class Cut:
    """A span of a clip, and the clip's frame that stands for the photo."""

    first: int
    photo: int


@dataclass(frozen=True)
class Cutter:
    """How spans are taken from clips for a method."""

    frames: int
    """Of each span."""
    spans: int
    """Of a clip, at most."""
    seed: int
    begins: bool
    """Whether a video begins with its photo, as it does without reference pictures."""

    @staticmethod
    def of(config: VideoConfig, *, frames: int, spans: int, seed: int = 0) -> Cutter:
        """Raises InputError for frames without whole latents, or so few that a later chunk's would all be given."""
        try:
            latent_frames(frames)
        except ValueError as error:
            raise InputError(f"Examples of {frames} frames have no whole latents: {error}.") from error
        after = config.after if config.order == "interleaved" else 0
        if config.before + after >= frames or spans < 1:
            raise InputError(
                f"{spans} examples of {frames} frames, {config.before + after} of which are given, leave nothing to "
                "learn: take more frames, and at least one example."
            )
        return Cutter(frames, spans, seed, begins=not config.references)

    def cuts(self, name: str, count: int) -> list[Cut]:
        """Those of a clip of `count` frames: one at random in each equal part of where they may begin.

        The photo is the span's first frame where a video begins with its photo. Else it is any frame of the clip, so
        that it tells who is seen and not how they move. Raises InputError where the clip is too short for a span.
        """
        room = count - self.frames + 1
        if room < 1:
            raise InputError(
                f"The clip {name} has {count} frames, and {self.frames} are needed: leave it out."
            )
        digest = hashlib.sha256(name.encode()).digest()[:8]
        draws = np.random.default_rng([self.seed, int.from_bytes(digest, "big")])
        spans = min(self.spans, room)
        firsts = ((np.arange(spans) + draws.random(spans)) * room / spans).astype(int).tolist()
        photos = firsts if self.begins else draws.integers(0, count, spans).tolist()
        return [Cut(first, photo) for first, photo in zip(firsts, photos, strict=True)]
