"""The catalogue of actions, and random scripts of it."""

from collections import Counter

import numpy as np
import pytest

from vivavoce.corpus.synth.actions import (
    ACTIONS,
    GAP,
    HEAD,
    LEFT,
    MARGIN,
    PRONOUNS,
    RIGHT,
    SHOULDERS,
    TORSO,
    ScriptedAction,
    plan_of,
    script,
)
from vivavoce.errors import InputError


def many(seconds: float = 10.0, count: int = 600, **given) -> list[list[ScriptedAction]]:
    return [script(np.random.default_rng(seed), seconds, **given) for seed in range(count)]


def test_every_part_of_the_body_has_its_actions():
    parts = {part for action in ACTIONS.values() for part in action.parts}
    assert parts == {LEFT, RIGHT, HEAD, TORSO, SHOULDERS}
    for name, action in ACTIONS.items():
        assert action.name == name
        mirrored = name.replace("left", "*").replace("right", "left").replace("*", "right")
        swapped = {{LEFT: RIGHT, RIGHT: LEFT}.get(part, part) for part in action.parts}
        assert ACTIONS[mirrored].parts == swapped
        assert 1.0 < action.shortest < action.longest <= 3.0


@pytest.mark.parametrize("pronoun", PRONOUNS)
def test_phrases_are_three_or_more_and_say_whose_hand_it_is(pronoun):
    rng = np.random.default_rng(0)
    for action in ACTIONS.values():
        said = {action.text(rng, pronoun) for _ in range(60)}
        assert len(said) >= 3
        assert len(said) == len(set(action.phrases))
        for text in said:
            assert not {"{", "}"} & set(text)
            words = text.split()
            for side, other in (("left", "right"), ("right", "left")):
                if side in action.name.split("_"):
                    assert side in words
                    assert other not in words
            assert not set(words) & (set(PRONOUNS) - {pronoun})
    texts = [text for action in ACTIONS.values() for text in action.phrases]
    assert len(texts) == len(set(texts)), "one phrase must not ask for two actions"


def test_no_part_of_the_body_does_two_things_at_once():
    overlapping = pairs = 0
    for done in (*many(), *many(30.0, 100, density=1.0)):
        assert [a.start for a in done] == sorted(a.start for a in done)
        for i, first in enumerate(done):
            for k, second in enumerate(done[i + 1 :]):
                if ACTIONS[first.name].parts & ACTIONS[second.name].parts:
                    assert second.start - first.end >= GAP - 2e-3
                elif k == 0:
                    pairs += 1
                    overlapping += second.start < first.end
    assert 0.3 < overlapping / pairs < 0.6


@pytest.mark.parametrize("seconds", [2.3, 3.24, 5.0, 10.0])
def test_actions_keep_their_length_and_away_from_the_ends(seconds):
    for done in many(seconds, 150, density=2.0):
        assert len(done) >= 1
        for action in done:
            length = action.end - action.start
            assert action.start >= MARGIN - 1e-3
            assert action.end <= seconds - MARGIN + 1e-3
            assert ACTIONS[action.name].shortest - 2e-3 <= length <= ACTIONS[action.name].longest + 2e-3


def test_a_clip_without_room_has_no_action():
    assert script(np.random.default_rng(0), 2.0, density=5.0) == []
    assert script(np.random.default_rng(0), 0.0, density=5.0) == []
    assert script(np.random.default_rng(0), 20.0, density=0.0) == []


def test_density_is_the_number_of_actions_a_second_until_the_clip_is_full():
    for density in (0.1, 0.25, 0.4):
        assert np.mean([len(done) for done in many(12.0, 400, density=density)]) == pytest.approx(
            12 * density, rel=0.1
        )
    fullest = {len(done) for done in many(12.0, 20, density=9.0)}
    assert fullest == {6}


def test_all_actions_are_equally_likely():
    for seconds in (3.24, 10.0):
        counts = Counter(a.name for done in many(seconds, 3000, density=0.5) for a in done)
        expected = sum(counts.values()) / len(ACTIONS)
        # 5 standard deviations of a binomial count.
        assert max(abs(counts[name] - expected) for name in ACTIONS) < 5 * np.sqrt(expected)


def test_scripts_are_reproducible_and_of_the_chosen_actions():
    assert many(count=20) == many(count=20)
    assert len({str(done) for done in many(count=20)}) == 20
    assert {a.name for done in many(count=50, names=("nod", "shrug")) for a in done} == {"nod", "shrug"}


def test_what_cannot_be_scripted_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"^No action is called 'dance': choose from raise_left_hand, "):
        script(rng, 5.0, names=("nod", "dance"))
    with pytest.raises(InputError, match=r"^The pronoun 'its' is unknown: choose from her, his, their\.$"):
        script(rng, 5.0, pronoun="its")
    for density in (-0.5, float("nan")):
        with pytest.raises(InputError, match="actions a second is out of range: choose 0 or above"):
            script(rng, 5.0, density=density)


def test_a_plan_asks_for_the_script():
    for done in many(count=30, pronoun="her"):
        plan = plan_of("A woman speaks.", done)
        plan.check(10.0)
        assert plan.base == "A woman speaks."
        assert [(p.text, p.start, p.end) for p in plan.phases] == [(a.text, a.start, a.end) for a in done]
