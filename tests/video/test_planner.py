"""How answers become plans: the fixed format, the 80 words, wishes, and the fallback."""

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from vivavoce.errors import InputError
from vivavoce.features.portrait import Portrait
from vivavoce.video.plan import Phase, Plan
from vivavoce.video.planner import (
    BRIEF,
    MAX_WORDS,
    PHASES,
    OmniModel,
    Question,
    make_plan,
    read_brief,
    read_phases,
)
from vivavoce.video.planner_embedded import embedded_brief, embedded_phases

SPEECH = np.zeros(5 * 16000, np.float32)
ANSWER = """\
- **[AUDIO]**: warm tone, even pacing.
- **[IMAGE]**: grey suit; calm face
- **[VIDEO]**: leans forward, smiles"""
BRIEF_TEXT = "[AUDIO]: warm tone, even pacing\n[IMAGE]: grey suit, calm face\n[VIDEO]: leans forward, smiles"
YAML = "base: She speaks.\nphases:\n- {start: 0, end: 2, text: nods}"


class Written(OmniModel):
    """A model whose answer is known; it keeps what it was asked and what it was given to embed."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[Question] = []
        self.embedded: list[str] = []

    def answer(self, question: Question) -> str:
        self.asked.append(question)
        return self.text

    def embeddings(self, question: Question, answer: str) -> Float[Tensor, "1 P E"]:
        self.embedded.append(answer)
        return torch.zeros(1, len(answer), 4)


@pytest.fixture
def person() -> Portrait:
    image = np.zeros((1000, 2000, 3), np.float32)
    image[:, 1000:] = 1
    face = np.random.default_rng(0).uniform(400, 600, (478, 3)).astype(np.float32)
    matte = np.ones((1000, 2000), np.float32)
    return Portrait(image, (1000, 0, 2000, 1000), face, None, {}, matte, 1, ())


def test_the_model_is_asked_with_the_cropped_picture_the_prompt_and_the_wishes(person: Portrait):
    model = Written(ANSWER)
    planned = make_plan(person, SPEECH, form=BRIEF, model=model, wishes=["She looks sad.", "She waves."])
    (question,) = model.asked
    assert "must not exceed 80 words" in question.prompt
    assert question.prompt.endswith("allowed.\nShe looks sad.\nShe waves.")
    assert question.image.shape == (768, 768, 3)
    assert question.image.min() == 255
    assert question.speech is SPEECH
    assert planned.plan == Plan(base=BRIEF_TEXT)
    assert model.embedded == [BRIEF_TEXT]  # what is embedded is what is shown
    assert planned.embeddings is not None


def test_phases_are_asked_for_with_the_duration(person: Portrait):
    model = Written(f"Here it is:\n```yaml\n{YAML}\n```")
    planned = make_plan(person, SPEECH, form=PHASES, model=model)
    assert "lasts 5.0 seconds" in model.asked[0].prompt
    assert planned.plan == Plan(base="She speaks.", phases=(Phase(text="nods", start=0.0, end=2.0),))


def test_the_prompts_ask_for_what_is_read(person: Portrait):
    form = PHASES.prompt.format(seconds=9.0).split("in this form:\n")[1]
    assert read_phases(form, 9.0).phases[0].text == "one short phrase"
    sections = [line for line in BRIEF.prompt.splitlines() if line.startswith("- **[")]
    assert len(sections) == 3


@pytest.mark.parametrize("form", [BRIEF, PHASES], ids=["brief", "phases"])
@pytest.mark.parametrize(
    "nonsense", ["", "I cannot help with that.", "[AUDIO]: warm\n[VIDEO]: smiles", "base: [1"]
)
def test_nonsense_falls_back_to_the_embedded_planner_with_a_warning(person, form, nonsense):
    with pytest.warns(UserWarning, match="of no use .*; the embedded planner is used"):
        planned = make_plan(
            person, SPEECH, form=form, model=(model := Written(nonsense)), wishes=["She waves."]
        )
    plain = form.embedded(person, SPEECH)
    assert planned.plan.base == plain.base + " She waves."
    assert planned.plan.phases == plain.phases
    assert model.embedded == [planned.plan.base]  # never the nonsense


def test_without_a_model_the_plan_is_the_embedded_one(person: Portrait):
    for form, embedded in ((BRIEF, embedded_brief), (PHASES, embedded_phases)):
        planned = make_plan(person, SPEECH, form=form)
        assert planned.plan == embedded(person, SPEECH)
        assert planned.embeddings is None


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        "[IMAGE] grey suit, calm face [AUDIO] warm tone, even pacing [VIDEO] leans forward, smiles.",
        "**[AUDIO]:** warm tone\n even pacing\n**[IMAGE]:** grey suit. calm face\n**[VIDEO]:** leans forward; smiles",
    ],
)
def test_a_brief_is_read_however_its_headings_are_dressed(answer: str):
    assert read_brief(answer, 5.0) == Plan(base=BRIEF_TEXT)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("[AUDIO]: a [IMAGE]: b", "has the sections"),
        ("[AUDIO]: a [IMAGE]: b [VIDEO]: c [VIDEO]: d", "has the sections"),
        ("[AUDIO]: a [IMAGE]: [VIDEO]: c", r"\[IMAGE\] of the answer is empty"),
        ("[AUDIO]: a [IMAGE]: b [VIDEO]: " + "word " * 90, "92 words in few phrases"),
    ],
)
def test_what_is_no_brief(answer: str, message: str):
    with pytest.raises(InputError, match=message):
        read_brief(answer, 5.0)


def test_a_brief_of_too_many_words_loses_phrases_of_its_longest_section():
    video = [f"two words{i}" for i in range(45)]
    answer = f"[AUDIO]: warm tone, calm pace [IMAGE]: grey suit, plain wall [VIDEO]: {', '.join(video)}"
    with pytest.warns(UserWarning, match="has 98 words; phrases beyond 80 are left out"):
        plan = read_brief(answer, 5.0)
    audio, image, kept = plan.base.splitlines()
    assert (audio, image) == ("[AUDIO]: warm tone, calm pace", "[IMAGE]: grey suit, plain wall")
    assert kept == "[VIDEO]: " + ", ".join(video[:36])
    assert sum(len(line.split()) - 1 for line in plan.base.splitlines()) == MAX_WORDS


def test_phases_outside_the_speech_are_nonsense():
    with pytest.raises(InputError, match=r"the answer, line 3: .*beyond the clip of 1\.00 s"):
        read_phases(YAML, 1.0)
    as_json = '{"base": "She speaks.", "phases": [{"start": 0, "end": 2, "text": "nods"}]}'
    assert read_phases(as_json, 5.0) == read_phases(YAML, 5.0)
