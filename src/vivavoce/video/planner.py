"""Planners: from the photo and the speech to what the person does and when.

Two forms of plan are asked for: PhysAvatar's brief of at most 80 words (fig. S3) and ActAvatar's base text with
timed phases (eq. 1). A multimodal language model answers (`planner_omni`, `planner_endpoint`); without one, or
where its answer makes no sense, the plan comes from prosody and the photo's analysis (`planner_embedded`).
"""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from vivavoce.errors import InputError
from vivavoce.features.portrait import Portrait
from vivavoce.types import SPEECH_RATE
from vivavoce.video.plan import Plan, parse_plan
from vivavoce.video.planner_embedded import embedded_brief, embedded_phases

MAX_WORDS = 80
"""Of a brief; the three headings are not counted."""
_SECTIONS = ("AUDIO", "IMAGE", "VIDEO")
_LONGER_SIDE = 768  # pixels; no more of a photo is told apart by the models that are asked

_BRIEF_PROMPT = """\
You are a creative director. **Analyze** the audio and reference image **together**. Your output must consist \
entirely of concise phrases and follow this fixed format:
- **[AUDIO]**: [Analyze **the speaker's vocal tone, emotional nuances, pacing, rhythm, intonation, and volume**. \
Limit to 3-5 concise phrases without questions.]
- **[IMAGE]**: [Describe **the person's key appearance, facial and pose expression, outfit, and environmental \
setting**. Limit to 3-5 concise phrases without questions.]
- **[VIDEO]**: [Focus on **how audio influences future human changes**: posture shifts, gaze alterations, and \
expression dynamics. **Indicate emotional states**. Limit to 3-5 concise phrases without questions.]
- **Constraints**: All content combined must not exceed 80 words. No filler words, conjunctions, or articles are \
allowed."""

_PHASES_PROMPT = """\
You direct a video of the person in the image speaking the audio, which lasts {seconds:.1f} seconds. Say what stays \
the same all the time (who is seen, clothes, place, mood, style) as `base`, and what the person does when as \
`phases`: one to four visible actions of body, hands, head or face that fit the words spoken then, each with its \
start and end in seconds, in order, inside the audio. Answer with YAML alone, in this form:
base: one or two sentences
phases:
  - start: 0.0
    end: 2.0
    text: one short phrase"""


@dataclass(frozen=True)
class Question:
    """What a model is asked about a photo and a speech."""

    prompt: str
    image: UInt8[np.ndarray, "H W 3"]
    speech: Float32[np.ndarray, " n"]
    """Mono at 16 kHz, in [-1, 1]."""


class OmniModel(ABC):
    """A model that sees, hears and writes."""

    @abstractmethod
    def answer(self, question: Question) -> str:
        """Its answer, as it comes. Raises InputError where the model cannot be reached or used."""

    def embeddings(self, question: Question, answer: str) -> Float[Tensor, "1 P E"] | None:
        """For each token of an answer the model's last hidden state plus the token's embedding (PhysAvatar eq. 5).

        None from a model whose insides are out of reach.
        """
        return None


@dataclass(frozen=True)
class Planned:
    """A plan, and what conditions the video on it where the planner is a model at hand."""

    plan: Plan
    embeddings: Float[Tensor, "1 P E"] | None
    """Of the plan's base text, as it stands there: the condition "plan" of the network."""


@dataclass(frozen=True)
class Form:
    """A kind of plan: how to ask for it, how to read an answer, and the embedded planner's own."""

    prompt: str
    """With `{seconds}`, the duration of the speech."""
    read: Callable[[str, float], Plan]
    """An answer and the duration to a plan; raises InputError for nonsense."""
    embedded: Callable[[Portrait, Float32[np.ndarray, " n"]], Plan]


def make_plan(
    portrait: Portrait,
    speech: Float32[np.ndarray, " n"],
    *,
    form: Form,
    model: OmniModel | None = None,
    wishes: Sequence[str] = (),
) -> Planned:
    """Plan a clip of the person speaking `speech` (mono, 16 kHz); by the embedded planner without a model.

    `wishes` are descriptions that the user wants to see: they are appended to the prompt (PhysAvatar fig. S4), and
    to the base text of the embedded plan. Warns where the model's answer is no plan and the embedded one is used.
    """
    seconds = len(speech) / SPEECH_RATE
    if model is None:
        return Planned(_wished(form.embedded(portrait, speech), wishes), None)
    prompt = "\n".join([form.prompt.format(seconds=seconds), *wishes])
    question = Question(prompt, _picture(portrait), speech)
    answer = model.answer(question)
    try:
        plan = form.read(answer, seconds)
    except InputError as error:
        warnings.warn(
            f"The planner's answer is of no use ({error}); the embedded planner is used.", stacklevel=2
        )
        plan = _wished(form.embedded(portrait, speech), wishes)
    return Planned(plan, model.embeddings(question, plan.base))


