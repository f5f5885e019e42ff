"""One clip of a synthetic person, from an order that decides everything about it to the files of a sample."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from vivavoce.corpus.synth.actions import ScriptedAction, plan_of, script
from vivavoce.corpus.synth.animator import act
from vivavoce.corpus.synth.attributes import Attributes, describe
from vivavoce.corpus.synth.portrait import detail_for, habit_of, look_of, stage_for
from vivavoce.corpus.synth.spoken import Spoken, speak
from vivavoce.corpus.synth.text_sources import draw
from vivavoce.corpus.synth.truth import Truth, truth_of
from vivavoce.splat.template.person import Person, build_person
from vivavoce.types import SPEECH_RATE

if TYPE_CHECKING:
    from vivavoce.corpus.synth.text_sources import TextSource
    from vivavoce.corpus.synth.voices import VoiceSource

PRONOUN = {"woman": "her", "man": "his"}
_TEXTS = 40  # utterances at most in a clip


@dataclass(frozen=True)
class Order:
    """Everything that decides a clip."""

    person: int
    """The seed of the one who has these attributes."""
    attributes: Attributes
    voice: VoiceSource
    rate: float
    pitch: float
    kind: str
    """Of its utterances."""
    seed: int
    split: str
    """"train", or what is held out: people, voices or both. Held-out texts are spoken there as well."""
    seconds: float
    width: int
    height: int
    fps: float


@dataclass(frozen=True)
class Scripted:
    """What is said and done in a clip."""

    spoken: Spoken
    actions: list[ScriptedAction]


@dataclass(frozen=True)
class Made:
    """A clip's pictures, and what is known of them."""

    frames: UInt8[np.ndarray, "F H W 3"] | None
    """None where nothing was filmed."""
    truth: Truth | None
    """None where nobody but its maker knew."""


@runtime_checkable
class ClipMaker(Protocol):
    """Shows the person of an order who says and does what is scripted."""

    def film(self, order: Order, scripted: Scripted) -> Made: ...


class Animator:
    """The project's own person, animated: all that is in the pictures is known."""

    def film(self, order: Order, scripted: Scripted) -> Made:
        """Draw every frame."""
        person = _person(order.attributes, order.person, detail_for(order.height))
        stage = stage_for(person, order.attributes, order.seed, width=order.width, height=order.height)
        acting = act(
            person,
            scripted.spoken.samples,
            scripted.spoken.phones,
            scripted.actions,
            habit=habit_of(order.person),
            fps=order.fps,
            seed=order.seed,
        )
        moved = stage.transforms(acting.transforms)
        frames = np.stack([stage.picture(m, c) for m, c in zip(moved, acting.controls, strict=True)])
        return Made(frames, truth_of(stage, acting))


def make_clip(order: Order, *, texts: TextSource, clips: ClipMaker) -> dict[str, bytes]:
    """The files of a sample, by extension: mp4, wav, json, truth.npz and features.npz, those that there are.

    Raises InputError where the voice or the texts fail.
    """
    import random

    drawn = random.Random(order.seed)
    spared = order.split != "train"
    wanted = (draw(texts, drawn, order.kind, for_evaluation=spared) for _ in range(_TEXTS))
    rng = np.random.default_rng([order.seed, 4])
    spoken = speak(order.voice, wanted, order.seconds, rng, rate=order.rate, pitch=order.pitch)
    pronoun = PRONOUN[order.attributes.gender]
    scripted = Scripted(
        spoken, script(rng, order.seconds, density=float(rng.uniform(0.15, 0.5)), pronoun=pronoun)
    )
    made = clips.film(order, scripted)
    return files_of(order, scripted, made)


def files_of(order: Order, scripted: Scripted, made: Made) -> dict[str, bytes]:
    """A clip as it is stored; features are extracted ahead (PhysAvatar, appendix A)."""
    from vivavoce.features.physical_state import LandmarkEncoder
    from vivavoce.media.lossless import lossless_mp4

    files = {
        "wav": _wav(scripted.spoken.samples),
        "json": json.dumps(_told(order, scripted), indent=1).encode(),
    }
    if made.frames is not None:
        files["mp4"] = lossless_mp4(made.frames, order.fps)
    if made.truth is not None:
        files["truth.npz"] = _arrays(vars(made.truth))
        states = LandmarkEncoder().encode(made.truth.keypoints)
        files["features.npz"] = _arrays({"states": states.astype(np.float16)})
    return files


def _told(order: Order, scripted: Scripted) -> dict[str, Any]:
    spoken = scripted.spoken
    return {
        "attributes": asdict(order.attributes),
        "person": order.person,
        "kind": order.kind,
        "text": " ".join(spoken.texts),
        "voice": order.voice.name,
        "rate": order.rate,
        "pitch": order.pitch,
        "seed": order.seed,
        "split": order.split,
        "fps": order.fps,
        "size": [order.width, order.height],
        "phones": [[p.label, round(p.start, 4), round(p.end, 4)] for p in spoken.phones],
        "actions": [asdict(action) for action in scripted.actions],
        "plan": plan_of(describe(order.attributes), scripted.actions).model_dump(),
    }


@functools.lru_cache(maxsize=2)
def _person(attributes: Attributes, seed: int, detail: float) -> Person:
    return build_person(look_of(attributes, seed), detail=detail)


def _wav(samples: Float32[np.ndarray, " n"]) -> bytes:
    from scipy.io import wavfile

    stored = io.BytesIO()
    wavfile.write(stored, SPEECH_RATE, np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16))
    return stored.getvalue()


def _arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An npz whose members carry no time of writing."""
    import zipfile

    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return stored.getvalue()
