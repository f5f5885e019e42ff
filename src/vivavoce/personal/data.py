"""What a personal avatar learns from (paper 001, appendix C): clips of its person, drawn by a teacher.

Most of them speak: a text, spoken by a voice, drawn from the photo by the teacher. A few are drawn by the video model
that the teacher stands on, from the photo and one fixed sentence: nothing is said in them, so what they teach is how
people move who talk.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8

from vivavoce.corpus.synth.spoken import Spoken, speak
from vivavoce.corpus.synth.text_sources import Grammar, draw
from vivavoce.corpus.synth.voices import VOICES, Embedded
from vivavoce.features.loudness import leveled
from vivavoce.media.files import file_sha256, replacing
from vivavoce.media.footage import Footage
from vivavoce.media.image import read_photo
from vivavoce.media.lossless import lossless_mp4
from vivavoce.personal.stages import make_stage
from vivavoce.personal.teacher import Teacher
from vivavoce.personal.view import View
from vivavoce.progress import counted
from vivavoce.types import SPEECH_RATE
from vivavoce.video.maker import Scene
from vivavoce.video.plan import Plan, read_plan, write_plan
from vivavoce.video.planner import make_plan

if TYPE_CHECKING:
    from vivavoce.features.portrait import Portrait

OPEN_DOMAIN = (
    "He/She is engaging in a conversation with someone positioned at the camera's viewpoint, accompanied by dynamic "
    "co-speech talking gestures."
)
"""The prompt of appendix C, word for word."""
KINDS = ("greeting", "explanation", "question")
"""Of what is said: conversational speech."""
_TEXTS = 40  # utterances at most in a clip


@dataclass(frozen=True)
class Subject:
    """The person in a photo, as a teacher is shown them."""

    photo: Path
    face: int | None
    view: View

    @cached_property
    def portrait(self) -> Portrait:
        """Raises InputError for a photo that cannot be used."""
        from vivavoce.features.portrait import analyze

        picture = read_photo(self.photo)
        return analyze(picture.image, picture.alpha, face=self.face)

    @cached_property
    def picture(self) -> UInt8[np.ndarray, "H W 3"]:
        """The photo at the size of the teacher's frames."""
        return self.whole[self.view.window]

    @cached_property
    def whole(self) -> UInt8[np.ndarray, "H W 3"]:
        """All of the photo at the same scale."""
        return self.view.scaled(self.portrait.image)

    @cached_property
    def told(self) -> dict[str, Any]:
        """Who it is, as JSON values."""
        return {"photo": file_sha256(self.photo), "face": self.face, "view": asdict(self.view)}


@dataclass(frozen=True)
class Clip:
    """A clip that a teacher has drawn, or is to draw, in a folder of its own."""

    folder: Path
    heard: bool
    """Whether it speaks."""
    frames: int
    fps: float

    @property
    def name(self) -> str:
        """As "motion-003"."""
        return self.folder.name

    @property
    def video(self) -> Path:
        """Its frames, without loss."""
        return self.folder / "clip.mp4"

    def pictures(self, first: int = 0, count: int | None = None) -> UInt8[np.ndarray, "n H W 3"]:
        """`count` frames from `first` on, all that are left where None. Raises InputError for a damaged file."""
        count = self.frames - first if count is None else count
        return np.stack(list(Footage(self.video, self.name).pictures(range(first, first + count))))

    def samples(self) -> Float32[np.ndarray, " n"]:
        """What is said, at 16 kHz; silence where nothing is."""
        from scipy.io import wavfile

        if not self.heard:
            return np.zeros(round(self.frames / self.fps * SPEECH_RATE), np.float32)
        return wavfile.read(self.folder / "speech.wav")[1].astype(np.float32) / 32768

    def scene(self, picture: UInt8[np.ndarray, "H W 3"]) -> Scene:
        """What its teacher is told, with the photo as it sees it."""
        plan = read_plan(self.folder / "plan.yaml")
        return Scene(picture, leveled(self.samples()), plan, self.frames, self.fps)


def clips_of(folder: Path, *, motions: int, open_domain: int, frames: int, fps: float) -> list[Clip]:
    """The clips that are wanted, those that speak first."""
    names = [(f"motion-{k:03d}", True) for k in range(motions)]
    names += [(f"open-{k:03d}", False) for k in range(open_domain)]
    return [Clip(folder / name, heard, frames, fps) for name, heard in names]


def draw_clips(clips: list[Clip], subject: Subject, teacher: Teacher, *, seed: int) -> list[str]:
    """See that all clips are there; a digest of each comes back, of everything that decides it.

    Raises InputError for a photo that cannot be used and where no voice is installed, WeightsError for weights that
    are missing, OutputError where nothing can be written.
    """
    digests = {}
    # One after the other, so that two models of real size are never in memory at once.
    for heard in (False, True):
        wanted = [clip for clip in clips if clip.heard == heard]
        own = teacher if heard else teacher.open_domain
        what = "clips that speak" if heard else "clips of the open domain"
        with counted(what, sum(own.steps(clip.frames) for clip in wanted)) as advance:
            for number, clip in enumerate(wanted, 1):
                told = partial(advance, f"{what}: {number} of {len(wanted)}")
                make = partial(_draw, clip, subject, own, seed_of(clip, seed), told)
                inputs = {"clip": clip.name, "frames": clip.frames, "seed": seed} | subject.told | own.told
                digests[clip.name] = make_stage(clip.folder, inputs, make)
    return [digests[clip.name] for clip in clips]


def _draw(  # noqa: PLR0917
    clip: Clip, subject: Subject, teacher: Teacher, seed: int, on_step: Callable[[], None], folder: Path
) -> None:
    """The files of a clip."""
    if clip.heard:
        _write_wav(folder / "speech.wav", spoken(clip, seed).samples)
        plan = make_plan(subject.portrait, clip.samples(), form=teacher.config.form).plan
    else:
        plan = Plan(base=OPEN_DOMAIN)
    write_plan(plan, folder / "plan.yaml")
    frames = teacher.draw(clip.scene(subject.picture), folder / "job", seed=seed, on_step=on_step)
    film = lossless_mp4(frames, clip.fps)
    with replacing(clip.video) as temporary:
        temporary.write_bytes(film)
    shutil.rmtree(folder / "job")


def spoken(clip: Clip, seed: int) -> Spoken:
    """What is said in a clip of that seed (`seed_of`): conversational texts in one of the embedded voices.

    Raises InputError where the voice is not installed.
    """
    rng = random.Random(seed)
    voice = Embedded(rng.choice(list(VOICES)))
    kind = rng.choice(KINDS)
    texts: Iterator[str] = (draw(Grammar(), rng, kind) for _ in range(_TEXTS))
    return speak(voice, texts, clip.frames / clip.fps, np.random.default_rng(seed))


def _write_wav(path: Path, samples: Float32[np.ndarray, " n"]) -> None:
    from scipy.io import wavfile

    with replacing(path) as temporary:
        wavfile.write(temporary, SPEECH_RATE, (samples * 32767).round().astype(np.int16))


def seed_of(clip: Clip, seed: int) -> int:
    """Of a clip, from that of all: the same whatever others there are."""
    return random.Random(f"{seed} {clip.name}").getrandbits(31)
