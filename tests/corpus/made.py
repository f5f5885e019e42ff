"""Small clips with all that a corpus holds, made in no time and known exactly."""

import io
import json
import wave

import numpy as np

from vivavoce.media.provenance import Provenance
from vivavoce.media.video import VideoWriter

RATE = 16_000
SIZE = 32


def voice(seconds, seed=0):
    """Noise that swells and fades, as 16-bit samples."""
    noise = np.random.default_rng(seed)
    count = round(seconds * RATE)
    swell = np.abs(np.sin(np.arange(count) / 2000))
    return (0.2 * 32767 * (noise.standard_normal(count).clip(-4, 4) / 4) * swell).astype("<i2")


def wav_bytes(samples):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def numbered(frames, width=SIZE, height=SIZE):
    """Pictures of which each tells its number by its grey."""
    return [np.full((height, width, 3), 10 + 4 * i % 230, np.uint8) for i in range(frames)]


def write_video(path, pictures, fps=25.0, sound=None):
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, width, height, fps, sound=sound, provenance=Provenance("test", 0, {})) as writer:
        for picture in pictures:
            writer.write(picture)
    return path


def video_bytes(folder, pictures, fps=25.0):
    return write_video(folder / "made.mp4", pictures, fps).read_bytes()


def npz_bytes(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def sample(folder, frames=21, seed=0, *, split="train", fps=25.0, size=(SIZE, SIZE), text="A person speaks."):
    """The files of a clip of which the picture t is of grey 10 + 4 t, and keypoints and states rise with t."""
    rise = np.linspace(-0.5, 0.5, frames, dtype=np.float32)
    keypoints = np.ones((frames, 127, 3), np.float32)
    keypoints[..., :2] = rise[:, None, None]
    meta = {
        "plan": {"base": text, "phases": [{"text": "raises a hand", "start": 0.2, "end": 0.6}]},
        "split": split,
        "fps": fps,
        "seed": seed,
    }
    return {
        "mp4": video_bytes(folder, numbered(frames, *size), fps),
        "wav": wav_bytes(voice(frames / fps, seed)),
        "json": json.dumps(meta).encode(),
        "truth.npz": npz_bytes(keypoints=keypoints, aperture=rise, camera=np.zeros(3)),
        "features.npz": npz_bytes(states=np.repeat(rise[:, None], 1024, 1).astype(np.float16)),
    }
