"""Pictures in and out: any common file to RGB in [0, 1], upright and in sRGB."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from vivavoce.errors import InputError
from vivavoce.media.files import check_readable, check_target, file_sha256, replacing
from vivavoce.media.provenance import Provenance, xmp_packet

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MIN_SIDE = 64
"""Pixels; nobody can be recognised in less."""
MAX_PIXELS = 120_000_000
"""Read from the header; the largest phone pictures that are not stitched have 108 million."""
_MILLIONS = MAX_PIXELS // 1_000_000
KEPT_PIXELS = 4096 * 4096
"""Larger pictures are reduced to about this many: no video is larger."""
_REFUSED_FORMATS = ("EPS", "WMF", "PDF", "GRIB", "HDF5", "BUFR", "MPEG")
"""Those that would start another program, or hold no pixels that Pillow decodes by itself."""
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


@dataclass(frozen=True)
class Photo:
    """A picture as the program sees it: upright, sRGB, channels in [0, 1]."""

    image: Float32[np.ndarray, "H W 3"]
    alpha: Float32[np.ndarray, "H W"] | None
    """None where every pixel is opaque; colours are not multiplied by it."""
    path: Path
    sha256: str


def read_photo(path: Path) -> Photo:
    """Read a picture file: any orientation, colour profile, palette, bit depth, grey or CMYK, alpha or none.

    Pictures of more than `KEPT_PIXELS` are reduced. Raises InputError if there is no such file, it holds no
    picture, is damaged, or has sides or an area outside of what can be used.
    """
    check_readable(path, "photo")
    _refuse_heic(path)
    sha256 = file_sha256(path)
    with _open(path) as picture:
        _check_size(path, *picture.size)
        try:
            image, alpha = _pixels(picture)
        except _DAMAGE as error:
            raise InputError(
                f"The photo {path} is damaged or cut off ({error}): give an intact copy."
            ) from error
    if alpha is not None and alpha.max() == 0:
        raise InputError(f"The photo {path} is fully transparent: give one that shows a person.")
    return Photo(image, alpha, path, sha256)


def write_png(
    path: Path,
    image: Float32[np.ndarray, "H W C"] | UInt8[np.ndarray, "H W C"],
    *,
    provenance: Provenance | None = None,
) -> None:
    """Write RGB or RGBA, floats in [0, 1] or bytes, and with it how the picture came about.

    Raises OutputError if it cannot be written; there is never half a file.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    check_target(path, (".png",))
    text = PngInfo()
    if provenance is not None:
        text.add_itxt("Comment", provenance.to_json())
        text.add_itxt("XML:com.adobe.xmp", xmp_packet())
    if image.dtype != np.uint8:
        image = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, pnginfo=text)


def _refuse_heic(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"heif", b"hevc", b"mif1", b"msf1"):
        raise InputError(f"{path} is a HEIC photo, which cannot be read here: save it as JPEG or PNG first.")


def _open(path: Path) -> Picture:
    """The file with its header read and nothing decoded."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own bound is checked next
            picture = Image.open(path)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"The photo {path} has far more than {_MILLIONS} million pixels: reduce it to that many."
        ) from error
    except Image.UnidentifiedImageError as error:
        if _starts_as_picture(path):
            raise InputError(f"The photo {path} is damaged or cut off: give an intact copy.") from error
        raise InputError(
            f"{path} is not a picture that can be read: give a JPEG, PNG, WebP or TIFF."
        ) from error
    except _DAMAGE as error:
        raise InputError(f"The photo {path} is damaged or cut off ({error}): give an intact copy.") from error
    if picture.format in _REFUSED_FORMATS:
        raise InputError(f"{path} is a {picture.format} file, not a photo: give a JPEG, PNG, WebP or TIFF.")
    return picture


def _starts_as_picture(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    return head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*")) or head[8:] == b"WEBP"


def _check_size(path: Path, width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise InputError(
            f"The photo {path} is {width}x{height} pixels: the shorter side must have at least {MIN_SIDE}."
        )
    if width * height > MAX_PIXELS:
        raise InputError(
            f"The photo {path} is {width}x{height} pixels: reduce it to at most {_MILLIONS} million."
        )


def _pixels(picture: Picture) -> tuple[Float32[np.ndarray, "H W 3"], Float32[np.ndarray, "H W"] | None]:
    from PIL import ImageOps

    shrink = max(1.0, (picture.width * picture.height / KEPT_PIXELS) ** 0.5)
    if shrink > 1:  # a JPEG decodes faster at a half or a quarter; never below the size asked for
        picture.draft(None, (round(picture.width / shrink), round(picture.height / shrink)))
    upright = ImageOps.exif_transpose(picture)
    if upright.mode[0] in "IF":  # I;16, I, F: grey of more than 8 bits
        grey = _to_array(_deep_grey(upright))
        return np.repeat(grey[..., None], 3, axis=2), None
    alpha = None
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        alpha = _to_array(upright.getchannel("A"))
    image = _to_array(_to_srgb(upright))
    return image, None if alpha is None or alpha.min() == 1 else alpha


def _deep_grey(picture: Picture) -> Picture:
    """Grey of 16 or 32 bits or floating point as floats in [0, 1]."""
    from PIL import Image

    values = np.nan_to_num(np.asarray(picture).astype(np.float32), posinf=0.0, neginf=0.0)
    white = 1.0 if picture.mode == "F" else 65535.0
    return Image.fromarray((values / max(white, float(values.max()))).clip(0, 1))


def _to_srgb(picture: Picture) -> Picture:
    """Any colour mode of 8 bits a channel to RGB, by the picture's own profile where it has a usable one."""
    from PIL import ImageCms

    embedded = picture.info.get("icc_profile")
    if picture.mode not in ("RGB", "L", "CMYK", "LAB"):
        picture = picture.convert("RGB")
    try:
        if picture.mode == "LAB":
            profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif embedded:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        else:
            return picture.convert("RGB")
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return picture.convert("RGB")
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, profile, target, outputMode="RGB") or picture.convert("RGB")
    except (ImageCms.PyCMSError, OSError):  # a broken profile, or one for another colour mode
        return picture.convert("RGB")


def _to_array(picture: Picture) -> np.ndarray:
    """Channels in [0, 1], with at most about `KEPT_PIXELS` pixels."""
    from PIL import Image

    shrink = (picture.width * picture.height / KEPT_PIXELS) ** 0.5
    if shrink > 1:
        size = (max(1, round(picture.width / shrink)), max(1, round(picture.height / shrink)))
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    values = np.asarray(picture, np.float32)
    return values if picture.mode == "F" else values / np.float32(255)
