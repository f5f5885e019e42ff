"""What stands behind the person: the photo's own plate, a colour, another picture, or nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from vivavoce.errors import InputError
from vivavoce.splat.avatar import Avatar


def resolve_background(
    choice: str, avatar: Avatar, width: int, height: int
) -> Float32[np.ndarray, "H W 3"] | None:
    """The background at the frame's size, None for a transparent one.

    `choice` is "photo", "transparent", a colour by name or as #rrggbb, or the path of a picture, which is
    scaled to fill the frame. Raises InputError if it is none of these.
    """
    import cv2

    if choice == "transparent":
        return None
    if choice == "photo":
        shrinks = width < avatar.background.shape[1]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return np.clip(cv2.resize(avatar.background, (width, height), interpolation=how), 0, 1)
    if Path(choice).is_file():
        return _fill(choice, width, height)
    return np.broadcast_to(_color(choice), (height, width, 3)).astype(np.float32)


def _color(name: str) -> Float32[np.ndarray, " 3"]:
    from PIL import ImageColor

    try:
        return np.array(ImageColor.getrgb(name)[:3], np.float32) / 255
    except ValueError as error:
        raise InputError(
            f'The background "{name}" is neither photo, transparent, a colour such as white or #00ff00, '
            f"nor a picture that exists."
        ) from error


def _fill(path: str, width: int, height: int) -> Float32[np.ndarray, "H W 3"]:
    import cv2

    from vivavoce.media.image import read_photo

    image = read_photo(Path(path)).image
    h, w = image.shape[:2]
    k = max(width / w, height / h)
    size = (max(width, round(w * k)), max(height, round(h * k)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if k < 1 else cv2.INTER_CUBIC)
    x, y = (size[0] - width) // 2, (size[1] - height) // 2
    return np.ascontiguousarray(np.clip(image[y : y + height, x : x + width], 0, 1))
