"""What the synthetic people are told to do while they speak: a catalogue of actions, and random scripts of them.

Left and right are the person's own: the left hand is at the picture's right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vivavoce.errors import InputError
from vivavoce.video.plan import Phase, Plan

LEFT, RIGHT, HEAD, TORSO, SHOULDERS = "left arm", "right arm", "head", "torso", "shoulders"
PRONOUNS = ("her", "his", "their")
MARGIN = 0.3
"""Seconds at either end of a clip in which no action is under way."""
GAP = 0.3
"""Seconds at least between two actions of the same part of the body: it comes to rest."""
_OVERLAP = 0.5  # chance that neighbours which can share the time do
_REACH = (
    0.35  # of a neighbour's window, into which an overlap reaches at most: from both sides it leaves a GAP
)


@dataclass(frozen=True)
class Action:
    """Something a person can be told to do."""

    name: str
    parts: frozenset[str]
    """What of the body it needs: LEFT, RIGHT, HEAD, TORSO, SHOULDERS."""
    phrases: tuple[str, ...]
    """Ways to say it; `{their}` stands for the pronoun."""
    shortest: float
    """Seconds from the first to the last movement."""
    longest: float

    def text(self, rng: np.random.Generator, pronoun: str) -> str:
        """One of the phrases."""
        return self.phrases[int(rng.integers(len(self.phrases)))].format(their=pronoun)


@dataclass(frozen=True)
class ScriptedAction:
    """An action in its time window, seconds, preparation and retraction included."""

    name: str
    text: str
    start: float
    end: float


def _both_sides(name: str, phrases: Sequence[str], shortest: float, longest: float) -> Iterable[Action]:
    """The action of either hand; in phrases `{side}` is left or right and `{other}` the other one."""
    for side, other, part in (("left", "right", LEFT), ("right", "left", RIGHT)):
        said = (p.replace("{side}", side).replace("{other}", other) for p in phrases)
        yield Action(name.format(side=side), frozenset((part,)), tuple(said), shortest, longest)


def _whole(
    name: str, parts: Sequence[str], phrases: Sequence[str], shortest: float, longest: float
) -> Action:
    return Action(name, frozenset(parts), tuple(phrases), shortest, longest)


_HANDS = (
    *_both_sides(
        "raise_{side}_hand",
        ("raises {their} {side} hand", "lifts {their} {side} hand up", "holds up {their} {side} hand"),
        *(1.3, 3.0),
    ),
    *_both_sides(
        "open_{side}_palm",
        (
            "opens {their} {side} palm",
            "turns up the palm of {their} {side} hand",
            "offers {their} open {side} hand",
        ),
        *(1.2, 2.8),
    ),
    *_both_sides(
        "point_{side}_at_camera",
        (
            "points at the camera with {their} {side} hand",
            "points {their} {side} index finger at the viewer",
            "points straight ahead with the {side} hand",
        ),
        *(1.2, 2.6),
    ),
    *_both_sides(
        "point_{side}_aside",
        (
            "points to the {side}",
            "points to the side with {their} {side} hand",
            "shows something at {their} {side}",
        ),
        *(1.2, 2.8),
    ),
    *_both_sides(
        "wave_{side}_hand",
        (
            "waves {their} {side} hand",
            "waves with the {side} hand",
            "greets with a wave of {their} {side} hand",
        ),
        *(1.6, 3.0),
    ),
    *_both_sides(
        "{side}_thumb_up",
        (
            "gives a thumbs up with {their} {side} hand",
            "shows {their} {side} thumb up",
            "puts {their} {side} thumb up",
        ),
        *(1.2, 2.6),
    ),
    *_both_sides(
        "{side}_hand_on_chest",
        (
            "puts {their} {side} hand on {their} chest",
            "lays the {side} hand on {their} chest",
            "touches {their} chest with {their} {side} hand",
        ),
        *(1.3, 3.0),
    ),
    _whole(
        "raise_both_hands",
        (LEFT, RIGHT),
        ("raises both hands", "lifts both {their} hands up", "throws {their} hands up"),
        *(1.3, 3.0),
    ),
    _whole(
        "open_both_palms",
        (LEFT, RIGHT),
        ("opens both palms", "spreads {their} open hands", "turns up both {their} palms"),
        *(1.2, 2.8),
    ),
    _whole(
        "hands_together",
        (LEFT, RIGHT),
        (
            "puts {their} hands together",
            "brings {their} palms together",
            "joins {their} hands before the chest",
        ),
        *(1.3, 3.0),
    ),
    _whole(
        "cross_arms",
        (LEFT, RIGHT),
        ("crosses {their} arms", "folds {their} arms", "holds {their} arms crossed before the chest"),
        *(1.5, 3.0),
    ),
)
_REST = (
    _whole("nod", (HEAD,), ("nods", "nods {their} head", "gives a clear nod of the head"), 1.1, 2.2),
    _whole(
        "shake_head",
        (HEAD,),
        ("shakes {their} head", "shakes the head", "turns {their} head in denial"),
        1.2,
        2.4,
    ),
    *(
        _whole(
            f"tilt_head_{side}",
            (HEAD,),
            (
                f"tilts {{their}} head to the {side}",
                f"leans {{their}} head {side}",
                f"inclines {{their}} head to the {side}",
            ),
            *(1.2, 2.8),
        )
        for side in ("left", "right")
    ),
    _whole(
        "lean_forward",
        (TORSO,),
        ("leans forward", "leans in towards the camera", "bends {their} upper body forward"),
        *(1.4, 3.0),
    ),
    *(
        _whole(
            f"lean_{side}",
            (TORSO,),
            (
                f"leans to the {side}",
                f"sways over to the {side}",
                f"leans {{their}} upper body to the {side}",
            ),
            *(1.4, 3.0),
        )
        for side in ("left", "right")
    ),
    _whole(
        "shrug",
        (SHOULDERS,),
        ("shrugs", "shrugs {their} shoulders", "lifts both shoulders in a shrug"),
        1.1,
        2.0,
    ),
)
ACTIONS: dict[str, Action] = {action.name: action for action in (*_HANDS, *_REST)}


def script(
    rng: np.random.Generator,
    duration: float,
    *,
    density: float = 0.4,
    pronoun: str = "their",
    names: Sequence[str] = tuple(ACTIONS),
) -> list[ScriptedAction]:
    """Random actions for a clip of `duration` seconds, ordered by start, no action twice.

    There are about `density` of them a second, or as many as fit; neighbours that need different parts of the
    body overlap about half the time. When and how long is drawn before what, so every action is equally likely.
    Raises InputError for an unknown action or pronoun and for a negative density.
    """
    unknown = [name for name in names if name not in ACTIONS]
    if unknown:
        raise InputError(f"No action is called {unknown[0]!r}: choose from {', '.join(ACTIONS)}.")
    if pronoun not in PRONOUNS:
        raise InputError(f"The pronoun {pronoun!r} is unknown: choose from {', '.join(PRONOUNS)}.")
    if not density >= 0:
        raise InputError(f"A density of {density:g} actions a second is out of range: choose 0 or above.")
    chosen = [ACTIONS[str(name)] for name in rng.permutation(np.array(names))]
    slots = _slots(rng, duration, min(int(density * duration + rng.random()), len(chosen)))
    chosen = chosen[: len(slots)]
    windows = [_within(rng, slot, action) for slot, action in zip(slots, chosen, strict=True)]
    for i in range(len(windows) - 1):
        if not chosen[i].parts & chosen[i + 1].parts and rng.random() < _OVERLAP:
            windows[i], windows[i + 1] = _joined(rng, windows[i : i + 2], chosen[i : i + 2])
    return [
        ScriptedAction(action.name, action.text(rng, pronoun), round(start, 3), round(end, 3))
        for action, (start, end) in zip(chosen, windows, strict=True)
    ]


def plan_of(base: str, script: Sequence[ScriptedAction]) -> Plan:
    """The plan that asks for a script."""
    return Plan(base=base, phases=tuple(Phase(text=a.text, start=a.start, end=a.end) for a in script))


_Window = tuple[float, float]
_SLOT = max(action.shortest for action in ACTIONS.values())


def _slots(rng: np.random.Generator, duration: float, count: int) -> list[_Window]:
    """Up to `count` windows in which any action fits, GAP apart, the time that is left shared out at random."""
    room = duration - 2 * MARGIN + GAP
    count = max(0, min(count, int(room / (_SLOT + GAP))))
    if not count:
        return []
    spare = room - count * (_SLOT + GAP)
    shares = spare * rng.dirichlet(np.ones(2 * count + 1))
    slots, time = [], MARGIN
    for before, longer in zip(shares[0:-1:2], shares[1::2], strict=True):
        start = time + float(before)
        time = start + _SLOT + float(longer)
        slots.append((start, time))
        time += GAP
    return slots


def _within(rng: np.random.Generator, slot: _Window, action: Action) -> _Window:
    start, end = slot
    length = float(rng.uniform(action.shortest, min(action.longest, end - start)))
    start += float(rng.random()) * (end - start - length)
    return start, start + length


def _joined(
    rng: np.random.Generator, windows: Sequence[_Window], actions: Sequence[Action]
) -> tuple[_Window, _Window]:
    """Two neighbours, one of them longer so that they overlap, where the longest that it may be allows it."""
    (a, b), (c, d) = windows
    share = _REACH * float(rng.uniform(0.3, 1.0))
    if rng.random() < 0.5:
        b = max(b, min(c + share * (d - c), a + actions[0].longest))
    else:
        c = min(c, max(b - share * (b - a), d - actions[1].longest))
    return (a, b), (c, d)
