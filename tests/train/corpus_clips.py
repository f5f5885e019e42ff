"""Clips of 96x96 with everything that training reads, of nobody in particular."""

import io
import json
import wave

import numpy as np

from vivavoce.features.physical_state import LandmarkEncoder
from vivavoce.media.lossless import lossless_mp4


def files_of(seed, *, frames=17, size=96):
    """A sample's files: a disc that wanders over a grey picture, and noise that swells."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    at = size / 2 + np.cumsum(rng.normal(0, 2, (frames, 2)), axis=0)
    color = rng.integers(0, 256, 3)
    pictures = []
    for centre in at:
        picture = np.full((size, size, 3), 90 + 10 * seed, np.uint8)
        picture[np.hypot(x - centre[0], y - centre[1]) < 15] = color
        pictures.append(picture)
    keypoints = np.ones((frames, 127, 3), np.float32)
    keypoints[..., :2] = np.clip(2 * at[:, None] / size - 1 + rng.normal(0, 0.1, (1, 127, 2)), -1, 1)
    return {
        "mp4": lossless_mp4(pictures, 25.0),
        "wav": _wav(0.2 * rng.standard_normal(frames * 640)),
        "json": json.dumps(
            {
                "split": "train",
                "plan": {
                    "base": "A person speaks.",
                    "phases": [{"text": "raises a hand", "start": 0.1, "end": 0.5}],
                },
            }
        ).encode(),
        "truth.npz": _npz(keypoints=keypoints),
        "features.npz": _npz(states=LandmarkEncoder().encode(keypoints).astype(np.float16)),
    }


def _npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _wav(samples):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()
