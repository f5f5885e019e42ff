"""The mediapipe graphs that features share: each built once, quietly, and run one at a time."""

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

_LOCK = threading.Lock()  # a graph is not re-entrant, and silence below is process-wide


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: the C++ side logs there whatever Python's `sys.stderr` is."""
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
    os.environ.setdefault("GLOG_minloglevel", "3")
    import mediapipe as mp

    classes = {
        "face_detection": "FaceDetection",
        "face_mesh": "FaceMesh",
        "hands": "Hands",
        "pose": "Pose",
        "selfie_segmentation": "SelfieSegmentation",
    }
    graph = getattr(getattr(mp.solutions, name), classes[name])(**options)
    graph.process(np.zeros((64, 64, 3), np.uint8))  # the last of the log lines come with the first picture
    return graph


def run(name: str, image: UInt8[np.ndarray, "H W 3"], **options: Any) -> Any:
    """Run the legacy solution `name` (as in `mediapipe.solutions`), built with `options`, on an RGB picture."""
    with _LOCK:
        if (name, *sorted(options.items())) not in _BUILT:
            with _silence():
                _graph(name, **options)
            _BUILT.add((name, *sorted(options.items())))
        return _graph(name, **options).process(np.ascontiguousarray(image))


_BUILT: set[tuple] = set()


def to_uint8(image: Float32[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """[0, 1] floats to the bytes that mediapipe and OpenCV's 8-bit filters take, rounded."""
    return (image * np.float32(255) + np.float32(0.5)).clip(0, 255).astype(np.uint8)
