"""How likely a frame's pose is dropped in training, by how loud the speech is there (ApoAvatar, eq. 2 to 4).

Pose is kept around accents and dropped in quiet parts, so that gestures learn to follow the voice.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64

from vivavoce.errors import InputError
from vivavoce.timing import frame_rate, frames_of_latents, latent_frames
from vivavoce.types import SPEECH_RATE

HOP = SPEECH_RATE // 100
"""Samples from one RMS value to the next; value n is centred at sample n HOP."""
WINDOW = 400
"""Samples that an RMS value is taken over: 25 ms."""
TAU = 8.0
LOW, HIGH = 5.0, 95.0
"""Percentiles of a clip's loudness that become 0 and 1."""
SHARPNESS, MIDDLE = 10.0, 0.5
"""Alpha and beta of eq. 4."""
_EPSILON = 1e-6


def pose_dropout(samples: Float32[np.ndarray, " n"], fps: float, frames: int) -> Float64[np.ndarray, " F"]:
    """p in (0, 1) for each frame of a clip with this speech (mono, SPEECH_RATE); pose is kept with 1 - p.

    Raises InputError for fewer than one frame, and for fps at which a frame may hold no RMS value.
    """
    return dropout(normalised(frame_loudness(rms(samples), fps, frames)))


def rms(samples: Float32[np.ndarray, " n"]) -> Float64[np.ndarray, " m"]:
    """Root mean square around every HOP samples, over those of the WINDOW that the recording has."""
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    centres = np.arange(0, len(samples) + 1, HOP)
    begin = np.maximum(centres - WINDOW // 2, 0)
    end = np.minimum(centres + WINDOW // 2, len(samples))
    power = (energy[end] - energy[begin]) / np.maximum(end - begin, 1)
    return np.sqrt(np.maximum(power, 0))


def frame_loudness(levels: Float64[np.ndarray, " m"], fps: float, frames: int) -> Float64[np.ndarray, " F"]:
    """Eq. 2: s_t = log(mean exp(tau l_n)) / tau over the values l_n whose centres frame t shows.

    Frame t shows the time from t / fps up to, but not including, (t + 1) / fps. Beyond the sound there is silence.
    """
    rate = frame_rate(fps)
    if frames < 1 or not 0 < rate <= SPEECH_RATE // HOP:
        raise InputError(
            f"{frames} frames at {fps:g} fps have no loudness: give at least one, at up to {SPEECH_RATE // HOP} fps."
        )
    # In whole numbers, so that a centre on the border of two frames is always the later one's.
    up, down = HOP * rate.numerator, SPEECH_RATE * rate.denominator
    count = -(-frames * down // up)
    levels = np.pad(levels[:count], (0, max(0, count - len(levels))))
    frame = np.arange(count) * up // down
    sums = np.bincount(frame, np.exp(TAU * levels), minlength=frames)
    return np.log(sums / np.bincount(frame, minlength=frames)) / TAU


def normalised(loudness: Float64[np.ndarray, " F"]) -> Float64[np.ndarray, " F"]:
    """Eq. 3: 0 at the clip's 5th percentile and below, 1 at its 95th and above; 0 for one that never changes."""
    low, high = np.percentile(loudness, [LOW, HIGH])
    return np.clip((loudness - low) / (high - low + _EPSILON), 0, 1)


def dropout(relative: Float64[np.ndarray, " F"]) -> Float64[np.ndarray, " F"]:
    """Eq. 4: p = sigmoid(-alpha (s - beta)) of loudness s in [0, 1]."""
    return 1 / (1 + np.exp(SHARPNESS * (relative - MIDDLE)))


def latent_dropout(probability: Float64[np.ndarray, " F"]) -> Float64[np.ndarray, " f"]:
    """Of each latent frame: the mean over the four frames that it stands for.

    Raises ValueError where F is not 1 more than a multiple of 4.
    """
    return probability[frames_of_latents(latent_frames(len(probability)))].mean(axis=1)
