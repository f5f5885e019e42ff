"""Utterances from a language model behind a URL: any server that speaks OpenAI's chat completions."""

from __future__ import annotations

import random

from vivavoce.corpus.synth.text_sources import Grammar, checked, spoken
from vivavoce.errors import InputError
from vivavoce.media.http import Server

_TRIES = 3  # with another seed, before an empty answer is held against the model
_LONGEST = 60  # words; what a model says beyond is cut off
_ANSWER_TOKENS = 200
_PROMPT = """\
Write what one person says aloud to somebody in front of them: one utterance of the kind "{kind}", about {words} \
words. Take the tone of this example, but another subject: "{example}"
Answer with the words alone, on one line, in plain English: no quotation marks, no directions, no digits (write \
numbers as words)."""


class Endpoint:
    """The model of that name at an OpenAI-compatible address, as `https://host/v1`; `key` is its bearer token.

    As paper 003 (App. C) does, texts of a small corpus are its prompts: each request shows it an utterance of the
    grammar, chosen by `rng`, which keeps its answers different. They come again only if the server honours `seed`.
    """

    def __init__(self, url: str, model: str, *, key: str | None = None, timeout: float = 120.0) -> None:
        """`timeout` in seconds, of each of two tries. Raises InputError where `url` is no http or https address."""
        self.server = Server(url, "language model", key, timeout)
        self.model = model

    def utterance(self, rng: random.Random, kind: str) -> str:
        """Raises InputError where the server does not answer, refuses, speaks another protocol, or says nothing."""
        for _ in range(_TRIES):
            example = Grammar().utterance(rng, checked(kind))
            prompt = _PROMPT.format(kind=kind, words=len(example.split()), example=example)
            answer = self.server.chat(
                {
                    "model": self.model,
                    "messages": [{"role": "user", "content": prompt}],
                    "max_tokens": _ANSWER_TOKENS,
                    "temperature": 1.0,
                    "seed": rng.getrandbits(31),
                }
            )
            words = spoken(answer).strip("\"'“”‘’ ").split()
            if words:
                return " ".join(words[:_LONGEST])
        raise InputError(
            f"{self.model!r} at {self.server.url} answers nothing that can be spoken: choose another model."
        )
