"""PATH 4: a photo becomes an avatar with a motion of its own, taught by a method of the video family.

OUT/          the avatar; its personal motion comes last
OUT.work/     what that is made from, so that a making that was stopped goes on
    avatar/                                    whose avatar it is
    clips/ fields/ keypoints/                  of each clip: drawn by the teacher, fitted to it, seen in it
    training/embedding/ motion/ refined/       runs of the trainer
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from vivavoce.config import PersonalOptions
from vivavoce.errors import InputError
from vivavoce.media.files import check_readable, file_sha256, replacing
from vivavoce.personal.body import rest_of
from vivavoce.personal.data import Clip, Subject, clips_of, draw_clips
from vivavoce.personal.examples import TaughtClips, field_file, keypoints_file, seen_keypoints
from vivavoce.personal.field import fit_field
from vivavoce.personal.folder import add_motion, avatar_digests, encoder_of
from vivavoce.personal.sizes import Sizes, sizes_for
from vivavoce.personal.stages import RECORD, make_stage, work_folder
from vivavoce.personal.studio import Studio
from vivavoce.personal.teacher import Teacher, teacher_named
from vivavoce.personal.training import Lessons, begun_from, plain_motion, refined_motion
from vivavoce.personal.view import view_of
from vivavoce.progress import track
from vivavoce.splat.avatar import load_avatar, read_description
from vivavoce.splat.create import check_avatar_target, create_avatar

WORK = ".work"
"""Of the folder beside the avatar's."""


def personalize(
    photo: Path,
    out: Path,
    options: PersonalOptions,
    *,
    face: int | None = None,
    sizes: Sizes | None = None,
) -> Path:
    """Make an avatar of a photo with a motion of its own, or go on with one that was begun; returns its folder.

    `sizes` are those that fit the teacher where None. What is there and was made from the same is kept.
    Raises InputError for a photo, teacher or number that cannot be used and for the avatar of another photo,
    WeightsError for weights that are missing or do not fit, OutputError where something cannot be written.
    """
    try:
        lessons, studio = prepared(photo, out, options, face=face, sizes=sizes)
        model = refined_motion(lessons, studio, plain_motion(lessons)).folder
    except KeyboardInterrupt:
        work = out.with_name(out.name + WORK)
        if work.is_dir():
            warnings.warn(f"What is finished is kept in {work}: the same command goes on.", stacklevel=1)
        raise
    counts, teacher = [options.motions, options.open_domain], studio.teacher
    encoder = _encoder(teacher, options)
    made = {"teacher": teacher.config.name, "clips": counts, "encoder": encoder, "seed": options.seed}
    add_motion(out, model, made)
    return out


def prepared(
    photo: Path,
    out: Path,
    options: PersonalOptions,
    *,
    face: int | None = None,
    sizes: Sizes | None = None,
) -> tuple[Lessons, Studio]:
    """The avatar, the teacher's clips and what is found in them, all made or gone on with: what training stands on.

    Arguments and errors are those of `personalize`.
    """
    parts = {name: getattr(options, name) for name in ("base", "weights", "encoder", "device")}
    teacher = teacher_named(options.teacher, **parts)
    assert teacher.told  # weights that are not there are told before any work is done
    sizes = begun_from(sizes or sizes_for(teacher.config), options.motion)

    work = _make_avatar(photo, out, face)
    avatar = load_avatar(out)
    view = view_of(avatar, teacher.config.width, teacher.config.height)
    studio = Studio(avatar, Subject(photo, face, view), teacher)
    counts = {"motions": options.motions, "open_domain": options.open_domain}
    clips = clips_of(work / "clips", **counts, frames=sizes.frames, fps=teacher.config.fps)
    drawn = draw_clips(clips, studio.subject, teacher, seed=options.seed)
    told = _look(work, clips, drawn, studio, avatar_digests(out), sizes)
    examples = partial(
        TaughtClips,
        rest=rest_of(avatar),
        encoder=encoder_of(_encoder(teacher, options)),
        fields=work / "fields",
        keypoints=work / "keypoints" if sizes.objectives.keypoints else None,
        told=told,
    )
    cpu = options.device == "cpu" or not torch.cuda.is_available()
    lessons = Lessons(work / "training", clips, examples, told, sizes, options.motion, options.seed, cpu)
    return lessons, studio


def _encoder(teacher: Teacher, options: PersonalOptions) -> dict[str, str | None]:
    """What the personal motion hears speech with: the teacher's encoder."""
    heard = teacher.config.encoder
    return {"kind": heard.kind, "name": heard.name, "source": options.encoder or heard.source}


def _make_avatar(photo: Path, out: Path, face: int | None) -> Path:
    """See that the avatar is there; the folder of the work beside it comes back."""
    check_readable(photo, "photo")
    check_avatar_target(out)
    inputs = {"photo": file_sha256(photo), "face": face}
    there = (out / "avatar.json").is_file()
    if there and read_description(out)["photo_sha256"] != inputs["photo"]:
        raise InputError(
            f"{out} is the avatar of another photo than {photo}: give another folder with -o, or that photo."
        )
    work = work_folder(out.with_name(out.name + WORK))
    record = work / "avatar" / RECORD
    if not there:
        record.unlink(missing_ok=True)
    make_stage(record.parent, inputs, lambda folder: create_avatar(photo, out, face=face))
    return work


def _look(  # noqa: PLR0917
    work: Path, clips: list[Clip], drawn: list[str], studio: Studio, avatar: dict[str, str], sizes: Sizes
) -> str:
    """See that each clip's deformation field is there, and its keypoints where they are asked for.

    `drawn` and `avatar` are digests of the clips and of the avatar; one of all that was found comes back.
    """
    fitting = {"avatar": avatar, "fitting": asdict(sizes.fitting)}
    found = []
    for clip, digest in zip(clips, drawn, strict=True):
        inputs = {"clip": digest, **fitting}
        make = partial(_fit, clip, studio, sizes)
        found.append(make_stage(work / "fields" / clip.name, inputs, make))
    if sizes.objectives.keypoints:
        for clip, digest in track(list(zip(clips, drawn, strict=True)), "keypoints"):
            make = partial(_see, clip)
            found.append(make_stage(work / "keypoints" / clip.name, {"clip": digest}, make))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _fit(clip: Clip, studio: Studio, sizes: Sizes, folder: Path) -> None:
    frames = studio.subject.view.within(clip.pictures(), studio.subject.whole)
    windows = folder / "windows"
    field = fit_field(studio.avatar, frames, clip.fps, sizes.fitting, folder=windows)
    field.save(field_file(folder.parent, clip))
    shutil.rmtree(windows, ignore_errors=True)


def _see(clip: Clip, folder: Path) -> None:
    with replacing(keypoints_file(folder.parent, clip)) as temporary:
        np.save(temporary, seen_keypoints(clip.pictures()))
