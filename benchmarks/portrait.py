"""Is the avatar at rest the photo, and does it stay whole when it moves?

    python benchmarks/portrait.py [--json FILE] [--quick]

At rest (identity transforms, all gains one, over the photo's own plate) the frame is compared with the photo
at the avatar's size: inside the person, on the face, and everywhere. Then head and mouth are posed, and the
deep inside of the person, moved along, is searched for pixels through which the background shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from common import Figure, parsed, publish, use_test_portraits
from vivavoce.features.portrait import Portrait, analyze
from vivavoce.splat.animate import motion_of
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.backgrounds import resolve_background
from vivavoce.splat.controls import CHANNELS, INDEX
from vivavoce.splat.create import build_avatar
from vivavoce.splat.layers import KINDS
from vivavoce.splat.render import Renderer
from vivavoce.splat.topology import OVAL
from vivavoce.types import Motion

use_test_portraits()

KIND = ("smile", "shut", "dark", "grey", "glasses", "beard")
TURN = np.deg2rad(12.0)
DEPTH = 5
"""Pixels from the edge of the person's opaque part that count as its deep inside."""
VISIBLE = 0.05
"""Share of background in a pixel from which it counts as a hole."""
CELL = 4


@dataclass(frozen=True)
class Subject:
    """An avatar beside the photo it was made of, at the avatar's size."""

    avatar: Avatar
    photo: Float32[np.ndarray, "H W 3"]
    matte: Float32[np.ndarray, "H W"]
    face: Bool[np.ndarray, "H W"]


def subject(kind: str) -> Subject:
    """The test portrait of that kind and its avatar."""
    from tests.portraits import portrait

    found = analyze(portrait(kind))
    avatar = build_avatar(found)
    size = (avatar.lift.camera.width, avatar.lift.camera.height)
    photo, matte = (cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in (found.image, found.matte))
    return Subject(avatar, photo, matte, _face(found, size))


def _face(portrait: Portrait, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """The pixels inside the mesh's outline."""
    h, w = portrait.matte.shape
    outline = portrait.face[list(OVAL), :2] * (size[0] / w, size[1] / h)
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], (1,))
    return mask.astype(bool)


