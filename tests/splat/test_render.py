"""Frames of an avatar: at rest they are the photo, in motion only what speaks changes, each time the same."""

import dataclasses

import cv2
import numpy as np
import pytest

from vivavoce.splat import topology
from vivavoce.splat.animate import motion_of
from vivavoce.splat.backgrounds import resolve_background
from vivavoce.splat.layers import KINDS
from vivavoce.splat.render import Renderer
from vivavoce.types import Motion


def psnr(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    return float(-10 * np.log10(((one - other)[where] ** 2).mean()))


def frames_of(
    avatar, motion: Motion, *, size: int = 512, background: str = "photo", threads: int = 1
) -> np.ndarray:
    plate = resolve_background(background, avatar, size, size)
    renderer = Renderer(avatar, size, size, background=plate, threads=threads)
    frames = np.stack(list(renderer(motion)))
    renderer.close()
    return frames


@pytest.fixture(scope="module")
def rest(avatar) -> Motion:
    """One frame in which no particle moves: the photo's own pose."""
    still = np.broadcast_to(np.eye(3, 4, dtype=np.float32), (1, len(avatar.rest), 3, 4)).copy()
    return Motion(25.0, still, np.ones((1, len(KINDS), 3), np.float32))


@pytest.fixture(scope="module")
def lively(avatar, pose) -> Motion:
    """Five frames in which everything moves a little."""
    t = np.linspace(0, 1, 5)
    return motion_of(
        avatar,
        pose(open=t, jaw=t**2, head_yaw=0.1 * t, head_pitch=-0.05 * t, blink=t, gaze_x=0.1 * t, breath=t),
        25.0,
    )


def test_at_rest_the_frame_is_the_photo(avatar, portrait, rest):
    frame = frames_of(avatar, rest)[0].astype(np.float32) / 255
    face = np.zeros(portrait.matte.shape, np.uint8)
    cv2.fillPoly(face, [np.round(portrait.face[list(topology.OVAL), :2]).astype(np.int32)], (1,))
    assert psnr(frame, portrait.image, portrait.matte > 0.9) > 36
    assert psnr(frame, portrait.image, face > 0) > 38
    assert psnr(frame, portrait.image, portrait.matte < 0.01) > 36


def test_at_rest_alpha_is_the_matte(avatar, portrait, rest):
    frame = frames_of(avatar, rest, background="transparent")[0]
    assert frame.shape[2] == 4
    alpha = frame[..., 3].astype(np.float32) / 255
    miss = np.abs(alpha - portrait.matte)
    assert miss.mean() < 0.005
    assert miss[portrait.matte > 0.95].mean() < 0.01
    assert np.percentile(miss[(portrait.matte > 0.05) & (portrait.matte < 0.95)], 80) < 0.2
    assert alpha[portrait.matte > 0.99].min() > 0.8


def test_transparent_frames_laid_over_a_colour_are_the_frames_before_it(avatar, lively):
    """Straight alpha: colour is not darkened at soft edges."""
    green = np.array([0, 255, 0], np.float32)
    clear = frames_of(avatar, lively, background="transparent").astype(np.float32)
    before = frames_of(avatar, lively, background="#00ff00").astype(np.float32)
    alpha = clear[..., 3:] / 255
    miss = np.abs(clear[..., :3] * alpha + green * (1 - alpha) - before)
    assert miss.mean() < 0.3
    assert miss.max() < 6  # of 255: a colour fitted beyond white is cut off earlier


def test_the_same_motion_gives_the_same_bytes_on_any_number_of_threads(avatar, lively):
    first = frames_of(avatar, lively, size=256)
    np.testing.assert_array_equal(frames_of(avatar, lively, size=256), first)
    np.testing.assert_array_equal(frames_of(avatar, lively, size=256, threads=3), first)
    one_by_one = [
        frames_of(avatar, dataclasses.replace(lively, transforms=t[None], gains=g[None]), size=256)[0]
        for t, g in zip(lively.transforms, lively.gains, strict=True)
    ]
    np.testing.assert_array_equal(one_by_one, first)


def test_frames_of_another_size_show_the_same_picture(avatar, lively):
    large, small = (frames_of(avatar, lively, size=size)[2].astype(np.float32) for size in (512, 256))
    shrunk = cv2.resize(large, (256, 256), interpolation=cv2.INTER_AREA)
    assert psnr(small / 255, shrunk / 255, np.ones((256, 256), bool)) > 30


def test_gains_shade_their_kind_only(avatar, portrait, rest):
    lit = frames_of(avatar, rest, background="transparent")[0].astype(np.float32) / 255
    y, x = np.mgrid[: lit.shape[0], : lit.shape[1]] + 0.5
    irises = portrait.face[[topology.RIGHT_IRIS, topology.LEFT_IRIS], :2]
    apart = np.linalg.norm(irises[0] - irises[1])
    from_eyes = np.min([np.hypot(x - a, y - b) for a, b in irises], axis=0)
    gains = rest.gains.copy()
    gains[:, KINDS.index("eyes")] = 0
    blind = frames_of(avatar, dataclasses.replace(rest, gains=gains), background="transparent")[0] / 255
    change = ((lit - blind) ** 2).sum(2)
    assert change[from_eyes < 0.4 * apart].sum() > 0.99 * change.sum() > 1
    gains[:] = 0
    night = frames_of(avatar, dataclasses.replace(rest, gains=gains), background="transparent")[0] / 255
    assert not night[..., :3].any()
    for frame in (blind, night):
        np.testing.assert_allclose(frame[..., 3], lit[..., 3], atol=1e-6)


def squared_change(draw, **channels: float) -> np.ndarray:
    return ((draw(**channels) - draw()) ** 2).sum(2)


def distance_to_mouth(portrait) -> np.ndarray:
    """Of every pixel, in face heights."""
    h, w = portrait.matte.shape
    y, x = np.mgrid[:h, :w] + 0.5
    mouth = portrait.face[[13, 14], :2].mean(0)
    height = np.linalg.norm(portrait.face[topology.CHIN, :2] - portrait.face[topology.FOREHEAD, :2])
    return np.hypot(x - mouth[0], y - mouth[1]) / height


@pytest.mark.parametrize("channel", ["open", "jaw", "round", "wide", "press", "tuck"])
def test_speaking_changes_the_mouth_and_the_jaw_only(draw, portrait, channel):
    change = squared_change(draw, **{channel: 1.0})
    near = distance_to_mouth(portrait)
    assert change.sum() > 1
    assert change[near < 0.9].sum() > 0.99 * change.sum()
    assert change[near > 1.2].max() < 1e-4


def test_lowering_the_jaw_changes_nothing_above_the_nose(draw, portrait):
    change = squared_change(draw, open=1.0, jaw=1.0)
    above = np.zeros(change.shape, bool)
    above[: int(portrait.face[168, 1])] = True
    assert change[above].sum() < 1e-3 * change.sum()


def test_an_open_mouth_is_dark_and_shows_teeth(draw, portrait):
    upper, lower = portrait.face[13, :2], portrait.face[14, :2]
    opened = draw(open=1.0, jaw=1.0)
    x = int((upper[0] + lower[0]) / 2)
    width = np.linalg.norm(portrait.face[78] - portrait.face[308])
    column = opened[int(upper[1] - 2) : int(upper[1] + 0.6 * width), x - 1 : x + 2].mean((1, 2))
    assert column.max() > 0.55  # teeth
    assert column.min() < 0.3  # the dark behind them


def test_shut_lips_show_no_teeth(draw, portrait):
    """She smiles with bright teeth: none of that brightness is left between closed lips."""
    h, w = portrait.matte.shape
    hole = np.zeros((h, w), np.uint8)
    ring = portrait.face[[*topology.LIP_UPPER[0], *topology.LIP_LOWER[0][-2:0:-1]], :2]
    cv2.fillPoly(hole, [np.round(ring).astype(np.int32)], (1,))
    hole = cv2.erode(hole, np.ones((3, 3), np.uint8)) > 0

    def tooth_like(image: np.ndarray) -> float:
        light, spread = image[hole].max(1), np.ptp(image[hole], axis=1)
        return ((spread < 0.22 * light) & (light > 0.5)).mean()

    assert tooth_like(portrait.image) > 0.5
    assert tooth_like(draw()) < 0.2  # what is left is the light on the lower lip


def test_closed_lids_hide_the_iris(draw, portrait):
    opened, closed = draw(), draw(blink=1.0)
    h, w = portrait.matte.shape
    y, x = np.mgrid[:h, :w] + 0.5
    for iris, lids in (
        (topology.RIGHT_IRIS, topology.RIGHT_LID_LOWER),
        (topology.LEFT_IRIS, topology.LEFT_LID_LOWER),
    ):
        at = portrait.face[iris, :2]
        radius = 0.15 * np.linalg.norm(portrait.face[lids[0], :2] - portrait.face[lids[-1], :2])
        disc = np.hypot(x - at[0], y - at[1]) < radius
        cheek = np.hypot(x - at[0], y - at[1] - 8 * radius) < radius
        skin = closed[cheek].mean()
        assert opened[disc].mean() < 0.6 * skin
        assert closed[disc].mean() > 0.6 * skin


def test_the_eyes_look_where_they_are_told(draw, portrait):
    """The dark of the iris moves to the side of the gaze, by the eyeball's radius times the sine."""
    h, w = portrait.matte.shape
    y, x = np.mgrid[:h, :w] + 0.5
    millimetre = np.linalg.norm(portrait.face[topology.LEFT_IRIS] - portrait.face[topology.RIGHT_IRIS]) / 63
    for iris in (topology.RIGHT_IRIS, topology.LEFT_IRIS):
        at = portrait.face[iris, :2]
        near = np.hypot(x - at[0], 2 * (y - at[1])) < 9 * millimetre

        def centre(frame: np.ndarray, near: np.ndarray = near) -> float:
            dark = np.clip(0.5 - frame.mean(2), 0, None) * near
            return float((dark * x).sum() / dark.sum())

        right, left = centre(draw(gaze_x=0.25)), centre(draw(gaze_x=-0.25))
        travel = 2 * 12 * millimetre * np.sin(0.25)
        assert 0.4 * travel < right - left < 1.3 * travel
