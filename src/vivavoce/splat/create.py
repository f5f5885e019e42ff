"""PATH 1: a photo becomes an avatar folder."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from vivavoce.errors import OutputError
from vivavoce.features.joints import smplx_joints
from vivavoce.features.matte import foreground_colors
from vivavoce.features.plate import background_plate
from vivavoce.features.portrait import Portrait, analyze
from vivavoce.media.image import read_photo
from vivavoce.splat.avatar import EPS2D, Avatar, quats_and_scales, save_avatar
from vivavoce.splat.fit import fit_colors, fit_opacities
from vivavoce.splat.layers import KINDS
from vivavoce.splat.lift import Lifted, lift_layers, make_lift
from vivavoce.splat.rasterize.cpu import CpuRasterizer
from vivavoce.splat.reconstruct import Canvas, reconstruct
from vivavoce.splat.skinning import rest_positions
from vivavoce.types import Camera, Gaussians

SHORT_SIDE = 512
"""Pixels of the canvas an avatar is built on; smaller photos keep their own size."""

PAD = 24
"""Pixels of picture continued beyond each edge of the canvas, so that a moving body shows no border."""


def create_avatar(photo: Path, out: Path, *, face: int | None = None) -> Path:
    """Make an avatar of the person in `photo` and write it to the folder `out`; returns `out`.

    `face` chooses among several people, counted from the left, from 1; by default the largest face speaks.
    Raises InputError for a photo that cannot be used and OutputError for a folder that cannot be written.
    """
    photo, out = Path(photo), Path(out)
    check_avatar_target(out)
    picture = read_photo(photo)
    portrait = analyze(picture.image, picture.alpha, face=face)
    for note in portrait.notes:
        warnings.warn(note, stacklevel=1)
    avatar = build_avatar(portrait, photo_sha256=picture.sha256)
    _write(avatar, out)
    return out


def build_avatar(portrait: Portrait, *, photo_sha256: str = "") -> Avatar:
    """Reconstruct the person of a portrait and fit the colours to it."""
    canvas, width, height = make_canvas(portrait)
    built = reconstruct(canvas)
    lift = make_lift(width, height, canvas.pad, built.rig.frame.millimetre)
    lifted = _fitted(canvas, lift_layers(built.layers, lift), lift.camera)
    quats, scales = quats_and_scales(lifted.covariances)
    rest = np.concatenate([rest_positions(built.sheet, built.rig.skeleton), built.rig.tongue[None]])
    return Avatar(
        gaussians=Gaussians(lifted.means, quats, scales, lifted.opacities, lifted.colors),
        covariances=lifted.covariances,
        kinds=lifted.kinds,
        binding=lifted.binding,
        rig=built.rig,
        lift=lift,
        rest=rest.astype(np.float32),
        particles=tuple(built.particles),
        background=_background(portrait),
        photo_sha256=photo_sha256,
        notes=portrait.notes,
    )


def make_canvas(portrait: Portrait) -> tuple[Canvas, int, int]:
    """The portrait at working resolution with padded edges, and its size without them (pixels)."""
    import cv2

    h, w = portrait.matte.shape
    k = min(1.0, SHORT_SIDE / min(h, w))
    size = (max(2, round(w * k / 2) * 2), max(2, round(h * k / 2) * 2))
    scale = np.array([size[0] / w, size[1] / h, (size[0] / w * size[1] / h) ** 0.5])

    def small(array: np.ndarray) -> np.ndarray:
        return cv2.resize(array, size, interpolation=cv2.INTER_AREA)

    def padded(array: np.ndarray) -> np.ndarray:
        return np.pad(array, [(PAD, PAD), (PAD, PAD)] + [(0, 0)] * (array.ndim - 2), mode="symmetric")

    def points(array: np.ndarray) -> np.ndarray:
        return array[..., :3].astype(np.float64) * scale + np.array([PAD, PAD, 0.0])

    image, matte = small(portrait.image), small(portrait.matte)
    joints = {name: points(np.asarray(joint)) for name, joint in smplx_joints(portrait).items()}
    canvas = Canvas(
        image=padded(foreground_colors(image, matte)).astype(np.float32),
        matte=padded(matte).astype(np.float32),
        plate=padded(background_plate(image, matte)).astype(np.float32),
        face=points(portrait.face),
        hands=tuple(points(hand) for hand in portrait.hands.values()),
        joints=joints,
        pad=PAD,
    )
    return canvas, *size


VIEWS = ((0.0, 2.0), (0.5, 1.0))
"""Shifts of the picture in pixels, along both axes, that the colours are fitted to, and their weights.

One view alone would be met by colours that ring between the pixels, and shimmer as soon as the head moves.
"""


def _fitted(canvas: Canvas, lifted: Lifted, camera: Camera) -> Lifted:
    """Opacities that follow the matte and colours that give the photo, both on the padded canvas at rest."""
    import cv2

    h, w = canvas.matte.shape
    rasters = []
    for shift, _ in VIEWS:
        cx, cy = camera.cx + canvas.pad - shift, camera.cy + canvas.pad - shift
        rasters.append(CpuRasterizer(Camera(w, h, camera.focal, cx, cy), len(lifted.means), eps2d=EPS2D))
    means, covariances = lifted.means, lifted.covariances
    # What lies behind the skin is hidden by it, whatever the matte says there.
    front = lifted.kinds == KINDS.index("skin")
    fitted = fit_opacities(
        rasters[0], means, covariances, np.where(front, lifted.opacities, 0).astype(np.float32), canvas.matte
    )
    opacities = np.where(front, fitted, lifted.opacities).astype(np.float32)
    views = []
    for raster, (shift, weight) in zip(rasters, VIEWS, strict=True):
        raster.place(means, covariances, opacities, presorted=True)
        _, transmittance = raster.blend(lifted.colors)
        by = np.array([[1.0, 0, -shift], [0, 1, -shift]])
        image = cv2.warpAffine(
            canvas.image, by, (w, h), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        views.append((raster, image * (1.0 - transmittance[..., None]), weight))
    return replace(lifted, opacities=opacities, colors=fit_colors(views, lifted.colors))


def _background(portrait: Portrait) -> np.ndarray:
    """The plate behind the person at the photo's own resolution, at most 2048 pixels wide or high."""
    import cv2

    h, w = portrait.matte.shape
    k = min(1.0, 2048 / max(h, w))
    size = (max(1, round(w * k)), max(1, round(h * k)))
    image = cv2.resize(portrait.image, size, interpolation=cv2.INTER_AREA)
    return background_plate(image, cv2.resize(portrait.matte, size, interpolation=cv2.INTER_AREA))


def check_avatar_target(out: Path) -> None:
    """Raise OutputError where an avatar's folder would take the place of something else."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: an avatar is a folder, give another name with -o.")
    if out.is_dir() and any(out.iterdir()) and not (out / "avatar.json").is_file():
        raise OutputError(f"{out} is a folder with other things in it: give a new name with -o.")


def _write(avatar: Avatar, out: Path) -> None:
    """Write beside the target and move into place, so that there is a whole avatar or the one from before."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise OutputError(
            f"Cannot write the avatar to {out} ({error.strerror}): choose another place with -o."
        ) from error
    aside = fresh.with_name(f"{fresh.name}.old")
    try:
        save_avatar(avatar, fresh)
        fresh.chmod(0o755)
        if out.exists():
            out.rename(aside)
        fresh.rename(out)
    except OSError as error:
        if aside.exists():
            aside.rename(out)
        reason = error.strerror or error
        raise OutputError(
            f"Cannot write the avatar to {out} ({reason}): free some space or choose another place."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
