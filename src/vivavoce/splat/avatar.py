"""An avatar on disk: `canonical.ply`, `rig.safetensors`, `background.png`; `avatar.json` vouches for them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from vivavoce.errors import InputError
from vivavoce.media.files import file_sha256
from vivavoce.splat.faceframe import FaceFrame
from vivavoce.splat.lift import Lift
from vivavoce.splat.lips import LipModel
from vivavoce.splat.mouth import is_colored
from vivavoce.splat.ply import read_ply, write_ply
from vivavoce.splat.rasterize import covariance_from_quats_scales
from vivavoce.splat.rig import Rig
from vivavoce.splat.skeleton import Skeleton
from vivavoce.types import Binding, Camera, Gaussians

FORMAT = 2

EPS2D = 0.05
"""Low-pass of the rasteriser, px^2: Gaussians of a pixel's size need less than free-view scenes' 0.3."""

_FILES = ("canonical.ply", "rig.safetensors", "background.png")


@dataclass(frozen=True)
class Avatar:
    """A person who can be driven: Gaussians at rest, sorted front to back, and what moves them."""

    gaussians: Gaussians
    covariances: Float32[np.ndarray, "N 6"]
    kinds: Int32[np.ndarray, " N"]
    """Index into layers.KINDS; the Gaussians of a kind are contiguous."""
    binding: Binding
    rig: Rig
    lift: Lift
    rest: Float32[np.ndarray, "M 3"]
    """Rest positions of the particles in canvas space."""
    particles: tuple[str, ...]
    background: Float32[np.ndarray, "H W 3"]
    photo_sha256: str
    notes: tuple[str, ...] = ()

    @cached_property
    def colored(self) -> bool:
        """Whether the person's photo has colours."""
        return is_colored(self.background) or is_colored(self.gaussians.colors)


def save_avatar(avatar: Avatar, folder: Path) -> None:
    """Write the avatar's files into an existing folder; `avatar.json` comes last."""
    from PIL import Image
    from safetensors.numpy import save_file

    write_ply(folder / "canonical.ply", avatar.gaussians)
    rig, frame, lips = avatar.rig, avatar.rig.frame, avatar.rig.lips
    save_file(
        {
            "binding.indices": avatar.binding.indices,
            "binding.weights": avatar.binding.weights,
            "binding.gradients": avatar.binding.gradients,
            "kinds": avatar.kinds,
            "rest": avatar.rest,
            "rig.vertices": rig.vertices,
            "rig.spread": rig.spread,
            "rig.jaw": rig.jaw,
            "rig.skin": rig.skin,
            "rig.tongue": rig.tongue,
            "skeleton.positions": rig.skeleton.positions,
            "lips.rest": lips.rest,
            "frame.axes": np.ascontiguousarray(frame.axes),
            "frame.mouth": frame.mouth,
        },
        folder / "rig.safetensors",
    )
    plate = (np.clip(avatar.background, 0, 1) * 255 + 0.5).astype(np.uint8)
    Image.fromarray(plate).save(folder / "background.png")
    description = {
        "format": FORMAT,
        "photo_sha256": avatar.photo_sha256,
        "notes": list(avatar.notes),
        "gaussians": len(avatar.gaussians),
        "particles": list(avatar.particles),
        "camera": asdict(avatar.lift.camera),
        "pad": avatar.lift.pad,
        "metre": avatar.lift.metre,
        "face": {k: getattr(frame, k) for k in ("height", "millimetre", "mouth_width", "gap")},
        "lips": {k: getattr(lips, k) for k in ("width", "photo_width")},
        "brows": rig.brows,
        "joints_seen": sorted(rig.skeleton.seen),
        "sha256": {name: file_sha256(folder / name) for name in _FILES},
    }
    (folder / "avatar.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def load_avatar(folder: Path) -> Avatar:
    """Read an avatar folder.

    Raises InputError if it is no avatar, a file is missing or altered, or it was made in another format.
    """
    description = read_description(folder)
    for name in _FILES:
        if not (folder / name).is_file():
            raise InputError(f"The avatar {folder} lacks {name}: make it again with `vivavoce create`.")
        if file_sha256(folder / name) != description["sha256"].get(name):
            raise InputError(
                f"{folder / name} was altered since it was made: make it again with `vivavoce create`."
            )
    return _assemble(folder, description)


def read_description(folder: Path) -> dict:
    """The contents of `avatar.json`. Raises InputError if there is none, or none that this version reads."""
    path = folder / "avatar.json"
    if not path.is_file():
        raise InputError(
            f"{folder} is not an avatar (no avatar.json): make one with `vivavoce create PHOTO -o {folder}`."
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        version = description["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged ({error}): make the avatar again with `vivavoce create`."
        ) from error
    if version != FORMAT:
        raise InputError(f"{folder} has avatar format {version}, this version reads {FORMAT}: make it again.")
    if not isinstance(description.get("sha256"), dict):
        raise InputError(f"{path} is damaged (no checksums): make the avatar again with `vivavoce create`.")
    return description


def _assemble(folder: Path, d: dict) -> Avatar:
    from PIL import Image
    from safetensors.numpy import load_file

    t = load_file(folder / "rig.safetensors")
    gaussians = read_ply(folder / "canonical.ply")
    with Image.open(folder / "background.png") as picture:
        background = np.asarray(picture.convert("RGB"), np.float32) / 255
    try:
        frame = FaceFrame(axes=t["frame.axes"], mouth=t["frame.mouth"], **d["face"])
        rig = Rig(
            frame=frame,
            lips=LipModel(rest=t["lips.rest"], **d["lips"]),
            skeleton=Skeleton(t["skeleton.positions"], frozenset(d["joints_seen"])),
            vertices=t["rig.vertices"],
            spread=t["rig.spread"],
            jaw=t["rig.jaw"],
            skin=t["rig.skin"],
            tongue=t["rig.tongue"],
            brows=float(d["brows"]),
        )
        return Avatar(
            gaussians=gaussians,
            covariances=covariance_from_quats_scales(gaussians.quats, gaussians.scales),
            kinds=t["kinds"],
            binding=Binding(t["binding.indices"], t["binding.weights"], t["binding.gradients"]),
            rig=rig,
            lift=Lift(Camera(**d["camera"]), d["pad"], d["metre"]),
            rest=t["rest"],
            particles=tuple(d["particles"]),
            background=background,
            photo_sha256=d["photo_sha256"],
            notes=tuple(d["notes"]),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / 'avatar.json'} is damaged ({error}): make the avatar again.") from error


def quats_and_scales(
    covariances: Float32[np.ndarray, "N 6"],
) -> tuple[Float32[np.ndarray, "N 4"], Float32[np.ndarray, "N 3"]]:
    """The rotation (w, x, y, z) and standard deviations of covariances stored as xx xy xz yy yz zz."""
    from scipy.spatial.transform import Rotation

    full = covariances.astype(np.float64)[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    values, vectors = np.linalg.eigh(full)
    vectors[np.linalg.det(vectors) < 0, :, 0] *= -1
    quats = Rotation.from_matrix(vectors).as_quat()[:, [3, 0, 1, 2]]
    return quats.astype(np.float32), np.sqrt(np.maximum(values, 0)).astype(np.float32)
