"""Inputs of the timed benchmarks: a photo that everyone has, and speech of any length."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from jaxtyping import Float32


def photo(path: Path) -> None:
    """scikit-image's astronaut, 512x512, as a PNG."""
    from PIL import Image
    from skimage.data import astronaut

    Image.fromarray(astronaut()).save(path)


def talk(seconds: float) -> Float32[np.ndarray, " n"]:
    """Sentences of a seen voice one after another at 16 kHz, cut at exactly that length."""
    from vivavoce.corpus.synth.text import HARVARD
    from vivavoce.corpus.synth.voice import Voice, synthesize
    from vivavoce.types import SPEECH_RATE

    wanted, parts, length = round(seconds * SPEECH_RATE), [], 0
    for text in itertools.cycle(HARVARD):
        parts.append(synthesize(text, Voice("flite", "slt"))[0])
        length += len(parts[-1])
        if length >= wanted:
            return np.concatenate(parts)[:wanted]
    raise AssertionError


def talk_file(path: Path, seconds: float) -> None:
    """`talk` as a WAV file of 16 bits."""
    from scipy.io import wavfile

    from vivavoce.types import SPEECH_RATE

    wavfile.write(path, SPEECH_RATE, (talk(seconds) * 32767).astype(np.int16))
