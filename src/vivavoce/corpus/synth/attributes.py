"""Who the synthetic people are: the attribute dictionary of papers 001 (App. C) and 003 (App. C).

Both papers enumerate gender, age, body type, hairstyle and clothing and put them into text-to-image prompts; here
skin tone, glasses, beard and what stands behind the person are added, and the people are *designed*, not drawn:
no cell of the dictionary stays empty (`sample`).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from typing import Literal, get_args, get_type_hints

Item = tuple[str, str]  # an attribute and its value

Gender = Literal["woman", "man"]
Age = Literal["young", "middle-aged", "old"]
Body = Literal["slim", "average", "athletic", "heavy"]
Skin = Literal[
    "very fair",
    "fair",
    "light",
    "beige",
    "tan",
    "light brown",
    "brown",
    "dark brown",
    "very dark brown",
    "deepest brown",
]
Hair = Literal["bald", "short", "curly", "shoulder-length", "long", "bun"]
HairColor = Literal["black", "brown", "blond", "red", "grey"]
Beard = Literal["none", "moustache", "beard"]
Glasses = Literal["none", "glasses"]
Clothing = Literal["t-shirt", "shirt", "sweater", "jacket", "hoodie"]
ClothingColor = Literal["white", "grey", "black", "red", "orange", "yellow", "green", "blue", "purple"]
Background = Literal["plain wall", "brick wall", "curtain", "bookshelf", "window", "garden"]


@dataclass(frozen=True)
class Attributes:
    """A synthetic person in ordinary words. Raises ValueError for a value or a combination that is none.

    `gender` is how the person presents, all are adults; `hair_color` is also that of brows and beard, so a
    bald person has one; `skin` is a tone of the Monk Skin Tone scale, see `SKIN_SRGB`.
    """

    gender: Gender
    age: Age
    body: Body
    skin: Skin
    hair: Hair
    hair_color: HairColor
    beard: Beard
    glasses: Glasses
    clothing: Clothing
    clothing_color: ClothingColor
    background: Background

    def __post_init__(self) -> None:
        values = asdict(self)
        for name, value in values.items():
            group = _group(name, values)
            known = GIVEN[name][1].get(group, {}) if name in GIVEN else VALUES[name]
            if value not in known:
                given = f" of {group!r}" if group else ""
                raise ValueError(f"{value!r} is no {name}{given}; use one of {', '.join(known)}")


VALUES: dict[str, tuple[str, ...]] = {
    name: get_args(kind) for name, kind in get_type_hints(Attributes).items()
}
"""All values of each attribute, by its name."""

SKIN_SRGB: dict[str, tuple[int, int, int]] = dict(
    zip(
        VALUES["skin"],
        (
            *((246, 237, 228), (243, 231, 219), (247, 234, 208), (234, 218, 186), (215, 189, 150)),
            *((160, 126, 86), (130, 92, 67), (96, 65, 52), (58, 49, 42), (41, 36, 32)),
        ),
        strict=True,
    )
)
"""The ten tones of the Monk Skin Tone scale (Ellis Monk, 2022) as it publishes them: 8-bit sRGB, MST 1 to 10.

The scale numbers its tones; the words for them are ours.
"""

GIVEN: dict[str, tuple[str, dict[str, dict[str, int]]]] = {
    "hair": (
        "gender",
        {
            "woman": {"short": 1, "curly": 1, "shoulder-length": 1, "long": 1, "bun": 1},
            "man": {"bald": 1, "short": 2, "curly": 1, "shoulder-length": 1, "long": 1},
        },
    ),
    "hair_color": (
        "age",
        {
            "young": {"black": 1, "brown": 1, "blond": 1, "red": 1},
            "middle-aged": {"black": 2, "brown": 2, "blond": 2, "red": 1, "grey": 1},
            "old": {"black": 1, "brown": 1, "blond": 1, "grey": 5},
        },
    ),
    "beard": ("gender", {"woman": {"none": 1}, "man": {"none": 2, "moustache": 1, "beard": 1}}),
}
"""Constraints: for an attribute, the one it depends on, and for each value of that the shares of its own values.

