"""Roughly where one person is in a photo: what the networks see, and then what the colours say.

The networks see people well and furniture badly: a table before someone, a chair behind, a microphone count
as half human. So their vote is corrected by colour and place: each pixel is compared with those that surely
are the person, along the bones that were found, and with those that surely are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from vivavoce.features.body import Body, Side
from vivavoce.features.face import Face, square_crop
from vivavoce.features.solutions import run

_SEGMENT_SIZE = 256
_COLOR_GRID = 192  # pixels of the longer side on which colours are compared
_SEEDS = 2500  # of either kind; more change nothing that can be seen
_COLOR_UNIT = 8.0  # CIELAB units that weigh as much as ...
_PLACE_UNIT = 0.7  # ... this many face heights
_COLOR_WEIGHT = 5.0  # logits for a unit of distance
_SHOULDERS, _HIPS = [11, 12], [23, 24]  # among BlazePose's points
_ARM_BONES = ((11, 13), (13, 15), (12, 14), (14, 16))
_PALM = [0, 1, 5, 9, 13, 17]  # among a hand's points
_FINGER_BONES = [joint for joint in range(1, 20) if joint % 4]  # each to the next


def person_prior(
    image: UInt8[np.ndarray, "H W 3"],
    face: Face,
    body: Body | None,
    hands: Mapping[Side, Float32[np.ndarray, "21 3"]],
    others: Sequence[Face],
) -> Float32[np.ndarray, "H W"]:
    """How likely each pixel is the person's, in [0, 1]; right up to a few hundredths of the face's height."""
    prior = _votes(image, face, body)
    if others:
        prior *= _territory(prior.shape, face, others)
    prior = _connected(prior, face)
    prior = _corrected(image, prior, face, _core(prior.shape, face, body, hands))
    return _connected(prior, face)


def _votes(image: UInt8[np.ndarray, "H W 3"], face: Face, body: Body | None) -> Float32[np.ndarray, "H W"]:
    """The mean of the networks' answers: on whole picture, person and head, and the body's own."""
    height, width = image.shape[:2]
    x, y = face.center
    whole = _fitted((width / 2, height / 2), float(max(width, height)), image.shape)
    person = _fitted((x, y + 1.8 * face.height), 7 * face.height, image.shape)
    head = _fitted((x, y - 0.1 * face.height), 3.2 * face.height, image.shape)
    # Someone small in a large picture is a few pixels to the network, and something else is the person to it.
    large = float(np.clip((face.height / whole[1] - 0.08) / 0.05, 0, 1))
    total, weight = np.zeros((2, height, width), np.float32)
    for square, model, trust in ((whole, 0, large), (whole, 1, large), (person, 0, 1.0), (person, 1, 0.5)):
        if trust > 0:
            here = trust * _inside(image.shape, *square)
            total += here * _segment(image, *square, model=model)
            weight += here
    if body is not None:
        total, weight = total + body.matte, weight + 1
    # In a crop of its own the head fills the network's grid, so that the hair is seen four times finer.
    near = 0.5 * _inside(image.shape, *head)
    return (1 - near) * total / np.maximum(weight, 1e-3) + near * _segment(image, *head, model=0)


def _fitted(
    center: tuple[float, float], side: float, shape: tuple[int, ...]
) -> tuple[tuple[float, float], float]:
    """The square moved and shrunk so that little of it lies outside of the picture."""
    side = min(side, 1.3 * min(shape[:2]), float(max(shape[:2])))
    x, y = (
        float(np.clip(c, side / 2, n - side / 2)) if side < n else n / 2
        for c, n in zip(center, shape[1::-1], strict=True)
    )
    return (x, y), side


def _segment(
    image: UInt8[np.ndarray, "H W 3"], center: tuple[float, float], side: float, *, model: int
) -> Float32[np.ndarray, "H W"]:
    import cv2

    crop, to_image = square_crop(image, center, side, size=_SEGMENT_SIZE)
    mask = run("selfie_segmentation", crop, model_selection=model).segmentation_mask.astype(np.float32)
    to_image[:, 2] += to_image[:, :2] @ (0.5, 0.5) - 0.5  # OpenCV counts from pixel centres
    return cv2.warpAffine(
        mask, to_image, image.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def _inside(shape: tuple[int, ...], center: tuple[float, float], side: float) -> Float32[np.ndarray, "H W"]:
    """1 well inside a square, falling to 0 at its edge where the picture goes on."""
    falls = []
    for middle, length in zip(center, shape[1::-1], strict=True):
        to_edge = side / 2 - np.abs(np.arange(length) + 0.5 - middle)
        outward = np.arange(length) + 0.5 - middle
        cut = np.where(outward < 0, middle - side / 2 <= 0, middle + side / 2 >= length)
        falls.append(np.where(cut, 1, (to_edge / (0.1 * side)).clip(0, 1)))
    return np.minimum(falls[0], falls[1][:, None]).astype(np.float32)


def _territory(shape: tuple[int, ...], face: Face, others: Sequence[Face]) -> Float32[np.ndarray, "H W"]:
    """Around 1 where this person is nearer than the others, from head and trunk, in head sizes."""
    y, x = np.ogrid[: shape[0], : shape[1]]

    def distance(person: Face) -> np.ndarray:
        cx, cy = person.center
        size = person.height
        below = ((y - cy) / size).clip(0, 5)
        across = np.abs(x - cx) / (0.8 * size * (1 + 0.6 * below.clip(0, 1.5)))
        return np.hypot(across, ((y - cy) / size - below) / 0.9)

    rival = np.min([distance(other) for other in others], axis=0)
    return (0.5 + 4 * (rival - distance(face))).clip(0, 1).astype(np.float32)


def _connected(prior: Float32[np.ndarray, "H W"], face: Face) -> Float32[np.ndarray, "H W"]:
    """The prior of the pieces that hang together with the face, and of others of some size."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats((prior > 0.5).astype(np.uint8))
    column, row = (int(np.clip(v, 0, n - 1)) for v, n in zip(face.center, prior.shape[::-1], strict=True))
    main = labels[row, column]
    large = [i for i in range(1, count) if i == main or stats[i, cv2.CC_STAT_AREA] > 0.3 * face.height**2]
    wide = round(0.06 * face.height) | 1
    return prior * cv2.dilate(np.isin(labels, large).astype(np.uint8), np.ones((wide, wide), np.uint8))


