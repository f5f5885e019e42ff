"""The command line: parse, call one function, print one path."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

# Frames are drawn by threads of our own: those of the linear algebra would spin beside them and halve the speed.
# It reads this when numpy is first imported, which the lines below do not do.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import tyro
from tyro.conf import Positional, arg

import vivavoce
from vivavoce.config import CorpusOptions, PersonalOptions, TrainOptions, VideoOptions
from vivavoce.errors import InputError, VivavoceError, extra

_Out = Annotated[Path, arg(aliases=["-o"])]
_Number = Annotated[int | None, arg(metavar="INT")]
_Text = Annotated[str | None, arg(metavar="STR")]
_VIDEO = VideoOptions()
_CORPUS = CorpusOptions()
_TRAIN = TrainOptions()
_PERSONAL = PersonalOptions()


def create(
    photo: Annotated[Positional[Path], arg(metavar="PHOTO")],
    /,
    *,
    out: _Out,
    face: _Number = None,
    personalize: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    personal: Annotated[PersonalOptions, arg(name="", help="")] = _PERSONAL,
) -> str:
    """Make an avatar of the person in a photo.

    Args:
        photo: The photo: any picture file.
        out: The avatar folder to make.
        face: Who it is, counted from the left, from 1, when the photo shows several people.
        personalize: Teach it a motion of its own, by a method of the video family; one that was begun is gone on with.
        personal: Its own motion.
    """
    return str(vivavoce.create(photo, out, face=face, personalize=personalize, **vars(personal)))


def generate(
    inputs: Annotated[Positional[tuple[Path, ...]], arg(metavar="[PHOTO|AVATAR] SPEECH")],
    /,
    *,
    out: _Out,
    method: _Text = None,
    size: _Number = None,
    fps: Annotated[float | None, arg(metavar="FLOAT")] = None,
    seed: int = 0,
    background: str = "photo",
    expressiveness: float = 1.0,
    text: _Text = None,
    face: _Number = None,
    video: Annotated[VideoOptions, arg(name="", help="")] = _VIDEO,
) -> str:
    """Make a person speak a recording.

    Args:
        inputs: A photo, or an avatar folder made by `vivavoce create`; and a sound or video file, or a folder of
            them, for one video each. A method that needs no photo takes the recording alone.
        out: The video to write: .mp4, .mov or .webm; for a folder of recordings, a folder.
        method: splat, or one that `vivavoce methods` lists; by default the avatar's own motion where it was taught one
            (audioavatar), else splat.
        size: Short side of the frames in pixels, 64..4096; by default the avatar's own.
        fps: Frames a second, 1..120; by default 25.
        seed: Another number gives another motion of head and eyes, the same one the same video.
        background: photo, transparent (to .webm or .mov), a colour, or a picture.
        expressiveness: How lively head, brows, shoulders and hands are, 0..2.
        text: What is said, where it is known: sharpens the timing of the lips. To a method of the video family: what
            is to be seen, appended to the plan; without a photo, who speaks.
        face: Who speaks, counted from the left, from 1, when the photo shows several people.
        video: Methods of the video family.
    """
    if not 1 <= len(inputs) <= 2:
        raise InputError(f"{len(inputs)} inputs are given: a photo or avatar and a recording are wanted.")
    source, speech = inputs if len(inputs) == 2 else (None, *inputs)
    options = {"background": background, "expressiveness": expressiveness, "text": text, "face": face}
    made = vivavoce.generate(
        source, speech, out, method=method, size=size, fps=fps, seed=seed, **options, **vars(video)
    )
    return str(made)


def export(
    inputs: Annotated[Positional[tuple[Path, ...]], arg(metavar="AVATAR|PHOTO [SPEECH]")],
    /,
    *,
    out: _Out,
    at: Annotated[float | None, arg(metavar="SECONDS")] = None,
    method: _Text = None,
    fps: float = 25.0,
    seed: int = 0,
    expressiveness: float = 1.0,
    text: _Text = None,
    face: _Number = None,
) -> str:
    """Write an avatar for other programs: as Gaussians, or as a page that talks and can be looked at from around.

    Args:
        inputs: An avatar folder made by `vivavoce create`, or a photo; and what is said, if it is to talk.
        out: .ply or .spz: the Gaussians, at rest or at one moment; .html: the page; a new folder: a .ply of each frame.
        at: The moment of the recording that a .ply or .spz shows.
        method: splat or audioavatar; by default the avatar's own motion where it was taught one (audioavatar), else
            splat.
        fps: Frames a second, 1..120.
        seed: Another number gives another motion of head and eyes.
        expressiveness: How lively head, brows, shoulders and hands are, 0..2.
        text: What is said, where it is known: sharpens the timing of the lips.
        face: Who it is, counted from the left, from 1, when the photo shows several people.
    """
    if not 1 <= len(inputs) <= 2:
        raise InputError(
            f"{len(inputs)} inputs are given: an avatar or photo is wanted, and a recording if it talks."
        )
    source, speech = inputs[0], inputs[1] if len(inputs) == 2 else None
    options = {"fps": fps, "seed": seed, "expressiveness": expressiveness, "text": text, "face": face}
    return str(vivavoce.export(source, out, speech=speech, at=at, method=method, **options))


def plan(
    photo: Annotated[Positional[Path], arg(metavar="PHOTO")],
    speech: Annotated[Positional[Path], arg(metavar="SPEECH")],
    /,
    *,
    out: _Out,
    method: str = "actavatar",
    planner: str = "embedded",
    planner_model: _Text = None,
    text: _Text = None,
    face: _Number = None,
) -> str:
    """Plan what a person does while they speak, as YAML to be edited and given to `generate --plan`.

    Args:
        photo: The photo: any picture file.
        speech: A sound or video file.
        out: The plan to write, .yaml.
        method: For which method: it decides the form of the plan.
        planner: embedded; a Qwen-Omni folder or hub name; or the URL of an OpenAI-compatible server.
        planner_model: The model's name at that URL; its key is read from OPENAI_API_KEY.
        text: A wish, appended to what the planner is asked.
        face: Who it is, counted from the left, from 1, when the photo shows several people.
    """
    with extra("video"):
        from vivavoce.methods import find
        from vivavoce.video.prepare import plan_file

    wishes = [text] if text else []
    form = find(method).form
    model = (planner, planner_model)
    return str(plan_file(photo, speech, out, form=form, planner=model, wishes=wishes, face=face))


def weights(file: Annotated[Positional[Path], arg(metavar="FILE")], /) -> str:
    """Tell what a file or folder of weights is: which model, for which base, at which size and frame rate.

    Args:
        file: A safetensors or torch file, or a folder.
    """
    from vivavoce.weights import describe

    return describe(file)


def methods() -> str:
    """List the methods of the video family: their base, size, speech encoder, and the parameters that they add."""
    with extra("video"):
        from vivavoce.methods.table import table

    return table()


def synth(
    *,
    out: _Out,
    people: int = 40,
    hours: float = 1.0,
    size: int = 96,
    fps: float = 25.0,
    seed: int = 0,
    workers: _Number = None,
    sources: Annotated[CorpusOptions, arg(name="", help="")] = _CORPUS,
) -> str:
    """Make a corpus of synthetic people who speak and act, with everything that is known of them.

    Args:
        out: The folder of WebDataset shards; one that was begun with the same options is gone on with.
        people: How many; a tenth of them, two at least, is held out.
        hours: Of video in all.
        size: Width and height of the frames in pixels, a multiple of 16.
        fps: Frames a second, 1..120.
        seed: Another number gives other people and clips, the same one the same bytes.
        workers: Processes; by default one a core.
        sources: Other generators in the place of the embedded ones.
    """
    with extra("video"):
        from vivavoce.corpus.synth.make import synthesise
        from vivavoce.corpus.synth.orders import Corpus

    wanted = Corpus(people, hours, size, size, fps, seed)
    return str(synthesise(wanted, out, sources=sources, workers=workers))


def motions(
    *,
    out: _Out,
    people: int = 100,
    hours: float = 1.6,
    fps: float = 25.0,
    seed: int = 0,
    workers: _Number = None,
) -> str:
    """Make speech and motion of synthetic people, without pictures: what models of motion are trained on.

    Args:
        out: The folder of shards; one that was begun with the same options is gone on with.
        people: How many; a tenth of them, two at least, is held out.
        hours: Of speech in all.
        fps: Frames a second, 1..120.
        seed: Another number gives other people and clips, the same one the same bytes.
        workers: Processes; by default one a core.
    """
    with extra("video"):
        from vivavoce.corpus.synth.motions import synthesise_motions
        from vivavoce.corpus.synth.orders import Corpus

    return str(synthesise_motions(Corpus(people, hours, 96, 96, fps, seed), out, workers=workers))


def check(folder: Annotated[Positional[Path], arg(metavar="FOLDER")], /) -> str:
    """Check every shard of a corpus against its index.

    Args:
        folder: A folder of shards.
    """
    from vivavoce.corpus.shards import check as checked
    from vivavoce.corpus.shards import read_index

    wrong = checked(folder)
    if wrong:
        told = ", ".join(f"{name} ({fault})" for name, fault in wrong.items())
        raise InputError(f"Of the shards in {folder} are damaged: {told}; remove them and make them again.")
    return f"{folder}: {read_index(folder).samples} samples, all as they were written"


def inspect(file: Annotated[Positional[Path], arg(metavar="FILE")], /) -> str:
    """Tell how a video, picture, page or avatar was made.

    Args:
        file: A file or an avatar folder.
    """
    if file.is_dir():
        from vivavoce.splat.avatar import read_description

        return _describe_avatar(file, read_description(file))
    from vivavoce.media.provenance import read_provenance
    from vivavoce.splat.export.page import read_page_provenance

    made = (read_page_provenance if file.suffix.lower() == ".html" else read_provenance)(file)
    if made is None:
        raise InputError(f"{file} carries no record of Vivavoce: it was not made by it, or lost its record.")
    return made.describe()


def _describe_avatar(folder: Path, description: dict) -> str:
    try:
        camera, particles = description["camera"], description["particles"]
        lines = [
            f"{folder} is an avatar: {description['gaussians']} Gaussians on {len(particles)} particles",
            f"size           {camera['width']}x{camera['height']}",
            f"photo          sha256 {description['photo_sha256']}",
            *(f"note           {note}" for note in description["notes"]),
        ]
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder}/avatar.json lacks {error}: make the avatar again.") from error
    from vivavoce.personal.folder import has_motion, read_motion

    if has_motion(folder):
        lines.append(f"motion         {read_motion(folder).describe()}")
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code: 0, 2 for a mistake of the user's, 130 after Ctrl-C."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of libraries say nothing to our users
        warnings.filterwarnings("always", category=UserWarning, module=r"vivavoce(\.|$)")
        warnings.showwarning = lambda message, *_, **__: _say(str(message))
        code, message = _run(args)
    # Only now, when the frames of the failed call are gone and with them the progress bar.
    if message:
        _say(message)
    return code


def train(
    recipe: Annotated[Positional[str], arg(metavar="RECIPE")],
    /,
    *,
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None,
    data: Annotated[Path | None, arg(metavar="PATH")] = None,
    dry_run: bool = False,
    options: Annotated[TrainOptions, arg(name="", help="")] = _TRAIN,
) -> str:
    """Train a method, or go on where a run was stopped.

    Args:
        recipe: physavatar, actavatar, apoavatar, one of their miniatures or of the miniatures' base, a miniature of
            the Gaussian family; or a YAML file that changes one of them.
        out: The folder of the run: its checkpoints, losses, samples, and the result of each stage.
        data: The clips: a folder made by `vivavoce corpus synth`, or a metadata.json of real ones in VideoX-Fun's form;
            for models of motion a folder made by `vivavoce corpus motions`.
        dry_run: Tell what would be trained, and the memory and time that it takes, without doing it.
        options: The base, and how the machine trains.
    """
    with extra("train"):
        from vivavoce.train.command import run, told

    if dry_run:
        return told(recipe, options)
    if out is None:
        raise InputError("Where the run is to be kept is not said: give a folder with --out.")
    return "\n".join(str(path) for path in run(recipe, data, out, options))


def corpus() -> None:
    """Make and check corpora of speaking people to train on: `vivavoce corpus --help`."""


_COMMANDS: dict[str, Callable[..., object]] = {
    "create": create,
    "generate": generate,
    "export": export,
    "plan": plan,
    "train": train,
    "corpus": corpus,
    "inspect": inspect,
    "weights": weights,
    "methods": methods,
}
_GROUPS: dict[str, dict[str, Callable[..., object]]] = {
    "corpus": {"synth": synth, "motions": motions, "check": check}
}


def _run(args: Sequence[str] | None) -> tuple[int, str]:
    args = list(sys.argv[1:] if args is None else args)
    prog, about, commands = "vivavoce", vivavoce.__doc__, _COMMANDS
    if args and args[0] in _GROUPS:
        group = args.pop(0)
        prog, about, commands = f"{prog} {group}", commands[group].__doc__, _GROUPS[group]
    try:
        print(tyro.extras.subcommand_cli_from_dict(commands, prog=prog, description=about, args=args))
    except VivavoceError as error:
        return 2, str(error)
    except KeyboardInterrupt:
        return 130, "stopped."
    return 0, ""


def _say(message: str) -> None:
    print("vivavoce:", " ".join(message.split()), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
