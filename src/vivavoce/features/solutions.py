"""The mediapipe graphs that features share: each built once, run one at a time, and kept from logging."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

_LOCK = threading.Lock()  # a graph is not re-entrant, and the silence below is process-wide
_CLASSES = {
    "face_detection": "FaceDetection",
    "face_mesh": "FaceMesh",
    "hands": "Hands",
    "pose": "Pose",
    "selfie_segmentation": "SelfieSegmentation",
}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: the C++ side logs there, past Python's `sys.stderr`."""
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


@functools.cache
def _graph(name: str, **options: Any) -> Any:
    import mediapipe as mp

    return getattr(getattr(mp.solutions, name), _CLASSES[name])(**options)


def run(name: str, image: UInt8[np.ndarray, "H W 3"], **options: Any) -> Any:
    """Run the solution `name` of `mediapipe.solutions`, built with `options`, on an RGB picture."""
    with _LOCK, _silence():
        return _graph(name, **options).process(np.ascontiguousarray(image))


def to_uint8(image: Float32[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """[0, 1] floats to the bytes that mediapipe and OpenCV's 8-bit filters take, rounded."""
    return (image * np.float32(255) + np.float32(0.5)).clip(0, 255).astype(np.uint8)
