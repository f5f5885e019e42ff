"""One person for all tests of the avatar: the astronaut, analysed and reconstructed once."""

from __future__ import annotations

import numpy as np
import pytest

from portraits import portrait as picture_of
from vivavoce.features.portrait import Portrait, analyze
from vivavoce.splat.animate import motion_of
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.controls import CHANNELS, INDEX
from vivavoce.splat.create import build_avatar, make_canvas
from vivavoce.splat.reconstruct import Canvas, Reconstruction, reconstruct
from vivavoce.splat.render import Renderer


@pytest.fixture(scope="session")
def portrait() -> Portrait:
    """The astronaut, who smiles and shows her teeth."""
    return analyze(picture_of("smile"))


@pytest.fixture(scope="session")
def canvas(portrait: Portrait) -> Canvas:
    return make_canvas(portrait)[0]


@pytest.fixture(scope="session")
def built(canvas: Canvas) -> Reconstruction:
    return reconstruct(canvas)


@pytest.fixture(scope="session")
def avatar(portrait: Portrait) -> Avatar:
    return build_avatar(portrait, photo_sha256="0" * 64)


@pytest.fixture(scope="session")
def pose():
    """`pose(open=1.0, ...)` is a control track (1, C) with these channels set; arrays make a longer one."""

    def make(**channels: float | np.ndarray) -> np.ndarray:
        frames = max([np.size(v) for v in channels.values()], default=1)
        controls = np.zeros((frames, len(CHANNELS)), np.float32)
        for name, value in channels.items():
            controls[:, INDEX[name]] = value
        return controls

    return make


@pytest.fixture(scope="session")
def draw(avatar: Avatar, pose):
    """`draw(open=1.0, ...)` is the frame of that pose before black, float RGB in [0, 1]."""
    camera = avatar.lift.camera
    black = np.zeros((camera.height, camera.width, 3), np.float32)
    renderer = Renderer(avatar, camera.width, camera.height, background=black, threads=1)

    def make(**channels: float) -> np.ndarray:
        (frame,) = renderer(motion_of(avatar, pose(**channels), 25.0))
        return frame.astype(np.float32) / 255

    yield make
    renderer.close()