def planned_by(
    model: OmniModel | None,
    plan: Plan,
    portrait: Portrait,
    speech: Float32[np.ndarray, " n"],
    *,
    wishes: Sequence[str] = (),
) -> Planned:
    """A plan that somebody wrote, `wishes` appended, with the model's own reading of it where there is one."""
    plan = _wished(plan, wishes)
    if model is None:
        return Planned(plan, None)
    prompt = BRIEF.prompt.format(seconds=len(speech) / SPEECH_RATE)
    return Planned(plan, model.embeddings(Question(prompt, _picture(portrait), speech), plan.base))


def read_brief(answer: str, seconds: float) -> Plan:
    """A plan whose base is the brief that a model answered, in the fixed format of fig. S3, and no phases.

    Where it has more than MAX_WORDS words, whole phrases are left out from the end of its longest section, with a
    warning. Raises InputError unless each of the three sections is there with content.
    """
    parts = re.split(r"\W*\[(AUDIO|IMAGE|VIDEO)\][^\w\[]*", answer)
    headings, contents = parts[1::2], parts[2::2]
    if sorted(headings) != sorted(_SECTIONS):
        raise InputError(f"an answer has the sections [AUDIO], [IMAGE] and [VIDEO], not {answer[:60]!r}")
    sections = {
        name: [phrase for phrase in re.split(r"\s*[,;\n]\s*|\.\s+", content.strip().rstrip(".")) if phrase]
        for name, content in zip(headings, contents, strict=True)
    }
    empty = [name for name in _SECTIONS if not sections[name]]
    if empty:
        raise InputError(f"the section [{empty[0]}] of the answer is empty")
    _shorten(sections)
    return Plan(base="\n".join(f"[{name}]: {', '.join(sections[name])}" for name in _SECTIONS))


def read_phases(answer: str, seconds: float) -> Plan:
    """A plan that a model wrote as YAML, with or without a fence around it, for a clip of `seconds`.

    Raises InputError as `parse_plan` does.
    """
    fenced = re.search(r"```(?:yaml|json)?\s*\n(.*?)```", answer, re.DOTALL)
    return parse_plan(fenced[1] if fenced else answer, "the answer", seconds)


BRIEF = Form(_BRIEF_PROMPT, read_brief, embedded_brief)
"""PhysAvatar's planning guidance."""
PHASES = Form(_PHASES_PROMPT, read_phases, embedded_phases)
"""ActAvatar's structured prompt."""


def _shorten(sections: dict[str, list[str]]) -> None:
    """Leave out phrases until all content has MAX_WORDS words, or one phrase a section is left."""

    def words(phrases: Sequence[str]) -> int:
        return sum(len(phrase.split()) for phrase in phrases)

    given = total = sum(map(words, sections.values()))
    while total > MAX_WORDS:
        longest = max((s for s in sections.values() if len(s) > 1), key=words, default=None)
        if longest is None:
            raise InputError(
                f"the answer has {given} words in few phrases, and at most {MAX_WORDS} are asked for"
            )
        total -= words([longest.pop()])
    if total < given:
        warnings.warn(
            f"The planner's answer has {given} words; phrases beyond {MAX_WORDS} are left out.", stacklevel=4
        )


def _wished(plan: Plan, wishes: Sequence[str]) -> Plan:
    return Plan(base=" ".join([plan.base, *wishes]), phases=plan.phases)


def _picture(portrait: Portrait) -> UInt8[np.ndarray, "H W 3"]:
    """The part of the photo that belongs in the video, as a model is shown it."""
    from PIL import Image

    x0, y0, x1, y1 = portrait.crop
    picture = Image.fromarray((portrait.image[y0:y1, x0:x1] * 255).round().clip(0, 255).astype(np.uint8))
    picture.thumbnail((_LONGER_SIDE, _LONGER_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(picture)
