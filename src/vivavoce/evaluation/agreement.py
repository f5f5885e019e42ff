"""How well the reader reads clips of which all is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from vivavoce.corpus.synth.actions import ScriptedAction
from vivavoce.evaluation.actions import gesture_size, hit_at_segment, temporal_correctness
from vivavoce.evaluation.reader import WEIGHTS, Reading, read
from vivavoce.evaluation.speech import correlation, gesture_correlation, mouth_correlation, shuffled
from vivavoce.evaluation.tracks import FACE, WRISTS, BodyTrack, track_of
from vivavoce.features.phones import Phone
from vivavoce.progress import track

if TYPE_CHECKING:
    from vivavoce.corpus.shard_clips import ShardClip

_TIPS = [4, 8, 12, 16, 20]


def agreement(clips: Sequence[ShardClip], *, weights: Path = WEIGHTS) -> dict[str, float]:
    """What is read of true clips against what is known of them, by name.

    Errors of points are medians in percent of the picture's width, of angles in degrees; "true" is what the clips'
    own keypoints give by the same measures; "shuffled" are mouths against the speech of other clips. Correlations are
    means over clips, without those where nothing moves. Raises ValueError for a single clip.
    """
    readings, tracks, scripts = [], [], []
    phones = [[Phone(*phone) for phone in clip.meta["phones"]] for clip in clips]
    for clip in track(clips, "Reading clips"):
        readings.append(read(clip.frames(), clip.fps, weights=weights))
        points = clip.keypoints()
        assert points is not None, "a true clip has keypoints"
        height, width = clip.frames(0, 1).shape[1:3]
        tracks.append(track_of(points, clip.fps, aspect=height / width))
        scripts.append([ScriptedAction(**action) for action in clip.meta["actions"]])
    read_tracks = [reading.track for reading in readings]
    mouths = [mouth_correlation(r.aperture, p, r.track.fps) for r, p in zip(readings, phones, strict=True)]
    pairs = list(enumerate(shuffled(len(clips)).tolist()))
    wrong = [mouth_correlation(readings[a].aperture, phones[b], readings[a].track.fps) for a, b in pairs]
    return {
        "clips": float(len(clips)),
        **_places(read_tracks, tracks),
        **_numbers(readings, clips),
        **_actions("", read_tracks, scripts),
        **_actions("true ", tracks, scripts),
        "gesture size": _mean(
            correlation(gesture_size(a), gesture_size(b)) for a, b in zip(read_tracks, tracks, strict=True)
        ),
        **{
            f"{name}gestures and loudness": _mean(
                gesture_correlation(t, c.speech.samples) for t, c in zip(found, clips, strict=True)
            )
            for name, found in (("", read_tracks), ("true ", tracks))
        },
        "mouth and phones": _mean(m.together for m in mouths),
        "mouth and phones, best lag": _mean(m.best for m in mouths),
        "mouth and phones, shuffled": _mean(m.together for m in wrong),
        "same or another person": told_apart(readings, [clip.meta["person"] for clip in clips]),
    }


def told_apart(readings: Sequence[Reading], persons: Sequence[int]) -> float:
    """The share of pairs of clips that a threshold on the cosine of their embeddings puts right, at the best threshold.

    Of pairs of one person and of two as many count. NaN where there are no such pairs.
    """
    means = [reading.identity.mean(axis=0) for reading in readings]
    means = [mean / np.linalg.norm(mean) for mean in means]
    same, other = [], []
    for a, b in combinations(range(len(means)), 2):
        (same if persons[a] == persons[b] else other).append(float(means[a] @ means[b]))
    if not (same and other):
        return float("nan")
    right = [(np.mean(np.array(same) >= t) + np.mean(np.array(other) < t)) / 2 for t in same]
    return float(max(right))


def _places(found: Sequence[BodyTrack], true: Sequence[BodyTrack]) -> dict[str, float]:
    body = np.concatenate([a.body - b.body for a, b in zip(found, true, strict=True)])
    hands = np.concatenate(
        [a.hands[side] - b.hands[side] for a, b in zip(found, true, strict=True) for side in a.hands]
    )
    parts = {
        "points": np.concatenate([body[:, :11].reshape(-1, 2), hands[:, 1:].reshape(-1, 2)]),
        "face": body[:, FACE],
        "wrists": body[:, WRISTS],
        "fingertips": hands[:, _TIPS],
    }
    seen = np.concatenate([np.isfinite(t.body[:, :11, 0]) for t in true])
    also = np.concatenate([np.isfinite(t.body[:, :11, 0]) for t in found])
    errors = {name: 50 * np.linalg.norm(error, axis=-1) for name, error in parts.items()}
    return {
        **{f"{name}, % of width": _percentile(error, 50) for name, error in errors.items()},
        "wrists, 90th percentile": _percentile(errors["wrists"], 90),
        "seen": float((seen == also).mean()),
    }


def _numbers(readings: Sequence[Reading], clips: Sequence[ShardClip]) -> dict[str, float]:
    """Mouth and head."""
    pairs = [(r, c.truth) for r, c in zip(readings, clips, strict=True)]
    turns = np.concatenate([np.abs(r.head - t["head"]) for r, t in pairs])
    errors = np.degrees(np.median(turns, axis=0)).tolist()
    return {
        "aperture": _mean(correlation(r.aperture, t["aperture"]) for r, t in pairs),
        "aperture, error": _mean(float(np.abs(r.aperture - t["aperture"]).mean()) for r, t in pairs),
        **{f"{name}, degrees": error for name, error in zip(("yaw", "pitch", "roll"), errors, strict=True)},
        "head": _mean(correlation(r.head[:, k], t["head"][:, k]) for r, t in pairs for k in range(3)),
        "confidence": _mean(float(r.confidence.mean()) for r in readings),
    }


def _actions(
    name: str, tracks: Sequence[BodyTrack], scripts: Sequence[Sequence[ScriptedAction]]
) -> dict[str, float]:
    return {
        f"{name}Hit@Segment": hit_at_segment(tracks, scripts),
        f"{name}Hit@Segment, grouped": hit_at_segment(tracks, scripts, grouped=True),
        f"{name}temporal correctness": temporal_correctness(tracks, scripts),
    }


def _percentile(values: Float[np.ndarray, "*n"], percent: int) -> float:
    """Over those that are no NaN; NaN where all are."""
    known = values[np.isfinite(values)]
    return float(np.percentile(known, percent)) if len(known) else float("nan")


def _mean(values: Iterable[float]) -> float:
    """Over those that are no NaN."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
