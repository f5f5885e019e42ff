"""The planner that needs no model: prosody says when and how lively, the photo's analysis says what can move.

It knows nothing of the words. Its phases are the phrases between pauses; what happens in one follows from how
many accents it has and how loud it is, against the whole speech.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float32

from vivavoce.features.face import Face
from vivavoce.features.portrait import Portrait
from vivavoce.features.prosody import HOP, ProsodyFrames, ProsodyStream
from vivavoce.types import SPEECH_RATE
from vivavoce.video.plan import Phase, Plan

MAX_PHASES = 6
SHORTEST = 1.2
"""Seconds; a shorter phrase is joined with its nearer neighbour: no action takes less."""

_RATE = SPEECH_RATE / HOP  # hops a second
_LIVELY = 1.25  # times the speech's own rate of accents
_LOUD = 2.0  # dB above the speech's own level
_WRISTS = [15, 16]  # of BlazePose
_FACING = 12.0  # degrees of yaw that still count as facing the camera


@dataclass(frozen=True)
class _Voice:
    """What the speech sounds like as a whole."""

    frames: ProsodyFrames
    accents: float
    """Accents a second of speech."""
    level: float
    """Mean dBFS of speech."""

    @property
    def spoken(self) -> bool:
        return bool(self.frames.speech.any())


def embedded_phases(portrait: Portrait, speech: Float32[np.ndarray, " n"]) -> Plan:
    """A base text from the photo and the voice, and a phase for each phrase: at most MAX_PHASES.

    `speech` is mono at 16 kHz. Silence gives no phases.
    """
    voice = _heard(speech)
    hands = _hands_in_view(portrait)
    phases = [
        Phase(
            text=_action(voice, slice(first, last), hands),
            start=first / _RATE,
            end=min(last, len(speech) / HOP) / _RATE,
        )
        for first, last in phrases(voice.frames.speech)
    ]
    mood = ", ".join(_tone(voice))
    base = (
        f"A person {', '.join(_seen(portrait))}, speaks; voice: {mood}."
        if voice.spoken
        else (f"A person {', '.join(_seen(portrait))}, listens in silence.")
    )
    return Plan(base=base, phases=tuple(phases))


def embedded_brief(portrait: Portrait, speech: Float32[np.ndarray, " n"]) -> Plan:
    """A plan whose base is a brief in the fixed format of PhysAvatar's fig. S3, and no phases."""
    voice = _heard(speech)
    hands = _hands_in_view(portrait)
    if voice.spoken:
        whole = slice(0, len(voice.frames))
        video = [_action(voice, whole, hands), "gaze on camera", "blinks in pauses", "mood follows voice"]
    else:
        video = ["calm breathing", "gaze on camera", "occasional blinks"]
    sections = {"AUDIO": _tone(voice), "IMAGE": _seen(portrait), "VIDEO": video}
    return Plan(base="\n".join(f"[{name}]: {', '.join(content)}" for name, content in sections.items()))


def phrases(speech: Bool[np.ndarray, " T"]) -> list[tuple[int, int]]:
    """First and last hop (exclusive) of each stretch of speech, short and superfluous ones joined across pauses."""
    edges = np.flatnonzero(np.diff(np.pad(speech.astype(np.int8), 1)))
    found = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    while len(found) > 1:
        lengths = [b - a for a, b in found]
        shortest = int(np.argmin(lengths))
        if lengths[shortest] >= SHORTEST * _RATE and len(found) <= MAX_PHASES:
            break
        pauses = [found[i + 1][0] - found[i][1] for i in range(len(found) - 1)]
        left, right = shortest - 1, shortest
        joined = min((i for i in (left, right) if 0 <= i < len(pauses)), key=pauses.__getitem__)
        found[joined : joined + 2] = [(found[joined][0], found[joined + 1][1])]
    return found


def _heard(speech: Float32[np.ndarray, " n"]) -> _Voice:
    stream = ProsodyStream()
    parts = [stream.push(speech), stream.finish()]
    names = [field.name for field in fields(ProsodyFrames) if field.name != "start"]
    frames = ProsodyFrames(0, **{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})
    if not frames.speech.any():
        return _Voice(frames, 0.0, -100.0)
    accents = np.count_nonzero(frames.accent) * _RATE / np.count_nonzero(frames.speech)
    return _Voice(frames, float(accents), float(frames.level[frames.speech].mean()))


def _action(voice: _Voice, hops: slice, hands: bool) -> str:
    """What the body does in a stretch of speech."""
    f = voice.frames
    speech = f.speech[hops]
    rate = np.count_nonzero(f.accent[hops]) * _RATE / max(1, np.count_nonzero(speech))
    louder = float(f.level[hops][speech].mean()) - voice.level
    if rate > _LIVELY * voice.accents:
        action = (
            "gestures on stressed words, brows raised" if hands else "nods on stressed words, brows raised"
        )
    elif rate * _LIVELY < voice.accents:
        action = "keeps still, small head movements"
    else:
        action = "small hand gestures, slight nods" if hands else "slight nods, lively brows"
    if louder > _LOUD:
        action += ", leans towards camera"
    elif louder < -_LOUD:
        action += ", softer expression"
    return action


def _tone(voice: _Voice) -> list[str]:
    """The voice in a few phrases."""
    if not voice.spoken:
        return ["silence", "no voice", "still mood"]
    f = voice.frames
    pitch = f.pitch[f.pitch > 0]
    spread = float(np.std(12 * np.log2(pitch))) if len(pitch) else 0.0
    inner = f.speech[np.argmax(f.speech) : len(f) - np.argmax(f.speech[::-1])]
    return [
        "lively intonation" if spread > 3 else "even intonation",
        "strongly accented rhythm" if voice.accents > 1.5 else "calm rhythm",
        "frequent pauses" if inner.mean() < 0.8 else "flowing pace",
    ]


def _seen(portrait: Portrait) -> list[str]:
    """The photo in a few phrases: framing, direction, hands, background."""
    face = Face(portrait.face, 0.0)
    share = face.height / (portrait.crop[3] - portrait.crop[1])
    framing = "close-up" if share > 0.5 else "head and shoulders" if share > 0.25 else "upper body in view"
    side = "right" if face.yaw > 0 else "left"
    facing = "facing camera" if abs(face.yaw) < _FACING else f"turned to picture's {side}"
    behind = portrait.image[portrait.matte < 0.1]
    seen = [framing, facing, "hands in view" if _hands_in_view(portrait) else "hands out of view"]
    if len(behind):
        seen.append("bright background" if behind.mean() > 0.5 else "dark background")
    return seen


def _hands_in_view(portrait: Portrait) -> bool:
    if portrait.hands or portrait.body is None:
        return bool(portrait.hands)
    x0, y0, x1, y1 = portrait.crop
    x, y, _, visible = portrait.body[_WRISTS].T
    return bool(((visible > 0.5) & (x > x0) & (x < x1) & (y > y0) & (y < y1)).any())
