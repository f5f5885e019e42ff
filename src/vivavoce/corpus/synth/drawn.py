"""Clips of people that a method of the video family draws from a picture: nothing but speech and script is known."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vivavoce.corpus.synth.actions import plan_of
from vivavoce.corpus.synth.attributes import describe
from vivavoce.corpus.synth.clip import Made, Order, Scripted
from vivavoce.corpus.synth.portrait import PortraitSource, TemplatePortrait
from vivavoce.errors import InputError

if TYPE_CHECKING:
    from vivavoce.video.method import VideoMethod


@dataclass(frozen=True)
class DrawnClips:
    """An audio-driven video method in the animator's place (`ClipMaker`).

    `method` is a name in METHODS, `base` and `weights` are as for `vivavoce generate`. Pictures come from `portraits`.
    """

    method: str
    base: str | None = None
    weights: Path | None = None
    portraits: PortraitSource = TemplatePortrait()  # noqa: RUF009  # it has no state

    def film(self, order: Order, scripted: Scripted) -> Made:
        """Draw the clip. Raises InputError where the order's size or rate is not the method's."""
        from vivavoce.features.loudness import leveled
        from vivavoce.video.draw import draw, frames_of
        from vivavoce.video.maker import Scene
        from vivavoce.video.method import Sampling
        from vivavoce.video.sample.resume import Job

        method = _loaded(self.method, self.base, self.weights)
        config = method.config
        wanted, own = (order.width, order.height, order.fps), (config.width, config.height, config.fps)
        if wanted != own:
            raise InputError(
                f"{self.method} draws {own[0]}x{own[1]} at {own[2]:g} fps, not {wanted[0]}x{wanted[1]} at "
                f"{wanted[2]:g}: order that."
            )
        scene = Scene(
            photo=self.portraits.portrait(
                order.attributes, order.person, width=config.width, height=config.height
            ),
            speech=leveled(scripted.spoken.samples),
            plan=plan_of(describe(order.attributes), scripted.actions),
            frames=round(order.seconds * order.fps),
            fps=order.fps,
        )
        with tempfile.TemporaryDirectory(prefix="vivavoce-") as folder:
            job = Job(Path(folder) / "job", {})
            chunks = draw(method, scene, Sampling.of(config, seed=order.seed), job)
            return Made(np.stack(list(frames_of(method, chunks, job))), None)


@functools.lru_cache(maxsize=1)
def _loaded(method: str, base: str | None, weights: Path | None) -> VideoMethod:
    from vivavoce.methods.load import load

    return load(method, base=base, weights=weights)
