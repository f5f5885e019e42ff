"""Long speech by overlapping windows without seams, as a stream.

Windows are drawn one after another. A window is given those frames of the one before that have been handed out, and
goes on from them. Over the `ramp` frames behind, which the one before has drawn as well, every estimate on the way
from noise is averaged with what that one gave, by weights that pass smoothly from it to the new one (MultiDiffusion,
Bar-Tal et al. 2023, in one direction). So what has been handed out never changes, which it would if all windows were
drawn together: each step then lets a window look one farther ahead. The noise belongs to frames, not to windows, so
that two windows that see the same around a frame give the same there.

Nothing is integrated over time: each window's motion is absolute. What one hands on to the next is `overlap` frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vivavoce.errors import InputError
from vivavoce.timing import mirrored

_BLOCK = 25  # frames that noise is drawn for at once


@dataclass(frozen=True)
class Layout:
    """Where windows lie. Raises ValueError unless 1 <= ramp <= overlap < length."""

    length: int = 125
    """Frames T of a window."""
    overlap: int = 50
    """Frames that it shares with the one before."""
    ramp: int = 25
    """The last of those, over which it takes the place of that one."""

    def __post_init__(self) -> None:
        if not 1 <= self.ramp <= self.overlap < self.length:
            raise ValueError(f"no windows overlap like {self}")

    @property
    def hop(self) -> int:
        """Frames from one window's beginning to the next one's."""
        return self.length - self.overlap

    @property
    def held(self) -> int:
        """Frames at a window's beginning that have been handed out, in any but the first."""
        return self.overlap - self.ramp

    @property
    def look_ahead(self) -> int:
        """Frames after itself whose sound a frame depends on, at most: length - 1 at the very beginning, `held` fewer
        ever after."""
        return self.length - 1

    @property
    def earlier(self) -> Float32[np.ndarray, " o"]:
        """The earlier window's weight on the frames that two share; the later one's is what is missing to one.

        One where frames are held; then 1 - 6 s^5 + 15 s^4 - 10 s^3, whose first two derivatives are zero at both ends:
        not even the acceleration jumps where a window begins or ends.
        """
        s = np.arange(1, self.ramp + 1) / (self.ramp + 1)
        fall = 1 - s**3 * (6 * s**2 - 15 * s + 10)
        return np.concatenate([np.ones(self.held), fall]).astype(np.float32)


@dataclass(frozen=True)
class Window:
    """One to be drawn."""

    audio: Float[Tensor, "T A"]
    """Its features."""
    first: int
    """The frame of the recording that it begins with."""
    layout: Layout
    shared: Float[Tensor, "o D"] | None
    """What the window before gave where the two overlap; None for the first window."""

    @property
    def given(self) -> int:
        """Frames at its beginning that have been handed out."""
        return 0 if self.shared is None else self.layout.held

    def opened(self, motion: Float[Tensor, "*b T D"]) -> Float[Tensor, "*b T D"]:
        """The same with the given frames at its beginning."""
        return self._joined(motion, np.ones(self.given, np.float32))

    def mended(self, motion: Float[Tensor, "*b T D"]) -> Float[Tensor, "*b T D"]:
        """An estimate of the window's motion, averaged with what the window before gave."""
        return self._joined(motion, self.layout.earlier)

    def _joined(self, motion: Tensor, weights: np.ndarray) -> Tensor:
        """The weighted average with the first frames that are shared."""
        if self.shared is None or not len(weights):
            return motion
        own, rest = motion.split([len(weights), motion.shape[-2] - len(weights)], dim=-2)
        earlier = self.shared[: len(weights)].to(own).expand_as(own)
        weight = torch.from_numpy(weights)[:, None].to(own)
        return torch.cat([torch.lerp(own, earlier, weight), rest], dim=-2)


Draw = Callable[[Window], Float[Tensor, "T D"]]
"""The motion of a window; each estimate of it, and with that the result, must have been `mended`."""


class WindowStream:
    """One recording on its way through windows: `push` features of frames, get the motion they settle, then `finish`.

    The same features give the same motion, however they are cut into blocks. At most a window's features are kept
    besides those pushed. Beyond the end of the recording its features are mirrored (`timing.mirrored`).
    """

    def __init__(self, draw: Draw, layout: Layout, *, channels: int) -> None:
        """`channels` is the width D of the motion."""
        self._draw, self._layout = draw, layout
        self._audio: Tensor | None = None
        self._first = 0  # frame that the next window begins with
        self._shared: Tensor | None = None  # the last window's motion where the next one overlaps it
        self._nothing = torch.zeros(0, channels)

    def push(self, audio: Float[Tensor, "n A"]) -> Float[Tensor, "m D"]:
        """Motion of the frames that these features settle."""
        kept = audio if self._audio is None else torch.cat([self._audio, audio])
        motion = [self._nothing]
        layout = self._layout
        while len(kept) >= layout.length:
            drawn, given = self._window(kept[: layout.length])
            motion.append(drawn[given : layout.length - layout.ramp])
            self._shared = drawn[layout.hop :]
            self._first += layout.hop
            kept = kept[layout.hop :]
        self._audio = kept.clone()  # or what is kept would keep all that was pushed
        return torch.cat(motion)

    def finish(self) -> Float[Tensor, "m D"]:
        """Motion of the remaining frames; the stream is used up."""
        layout, audio = self._layout, self._audio
        if audio is None or not len(audio):
            return self._nothing
        if self._shared is not None and len(audio) == layout.overlap:
            return self._shared[layout.held :]
        index = torch.from_numpy(mirrored(np.arange(layout.length), len(audio)))
        drawn, given = self._window(audio[index])
        return drawn[given : len(audio)]

    def _window(self, audio: Float[Tensor, "T A"]) -> tuple[Float[Tensor, "T D"], int]:
        """The next window's motion, and how many of its frames have been handed out before."""
        window = Window(audio, self._first, self._layout, self._shared)
        return self._draw(window), window.given


def frame_noise(seed: int, first: int, count: int, channels: int) -> Float32[Tensor, "n D"]:
    """Standard normal noise of frames first .. first + count - 1, the same in whatever windows they are drawn.

    It is drawn on the CPU: a graphics card's generator gives other numbers. Raises InputError for a negative seed.
    """
    if seed < 0:
        raise InputError(f"The seed {seed} is negative: give a whole number from 0 up.")
    blocks = range(first // _BLOCK, (first + count - 1) // _BLOCK + 1)
    noise = torch.cat([_block(seed, block, channels) for block in blocks])
    begin = first - blocks.start * _BLOCK
    return noise[begin : begin + count]


def _block(seed: int, block: int, channels: int) -> Float32[Tensor, "n D"]:
    mixed = np.random.SeedSequence([seed, block]).generate_state(1, np.uint64)
    return torch.randn(_BLOCK, channels, generator=torch.Generator().manual_seed(int(mixed[0])))
