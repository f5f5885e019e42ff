"""Clips of people and voices that nobody was trained on: what is drawn, and what is known of the true ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vivavoce.corpus.shard_clips import ShardClip, Shards
from vivavoce.corpus.synth.actions import ScriptedAction
from vivavoce.corpus.synth.orders import BOTH
from vivavoce.errors import InputError
from vivavoce.features.loudness import leveled
from vivavoce.features.phones import Phone
from vivavoce.timing import frame_count
from vivavoce.types import SPEECH_RATE
from vivavoce.video.config import VideoConfig
from vivavoce.video.maker import Scene
from vivavoce.video.plan import Phase, Plan


@dataclass(frozen=True)
class Held:
    """What is drawn, and what is known of it."""

    key: str
    scene: Scene
    script: tuple[ScriptedAction, ...]
    """The actions that lie within it."""
    phones: tuple[Phone, ...]
    frames: UInt8[np.ndarray, "F H W 3"] | None
    """The true ones; None where there are none."""


def held_out(
    corpus: Path, config: VideoConfig, *, frames: int, clips: int, acting: bool = False
) -> list[Held]:
    """A span of `frames` from each of up to `clips` clips of held-out people with held-out voices.

    They lie evenly among those that there are; where `acting`, among those with an action within the span. Each span is
    where most of its clip's actions lie within. Raises InputError where there are fewer than two.
    """
    shards = Shards(corpus, split=BOTH, fps=config.fps)
    spans = [(clip, best_span(clip, frames)) for clip in (shards[i] for i in range(len(shards)))]
    found = [(c, at) for c, at in spans if at is not None and (within(c, at, frames) or not acting)]
    if min(len(found), clips) < 2:
        raise InputError(
            f"{min(len(found), clips)} clips of {BOTH} with {frames} frames{' and an action' if acting else ''} are "
            f"too few of {corpus}: two at least are compared."
        )
    places = np.linspace(0, len(found) - 1, min(clips, len(found))).round().astype(int)
    return [_span(clip, at, frames, config) for clip, at in (found[place] for place in places)]


def best_span(clip: ShardClip, frames: int) -> int | None:
    """Where the span with most whole actions begins, of these one that cuts the fewest; None for a short clip."""

    def worth(first: int) -> tuple[int, int]:
        begin, end = first / clip.fps, (first + frames) / clip.fps
        cut = sum(a.start < end and a.end > begin for a in _actions(clip))
        return len(within(clip, first, frames)), -cut

    return max(range(len(clip) - frames + 1), default=None, key=worth)


def within(clip: ShardClip, first: int, frames: int) -> tuple[ScriptedAction, ...]:
    """The actions that lie within a span, in its own time."""
    begin, end = first / clip.fps, (first + frames) / clip.fps
    return _moved((a for a in _actions(clip) if begin <= a.start and a.end <= end), -begin)


def long_speeches(corpus: Path, config: VideoConfig, *, seconds: float, people: int) -> list[Held]:
    """Held-out people who speak for so long: all that one says in a held-out voice, over again where it is too short.

    Up to `people` of them, each with the photo of the first clip. Raises InputError where there are fewer than two.
    """
    shards = Shards(corpus, split=BOTH, fps=config.fps)
    said: dict[int, list[ShardClip]] = {}
    for clip in (shards[i] for i in range(len(shards))):
        said.setdefault(clip.meta["person"], []).append(clip)
    chosen = list(said.values())[:people]
    if len(chosen) < 2:
        raise InputError(f"{len(chosen)} held-out people are too few of {corpus}: two at least are compared.")
    return [_long(clips, config, seconds) for clips in chosen]


def _span(clip: ShardClip, first: int, frames: int, config: VideoConfig) -> Held:
    begin, end = first / clip.fps, (first + frames) / clip.fps
    return Held(
        f"{clip.name} from frame {first}",
        clip.scene(config, first=first, count=frames, photo=first),
        within(clip, first, frames),
        _phones(clip, -begin, end - begin),
        clip.frames(first, frames, size=(config.width, config.height)),
    )


def _long(clips: Sequence[ShardClip], config: VideoConfig, seconds: float) -> Held:
    samples, phases, phones, script = [], [], [], []
    heard, wanted = 0, round(seconds * SPEECH_RATE)
    while heard < wanted:
        clip = clips[len(samples) % len(clips)]
        samples.append(clip.speech.samples[: wanted - heard])
        begin = heard / SPEECH_RATE
        script += [a for a in _moved(_actions(clip), begin) if a.end <= seconds]
        phones += _phones(clip, begin, seconds)
        heard += len(samples[-1])
    phases = tuple(Phase(text=a.text, start=a.start, end=a.end) for a in script)
    scene = Scene(
        clips[0].frames(0, 1, size=(config.width, config.height))[0],
        leveled(np.concatenate(samples)),
        Plan(base=clips[0].plan.base, phases=phases),
        frame_count(seconds, config.fps),
        config.fps,
    )
    return Held(f"{clips[0].name} and on", scene, tuple(script), tuple(phones), None)


def _phones(clip: ShardClip, by: float, end: float) -> tuple[Phone, ...]:
    """What is said, `by` seconds later, from 0 to `end`. Raises InputError for a clip that does not tell it."""
    if "phones" not in clip.meta:
        raise InputError(f"The clip {clip.name} does not tell its phones: prove it on a synthetic corpus.")
    moved = [
        Phone(label, max(start + by, 0.0), min(stop + by, end)) for label, start, stop in clip.meta["phones"]
    ]
    return tuple(phone for phone in moved if phone.end > phone.start)


def _moved(actions: Iterable[ScriptedAction], by: float) -> tuple[ScriptedAction, ...]:
    return tuple(ScriptedAction(a.name, a.text, a.start + by, a.end + by) for a in actions)


def _actions(clip: ShardClip) -> list[ScriptedAction]:
    return [ScriptedAction(**action) for action in clip.meta.get("actions", ())]
