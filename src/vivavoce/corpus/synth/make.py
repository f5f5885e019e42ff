"""A synthetic corpus from its options to its shards."""

from __future__ import annotations

import functools
import os
from dataclasses import asdict
from pathlib import Path

from vivavoce.config import CorpusOptions
from vivavoce.corpus.produce import produce
from vivavoce.corpus.synth.clip import Animator, ClipMaker, make_clip
from vivavoce.corpus.synth.orders import Corpus, orders
from vivavoce.corpus.synth.portrait import DiffusersPortrait, PortraitSource, TemplatePortrait
from vivavoce.corpus.synth.text_sources import Grammar, TextFile, TextSource
from vivavoce.corpus.synth.voices import VoiceSource
from vivavoce.errors import InputError

PER_SHARD = 25
"""Clips: what a killed run may have to make again."""


def synthesise(corpus: Corpus, out: Path, *, sources: CorpusOptions, workers: int | None = None) -> Path:
    """Make the clips of a corpus, or go on with them, and write them to `out` as WebDataset shards; returns `out`.

    Equal options give equal bytes, whatever the number of `workers` is: by default one a core, one for a video method.
    Raises InputError and OutputError as `orders` and `produce` do, and InputError for sources that do not go together.
    """
    texts, clips = _texts(sources), _clips(sources)
    tasks = orders(corpus, voice=_voice(sources))
    settings = {
        **asdict(corpus),
        "sources": {key: str(value) for key, value in asdict(sources).items() if value is not None},
    }
    make = functools.partial(make_clip, texts=texts, clips=clips)
    # A video method fills the machine, or the card, by itself.
    workers = workers or (1 if sources.method else os.cpu_count()) or 1
    produce(tasks, make, out, per_shard=PER_SHARD, workers=workers, settings=settings)
    return out


def _texts(sources: CorpusOptions) -> TextSource:
    if sources.text is None:
        return Grammar()
    if not _is_url(sources.text):
        return TextFile(Path(sources.text))
    from vivavoce.corpus.synth.text_endpoint import Endpoint

    if sources.text_model is None:
        raise InputError(f"Which model at {sources.text} writes the texts is not said: give --text-model.")
    return Endpoint(sources.text, sources.text_model, key=os.environ.get("OPENAI_API_KEY"))


def _voice(sources: CorpusOptions) -> VoiceSource | None:
    if sources.voice is None:
        return None
    from vivavoce.corpus.synth.external_voice import CommandVoice, HttpVoice

    if not _is_url(sources.voice):
        return CommandVoice(sources.voice)
    model, _, voice = (sources.voice_model or "").partition("/")
    if not voice:
        raise InputError(
            f"Which voice at {sources.voice} speaks is not said: give --voice-model MODEL/VOICE."
        )
    return HttpVoice(sources.voice, model, voice, key=os.environ.get("OPENAI_API_KEY"))


def _clips(sources: CorpusOptions) -> ClipMaker:
    if sources.method is None:
        if sources.portrait is not None:
            raise InputError(
                "A text-to-image model's people can only be moved by a method of the video family: give --method."
            )
        return Animator()
    from vivavoce.corpus.synth.drawn import DrawnClips

    portraits: PortraitSource = TemplatePortrait()
    if sources.portrait is not None:
        portraits = DiffusersPortrait(sources.portrait)
    return DrawnClips(sources.method, sources.base, sources.weights, portraits)


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))