A value that is not named never occurs. Attributes that are not here have equal shares of all values.
"""

CORE = ("gender", "age", "body", "skin")
"""The attributes of which every pair of values must meet early: those that a person cannot change."""

_CORE_WEIGHT = 16  # how much rarer pairs of these count than others; 4 needs about 10 people more, 1 about 30
_CANDIDATES = 12  # people that compete for each place; more gains nothing that counts


def sample(count: int, seed: int) -> list[Attributes]:
    """`count` people, the same for the same seed; person k is the same whatever `count` is.

    Among the first n people, for every n, the counts of the values of an attribute without constraints differ
    by one at most; those of a constrained one follow their shares within each group. So every value of every
    attribute occurs from about 12 people on. Each person is the candidate whose pairs of values were rarest so
    far (the greedy covering design of combinatorial testing): all pairs of `CORE` meet within 60 people, mostly
    within the 40 that are the least possible; those of all attributes without constraints within about 200.
    """
    rng = random.Random(seed)
    counts: Counter[tuple[str, str, str]] = Counter()
    met: dict[Item, Counter[Item]] = {(name, value): Counter() for name in VALUES for value in VALUES[name]}
    people: list[Attributes] = []
    for _ in range(count):
        due = _due(counts)
        _, person = min((_candidate(due, met, rng) for _ in range(_CANDIDATES)), key=lambda drawn: drawn[0])
        people.append(Attributes(**person))  # pyright: ignore[reportArgumentType]
        counts.update((name, _group(name, person), value) for name, value in person.items())
        for a, b in permutations(person.items(), 2):
            met[a][b] += _weight(a[0], b[0])
    return people


def _candidate(
    due: Mapping[tuple[str, str], Sequence[str]], met: Mapping[Item, Mapping[Item, int]], rng: random.Random
) -> tuple[int, dict[str, str]]:
    """A person all of whose values are due, chosen one by one in random order, and how worn their pairs are."""
    free = [name for name in VALUES if name not in GIVEN]
    bound = list(GIVEN)
    rng.shuffle(free)
    rng.shuffle(bound)
    chosen: dict[str, str] = {}
    cost = 0
    for name in (*free, *bound):
        group = chosen[GIVEN[name][0]] if name in GIVEN else ""
        ranked = [
            (sum(met[name, value][item] for item in chosen.items()), rng.random(), value)
            for value in due[name, group]
        ]
        worn, _, chosen[name] = min(ranked)
        cost += worn
    return cost, {name: chosen[name] for name in VALUES}


def _due(counts: Mapping[tuple[str, str, str], int]) -> dict[tuple[str, str], list[str]]:
    """The values of each attribute and group that are furthest behind their share (Sainte-Laguë's rule)."""
    due: dict[tuple[str, str], list[str]] = {}
    for name, values in VALUES.items():
        groups = GIVEN[name][1] if name in GIVEN else {"": dict.fromkeys(values, 1)}
        for group, shares in groups.items():
            behind = {value: (counts[name, group, value] + 0.5) / share for value, share in shares.items()}
            least = min(behind.values())
            due[name, group] = [value for value, quotient in behind.items() if quotient == least]
    return due


def _group(name: str, values: Mapping[str, str]) -> str:
    """The group whose shares hold for an attribute of that person."""
    return values[GIVEN[name][0]] if name in GIVEN else ""


def _weight(a: str, b: str) -> int:
    """What one more person with the same values of two attributes costs: the more, the rarer they should meet."""
    return len(VALUES[a]) * len(VALUES[b]) * (_CORE_WEIGHT if a in CORE and b in CORE else 1)


_BUILD = {"average": ""}
_HAIR = {"bald": "a bald head", "bun": "{color} hair in a bun"}
_FRAME = "a an and with skin hair head in of front"


def describe(attributes: Attributes) -> str:
    """One sentence about a person, in words of `VOCABULARY` alone; people who differ to the eye get different ones.

    As "A middle-aged heavy woman with tan skin, long brown hair and glasses, in a green sweater, in front of a
    plain wall."
    """
    a = attributes
    has = [f"{a.skin} skin", _HAIR.get(a.hair, f"{a.hair} {{color}} hair").format(color=a.hair_color)]
    has += [f"a {a.hair_color} {a.beard}"] * (a.beard != "none") + [a.glasses] * (a.glasses != "none")
    who = " ".join(filter(None, (a.age, _BUILD.get(a.body, a.body), a.gender)))
    where = f"in a {a.background}" if a.background == "garden" else f"in front of a {a.background}"
    wears = _with_article(f"{a.clothing_color} {a.clothing}")
    sentence = f"{_with_article(who)} with {_listed(has)}, in {wears}, {where}."
    return sentence[0].upper() + sentence[1:]


def portrait_prompt(attributes: Attributes) -> str:
    """What to ask a text-to-image model for: the portrait of that person that avatars are made from.

    As paper 003 (App. C) asks: realistic, facing forward in a conversational pose, both hands visible and
    undistorted.
    """
    described = describe(attributes).rstrip(".")
    return (
        f"A realistic photograph of {described[0].lower()}{described[1:]}. One person, upper body, facing the camera "
        "and looking into it, standing upright in a relaxed conversational pose, both hands fully visible in front of "
        "the body, natural undistorted fingers, lips closed, friendly expression, soft even light, sharp focus."
    )


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _listed(items: Sequence[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}"


def words_of_caption(caption: str) -> list[str]:
    """Its words in order and lower case; "middle-aged" is one word."""
    return re.findall(r"[a-z-]+", caption.lower())


VOCABULARY: frozenset[str] = frozenset(
    word
    for text in (_FRAME, *(value for values in VALUES.values() for value in values))
    for word in words_of_caption(text)
) - {"none", "average"}
"""Every word that `describe` uses."""
