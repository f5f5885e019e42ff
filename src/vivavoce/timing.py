"""The one rule between video frames and latent frames, windows over audio, and the spans of chunks.

A causal video VAE with temporal factor 4 keeps frame 0 alone: latent 0 holds frame 0, latent i > 0 holds
frames 4 i - 3 .. 4 i, so that F = 4 (f - 1) + 1.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from jaxtyping import Int

FACTOR = 4
"""Video frames a latent frame after the first."""


def latent_frames(frames: int) -> int:
    """Latent frames f = 1 + (F - 1) / 4 of a clip of F frames.

    Raises ValueError where F is not 1 more than a multiple of 4.
    """
    if frames < 1 or (frames - 1) % FACTOR:
        raise ValueError(f"a clip has 1, 5, 9, 13, ... frames, not {frames}")
    return 1 + (frames - 1) // FACTOR


def video_frames(latents: int) -> int:
    """Frames F = 4 (f - 1) + 1 of f latent frames."""
    if latents < 1:
        raise ValueError(f"a clip has at least one latent frame, not {latents}")
    return FACTOR * (latents - 1) + 1


def fitting_frames(frames: int) -> int:
    """The fewest frames, at least `frames`, that make whole latent frames."""
    return video_frames(1 - (1 - max(frames, 1)) // FACTOR)


def frames_of_latents(latents: int) -> Int[np.ndarray, "f 4"]:
    """The four frames that each latent frame stands for.

    The first latent holds frame 0 alone, which is repeated four times (PhysAvatar, appendix B).
    """
    grid = FACTOR * np.arange(latents)[:, None] + np.arange(1 - FACTOR, 1)[None]
    return np.maximum(grid, 0)


def mirrored(index: Int[np.ndarray, "..."], count: int) -> Int[np.ndarray, "..."]:
    """The frames, of `count`, that indices before the first or behind the last of them stand for by mirroring.

    The outermost frames are not repeated: -1 is 1, n is n - 2. A single frame stands for all.
    """
    if count < 1:
        raise ValueError(f"mirroring needs at least one frame, not {count}")
    if count == 1:
        return np.zeros_like(index)
    period = 2 * (count - 1)
    index = index % period
    return np.minimum(index, period - index)


def mirrored_windows(count: int, reach: int) -> Int[np.ndarray, "n w"]:
    """For each of `count` frames the indices from `reach` before it to `reach` after it (eq. 3 of PhysAvatar).

    Beyond the ends the frames are `mirrored`.
    """
    if count < 1 or reach < 0:
        raise ValueError(f"windows need at least one frame and no negative reach, not {count} and {reach}")
    return mirrored(np.arange(count)[:, None] + np.arange(-reach, reach + 1)[None], count)


def frame_rate(fps: float) -> Fraction:
    """The exact rate that a number like 25 or 29.97 stands for: whole, or n * 1000 / 1001 as in NTSC."""
    for exact in (Fraction(round(fps)), Fraction(round(fps * 1.001) * 1000, 1001)):
        if exact and abs(fps - exact) < 0.005:
            return exact
    return Fraction(fps).limit_denominator(1000)


def frame_count(seconds: float, fps: float) -> int:
    """Frames that show `seconds` of sound: the nearest whole number, at least one.

    Picture and sound then differ by at most half a frame.
    """
    return max(1, round(seconds * frame_rate(fps)))
