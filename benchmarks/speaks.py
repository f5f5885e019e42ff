"""Do the rendered frames speak? Mouths measured in pictures, against targets from phone times.

    python benchmarks/speaks.py [--json FILE] [--quick]

Held-out sentences drive two avatars, of a smiling photo and of closed lips, with everything on: head, blinks, gaze.
Each frame is measured twice. `landmarks`: the face mesh is detected again in every frame; the gap between the
inner lips over the distance of the eyes' outer corners. `flow`, without landmarks: how far optical flow from
the neutral frame parts the skin above and below the lips. Two sentences also go the whole way to an mp4 and
are measured in its decoded frames.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from common import Figure, parsed, publish, use_test_portraits
from vivavoce.corpus.synth.judge import best_lag, correlation
from vivavoce.corpus.synth.utterances import TEST_SETS, Utterance, test_set
from vivavoce.features.face import Detection, mesh
from vivavoce.features.portrait import analyze
from vivavoce.splat.animate import motion_of
from vivavoce.splat.avatar import Avatar, save_avatar
from vivavoce.splat.backgrounds import resolve_background
from vivavoce.splat.controls import CHANNELS, INDEX
from vivavoce.splat.create import build_avatar
from vivavoce.splat.driver import Driver
from vivavoce.splat.motion.targets import articulation_from_phones, contacts, silences
from vivavoce.splat.render import Renderer
from vivavoce.splat.topology import LEFT_LID_LOWER, LIP_LOWER, LIP_UPPER, RIGHT_LID_LOWER
from vivavoce.types import SPEECH_RATE

use_test_portraits()

FPS = 25.0
PORTRAITS = ("smile", "closed")
EVERY = 8
"""One held-out sentence of this many."""
MIDDLE = slice(3, 8)
"""The points of the inner lips whose mean gap is measured: the middle half."""
CLOSED = 0.015
"""Gap beyond the neutral mouth's, over the distance of the outer eye corners, up to which lips are shut."""
STILL = 0.015
"""Largest change of the gap from frame to frame that counts as none: the noise of landmarks."""
ONE_FRAME = 0.9
"""Share of an opening from which a single frame counts as having done it."""
MEASURES = ("landmarks", "flow")
TOLERANCE = 0.04
"""Seconds around a contact in which the lips must have met."""
MARGIN = 0.15
"""Seconds at either end of a silence that the mouth may take to come to rest and to prepare."""

Frame = UInt8[np.ndarray, "H W 3"]
Track = Float32[np.ndarray, " T"]


class Landmarks:
    """The lips' gap from the face mesh, found again in each frame."""

    def __init__(self, avatar: Avatar) -> None:
        rig, pad = avatar.rig.frame, avatar.lift.pad
        x, y = (rig.mouth - 0.35 * rig.height * rig.axes[1])[:2] - pad
        self._where = Detection(x, y, 0.95 * rig.height, 0.0, 1.0)

    def __call__(self, frame: Frame) -> float:
        """Gap over the distance of the eyes' outer corners; NaN where no face is found."""
        face = mesh(frame, self._where, crops=3)
        if face is None:
            return float("nan")
        points = face.landmarks
        upper, lower = points[list(LIP_UPPER[0])][MIDDLE], points[list(LIP_LOWER[0])][MIDDLE]
        eyes = np.linalg.norm(points[LEFT_LID_LOWER[-1]] - points[RIGHT_LID_LOWER[0]])
        return float(np.linalg.norm(lower - upper, axis=1).mean() / eyes)


