"""What moves an avatar; and a video of each recording: finished ones are left alone, bad ones told at the end."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from vivavoce import __version__
from vivavoce.config import OWN, SPLAT, GenerateOptions, VideoOptions
from vivavoce.errors import InputError, OutputError, extra
from vivavoce.media.files import check_folder, check_readable, file_sha256
from vivavoce.media.provenance import read_provenance
from vivavoce.timing import frame_rate

_SOUND = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".wma", ".aif", ".aiff", ".caf")
_FILM = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".3gp")
RECORDINGS = frozenset(_SOUND + _FILM)
"""The files of a folder that are taken for recordings."""
_GAUSSIAN = (SPLAT, OWN)


def generate_any(source: Path | None, speech: Path, out: Path, options: GenerateOptions) -> Path:
    """One video of one recording, or one for each of a folder's; returns `out`.

    Raises InputError and OutputError with what is wrong, for a folder after all that works has been made.
    """
    method = options.method or _usual(source)
    options = replace(options, method=method)
    if speech.is_dir() and source is not None and method in _GAUSSIAN:
        return generate_folder(source, speech, out, options)
    for given in (source, speech, options.video.plan, options.video.pose):
        if given is not None and out.exists() and given.exists() and out.samefile(given):
            raise OutputError(f"{out} is one of the inputs: give the video another name.")
    if method not in _GAUSSIAN:
        return _generate_video(method, source, speech, out, options)
    if source is None:
        raise InputError("There is a recording, but no photo: give PHOTO before SPEECH.")
    if options.video != VideoOptions():
        names = sorted(f.name for f in fields(VideoOptions) if getattr(options.video, f.name) != f.default)
        raise InputError(
            f"--{names[0].replace('_', '-')} is for the methods of the video family: choose one with --method."
        )
    return _gaussian(method)(source, speech, out, **options.of_splat)


def export_any(
    source: Path, speech: Path | None, out: Path, options: GenerateOptions, *, at: float | None
) -> Path:
    """An avatar for other programs (`splat.export.command.export`), moved as `generate_any` moves it; returns `out`.

    Raises InputError, WeightsError and OutputError with what is wrong.
    """
    if options.method is not None and speech is None:
        raise InputError(
            f"--method {options.method} moves nothing without a recording: give one, or leave it out."
        )
    method = options.method or (SPLAT if speech is None else _usual(source))
    if method not in _GAUSSIAN:
        raise InputError(f"--method {method} moves no Gaussians: choose one of {', '.join(_GAUSSIAN)}.")
    chosen = {k: value for k, value in options.of_splat.items() if k not in ("size", "background")}
    if speech is None or method == SPLAT:
        from vivavoce.splat.export.command import export

        return export(source, out, speech=speech, at=at, **chosen)
    with extra("video"):
        from vivavoce.personal.drive import export as perform
    return perform(source, out, speech=speech, at=at, **chosen)


def _usual(source: Path | None) -> str:
    """The method where none is named: an avatar's own motion, where it has one."""
    from vivavoce.personal.folder import has_motion

    return OWN if source is not None and has_motion(source) else SPLAT


def _gaussian(method: str | None) -> Callable[..., Path]:
    """What makes a video of an avatar by a method of the Gaussian family."""
    if method == SPLAT:
        from vivavoce.splat.drive import generate

        return generate
    with extra("video"):
        from vivavoce.personal.drive import generate as perform
    return perform


def _generate_video(
    method: str, source: Path | None, speech: Path, out: Path, options: GenerateOptions
) -> Path:
    with extra("video"):
        from vivavoce.methods import find
        from vivavoce.methods.load import load
        from vivavoce.video.generate import generate
        from vivavoce.video.request import checked

    config = find(method)
    video = options.video
    request = checked(config, source, speech, out, options)
    return generate(
        request,
        lambda: load(
            config,
            base=video.base,
            weights=video.weights,
            encoder=video.encoder,
            device=video.device,
        ),
    )


