"""Everything that a photo tells about the person who will speak."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from vivavoce.errors import InputError
from vivavoce.features.body import Body, Side, find_body, find_hands
from vivavoce.features.face import Face, find_faces, mesh_again
from vivavoce.features.matte import refine
from vivavoce.features.segment import person_prior
from vivavoce.features.solutions import to_uint8

_WORKING_SIZE, _WORKING_FACE = 1024, 140  # pixels of the longer side, or of the face where that is more
_WORKING_AREA = 4_000_000


@dataclass(frozen=True)
class Landmarks:
    """The points of a person in a picture, in its pixels, as in `Portrait`."""

    face: Float32[np.ndarray, "478 3"]
    body: Float32[np.ndarray, "33 4"] | None
    hands: dict[Side, Float32[np.ndarray, "21 3"]]
    size: tuple[int, int]
    """Width and height of the picture."""


@dataclass(frozen=True)
class Portrait:
    """A photo and the person in it who speaks.

    All landmarks are x right, y down, z away from the camera, in pixels of `image` (continuous: the first
    pixel's centre is at 0.5, 0.5), and may lie outside it. All z count from one plane, near the face.
    """

    image: Float32[np.ndarray, "H W 3"]
    crop: tuple[int, int, int, int]
    """(x0, y0, x1, y1) in pixels: the part of the photo that belongs in the video."""
    face: Float32[np.ndarray, "478 3"]
    """mediapipe's face mesh with irises."""
    body: Float32[np.ndarray, "33 4"] | None
    """BlazePose's points, with their visibility in [0, 1] as the fourth column."""
    hands: dict[Side, Float32[np.ndarray, "21 3"]]
    """By the person's own side; a hand that is not seen is absent."""
    matte: Float32[np.ndarray, "H W"]
    """The share of each pixel that is the person, in [0, 1]."""
    faces_found: int
    notes: tuple[str, ...]
    """What the user should know about the choices that were made, a sentence each."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        height, width = self.image.shape[:2]
        return width, height


def analyze(
    photo_image: Float32[np.ndarray, "H W 3"],
    alpha: Float32[np.ndarray, "H W"] | None = None,
    *,
    face: int | None = None,
) -> Portrait:
    """Find the person in a photo: RGB in [0, 1], its alpha channel when it has one (it becomes the matte).

    `face` chooses among several, counted from the left, from 1; by default the largest speaks.
    Raises InputError when there is no face fit to speak, none of that number, or a transparent one.
    """
    pixels = to_uint8(photo_image)
    faces = find_faces(pixels)
    index, notes = _choose(faces, face)
    found = _search(pixels, faces, index)
    height, width = photo_image.shape[:2]
    if alpha is None or alpha.min() > 0.99:
        matte = refine(
            photo_image,
            person_prior(found.small, found.person, found.body, found.hands, found.others),
            found.chosen,
        )
    else:
        matte = _checked(alpha, found.chosen)
    landmarks = found.landmarks((width, height))
    return Portrait(
        image=photo_image,
        crop=(0, 0, width, height),
        face=landmarks.face,
        body=landmarks.body,
        hands=landmarks.hands,
        matte=matte,
        faces_found=len(faces),
        notes=notes,
    )


def find_landmarks(
    image: UInt8[np.ndarray, "H W 3"], *, near: tuple[float, float] | None = None
) -> Landmarks:
    """The person in a picture as `analyze` finds them, without the cost of a matte.

    It is the one whose face is largest, or nearest to `near` (x, y in pixels), where that is given: so that one
    of several people can be followed. Raises InputError when there is no face fit to speak.
    """
    faces = find_faces(image)
    index, _ = _choose(faces, None)
    if near is not None:
        index = min(range(len(faces)), key=lambda i: math.dist(faces[i].center, near))
    height, width = image.shape[:2]
    return _search(image, faces, index).landmarks((width, height))


class _Found(NamedTuple):
    """What was found; all but `chosen` in pixels of `small`, the picture `scale` times as large."""

    chosen: Face
    small: UInt8[np.ndarray, "h w 3"]
    scale: float
    person: Face
    others: list[Face]
    body: Body | None
    hands: dict[Side, Float32[np.ndarray, "21 3"]]

    def landmarks(self, size: tuple[int, int]) -> Landmarks:
        """In pixels of the whole picture, of that width and height."""
        full = np.array([self.scale, self.scale, self.scale, 1], np.float32)
        return Landmarks(
            face=self.chosen.landmarks,
            body=None if self.body is None else self.body.landmarks / full,
            hands={side: points / np.float32(self.scale) for side, points in self.hands.items()},
            size=size,
        )


def _search(pixels: UInt8[np.ndarray, "H W 3"], faces: tuple[Face, ...], index: int) -> _Found:
    import cv2

    height, width = pixels.shape[:2]
    chosen = mesh_again(pixels, faces[index])
    # Body, hands and the rough matte gain nothing from more pixels than these.
    wanted = max(_WORKING_SIZE / max(height, width), _WORKING_FACE / chosen.height)
    scale = min(1.0, wanted, (_WORKING_AREA / (height * width)) ** 0.5)
    small = pixels
    if scale < 1:
        small = cv2.resize(
            pixels, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA
        )
    person, *others = (f.scaled(scale) for f in (chosen, *faces[:index], *faces[index + 1 :]))
    body = find_body(small, person, others)
    hands = find_hands(small, person, body)
    return _Found(chosen, small, scale, person, others, body, hands)


def _checked(alpha: Float32[np.ndarray, "H W"], face: Face) -> Float32[np.ndarray, "H W"]:
    """The photo's own matte, if it shows the face."""
    last = np.array(alpha.shape[::-1]) - 1
    x, y = face.landmarks[:, :2].astype(int).clip(0, last).T
    shown = float(alpha[y, x].mean())
    if shown < 0.5:
        raise InputError(
            f"The photo's transparency hides {1 - shown:.0%} of the face: use a photo in which the face is opaque."
        )
    return alpha.clip(0, 1)


def _choose(faces: tuple[Face, ...], number: int | None) -> tuple[int, tuple[str, ...]]:
    """The index of the face that speaks, and what to tell the user about it."""
    if number is None:
        index = max(range(len(faces)), key=lambda i: faces[i].height)
        if len(faces) == 1:
            return index, ()
        return index, (
            f"{len(faces)} faces found; the largest one (face {index + 1} from the left) speaks; "
            f"choose another with --face N.",
        )
    if not 1 <= number <= len(faces):
        found = "1 face was" if len(faces) == 1 else f"{len(faces)} faces were"
        raise InputError(f"There is no face {number}: {found} found, counted from the left starting at 1.")
    return number - 1, ()
