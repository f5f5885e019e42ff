"""From what a user gives to a scene: the photo at the frames' size, the speech, the plan, the pose."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from vivavoce.features.loudness import leveled
from vivavoce.media.audio import open_speech
from vivavoce.media.files import check_readable, check_target
from vivavoce.video.maker import Scene
from vivavoce.video.method import VideoMethod
from vivavoce.video.plan import Plan, write_plan
from vivavoce.video.planner import Form, OmniModel, Planned, make_plan, planned_by
from vivavoce.video.request import Request

if TYPE_CHECKING:
    from vivavoce.features.portrait import Portrait

EYES_AT = 0.4
"""Of the frame's height, from the top: where the face's middle comes where the photo is cut."""


def scene_of(request: Request) -> Scene:
    """Everything that holds for the whole video.

    Raises InputError where photo, pose or planner cannot be used.
    """
    config, video = request.config, request.options.video
    samples = request.sound.spooled()
    portrait = None if request.photo is None else _portrait(request.photo, request.options.face)
    scene = Scene(
        photo=None if portrait is None else framed(portrait, config.width, config.height),
        speech=leveled(samples),
        plan=Plan(base="-"),
        frames=request.frames,
        fps=config.fps,
    )
    if video.pose is not None:
        from vivavoce.features.pose import read_pose

        scene = replace(scene, pose=read_pose(video.pose, fps=config.fps, frames=request.frames))
    planned = _planned(request, portrait, samples)
    return replace(scene, plan=planned.plan, embeddings=planned.embeddings)


def framed(portrait: Portrait, width: int, height: int) -> UInt8[np.ndarray, "height width 3"]:
    """The largest part of the photo of the frame's shape, around the face, at the frame's size."""
    from PIL import Image

    rows, columns = portrait.image.shape[:2]
    scale = max(width / columns, height / rows)
    across, down = width / scale, height / scale
    middle = portrait.face[:, :2].mean(axis=0)
    left = float(np.clip(middle[0] - across / 2, 0, columns - across))
    top = float(np.clip(middle[1] - EYES_AT * down, 0, rows - down))
    picture = Image.fromarray((portrait.image * 255).round().clip(0, 255).astype(np.uint8))
    box = (left, top, left + across, top + down)
    return np.array(picture.resize((width, height), Image.Resampling.LANCZOS, box=box))


def settings_of(request: Request, scene: Scene, method: VideoMethod) -> dict[str, Any]:
    """All that decides a chunk, for the job that keeps them: another value is another video."""
    s = request.sampling
    return {
        "method": request.config.name,
        "weights": method.fingerprint(),
        "encoder": request.options.video.encoder,
        "device": method.make.device.type,
        "inputs": {role: sha for role, (_, sha) in request.inputs().items()},
        "face": request.options.face,
        "plan": scene.plan.model_dump(),
        "planner": "none" if scene.embeddings is None else request.options.video.planner,
        "frames": scene.frames,
        "steps": s.steps,
        "shift": s.shift,
        "solver": s.solver,
        "guidance": [list(link) for link in s.chain.links],
        "order": s.order,
        "seed": s.seed,
        "cache": s.cache,
        "show": sorted(request.options.video.show),
    }


def _portrait(photo: Path, face: int | None) -> Portrait:
    from vivavoce.features.portrait import analyze
    from vivavoce.media.image import read_photo

    picture = read_photo(photo)
    portrait = analyze(picture.image, picture.alpha, face=face)
    for note in portrait.notes:
        warnings.warn(note, stacklevel=1)
    return portrait


def _planned(request: Request, portrait: Portrait | None, speech: np.ndarray) -> Planned:
    """The user's own plan, or a planner's; `--text` is appended to either, and is all without a photo."""
    video, text = request.options.video, request.options.text
    wishes = [text] if text else []
    if portrait is None:
        base = request.plan.base if request.plan else ""
        phases = request.plan.phases if request.plan else ()
        return Planned(Plan(base=" ".join([base, *wishes]).strip(), phases=phases), None)
    model = planner_named(video.planner, video.planner_model)
    if request.plan is not None:
        return planned_by(model, request.plan, portrait, speech, wishes=wishes)
    return make_plan(portrait, speech, form=request.config.form, model=model, wishes=wishes)


def planner_named(name: str, model: str | None = None) -> OmniModel | None:
    """The planner behind a folder, hub name or URL; None for the embedded one.

    Raises InputError and WeightsError where there is none.
    """
    if name == "embedded":
        return None
    if name.startswith(("http://", "https://")):
        import os

        from vivavoce.video.planner_endpoint import Endpoint

        return Endpoint(name, model or "default", key=os.environ.get("OPENAI_API_KEY"))
    from vivavoce.video.planner_omni import OmniThinker

    return OmniThinker.load(name)


def plan_file(
    photo: Path,
    speech: Path,
    out: Path,
    *,
    form: Form,
    planner: tuple[str, str | None] = ("embedded", None),
    wishes: Sequence[str] = (),
    face: int | None = None,
) -> Path:
    """Write a plan of a photo and a recording; `planner` as in `planner_named`. Returns `out`.

    Raises InputError, OutputError and WeightsError with what is wrong.
    """
    check_target(out, (".yaml", ".yml"))
    check_readable(photo, "photo")
    samples = open_speech(speech).spooled()
    model = planner_named(*planner)
    write_plan(make_plan(_portrait(photo, face), samples, form=form, model=model, wishes=wishes).plan, out)
    return out
