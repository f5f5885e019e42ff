"""THE PATH of the video family: a photo (or none), a speech and a plan become a video file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from vivavoce.errors import VivavoceError
from vivavoce.features.physical_state import load_state_encoder
from vivavoce.media.provenance import Provenance
from vivavoce.media.video import VideoWriter
from vivavoce.progress import counted, track
from vivavoce.video.draw import draw, frames_of
from vivavoce.video.drift import DriftMeter
from vivavoce.video.maker import Scene, Span
from vivavoce.video.method import VideoMethod
from vivavoce.video.plan import write_plan
from vivavoce.video.prepare import scene_of, settings_of
from vivavoce.video.request import Request, attention_block
from vivavoce.video.sample.long import Chunk
from vivavoce.video.sample.resume import Job
from vivavoce.video.watch import Watch, WatchPhases, WatchStates


def generate(request: Request, load: Callable[[], VideoMethod]) -> Path:
    """Draw the clip that is asked for with the method that `load` gives; returns its path.

    Finished chunks are kept in a folder beside it until the clip is whole. With it come its plan and its drift.
    Raises InputError, OutputError and WeightsError with what is wrong.
    """
    watch = _watch(request)
    scene = scene_of(request)
    if watch is not None:
        watch.check(scene)
    method = load()
    if method.untrained:
        parts = " and ".join(method.untrained)
        warnings.warn(
            f"{request.config.name} draws with untrained weights ({parts}): its frames mean nothing.",
            stacklevel=1,
        )
    chunks = request.sampling.chunks(request.config, scene.frames)
    method.network.check(method.make, scene, (Span(chunk.first, chunk.frames) for chunk in chunks))
    job = Job(request.job, settings_of(request, scene, method))
    name, count = request.out.name, len(chunks)
    try:
        with counted(f"{name}: drawing", request.sampling.steps * count) as advance:

            def told(chunk: Chunk) -> None:
                advance(f"{name}: chunk {chunk.index + 1} of {count}")

            order = draw(method, scene, request.sampling, job, watch=watch, on_step=told)
        shown = frames_of(method, order, job, watch)
        _write(request, scene, method, shown)
        if watch is not None:
            watch.finish(scene, ((chunk, job.load(chunk.index) or {}) for chunk in order), request.out)
    except KeyboardInterrupt:
        warnings.warn(f"What is finished is kept in {job.folder}: go on with --resume.", stacklevel=1)
        raise
    except VivavoceError:
        if job.load(0) is None:  # nothing is lost, and what was wrong may be mended
            job.clear()
        raise
    job.clear()
    return request.out


def _write(
    request: Request, scene: Scene, method: VideoMethod, shown: Iterator[UInt8[np.ndarray, "H W 3"]]
) -> None:
    """The frames into the file, as they come, and beside it what is told of them."""
    config = method.config
    drift = DriftMeter(scene.photo, config.fps)
    with VideoWriter(
        request.out,
        config.width,
        config.height,
        config.fps,
        sound=request.sound.path,
        seconds=request.seconds,
        provenance=_provenance(request, scene, method),
    ) as writer:
        for frame in track(shown, f"{request.out.name}: writing", total=scene.frames):
            drift.add(frame)
            writer.write(frame)
    drift.write(request.beside("drift.json"))
    plan = request.beside("plan.yaml")
    given = request.options.video.plan
    if not (given and plan.exists() and plan.samefile(given)):  # with its owner's comments
        write_plan(scene.plan, plan)


def _watch(request: Request) -> Watch | None:
    """What is to be made visible. Raises InputError for a block that is not there."""
    if "keypoints" in request.options.video.show:
        return WatchStates(load_state_encoder(request.options.video.states))
    block = attention_block(request)
    return None if block is None else WatchPhases(block)


def _provenance(request: Request, scene: Scene, method: VideoMethod) -> Provenance:
    s = request.sampling
    settings = {
        "fps": request.config.fps,
        "size": min(request.config.width, request.config.height),
        "steps": s.steps,
        "solver": s.solver,
        "guidance": ", ".join(f"{name} {scale:g}" for name, scale in s.chain.links),
        "order": s.order,
        "cache": s.cache,
        "face": request.options.face,
        "plan": scene.plan.base,
        "untrained": ", ".join(method.untrained) or None,
    }
    return Provenance(request.config.name, s.seed, request.inputs(), settings)
