"""Everything that a photo tells about the person who will speak."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from vivavoce.errors import InputError
from vivavoce.features.body import Side, find_body, find_hands
from vivavoce.features.face import Face, find_faces, mesh_again
from vivavoce.features.matte import refine
from vivavoce.features.segment import person_prior
from vivavoce.features.solutions import to_uint8

_WORKING_SIZE, _WORKING_FACE = 1024, 140  # pixels of the longer side, or of the face where that is more
_WORKING_AREA = 4_000_000


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
    import cv2

    pixels = to_uint8(photo_image)
    height, width = pixels.shape[:2]
    faces = find_faces(pixels)
    index, notes = _choose(faces, face)
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
    if alpha is None or alpha.min() > 0.99:
        matte = refine(photo_image, person_prior(small, person, body, hands, others), chosen)
    else:
        matte = _checked(alpha, chosen)
    return Portrait(
        image=photo_image,
        crop=(0, 0, width, height),
        face=chosen.landmarks,
        body=None if body is None else body.landmarks / np.array([scale, scale, scale, 1], np.float32),
        hands={side: points / np.float32(scale) for side, points in hands.items()},
        matte=matte,
        faces_found=len(faces),
        notes=notes,
    )


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
