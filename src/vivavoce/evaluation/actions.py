"""Actions found again in what can be seen of a motion, and what plans are measured by.

Only two-dimensional tracks are looked at, so the same rules hold for known motion, for landmarks of a picture and
for points that a small network reads from generated frames. Every action has an evidence between 0 and 1 in every
frame (`evidence`); an action is there from ACCEPTED on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from vivavoce.corpus.synth.actions import ACTIONS, ScriptedAction
from vivavoce.evaluation.evidence import evidence
from vivavoce.evaluation.tracks import SHOULDERS, SIDES, WRISTS, BodyTrack, smooth

ACCEPTED = 0.5
"""Evidence from which an action is recognised."""
GROUPS: tuple[frozenset[str], ...] = tuple(
    frozenset(name.format(side=side) for name in names)
    for side in SIDES
    for names in (("{side}_thumb_up", "point_{side}_at_camera"), ("open_{side}_palm", "point_{side}_aside"))
)
"""Actions that only the fingers tell apart: people hold a thumb or a pointing hand at any height before the shoulder,
an offering or a showing one at any height beside it. The corpus keeps a place for each, so there wrists suffice."""

_CENTRE = 0.6  # share of the highest evidence from which on a stroke is at its height
_WINDOW = 0.5  # seconds, over which the size of gestures is taken
_STILL, _SWAY = 0.06, 0.25  # seconds, standard deviations of what takes jitter out of hands and trunk


def detect(track: BodyTrack, start: float, end: float) -> dict[str, float]:
    """The highest evidence of each action in a window, seconds. Raises ValueError where it holds no frame."""
    return _within(evidence(track), track.fps, start, end)


def recognised(track: BodyTrack, action: str, start: float, end: float, *, grouped: bool = False) -> bool:
    """Whether the action is seen in the window, more clearly than all others of the same parts of the body.

    Where `grouped`, another one of its group in GROUPS is as good.
    """
    return _recognised(detect(track, start, end), action, grouped)


def hit_at_segment(
    tracks: Sequence[BodyTrack], scripts: Sequence[Sequence[ScriptedAction]], *, grouped: bool = False
) -> float:
    """Hit@Segment (ActAvatar, section 4): the share of all phases whose action is recognised in its own window.

    `grouped` as in `recognised`. NaN where no script has a phase.
    """
    hits = []
    for track, script in zip(tracks, scripts, strict=True):
        found = evidence(track)
        hits += [_recognised(_within(found, track.fps, a.start, a.end), a.name, grouped) for a in script]
    return float(np.mean(hits)) if hits else float("nan")


def temporal_correctness(tracks: Sequence[BodyTrack], scripts: Sequence[Sequence[ScriptedAction]]) -> float:
    """The share of phases that are seen in time and in order: after what ActAvatar's judge calls TC.

    A phase counts where its action is recognised in its window, the action's clearest stroke in the whole clip has
    its centre there, and that lies after the centre of every phase that should be over before. NaN without phases.
    """
    right = []
    for track, script in zip(tracks, scripts, strict=True):
        found = evidence(track)
        centres = [_centre(_own(found[a.name], track.fps, a, script), track.fps) for a in script]
        for action, centre in zip(script, centres, strict=True):
            hit = _recognised(_within(found, track.fps, action.start, action.end), action.name, False)
            before = [c for a, c in zip(script, centres, strict=True) if a.end <= action.start]
            right.append(
                hit
                and centre is not None
                and action.start <= centre <= action.end
                and all(c is None or c < centre for c in before)
            )
    return float(np.mean(right)) if right else float("nan")


def gesture_size(track: BodyTrack) -> Float64[np.ndarray, " F"]:
    """How fast the hands move: the way of both wrists over half a second, shoulder widths a second.

    Ways are seen from the shoulders, so that a swaying trunk moves no hand. A wrist that is not seen has none; NaN
    where neither is.
    """
    from scipy.ndimage import uniform_filter1d

    body = track.body / track.width
    # A trunk sways slowly, so its jitter can be taken out with a wider window.
    ways = smooth(body[:, WRISTS], track.fps, _STILL) - smooth(body[:, SHOULDERS], track.fps, _SWAY)
    speed = np.linalg.norm(np.gradient(ways, axis=0), axis=2) * track.fps
    unseen = ~np.isfinite(speed).any(axis=1)
    total = uniform_filter1d(
        np.nan_to_num(speed).sum(axis=1), max(1, round(_WINDOW * track.fps)), mode="nearest"
    )
    return np.where(unseen, np.nan, total)


def hand_variance(track: BodyTrack) -> float:
    """Hand-V (PhysAvatar, table 1): the variance over time of the hands' points, squared shoulder widths.

    Means over the points of hands and wrists that are seen in at least two frames; NaN where there are none.
    """
    points = np.concatenate([track.body[:, WRISTS], *track.hands.values()], axis=1) / track.width
    often = np.isfinite(points).all(axis=2).sum(axis=0) > 1
    return float(np.nanvar(points[:, often], axis=0).sum(axis=1).mean()) if often.any() else float("nan")


def _within(
    found: dict[str, Float64[np.ndarray, " F"]], fps: float, start: float, end: float
) -> dict[str, float]:
    frames = len(next(iter(found.values())))
    times = (np.arange(frames) + 0.5) / fps
    inside = (times >= start) & (times <= end)
    if not inside.any():
        raise ValueError(f"no frame of {frames} at {fps:g} fps lies between {start:g} s and {end:g} s")
    return {name: float(values[inside].max()) for name, values in found.items()}


def _recognised(scores: dict[str, float], action: str, grouped: bool) -> bool:
    alike = next((group for group in GROUPS if grouped and action in group), {action})
    rivals = (name for name in ACTIONS if ACTIONS[name].parts & ACTIONS[action].parts)
    best = max(scores[name] for name in alike)
    return best >= ACCEPTED and best == max(scores[name] for name in rivals)


def _own(
    values: Float64[np.ndarray, " F"], fps: float, action: ScriptedAction, script: Sequence[ScriptedAction]
) -> Float64[np.ndarray, " F"]:
    """Evidence of an action where no other phase of the same action is nearer; elsewhere 0."""
    times = (np.arange(len(values)) + 0.5) / fps

    def away(phase: ScriptedAction) -> np.ndarray:
        return np.maximum(phase.start - times, times - phase.end)

    same = [away(phase) for phase in script if phase.name == action.name]
    return np.where(away(action) <= np.min(same, axis=0), values, 0)


def _centre(values: Float64[np.ndarray, " F"], fps: float) -> float | None:
    """The middle of the clearest stroke, seconds; None where nothing is accepted."""
    times = (np.arange(len(values)) + 0.5) / fps
    top = int(values.argmax())
    if values[top] < ACCEPTED:
        return None
    low = np.flatnonzero(values < _CENTRE * values[top])
    first, last = low[low < top].max(initial=-1) + 1, low[low > top].min(initial=len(values)) - 1
    return float(times[first] + times[last]) / 2
