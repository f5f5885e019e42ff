from collections import Counter
from dataclasses import replace
from itertools import combinations, product

import pytest

from vivavoce.corpus.synth.attributes import (
    CORE,
    GIVEN,
    SKIN_SRGB,
    VALUES,
    VOCABULARY,
    Attributes,
    describe,
    portrait_prompt,
    sample,
    words_of_caption,
)

HEAVY_WOMAN = Attributes(
    gender="woman",
    age="middle-aged",
    body="heavy",
    skin="tan",
    hair="long",
    hair_color="brown",
    beard="none",
    glasses="none",
    clothing="sweater",
    clothing_color="green",
    background="plain wall",
)
BALD_MAN = Attributes(
    gender="man",
    age="old",
    body="average",
    skin="very fair",
    hair="bald",
    hair_color="grey",
    beard="moustache",
    glasses="glasses",
    clothing="jacket",
    clothing_color="orange",
    background="garden",
)
FREE = [name for name in VALUES if name not in GIVEN]


@pytest.fixture(scope="module", params=[0, 1])
def people(request):
    return sample(240, request.param)


def test_the_same_seed_gives_the_same_people_and_another_does_not():
    assert sample(30, 7) == sample(30, 7)
    assert sample(30, 7) != sample(30, 8)


def test_more_people_leave_the_first_ones_as_they_are(people):
    for count in (0, 1, 40):
        assert people[:count] in [sample(count, seed) for seed in (0, 1)]


def test_free_attributes_are_balanced_whatever_the_count(people):
    for count in (1, 7, 11, 40, 121, 240):
        for name in FREE:
            counts = Counter(getattr(person, name) for person in people[:count])
            filled = [counts[value] for value in VALUES[name]]
            assert max(filled) - min(filled) <= 1, (name, count)


def test_every_value_of_every_attribute_occurs_among_twelve(people):
    for name, values in VALUES.items():
        assert {getattr(person, name) for person in people[:12]} == set(values), name


def test_all_pairs_of_what_a_person_cannot_change_meet_among_sixty(people):
    for a, b in combinations(CORE, 2):
        met = {(getattr(person, a), getattr(person, b)) for person in people[:60]}
        assert met == set(product(VALUES[a], VALUES[b])), (a, b)


def test_all_pairs_of_free_attributes_meet_among_two_hundred(people):
    for a, b in combinations(FREE, 2):
        met = {(getattr(person, a), getattr(person, b)) for person in people[:200]}
        assert met == set(product(VALUES[a], VALUES[b])), (a, b)


def test_constrained_values_follow_their_shares_within_each_group(people):
    for name, (given, groups) in GIVEN.items():
        for value, shares in groups.items():
            group = [getattr(person, name) for person in people if getattr(person, given) == value]
            counts = Counter(group)
            assert set(counts) <= set(shares), (name, value)
            for own, share in shares.items():
                expected = len(group) * share / sum(shares.values())
                assert abs(counts[own] - expected) < 1.5, (name, value, own)


def test_no_woman_has_a_beard_or_is_bald_and_grey_hair_is_mostly_old(people):
    women = [person for person in people if person.gender == "woman"]
    assert {person.beard for person in women} == {"none"}
    assert "bald" not in {person.hair for person in women}
    grey = Counter(person.age for person in people if person.hair_color == "grey")
    assert grey["old"] > 3 * grey["middle-aged"] > grey["young"] == 0


def test_people_are_all_different(people):
    assert len(set(people)) == len(people)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"gender": "woman", "hair": "short"}, "'moustache' is no beard of 'woman'; use one of none$"),
        ({"gender": "woman", "beard": "none"}, "'bald' is no hair of 'woman'"),
        ({"age": "young"}, "'grey' is no hair_color of 'young'"),
    ],
)
def test_a_combination_that_nobody_can_have_is_refused(change, named):
    with pytest.raises(ValueError, match=named):
        replace(BALD_MAN, **change)


@pytest.mark.parametrize("change", [{"skin": "green"}, {"gender": "child"}, {"hair": "blue"}])
def test_a_value_that_is_none_is_refused(change):
    with pytest.raises((ValueError, TypeError)):
        replace(BALD_MAN, **change)


def test_the_constraints_name_values_that_exist():
    for name, (given, groups) in GIVEN.items():
        assert set(groups) == set(VALUES[given])
        assert set().union(*groups.values()) == set(VALUES[name]), "a value that nobody can have"


def test_skin_goes_from_light_to_dark_as_the_monk_scale_does():
    assert list(SKIN_SRGB) == list(VALUES["skin"])
    assert [f"{r:02x}{g:02x}{b:02x}" for r, g, b in SKIN_SRGB.values()] == [
        *("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420"),
    ]


def test_a_caption_reads_as_english():
    assert describe(HEAVY_WOMAN) == (
        "A middle-aged heavy woman with tan skin and long brown hair, in a green sweater, "
        "in front of a plain wall."
    )
    assert describe(BALD_MAN) == (
        "An old man with very fair skin, a bald head, a grey moustache and glasses, in an orange jacket, "
        "in a garden."
    )
    assert "brown hair in a bun," in describe(replace(HEAVY_WOMAN, hair="bun"))


def test_captions_use_the_vocabulary_and_all_of_it(people):
    used = {word for person in people for word in words_of_caption(describe(person))}
    assert used == VOCABULARY
    assert len(VOCABULARY) < 64


def test_who_differs_has_another_caption(people):
    assert len({describe(person) for person in people}) == len(people)


def test_the_prompt_asks_for_what_an_avatar_needs():
    prompt = portrait_prompt(BALD_MAN)
    assert prompt.startswith("A realistic photograph of an old man with very fair skin, a bald head")
    for asked in ("in a garden. One person", "upper body", "facing the camera", "both hands fully visible"):
        assert asked in prompt
