"""What a user asks of a video-family method, checked before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vivavoce.config import GenerateOptions
from vivavoce.errors import InputError
from vivavoce.media.audio import SpeechFile, open_speech
from vivavoce.media.files import check_readable, file_sha256
from vivavoce.media.video import check_video_target
from vivavoce.timing import frame_count, frame_rate
from vivavoce.video.config import VideoConfig
from vivavoce.video.method import Sampling
from vivavoce.video.plan import Plan, read_plan
from vivavoce.video.wan.cache import check_threshold
from vivavoce.weights import parts_of

MAX_SECONDS = 6 * 3600.0
JOB = ".job"
"""Suffix of the folder that keeps what is finished of a video."""


@dataclass(frozen=True)
class Request:
    """One clip that is wanted, of which everything cheap has been found good."""

    config: VideoConfig
    options: GenerateOptions
    photo: Path | None
    sound: SpeechFile
    out: Path
    sampling: Sampling
    plan: Plan | None

    @property
    def frames(self) -> int:
        """Of the video: within half a frame of the sound's length."""
        return frame_count(self.sound.duration, self.config.fps)

    @property
    def seconds(self) -> Fraction:
        """The sound's length, to the sample."""
        rate = self.sound.sample_rate
        return Fraction(round(self.sound.duration * rate), rate)

    @property
    def job(self) -> Path:
        """The folder of what is finished."""
        return self.out.with_suffix(JOB)

    def beside(self, ending: str) -> Path:
        """A file that belongs to the clip."""
        return self.out.with_name(f"{self.out.stem}.{ending}")

    def inputs(self) -> dict[str, tuple[str, str]]:
        """Name and SHA-256 of what the clip is made of, by role."""
        video = self.options.video
        weights = None if video.weights is None else parts_of(video.weights)
        given = {"photo": self.photo, "plan": video.plan, "pose": video.pose, "weights": weights}
        files = {role: (path.name, file_sha256(path)) for role, path in given.items() if path is not None}
        return {**files, "speech": (self.sound.path.name, self.sound.sha256)}


def checked(
    config: VideoConfig, photo: Path | None, speech: Path, out: Path, options: GenerateOptions
) -> Request:
    """The request, or InputError and OutputError with what is wrong with it."""
    check_video_target(out)
    _check_options(config, photo, options)
    video = options.video
    weights = None if video.weights is None else parts_of(video.weights)
    for path, kind in ((photo, "photo"), (video.pose, "pose"), (weights, "weight file")):
        if path is not None:
            check_readable(path, kind)
    sampling = Sampling.of(
        config,
        steps=video.steps,
        solver=video.solver,
        scales=video.scales,
        guidance=video.guidance_order,
        order=video.order,
        seed=options.seed,
        cache=video.cache,
    )
    if video.show and not sampling.chain.links[-1][1]:
        raise InputError(
            f"With a guidance scale of 0 for {sampling.chain.links[-1][0]} nothing is drawn with all conditions that "
            "--show could look at: leave one of them out."
        )
    sound = open_speech(speech)
    if sound.duration > MAX_SECONDS:
        raise InputError(
            f"{speech} lasts {sound.duration / 3600:.1f} hours: cut it into parts of at most {MAX_SECONDS / 3600:.0f}."
        )
    plan = None if video.plan is None else read_plan(video.plan, sound.duration)
    request = Request(config, options, photo, sound, out, sampling, plan)
    if (request.job / "job.json").exists() and not video.resume:
        raise InputError(
            f"{request.job} holds a video that was not finished: go on with --resume, or remove the folder."
        )
    return request


def _check_options(config: VideoConfig, photo: Path | None, options: GenerateOptions) -> None:
    name, video = config.name, options.video
    if options.fps is not None and frame_rate(options.fps) != frame_rate(config.fps):
        raise InputError(
            f"{name} was trained at {config.fps:g} fps and draws no other, such as {options.fps:g}: leave --fps out."
        )
    if options.size not in (None, min(config.width, config.height)):
        raise InputError(
            f"{name} was trained on frames of {config.width}x{config.height}: leave --size {options.size} out."
        )
    if options.background != "photo" or options.expressiveness != 1.0:
        raise InputError(f"{name} draws the whole frame: leave --background and --expressiveness out.")
    if photo is None and "reference-free" not in config.modes:
        raise InputError(f"{name} needs a photo of the person: give PHOTO before SPEECH.")
    if photo is None and options.text is None and video.plan is None:
        raise InputError(f"Without a photo {name} must be told who speaks: describe the person with --text.")
    if photo is not None and photo.is_dir():
        raise InputError(f"{photo} is a folder, and {name} starts from a photo: give the picture file.")
    if video.pose is not None and "pose" not in config.modes:
        raise InputError(f"{name} takes no pose: leave --pose out, or choose a method that does.")
    if video.show and video.cache is not None:
        raise InputError("--show looks into blocks that --cache skips: leave one of them out.")
    for what in video.show:
        kind = "attention" if what.startswith("attention:") else what
        if kind not in ("keypoints", "attention") or kind not in config.modes:
            raise InputError(f"{name} has no {what!r} to show: leave --show {what} out.")
    if video.cache is not None:
        check_threshold(video.cache)


def attention_block(request: Request) -> int | None:
    """The block of `--show attention:BLOCK`, the middle one unless it is given; None where it is not asked for."""
    layers = request.config.transformer["num_layers"]
    for what in request.options.video.show:
        kind, _, block = what.partition(":")
        if kind == "attention":
            if block and not (block.isdecimal() and int(block) < layers):
                raise InputError(f"There is no block {block}: give one from 0 to {layers - 1}.")
            return int(block or layers // 2)
    return None