def generate_folder(source: Path, speech: Path, out: Path, options: GenerateOptions) -> Path:
    """A video in the folder `out` for each recording in the folder `speech`; those that are done are skipped.

    Done is a video whose own record names the same photo, recording, options and version.
    Raises InputError at the end if some recordings could not be used, and names them.
    """
    targets = _targets(speech, out, ".webm" if options.background == "transparent" else ".mp4")
    if options.text is not None:
        raise InputError(f"--text belongs to one recording, and {speech} is a folder: leave it out.")
    given = _hashes(source, options.method)
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file, but the videos of a folder need one: give another name with -o.")
    if out.exists() and out.samefile(speech):
        raise OutputError(
            f"The videos cannot go among the recordings in {speech}: give another folder with -o."
        )
    if not out.exists():
        check_folder(out.absolute().parent)
        out.mkdir()
    check_folder(out)
    missing = {sound: target for sound, target in targets.items() if not _done(target, sound, given, options)}
    if len(missing) < len(targets):
        warnings.warn(
            f"{len(targets) - len(missing)} of {len(targets)} videos were there already and are kept.",
            stacklevel=1,
        )
    bad = _generate_all(source, missing, options) if missing else []
    if bad:
        names = ", ".join(sound.name for sound in bad)
        raise InputError(f"{len(bad)} of {len(targets)} recordings gave no video, see above: {names}.")
    return out


def _generate_all(source: Path, targets: dict[Path, Path], options: GenerateOptions) -> list[Path]:
    """Make the avatar once and every video with it; returns the recordings that could not be used."""
    from vivavoce.splat.create import create_avatar

    generate = _gaussian(options.method)
    bad = []
    with tempfile.TemporaryDirectory(prefix="vivavoce-") as folder:
        avatar = source
        if not source.is_dir():  # by the photo's name, which the videos tell in their records
            avatar = create_avatar(source, Path(folder) / source.name, face=options.face)
        for sound, target in targets.items():
            try:
                generate(avatar, sound, target, **options.of_splat)
            except InputError as error:
                warnings.warn(str(error), stacklevel=1)
                bad.append(sound)
    return bad


def _targets(speech: Path, out: Path, suffix: str) -> dict[Path, Path]:
    """The recordings of a folder, and the video that each becomes."""
    sounds = sorted(
        path
        for path in speech.iterdir()
        if path.suffix.lower() in RECORDINGS and path.is_file() and not path.name.startswith(".")
    )
    if not sounds:
        raise InputError(
            f"The folder {speech} holds no recordings: put .wav, .mp3 or other sound files there."
        )
    same = Counter(sound.stem for sound in sounds)
    return {s: out / ((s.stem if same[s.stem] == 1 else s.name) + suffix) for s in sounds}


def _hashes(source: Path, method: str | None) -> set[str]:
    """Of the photo, and of the motion where it is the avatar's own."""
    if method == OWN:
        from vivavoce.personal.folder import read_motion

        return {read_motion(source).digest} | _hashes(source, SPLAT)
    if source.is_dir():
        from vivavoce.splat.avatar import read_description

        return {read_description(source)["photo_sha256"]}
    check_readable(source, "photo")
    return {file_sha256(source)}


def _done(target: Path, sound: Path, given: set[str], options: GenerateOptions) -> bool:
    if not target.is_file() or not target.stat().st_size:
        return False
    made = read_provenance(target)
    wanted_by = (__version__, options.method or SPLAT, options.seed)
    if made is None or (made.version, made.method, made.seed) != wanted_by:
        return False
    wanted = options.of_splat
    wanted["fps"] = float(frame_rate(wanted["fps"]))
    settings_agree = all(made.settings.get(name) == value for name, value in wanted.items() if name != "seed")
    hashes = {sha for _, sha in made.inputs.values()}
    return settings_agree and given | {file_sha256(sound)} <= hashes
