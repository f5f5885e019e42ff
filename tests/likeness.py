"""A small avatar that tests can move in known ways: the astronaut's face, closely, on 118 x 108 pixels."""

import functools

import cv2
import numpy as np

from portraits import portrait
from vivavoce.features.portrait import analyze
from vivavoce.splat.animate import motion_of
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.backgrounds import resolve_background
from vivavoce.splat.controls import CHANNELS, INDEX
from vivavoce.splat.create import build_avatar
from vivavoce.splat.render import Renderer
from vivavoce.splat.topology import N_FACE
from vivavoce.types import Motion

WIDTH, HEIGHT = 118, 108


@functools.cache
def likeness() -> Avatar:
    picture = cv2.resize(portrait("close_up"), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return build_avatar(analyze(picture), photo_sha256="0" * 64)


def controls(**channels: float | np.ndarray) -> np.ndarray:
    """Tracks with these channels set; arrays make more than one frame."""
    frames = max([np.size(values) for values in channels.values()], default=1)
    tracks = np.zeros((frames, len(CHANNELS)), np.float32)
    for name, values in channels.items():
        tracks[:, INDEX[name]] = values
    return tracks


def acting(tracks: np.ndarray) -> tuple[Motion, np.ndarray]:
    """The rig's own motion, and how far it has moved the face's vertices in the head's frame, metres."""
    avatar = likeness()
    offsets = avatar.rig.vertex_offsets(tracks.astype(float))[:, :N_FACE] * avatar.lift.metre
    return motion_of(avatar, tracks, 25.0), offsets.astype(np.float32)


def shot(motion: Motion, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """The frames of a motion before the photo's background."""
    avatar = likeness()
    plate = resolve_background("photo", avatar, width, height)
    renderer = Renderer(avatar, width, height, background=plate, threads=1)
    frames = np.stack(list(renderer(motion)))
    renderer.close()
    return frames


def aperture(face: np.ndarray) -> np.ndarray:
    """Between the lips, in widths of the relaxed mouth, of faces whose vertices have moved by `face` metres."""
    rig, metre = likeness().rig, likeness().lift.metre
    upper, lower = (rig.vertices[v] + face[:, v] / metre for v in (13, 14))
    return (lower - upper) @ rig.frame.axes[1] / rig.lips.width


def degrees(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Between rotations (T, 3, 3), by their trace."""
    cosine = (np.einsum("tab,tab->t", found.astype(float), wanted) - 1) / 2
    return np.degrees(np.arccos(cosine.clip(-1, 1)))
