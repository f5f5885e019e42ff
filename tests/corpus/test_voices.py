import difflib
import pickle
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from vivavoce.corpus.synth import utterances
from vivavoce.corpus.synth.attributes import sample
from vivavoce.corpus.synth.text_sources import KINDS, Grammar
from vivavoce.corpus.synth.voice import Voice, synthesize
from vivavoce.corpus.synth.voices import HELD_OUT_VOICES, VOICES, Embedded, voice_for
from vivavoce.errors import InputError
from vivavoce.features.align import align
from vivavoce.features.phones import PAUSE
from vivavoce.types import SPEECH_RATE

PERSON = sample(1, 0)[0]
WOMAN = replace(PERSON, gender="woman", hair="short", beard="none")
MAN = replace(WOMAN, gender="man")


def fundamental(samples):
    """Hz, the median over the voiced windows of 50 ms."""
    found = []
    for start in range(0, len(samples) - 800, 400):
        window = samples[start : start + 800].astype(np.float64)
        echo = np.correlate(window, window, "full")[799:]
        lag = 40 + echo[40:230].argmax()
        if window.std() > 0.03 and echo[lag] > 0.5 * echo[0]:
            found.append(SPEECH_RATE / lag)
    return np.median(found)


def test_voices_to_learn_from_and_voices_to_judge_by_are_apart_everywhere():
    assert not set(VOICES) & set(HELD_OUT_VOICES)
    assert not any(utterances.is_held_out("Good morning.", voice) for voice in VOICES)
    assert set(HELD_OUT_VOICES) >= utterances.HELD_OUT_VOICES
    assert set(utterances.TEST_SETS.values()) - set(VOICES) <= set(HELD_OUT_VOICES)
    for voice in HELD_OUT_VOICES:  # those that the articulation learned from would be no strangers
        learned = voice.engine == "espeak" and voice.name.split("+")[1] in utterances.VARIANTS
        assert not learned
        assert voice.engine != "flite" or voice.name not in utterances.FLITE


def test_every_voice_is_installed_and_no_two_are_one():
    said = {voice: synthesize("How are you?", voice)[0] for voice in (*VOICES, *HELD_OUT_VOICES)}
    said[Voice("espeak", "en-us")] = synthesize("How are you?", Voice("espeak", "en-us"))[0]
    assert len({samples.tobytes() for samples in said.values()}) == len(VOICES) + len(HELD_OUT_VOICES) + 1


@pytest.mark.parametrize(
    "voice", [*VOICES, *HELD_OUT_VOICES], ids=lambda voice: f"{voice.engine} {voice.name}"
)
def test_women_speak_higher_than_men(voice):
    gender = (VOICES | HELD_OUT_VOICES)[voice]
    high = fundamental(synthesize("We will meet you near the river in the morning.", voice)[0]) > 145
    assert high == (gender == "woman")


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("person", [WOMAN, MAN], ids=["woman", "man"])
def test_a_person_gets_any_voice_that_fits_and_no_other(person, held_out):
    drawn = Counter(voice_for(person, random.Random(i), held_out=held_out).voice for i in range(600))
    table = HELD_OUT_VOICES if held_out else VOICES
    assert set(drawn) == {voice for voice, gender in table.items() if gender == person.gender}
    engines = Counter()
    for voice, count in drawn.items():
        engines[voice.engine] += count
    assert min(engines.values()) > 0.8 * 600 / len(engines)


def test_the_same_generator_gives_the_same_voice():
    one, two = ([voice_for(MAN, random.Random(i)) for i in range(20)] for _ in range(2))
    assert one == two
    assert len(set(one)) > 4


def test_a_source_says_what_it_can_do_and_travels_to_other_processes():
    slt, ked = Embedded(Voice("flite", "slt")), Embedded(Voice("festival", "ked_diphone"))
    assert (slt.name, slt.paced, slt.pitched) == ("flite slt", True, True)
    assert (ked.name, ked.paced, ked.pitched) == ("festival ked_diphone", True, False)
    assert pickle.loads(pickle.dumps(slt)) == slt
    with pytest.raises(InputError, match="keep their own pitch"):
        ked.speak("Hello.", pitch=1.1)
    slow, fast = (len(slt.speak("One, two, three, four.", rate=rate)[0]) for rate in (0.85, 1.2))
    assert slow / fast == pytest.approx(1.2 / 0.85, rel=0.1)


def test_speech_is_the_same_to_the_bit_whatever_was_said_before():
    first = {voice: synthesize("Shall we see the sea?", voice) for voice in VOICES}
    for voice in reversed(VOICES):
        samples, phones = synthesize("Shall we see the sea?", voice)
        assert samples.tobytes() == first[voice][0].tobytes(), voice
        assert phones == first[voice][1], voice


@pytest.mark.parametrize(
    "voice",
    [Voice("flite", "rms"), Voice("espeak", "en-us+f3"), Voice("espeak", "en-gb-x-rp+klatt2")],
    ids=str,
)
def test_phone_times_agree_with_the_forced_aligner(voice):
    pytest.importorskip("pocketsphinx")
    rng, errors, count = random.Random(1), [], 0
    for kind in KINDS[:4]:
        text = Grammar().utterance(rng, kind)
        samples, phones = synthesize(text, voice, rate=rng.uniform(0.85, 1.2), pitch=rng.uniform(0.85, 1.15))
        own, aligned = ([p for p in found if p.label != PAUSE] for found in (phones, align(samples, text)))
        count += len(own)
        labels = [[p.label for p in found] for found in (own, aligned)]
        for a, b, size in difflib.SequenceMatcher(None, *labels, autojunk=False).get_matching_blocks():
            errors += [own[a + i].end - aligned[b + i].end for i in range(size)]
    assert len(errors) > 0.7 * count
    assert np.median(np.abs(errors)) < 0.02
    assert abs(np.median(errors)) < 0.01