class Flow:
    """How far the skin under the lower lip has parted from that above the upper, in mouth widths.

    The face is aligned to the shut, neutral one by an affine map that looks at neither mouth nor eyes
    (Evangelidis & Psarakis 2008, PAMI 30), so that head motion is out; dense flow (Kroeger et al. 2016, ECCV)
    gives what the lips do beyond it.
    """

    ZOOM = 3
    BELOW, ABOVE = (0.15, 0.45), (-0.30, -0.08)
    """Rows of the two patches of skin, mouth widths below the middle of the mouth."""
    ACROSS = (-0.25, 0.25)

    def __init__(self, avatar: Avatar, shut: Frame) -> None:
        rig, pad = avatar.rig.frame, avatar.lift.pad
        x, y = rig.mouth[:2] - pad
        h = self._height = rig.height
        left, top = max(0, round(x - 0.6 * h)), max(0, round(y - 0.95 * h))
        self._face = slice(top, round(y + 0.45 * h)), slice(left, round(x + 0.6 * h))
        self._x, self._y, self._width = x - left, y - top, rig.mouth_width
        self._template = self._gray(shut)
        self._firm = self._firm_mask()
        self._warp = np.eye(2, 3, dtype=np.float32)
        self._shut = self._mouth(self._template)
        self._dense = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def __call__(self, frame: Frame) -> float:
        face = self._gray(frame)
        until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-5)
        # The search starts from the last frame's map.
        _, self._warp = cv2.findTransformECC(
            self._template, face, self._warp, cv2.MOTION_AFFINE, until, self._firm, 3
        )
        size = face.shape[1::-1]
        aligned = cv2.warpAffine(face, self._warp, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        down = self._dense.calc(self._shut, self._mouth(aligned), None)[..., 1]
        below, above = (self._patch(down, rows).mean() for rows in (self.BELOW, self.ABOVE))
        return float(below - above) / (self.ZOOM * self._width)

    def _gray(self, frame: Frame) -> UInt8[np.ndarray, "h w"]:
        return cv2.cvtColor(frame[self._face], cv2.COLOR_RGB2GRAY)

    def _firm_mask(self) -> UInt8[np.ndarray, "h w"]:
        """What neither speaks nor blinks: brow to forehead, and nose to cheeks above the mouth."""
        mask, h = np.zeros_like(self._template), self._height
        left, right = self._x - 0.34 * h, self._x + 0.34 * h
        for top, bottom in ((0.80, 0.57), (0.36, 0.14)):
            start = (round(left), round(self._y - top * h))
            cv2.rectangle(mask, start, (round(right), round(self._y - bottom * h)), (1,), -1)
        return mask

    def _mouth(self, face: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
        """The face from one mouth width around the mouth, enlarged."""
        rows, columns = (slice(round(at - self._width), round(at + self._width)) for at in (self._y, self._x))
        return cv2.resize(
            face[rows, columns], None, fx=self.ZOOM, fy=self.ZOOM, interpolation=cv2.INTER_CUBIC
        )

    def _patch(self, down: np.ndarray, rows: tuple[float, float]) -> np.ndarray:
        """A patch of skin in what `_mouth` cuts out."""
        (top, bottom), (left, right) = (
            [round((1 + share) * self._width * self.ZOOM) for share in shares]
            for shares in (rows, self.ACROSS)
        )
        return down[top:bottom, left:right]


@dataclass(frozen=True)
class Spoken:
    """A sentence, how open the mouth should be in each frame, and how open it is by each measure."""

    utterance: Utterance
    target: Track
    landmarks: Track
    flow: Track


def photo(kind: str) -> Float32[np.ndarray, "H W 3"]:
    """The smiling test portrait; or the same person with closed lips, as its own avatar shows her at rest.

    The drawn closed mouth of the tests would not do: a face mesh sees its lips apart by a tenth of the eyes'
    distance, which is half of what speech opens.
    """
    from tests.portraits import portrait

    smile = portrait("smile")
    if kind == "smile":
        return smile
    return Stage(smile).shut.astype(np.float32) / 255


class Stage:
    """The avatar of a photo before its own background, at its own size, and both measures of its mouth."""

    def __init__(self, photo: Float32[np.ndarray, "H W 3"]) -> None:
        self.avatar = build_avatar(analyze(photo))
        camera = self.avatar.lift.camera
        plate = resolve_background("photo", self.avatar, camera.width, camera.height)
        self._renderer = Renderer(self.avatar, camera.width, camera.height, background=plate)
        (self.shut,) = self._renderer(motion_of(self.avatar, np.zeros((1, len(CHANNELS)), np.float32), FPS))
        self._landmarks = Landmarks(self.avatar)
        self._flow = Flow(self.avatar, self.shut)
        self.rest = self._landmarks(self.shut)

    def frames(self, utterance: Utterance, seed: int) -> Iterable[Frame]:
        """The frames of a sentence, as `generate` makes them."""
        driver = Driver(self.avatar, fps=FPS, seed=seed)
        for motion in (driver.push(utterance.samples), driver.finish()):
            yield from self._renderer(motion)

    def measure(self, utterance: Utterance, frames: Iterable[Frame]) -> Spoken:
        """Both measures of each frame beside the target at the frame's time."""
        values = np.array([(self._landmarks(f), self._flow(f)) for f in frames], np.float32)
        target = articulation_from_phones(utterance.phones, utterance.duration, FPS)[:, INDEX["open"]]
        count = min(len(values), len(target))
        return Spoken(utterance, target[:count], _without_gaps(values[:count, 0]), values[:count, 1])


def _without_gaps(track: Track) -> Track:
    """Frames in which no face was found take the value of their neighbours."""
    missing = np.isnan(track)
    if missing.all():
        return np.zeros_like(track)
    index = np.arange(len(track))
    return np.interp(index, index[~missing], track[~missing]).astype(np.float32)


def score(spoken: Sequence[Spoken], rest: float) -> dict[str, float]:
    """Figures of one set; `rest` is the gap that landmarks report for the neutral, shut mouth."""
    result: dict[str, float] = {}
    targets = [s.target for s in spoken]
    for name in MEASURES:
        tracks = [getattr(s, name) for s in spoken]
        result[f"r_{name}"] = correlation(np.concatenate(tracks), np.concatenate(targets))
        result[f"lag_frames_{name}"] = best_lag(tracks, targets, FPS) * FPS
    gaps = [s.landmarks - rest for s in spoken]
    still = np.concatenate([_still(g, s.utterance) for g, s in zip(gaps, spoken, strict=True)])
    met = [m for g, s in zip(gaps, spoken, strict=True) for m in _met(g, s.utterance)]
    joined = np.concatenate(gaps)
    range_ = np.percentile(joined, 99) - np.percentile(joined, 1)
    strides = np.concatenate([_strides(g, range_) for g in gaps])
    return result | {
        "still_frames": int(still.sum()),
        "silent_frames": len(still),
        "closures_met": sum(met),
        "closures": len(met),
        "openings": len(strides),
        "openings_in_one_frame": int((strides > ONE_FRAME).sum()),
        "median_stride": float(np.median(strides)),
        "frames": len(joined),
    }


def shuffled(spoken: Sequence[Spoken], name: str) -> float:
    """Correlation with the targets of other sentences, each with each.

    Speech alone is compared, from 0.2 s after it begins to 0.2 s before it ends: that a mouth opens first and
    shuts last is alike in all sentences, whatever is said.
    """
    tracks = [(getattr(s, name)[_speaking(s)], s.target[_speaking(s)], s.utterance.text) for s in spoken]
    pairs = []
    for track, _, text in tracks:
        for _, target, other in tracks:
            if text != other:
                n = min(len(track), len(target))
                pairs.append((track[:n], target[:n]))
    return correlation(*(np.concatenate(side) for side in zip(*pairs, strict=True)))


def _speaking(spoken: Spoken) -> slice:
    moving = np.flatnonzero(spoken.target)
    edge = round(0.2 * FPS)
    return slice(int(moving[0]) + edge, int(moving[-1]) + 1 - edge)


def _strides(gap: Track, range_: float) -> Float32[np.ndarray, " n"]:
    """For each opening of over a quarter of the mouth's range: the share of it that one frame does."""
    from scipy.signal import find_peaks

    peaks = find_peaks(gap, prominence=0.25 * range_)[0]
    starts = [0, *peaks[:-1]]
    shares = []
    for start, peak in zip(starts, peaks, strict=True):
        low = start + int(np.argmin(gap[start : peak + 1]))
        shares.append(np.diff(gap[low : peak + 1]).max() / (gap[peak] - gap[low]))
    return np.array(shares, np.float32)


def _still(gap: Track, utterance: Utterance) -> Bool[np.ndarray, " n"]:
    """For each frame of silence whether the mouth is shut and does not move."""
    times = (np.arange(len(gap)) + 0.5) / FPS
    quiet = np.zeros(len(gap), bool)
    for start, end in silences(utterance.phones, utterance.duration):
        begin = start + MARGIN if start > 0 else 0.0
        finish = end - MARGIN if end < utterance.duration - 0.01 else end
        quiet |= (times > begin) & (times < finish)
    moved = np.abs(np.diff(gap, prepend=gap[:1]))
    return ((gap <= CLOSED) & (moved <= STILL))[quiet]


def _met(gap: Track, utterance: Utterance) -> list[bool]:
    """For each p, b, m whether the lips are shut in a frame that overlaps its contact to within 40 ms."""
    result = []
    for start, end in contacts(utterance.phones):
        first, last = int((start - TOLERANCE) * FPS), int((end + TOLERANCE) * FPS) + 1
        result.append(bool(gap[max(0, first) : last].min() <= CLOSED))
    return result


def through_file(stage: Stage, utterance: Utterance) -> Spoken:
    """The sentence by way of files: avatar folder, wav, `generate`, mp4, decoder."""
    import av
    from scipy.io import wavfile

    from vivavoce.splat.drive import generate

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "avatar").mkdir()
        save_avatar(stage.avatar, folder / "avatar")
        wavfile.write(folder / "speech.wav", SPEECH_RATE, (utterance.samples * 32767).astype(np.int16))
        video = generate(folder / "avatar", folder / "speech.wav", folder / "out.mp4", fps=FPS)
        with av.open(str(video)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return stage.measure(utterance, frames)


def figures(details: dict[str, dict]) -> list[Figure]:
    """The worst set of each group beside its demand."""
    rows, result = details["sets"], []
    for title, word, least in (
        ("seen voices", "seen", 0.88),
        ("held-out voice", "held-out voice", 0.80),
        ("held-out engine", "held-out engine", 0.80),
    ):
        for measure in MEASURES:
            worst = min(row[f"r_{measure}"] for name, row in rows.items() if word in name)
            name = (
                f"Rendered mouth by {measure} against phone times, held-out sentences, {title}, worst set, r"
            )
            result.append(Figure(name, worst, at_least=least))
    every = list(rows.values())

    def share(part: str, whole: str) -> float:
        return sum(row[part] for row in every) / sum(row[whole] for row in every)

    lag = max(abs(row[f"lag_frames_{m}"]) for row in every for m in MEASURES)
    off = max(map(abs, details["r_shuffled"].values()))
    encoded = min(details["mp4"][f"r_{m}"] for m in MEASURES)
    return [
        *result,
        Figure(
            "the same in the decoded frames of an mp4, held-out engine, worse measure, r", encoded, "", 0.8
        ),
        Figure("the same with the sound of another sentence, larger absolute r", off, at_most=0.15),
        Figure("Best lag of rendered mouths, worst set, frames", lag, at_most=1),
        Figure(
            "Rendered mouth shut and still in silent frames",
            share("still_frames", "silent_frames"),
            "%",
            0.97,
        ),
        Figure("Rendered lips shut within 40 ms of p, b, m", share("closures_met", "closures"), "%"),
        Figure(
            "Openings that take a single frame instead of two or more",
            share("openings_in_one_frame", "openings"),
            "%",
            at_most=0.02,
        ),
    ]


def main() -> None:
    options = parsed(__doc__, "one portrait, two sentences a set")
    every, kinds = (20, PORTRAITS[1:]) if options.quick else (EVERY, PORTRAITS)
    stages = {kind: Stage(photo(kind)) for kind in kinds}
    details: dict[str, dict] = {"sets": {}}
    spoken: dict[str, list[Spoken]] = {kind: [] for kind in kinds}
    for k, name in enumerate(TEST_SETS):
        utterances = test_set(name)[k::every]  # other sentences for each voice
        for kind, stage in stages.items():
            made = [stage.measure(u, stage.frames(u, seed)) for seed, u in enumerate(utterances)]
            row = details["sets"][f"{name}, {kind}"] = score(made, stage.rest)
            print(f"{name}, {kind}: " + "  ".join(f"{k} {v:.3g}" for k, v in row.items()), flush=True)
            spoken[kind] += made
    for kind, made in spoken.items():
        for measure in MEASURES:
            details.setdefault("r_shuffled", {})[f"{measure}, {kind}"] = shuffled(made, measure)
    stage = stages[kinds[-1]]
    encoded = [through_file(stage, u) for u in test_set("held-out engine, festival kal")[:2]]
    details["mp4"] = score(encoded, stage.rest)
    publish(figures(details), details, options.json)


if __name__ == "__main__":
    main()