def _core(
    shape: tuple[int, ...],
    face: Face,
    body: Body | None,
    hands: Mapping[Side, Float32[np.ndarray, "21 3"]],
) -> Bool[np.ndarray, "H W"]:
    """Where the person must be, whatever the colours: the face, and along the bones that were found."""
    import cv2

    core = np.zeros(shape, np.uint8)
    bones: list[np.ndarray] = []
    areas = [cv2.convexHull(face.landmarks[:, :2].astype(np.int32))]
    for hand in hands.values():
        areas.append(hand[_PALM, :2])
        bones += [hand[[joint, joint + 1], :2] for joint in _FINGER_BONES]
    if body is not None:
        points = body.landmarks[:, :2]
        shoulders, hips = points[_SHOULDERS], points[_HIPS]
        # Not down to the hips: they are a guess when a table hides them.
        areas.append(np.vstack([shoulders, (0.35 * shoulders + 0.65 * hips)[::-1]]))
        seen = body.landmarks[:, 3] > 0.5
        bones += [points[list(ends)] for ends in _ARM_BONES if seen[list(ends)].all()]
    for area in areas:
        cv2.fillConvexPoly(core, area.astype(np.int32), (1,))
    width = max(1, round(0.07 * face.height))  # of a finger, that of an arm is more
    cv2.polylines(core, [bone.astype(np.int32) for bone in bones], False, (1,), width)
    return core > 0


def _corrected(
    image: UInt8[np.ndarray, "H W 3"],
    prior: Float32[np.ndarray, "H W"],
    face: Face,
    core: Bool[np.ndarray, "H W"],
) -> Float32[np.ndarray, "H W"]:
    """The prior in logits, plus how much nearer a pixel is to the person's colours than to the others'."""
    import cv2
    from scipy.spatial import KDTree

    scale = min(1.0, _COLOR_GRID / max(prior.shape))
    size = (max(1, round(prior.shape[1] * scale)), max(1, round(prior.shape[0] * scale)))
    likely = cv2.resize(prior, size, interpolation=cv2.INTER_AREA)
    sure = cv2.resize(core.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.9
    lab = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    place = np.stack([x, y], axis=-1) / (face.height * scale * _PLACE_UNIT)
    # Lightness counts half: shade differs more within a person than hue; OpenCV spreads it over 255.
    features = np.concatenate([lab * np.array([0.4 * 0.5, 1, 1]) / _COLOR_UNIT, place], axis=-1)
    head = np.hypot(x - face.center[0] * scale, y - face.center[1] * scale) < 1.2 * face.height * scale
    away, within = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, 3) / (face.height * scale)
        for side in (likely < 0.5, likely > 0.98)
    )
    inside = (sure & (likely > 0.8)) | (head & (likely > 0.95)) | (within > 0.5)
    outside = (likely < 0.05) | ((likely < 0.35) & (away > 0.2))
    asked = (likely > 0.02) & ~sure
    if not (inside.any() and outside.any() and asked.any()):
        return prior
    rng = np.random.default_rng(0)
    from_others, from_person = (
        KDTree(rng.permutation(features[seeds])[:_SEEDS]).query(features[asked], k=3)[0].mean(axis=1)
        for seeds in (outside, inside)
    )
    nearer = np.zeros(likely.shape, np.float32)
    nearer[asked] = from_others - from_person
    nearer = cv2.medianBlur(nearer, 5)  # a dark fold is no background
    nearer = cv2.resize(nearer, prior.shape[::-1], interpolation=cv2.INTER_LINEAR)
    bounded = prior.clip(0.03, 0.97)
    logits = np.log(bounded / (1 - bounded)) + _COLOR_WEIGHT * nearer.clip(-1.5, 1.5)
    corrected = np.where(core, np.maximum(prior, 0.99), 1 / (1 + np.exp(-logits))).astype(np.float32)
    return _without_holes(corrected, prior)


def _without_holes(
    corrected: Float32[np.ndarray, "H W"], prior: Float32[np.ndarray, "H W"]
) -> Float32[np.ndarray, "H W"]:
    """A badge or a tie of an odd colour is no hole: only what reaches the background may be taken away."""
    import cv2

    _, labels = cv2.connectedComponents((corrected <= 0.5).astype(np.uint8))
    open_ones = np.isin(labels, np.unique(labels[prior < 0.4]))
    return np.where(open_ones, corrected, np.maximum(corrected, prior))
