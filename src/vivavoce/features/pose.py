"""Pose sequences: read from a driving video or a pose file, and drawn as skeletons."""

from __future__ import annotations

import colorsys
import math
from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from vivavoce.errors import InputError
from vivavoce.features.physical_state import PARTS, POINTS, Keypoints, keypoints_of
from vivavoce.features.portrait import find_landmarks
from vivavoce.media.audio import open_container
from vivavoce.media.files import check_readable, check_target, replacing
from vivavoce.progress import track
from vivavoce.timing import frame_rate

if TYPE_CHECKING:
    from av import VideoFrame

_TOLERANCE = Fraction(1, 10)  # seconds that a pose may be longer or shorter than its clip
_LIMBS = (
    (0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10),
    (5, 11), (6, 12), (11, 12), (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
_FACE_LINES = (
    tuple(range(17)), tuple(range(17, 22)), tuple(range(22, 27)), tuple(range(27, 31)), tuple(range(31, 36)),
    (*range(36, 42), 36), (*range(42, 48), 42), (*range(48, 60), 48), (*range(60, 68), 60),
)  # fmt: skip
_FINGERS = tuple((0, *range(first, first + 4)) for first in range(1, 21, 4))


def read_pose(path: Path, *, fps: float, frames: int) -> Keypoints:
    """The pose of each frame of a clip from a video of a person, or from a file that `write_pose` wrote (.npz).

    Frame t of the clip has the pose that the source shows at (t + 0.5) / fps seconds. Points that are not seen
    are 0, 0, 0; in pictures without a person none is seen. Among several people the one with the largest face is
    taken, and followed. Pictures are decoded one at a time.

    Raises InputError for a file that cannot be read or is damaged, without pictures, without a person who faces
    the camera, or whose length is not the clip's within a frame or 0.1 s, whichever is more.
    """
    check_readable(path, "pose")
    rate = frame_rate(fps)
    if path.suffix.lower() == ".npz":
        stored, source_rate = _stored(path)
        starts = [i / source_rate for i in range(len(stored))]
        shown = _shown(path, starts, len(stored) / source_rate, rate, frames)
        keypoints = stored[shown]
    else:
        starts = _starts(path)
        # The mean interval stands for the last picture's own, which few files tell; a lone one has no length.
        length = starts[-1] * len(starts) / max(1, len(starts) - 1)
        shown = _shown(path, starts, length, rate, frames)
        keypoints = _found(path, shown)
    inside = (keypoints[..., 2] > 0) & (np.abs(keypoints[..., :2]) <= 1).all(axis=-1)
    if not inside.any():
        raise InputError(
            f"No frame of {path} shows a person: use a video in which someone faces the camera, near enough, or a "
            "pose file with coordinates from -1 to 1."
        )
    return keypoints


def write_pose(path: Path, keypoints: Keypoints, fps: float) -> None:
    """Keep a pose sequence as `keypoints` and `fps` in an .npz file, for `read_pose`.

    Raises OutputError where it cannot be written.
    """
    check_target(path, (".npz",))
    with replacing(path) as temporary:
        np.savez_compressed(temporary, keypoints=keypoints, fps=np.float64(fps))


def draw_pose(keypoints: Keypoints, width: int, height: int) -> UInt8[np.ndarray, "F H W 3"]:
    """Each frame's skeleton on black (RGB): limbs and fingers in colours of their own, the face in thin lines.

    Lines run between seen points only. What `PoseAdapter` reads is this / 127.5 - 1.
    """
    canvases = np.zeros((len(keypoints), height, width, 3), np.uint8)
    for canvas, points in zip(canvases, keypoints, strict=True):
        _draw(canvas, points)
    return canvases


def draw_over(
    frame: UInt8[np.ndarray, "H W 3"], keypoints: Float32[np.ndarray, "127 3"]
) -> UInt8[np.ndarray, "H W 3"]:
    """A copy of a picture with the skeleton of `draw_pose` over it."""
    canvas = frame.copy()
    _draw(canvas, keypoints)
    return canvas


class _Stroke(NamedTuple):
    """A line through some of the 127 points; its width is a share of the picture's shorter side."""

    points: tuple[int, ...]
    color: tuple[int, int, int]
    width: float


def _color(hue: float) -> tuple[int, int, int]:
    red, green, blue = (round(255 * value) for value in colorsys.hsv_to_rgb(hue, 1.0, 1.0))
    return red, green, blue


def _strokes() -> Iterator[_Stroke]:
    first = dict(zip(PARTS, np.cumsum([0, *PARTS.values()]).tolist(), strict=False))
    for i, limb in enumerate(_LIMBS):
        yield _Stroke(tuple(first["body"] + p for p in limb), _color(i / len(_LIMBS)), 1 / 120)
    # The left hand's hues lie between the right hand's, so that the two differ where they meet.
    for offset, hand in enumerate(("left_hand", "right_hand")):
        for i, finger in enumerate(_FINGERS):
            yield _Stroke(tuple(first[hand] + p for p in finger), _color((2 * i + offset) / 10), 1 / 240)
    for line in _FACE_LINES:
        yield _Stroke(tuple(first["face"] + p for p in line), (255, 255, 255), 1 / 400)


_STROKES = tuple(_strokes())
_SUBPIXELS = 4  # bits
_FAR = 16.0  # half pictures; points beyond would overflow OpenCV's integers


def _draw(canvas: np.ndarray, keypoints: np.ndarray) -> None:
    import cv2

    height, width = canvas.shape[:2]
    # OpenCV counts from the first pixel's centre, keypoints from the picture's edge.
    pixels = (keypoints[:, :2].clip(-_FAR, _FAR) + 1) / 2 * (width, height) - 0.5
    fixed = np.round(pixels * 2**_SUBPIXELS).astype(np.int32)
    seen = keypoints[:, 2] > 0
    for stroke in _STROKES:
        thick = max(1, round(stroke.width * min(width, height)))
        for a, b in zip(stroke.points[:-1], stroke.points[1:], strict=True):
            if seen[a] and seen[b]:
                ends = fixed[a].tolist(), fixed[b].tolist()
                cv2.line(canvas, *ends, stroke.color, thick, cv2.LINE_AA, _SUBPIXELS)


def _shown(
    path: Path, starts: Sequence[Fraction], length: Fraction, rate: Fraction, frames: int
) -> list[int]:
    """For each frame of the clip the source's picture that is shown at its middle."""
    wanted = frames / rate
    if abs(length - wanted) > max(_TOLERANCE, 1 / rate):
        mend = "cut it to that" if length > wanted else "cut the speech, or give a longer one"
        raise InputError(f"{path} lasts {float(length):.2f} s and the clip {float(wanted):.2f} s: {mend}.")
    half = Fraction(1, 2)
    return [max(0, bisect_right(starts, (t + half) / rate) - 1) for t in range(frames)]


def _stored(path: Path) -> tuple[Keypoints, Fraction]:
    """What a pose file holds: keypoints, zeros where unseen, and frames a second."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            keypoints = np.asarray(arrays["keypoints"], np.float32)
            fps = float(arrays["fps"])
    except Exception as error:  # a damaged archive raises whatever its reader stumbles over
        raise InputError(
            f"{path} is not a pose file, or is damaged: give an .npz with keypoints (F, {POINTS}, 3) and fps, or a "
            "video."
        ) from error
    if keypoints.shape[1:] != (POINTS, 3) or not len(keypoints):
        raise InputError(
            f"The keypoints in {path} have the shape {keypoints.shape}: write them as (F, {POINTS}, 3), x, y and "
            "seen of each."
        )
    if not np.isfinite(keypoints).all():
        raise InputError(
            f"{path} holds keypoints that are not finite numbers (NaN or infinite): write 0, 0, 0 for points that "
            "are not seen."
        )
    rate = frame_rate(fps) if 0 < fps < math.inf else Fraction(0)
    if not rate:
        raise InputError(f"The fps in {path} is {fps:g}: write the number of frames a second, above 0.")
    seen = keypoints[..., 2:] > 0.5
    keypoints[..., 2:] = 1
    return np.where(seen, keypoints, np.float32(0)), rate


def _starts(path: Path) -> list[Fraction]:
    """Seconds at which each picture of a video appears, from the first one's."""
    with closing(_pictures(path)) as pictures:
        times = [time for time, _ in pictures]
    if not times:
        raise InputError(f"{path} holds no picture that can be decoded: give another video.")
    return [time - times[0] for time in times]


def _found(path: Path, shown: Sequence[int]) -> Keypoints:
    """The keypoints in the pictures of these numbers."""
    wanted = set(shown)
    rows: dict[int, np.ndarray] = {}
    near = None
    with closing(_pictures(path)) as pictures:
        chosen = ((i, picture) for i, (_, picture) in enumerate(pictures) if i in wanted)
        for i, picture in track(chosen, "Reading the pose", total=len(wanted)):
            try:
                person = find_landmarks(_upright(picture), near=near)
            except InputError:  # no face in this picture that could be followed
                rows[i] = np.zeros((POINTS, 3), np.float32)
                continue
            x, y = person.face[:, :2].mean(axis=0).tolist()
            near = (x, y)
            rows[i] = keypoints_of(person)
    return np.stack([rows[i] for i in shown])


def _upright(picture: VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
    """A picture as a player shows it: a phone held upright records lying pictures, and by how much."""
    turned = np.rot90(picture.to_ndarray(format="rgb24"), round(picture.rotation / 90))
    return np.ascontiguousarray(turned)


def _pictures(path: Path) -> Generator[tuple[Fraction, VideoFrame]]:
    """The pictures of a video in the order in which they are shown, and the time of each in seconds."""
    from av.error import EOFError as EndOfFile
    from av.error import FFmpegError
    from av.stream import Disposition

    time = Fraction(0)
    with open_container(path) as container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise InputError(
                f"{path} has no moving pictures: give a video of a person, or a pose file (.npz)."
            )
        stream = streams[0]
        stream.thread_type = "AUTO"
        try:
            for picture in container.decode(stream):
                if picture.pts is not None and picture.time_base is not None:
                    time = picture.pts * picture.time_base
                    yield time, picture
        except EndOfFile:
            return
        except FFmpegError as error:
            raise InputError(
                f"{path} is damaged after {float(time):.1f} s: export it again, or cut it before that."
            ) from error