def at_rest(avatar: Avatar) -> Float32[np.ndarray, "H W 3"]:
    """The frame in which nothing has moved, as bytes would show it."""
    width, height = avatar.lift.camera.width, avatar.lift.camera.height
    still = np.broadcast_to(np.eye(3, 4, dtype=np.float32), (1, len(avatar.rest), 3, 4))
    motion = Motion(25.0, np.ascontiguousarray(still), np.ones((1, len(KINDS), 3), np.float32))
    plate = resolve_background("photo", avatar, width, height)
    renderer = Renderer(avatar, width, height, background=plate)
    (frame,) = renderer(motion)
    renderer.close()
    return frame.astype(np.float32) / 255


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of values in [0, 1]."""
    return float(-10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2)))


def fidelity(s: Subject) -> dict[str, float]:
    """PSNR against the photo in dB, by region. `everywhere` owes nothing to the matte."""
    frame = at_rest(s.avatar)
    inside = {"person": s.matte > 0.9, "person_to_half": s.matte > 0.5, "face": s.face}
    figures = {name: psnr(frame[mask], s.photo[mask]) for name, mask in inside.items()}
    return figures | {"everywhere": psnr(frame, s.photo)}


def poses() -> dict[str, Float32[np.ndarray, " C"]]:
    """Controls of the extreme poses, by name."""
    wide = {"open": 1.0, "jaw": 1.0}
    named: dict[str, dict[str, float]] = {"mouth open": wide}
    for axis in ("yaw", "pitch", "roll"):
        for sign in (-1, 1):
            turn = {f"head_{axis}": sign * TURN}
            named[f"{axis} {sign * 12:+d}"] = turn
            named[f"{axis} {sign * 12:+d}, mouth open"] = turn | wide
    named["yaw +12, pitch +12"] = {"head_yaw": TURN, "head_pitch": TURN}
    named["yaw -12, pitch -12"] = {"head_yaw": -TURN, "head_pitch": -TURN}
    result = {}
    for name, values in named.items():
        result[name] = np.zeros(len(CHANNELS), np.float32)
        for channel, value in values.items():
            result[name][INDEX[channel]] = value
    return result


def moved_inside(s: Subject, transforms: Float32[np.ndarray, "M 3 4"]) -> Bool[np.ndarray, "H W"]:
    """Where the deep inside of the person at rest has gone.

    Cells of the picture at rest follow the nearest Gaussian of the skin and are drawn as the quadrilaterals
    that they become: a continuous skin must cover all of them, however far a cell is stretched.
    """
    from scipy.spatial import KDTree

    from vivavoce.splat.deform import deform

    a, camera = s.avatar, s.avatar.lift.camera
    skin = a.kinds == KINDS.index("skin")
    means, _ = deform(a.gaussians.means, a.covariances, a.binding, transforms)

    def project(points: np.ndarray) -> np.ndarray:
        return points[:, :2] / points[:, 2:] * camera.focal + (camera.cx, camera.cy)

    rest = project(a.gaussians.means[skin])
    shift = project(means[skin]) - rest
    deep = cv2.erode((s.matte > 0.98).astype(np.uint8), np.ones((2 * DEPTH + 1,) * 2, np.uint8))
    rows, columns = ((np.arange(0, n + 1, CELL)) for n in deep.shape)
    corners = np.stack(np.meshgrid(columns, rows), -1).astype(np.float64)
    _, nearest = KDTree(rest).query(corners.reshape(-1, 2))
    corners += shift[nearest].reshape(corners.shape)
    whole = deep[: len(rows) * CELL - CELL, : len(columns) * CELL - CELL]
    whole = whole.reshape(len(rows) - 1, CELL, len(columns) - 1, CELL).all((1, 3))
    mask = np.zeros_like(deep)
    for y, x in np.argwhere(whole):
        quad = corners[[y, y, y + 1, y + 1], [x, x + 1, x + 1, x]]
        cv2.fillConvexPoly(mask, np.round(quad - 0.5).astype(np.int32), (1,))
    return mask.astype(bool)


def holes(s: Subject) -> dict[str, dict[str, float]]:
    """For each pose the largest share of background in a pixel of the moved inside, and how many show it."""
    width, height = s.avatar.lift.camera.width, s.avatar.lift.camera.height
    renderer = Renderer(s.avatar, width, height, background=None)
    named = poses()
    motion = motion_of(s.avatar, np.stack(list(named.values())), 25.0)
    result = {}
    for name, transforms, frame in zip(named, motion.transforms, renderer(motion), strict=True):
        through = 1 - frame[..., 3][moved_inside(s, transforms)] / 255
        result[name] = {
            "largest": float(through.max()),
            "pixels": int((through > VISIBLE).sum()),
            "of": len(through),
        }
    renderer.close()
    return result


def figures(details: dict[str, dict]) -> list[Figure]:
    """The worst over the portraits of what is demanded."""

    def least(region: str) -> float:
        return min(d["psnr"][region] for d in details.values())

    leaks = [leak for d in details.values() for leak in d["holes"].values()]
    count = len(details)
    return [
        Figure(
            "Neutral frame against the photo, inside the person, astronaut",
            details["smile"]["psnr"]["person"],
            "dB",
            36,
        ),
        Figure("the same on the face", details["smile"]["psnr"]["face"], "dB", 38),
        Figure(f"the same inside the person, worst of {count} portraits", least("person"), "dB", 36),
        Figure(f"the same on the face, worst of {count} portraits", least("face"), "dB", 38),
        Figure(f"the same in the whole frame, worst of {count} portraits", least("everywhere"), "dB"),
        Figure(
            f"Background seen through the person, at most, {len(leaks)} poses (±12°, mouth open)",
            max(leak["largest"] for leak in leaks),
            "%",
            at_most=VISIBLE,
        ),
        Figure("Pixels of holes over all these poses", sum(leak["pixels"] for leak in leaks), at_most=0),
    ]


def main() -> None:
    options = parsed(__doc__, "only the astronaut")
    details = {}
    for kind in KIND[:1] if options.quick else KIND:
        s = subject(kind)
        details[kind] = {"gaussians": len(s.avatar.gaussians), "psnr": fidelity(s), "holes": holes(s)}
        regions = "  ".join(f"{name} {value:.1f} dB" for name, value in details[kind]["psnr"].items())
        worst = max(details[kind]["holes"].items(), key=lambda pose: pose[1]["largest"])
        print(f"{kind:8} {regions}  most see-through: {worst[0]} {worst[1]['largest']:.3f}", flush=True)
    publish(figures(details), details, options.json)


if __name__ == "__main__":
    main()
