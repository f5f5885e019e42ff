"""Clips for training, whatever they come from: pictures, speech, plan, keypoints, states, span by span as a scene.

A clip is at its own rate or brought to a method's: frame t shows what the video shows at (t + 0.5) / fps seconds.
Pictures are cut to the frame's shape around their middle, and what lies in them is moved alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from vivavoce.errors import InputError
from vivavoce.features.focus import focus_of
from vivavoce.features.loudness import Speech
from vivavoce.features.physical_state import POINTS, WIDTH, LandmarkEncoder
from vivavoce.media.footage import Footage
from vivavoce.timing import frame_count, frame_rate
from vivavoce.types import SPEECH_RATE

if TYPE_CHECKING:
    from vivavoce.video.config import VideoConfig
    from vivavoce.video.maker import Scene
    from vivavoce.video.plan import Plan

_TOLERANCE = Fraction(1, 10)  # seconds that a sound may be shorter than its video


class ClipError(InputError):
    """A clip that cannot be trained on; its sentence begins with the clip's name."""


class TrainingClip(ABC):
    """A person who speaks, as training sees it. Everything is read when it is asked for, and raises ClipError then."""

    def __init__(self, name: str, fps: float | None = None) -> None:
        """`fps` is the rate that the clip is brought to; None keeps the video's own."""
        self.name = name
        self._fps = fps

    @property
    @abstractmethod
    def digest(self) -> str:
        """Of everything that the clip is made of."""

    @abstractmethod
    def _video(self) -> Footage: ...

    @abstractmethod
    def _sound(self) -> Speech: ...

    @abstractmethod
    def _script(self) -> Plan: ...

    @abstractmethod
    def _points(self) -> Float[np.ndarray, "..."] | None:
        """(N, 127, 3), keypoints of the video's own pictures; None where there are none and none can be found."""

    @abstractmethod
    def _tokens(self) -> Float[np.ndarray, "..."] | None:
        """(N, 1024), physical states of the video's own pictures; None where they are to be made of the keypoints."""

    @cached_property
    def footage(self) -> Footage:
        """The video as it is."""
        with self._told():
            return self._video()

    @cached_property
    def fps(self) -> float:
        """Frames a second."""
        return self.footage.fps if self._fps is None else self._fps

    @cached_property
    def speech(self) -> Speech:
        """Of the whole clip, from its first picture on."""
        with self._told():
            return self._sound()

    @cached_property
    def plan(self) -> Plan:
        """What is said of the clip, in its own time."""
        with self._told():
            return self._script()

    def __len__(self) -> int:
        """Frames, at the clip's rate."""
        return len(self.shown)

    @cached_property
    def shown(self) -> Int[np.ndarray, " F"]:
        """For each frame the number of the video's own picture that it shows.

        Frames begin within the sound as well. A sound that is shorter than its video by more than a frame and 0.1 s
        raises ClipError.
        """
        rate, video = frame_rate(self.fps), self.footage.length
        sound = Fraction(len(self.speech.samples), SPEECH_RATE)
        with self._told():
            if video - sound > max(_TOLERANCE, 1 / rate):
                raise InputError(
                    f"its sound ({float(sound):.2f} s) is shorter than its video ({float(video):.2f} s): give one that "
                    "covers it."
                )
        heard = -(-sound * rate // 1)
        return self.footage.shown(self.fps, min(frame_count(float(video), self.fps), int(heard)))

    def frames(
        self, first: int = 0, count: int | None = None, *, size: tuple[int, int] | None = None
    ) -> UInt8[np.ndarray, "F H W 3"]:
        """`count` frames from `first` on (all where None), cut and scaled to `size` (width, height), or as they are."""
        numbers = self._span(first, count)
        with self._told():
            return np.stack([fitted(picture, size) for picture in self.footage.pictures(numbers.tolist())])

    def keypoints(self, size: tuple[int, int] | None = None) -> Float32[np.ndarray, "F 127 3"] | None:
        """Of every frame, in pictures cut to the shape of `size`; None where there are none.

        Points that are cut off are not seen.
        """
        points, part = self._source_points, self._part(size)
        if points is None or part == (1, 1):
            return None if points is None else points[self.shown]
        wide, high = (1 / share for share in part)
        moved = points[self.shown] * np.array([wide, high, 1], np.float32)
        return moved * (np.abs(moved[..., :2]) <= 1).all(axis=-1, keepdims=True)

    def states(self, size: tuple[int, int] | None = None) -> Float32[np.ndarray, "F 1024"] | None:
        """Physical states of every frame, of pictures cut to the shape of `size`; None where there are none.

        The stored ones, else the landmark encoder's of the keypoints. Stored ones of pictures that are cut raise
        ClipError: what they are of is no longer seen whole.
        """
        tokens = self._source_tokens
        if tokens is None:
            points = self.keypoints(size)
            return None if points is None else LandmarkEncoder().encode(points)
        with self._told():
            if self._part(size) != (1, 1):
                raise InputError(
                    f"its physical states are of whole pictures, which frames of {size} cut: make them again."
                )
        return tokens[self.shown]

    def scene(
        self, config: VideoConfig, *, first: int = 0, count: int | None = None, photo: int | None = None
    ) -> Scene:
        """A span as a method's scene, in its own time: `count` frames from `first`, the photo is frame `photo`.

        Where None, all frames are meant, and the span's first. Keypoints and states are there where the method is
        trained on them; a clip that lacks them raises ClipError. ValueError where its rate is not the method's.
        """
        from vivavoce.video.maker import Scene

        rate, size = frame_rate(self.fps), (config.width, config.height)
        if rate != frame_rate(config.fps):
            raise ValueError(f"{config.name} has {config.fps:g} fps, and the clips are at {self.fps:g}")
        count = len(self._span(first, count))
        begin, end = (first + i for i in (0, count))
        samples = self.speech.samples[int(begin * SPEECH_RATE / rate) : -int(-end * SPEECH_RATE // rate)]
        pose, states = self._needed(config)
        return Scene(
            photo=self.frames(first if photo is None else photo, 1, size=size)[0],
            speech=Speech(samples, self.speech.gain),  # as loud as the whole clip makes it
            plan=self.plan.between(float(begin / rate), float(end / rate)),
            frames=count,
            fps=self.fps,
            pose=None if pose is None else pose[begin:end],
            states=None if states is None else states[begin:end],
            focus=self._focus(config, begin, end),
        )

    def _focus(self, config: VideoConfig, begin: int, end: int) -> Float32[np.ndarray, "n h w"] | None:
        """Weights of latent cells by where face and hands are; None where that is not known, or not asked for."""
        points = self.keypoints((config.width, config.height)) if config.focus else None
        if points is None:
            return None
        cells = config.height // config.stride, config.width // config.stride
        found = focus_of(points[begin:end], config.width, config.height)
        return found.reshape(len(found), cells[0], config.stride, cells[1], config.stride).mean(axis=(2, 4))

    def check(self, config: VideoConfig | None = None, *, frames: int = 1) -> None:
        """Raise ClipError where anything of the clip is broken, or it has fewer than `frames` frames.

        Every picture is decoded. With `config`, also where it lacks what that method is trained on.
        """
        with self._told():
            if len(self) < frames:
                raise InputError(f"it has {len(self)} frames at {self.fps:g} fps, and {frames} are needed.")
            self.footage.check()
        _ = self.plan
        if config is not None:
            self._needed(config)

    def _needed(self, config: VideoConfig) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The keypoints and the states that a method is trained on; None for what it is not."""
        size = (config.width, config.height)
        pose = self.keypoints(size) if "pose" in config.modes else None
        states = self.states(size) if "keypoints" in config.modes else None
        lacking = ("keypoints", pose, "pose"), ("physical states", states, "keypoints")
        with self._told():
            for name, found, mode in lacking:
                if found is None and mode in config.modes:
                    raise InputError(f"it has no {name}, on which {config.name} is trained.")
        return pose, states

    @cached_property
    def _source_points(self) -> Float32[np.ndarray, "N 127 3"] | None:
        with self._told():
            points = self._points()
            return None if points is None else self._checked(points, "keypoints", (POINTS, 3))

    @cached_property
    def _source_tokens(self) -> Float32[np.ndarray, "N 1024"] | None:
        with self._told():
            tokens = self._tokens()
            return None if tokens is None else self._checked(tokens, "physical states", (WIDTH,))

    def _checked(self, values: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Float32 of all pictures. Raises InputError for another shape."""
        wanted = (len(self.footage), *shape)
        if values.shape != wanted:
            raise InputError(f"its {name} have the shape {values.shape}, not {wanted}: make them again.")
        return values.astype(np.float32)

    def _span(self, first: int, count: int | None) -> Int[np.ndarray, " n"]:
        count = len(self) - first if count is None else count
        if first < 0 or count < 1 or first + count > len(self):
            raise ValueError(f"{self.name} has frames 0 to {len(self) - 1}, not {count} from {first}")
        return self.shown[first : first + count]

    def _part(self, size: tuple[int, int] | None) -> tuple[float, float]:
        """The shares of the pictures' width and height that frames of a size show."""
        if size is None:
            return 1.0, 1.0
        wide, high = self._size
        return _shares(wide, high, size)

    @cached_property
    def _size(self) -> tuple[int, int]:
        with self._told():
            height, width = next(self.footage.pictures([0])).shape[:2]
        return width, height

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What is wrong with a part of the clip is told with the clip's name."""
        try:
            yield
        except ClipError:
            raise
        except InputError as error:
            raise ClipError(f"The clip {self.name} cannot be used: {error}") from error


@runtime_checkable
class ClipSource(Protocol):
    """Clips by number, with nothing read of them yet each time they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> TrainingClip: ...


def fitted(picture: UInt8[np.ndarray, "h w 3"], size: tuple[int, int] | None) -> UInt8[np.ndarray, "H W 3"]:
    """The largest middle part of a picture of the shape of `size` (width, height), at that size."""
    from PIL import Image

    rows, columns = picture.shape[:2]
    if size is None or (columns, rows) == size:
        return picture
    wide, high = _shares(columns, rows, size)
    left, top = columns * (1 - wide) / 2, rows * (1 - high) / 2
    box = (left, top, columns - left, rows - top)
    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS, box=box))


def _shares(wide: int, high: int, size: tuple[int, int]) -> tuple[float, float]:
    """Of width and height that the largest part of the shape of `size` has; 1, 1 to within half a pixel."""
    scale = max(size[0] / wide, size[1] / high)
    shown = size[0] / scale, size[1] / scale
    return (1.0 if wide - shown[0] < 0.5 else shown[0] / wide), (
        1.0 if high - shown[1] < 0.5 else shown[1] / high
    )
