"""The page in a real browser without a network: it plays, it can be looked at from the side, it draws our picture."""

import time
from dataclasses import replace

import numpy as np
import pytest
from browser import FOUND, Browser
from scipy.io import wavfile

from vivavoce.media.provenance import Provenance
from vivavoce.splat.animate import motion_of
from vivavoce.splat.export.page import write_page
from vivavoce.splat.render import Renderer

pytestmark = pytest.mark.skipif(FOUND is None, reason="needs Chromium: apt-get install chromium")

SIZE, FPS, FRAMES = 512, 25.0, 75
STATE = "document.documentElement?.dataset"
GREY = 64


@pytest.fixture(scope="module")
def motion(avatar, pose):
    t = np.linspace(0, 1, FRAMES)
    wave = np.sin(6 * np.pi * t) ** 2
    return motion_of(
        avatar, pose(open=wave, jaw=wave, round=0.3 * wave, head_yaw=0.12 * t, blink=t > 0.9), FPS
    )


@pytest.fixture(scope="module")
def browser(avatar, motion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("viewer")
    t = np.arange(int(16_000 * FRAMES / FPS)) / 16_000
    wavfile.write(folder / "a.wav", 16_000, (3000 * np.sin(2000 * t)).astype(np.int16))
    made = Provenance("splat", 0, {})
    write_page(folder / "a.html", avatar, motion, sound=folder / "a.wav", title="a", provenance=made)
    with Browser(folder / "profile", width=SIZE, height=SIZE) as chromium:
        chromium.call("Page.navigate", url=(folder / "a.html").as_uri())
        chromium.wait(f"{STATE}?.ready && {STATE}.frame && audio.readyState >= 3")
        chromium.run(
            "for (const id of ['bar', 'hint']) document.getElementById(id).style.opacity = 0;"
            "for (const e of [document.body, document.documentElement])"
            f" e.style.background = 'rgb({GREY}, {GREY}, {GREY})'"
        )
        yield chromium


def settled(browser: Browser) -> np.ndarray:
    """The picture when it changes no more: Gaussians are sorted beside the drawing."""
    before = browser.picture()
    for _ in range(40):
        time.sleep(0.3)
        now = browser.picture()
        if np.array_equal(now, before):
            return now
        before = now
    raise AssertionError("the picture does not come to rest")


def seek(browser: Browser, frame: int) -> np.ndarray:
    browser.run(f"audio.pause(), audio.currentTime = {(frame + 0.5) / FPS}")
    browser.wait(f"{STATE}.frame == {frame}")
    return settled(browser)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(((one - other) ** 2).mean()))


def test_the_page_is_loaded_from_disk_and_asks_for_nothing_else(browser):
    assert browser.requests[0].startswith("file:///")
    assert all(url.startswith("blob:") for url in browser.requests[1:])
    assert not browser.faults
    assert browser.run("fault.textContent") == ""
    assert not browser.run("navigator.onLine")


def drawn(avatar, motion, frame: int) -> np.ndarray:
    plate = np.full((SIZE, SIZE, 3), GREY / 255, np.float32)
    renderer = Renderer(avatar, SIZE, SIZE, background=plate, threads=1)
    part = slice(frame, frame + 1)
    (picture,) = renderer(replace(motion, transforms=motion.transforms[part], gains=motion.gains[part]))
    renderer.close()
    return picture.astype(np.float32) / 255


@pytest.mark.parametrize("frame", [0, 12, 62])
def test_a_frame_is_the_one_that_the_renderer_draws(browser, avatar, motion, frame):
    """With the mouth shut, and open with the head turned a little and more; nothing is shared but the payload."""
    wanted = drawn(avatar, motion, frame)
    seen = seek(browser, frame)
    assert seen.shape == wanted.shape
    assert psnr(seen, wanted) > 40
    for other in {0, 37, 62} - {frame}:
        assert psnr(seek(browser, other), wanted) < psnr(seen, wanted) - 5


def test_the_mouth_is_as_dark_as_the_renderer_has_it(browser, avatar, motion, portrait):
    x, y = portrait.face[[13, 14], :2].mean(0).astype(int)
    mouth = slice(y - 2, y + 24), slice(x - 16, x + 16)
    seen = seek(browser, 12)[mouth]
    lit = replace(motion, gains=np.ones_like(motion.gains))
    assert psnr(seen, drawn(avatar, motion, 12)[mouth]) > psnr(seen, drawn(avatar, lit, 12)[mouth]) + 3
    assert psnr(seen, drawn(avatar, motion, 12)[mouth]) > 35


def test_frames_go_on_and_the_picture_changes_while_it_plays(browser):
    still = seek(browser, 0)
    browser.run("document.getElementById('play').click()")
    frames, moving = [0], None
    while frames[-1] < FRAMES - 1:
        time.sleep(0.1)
        frames.append(int(browser.run(f"{STATE}.frame")))
        if moving is None and frames[-1] > 5:
            moving = browser.picture()
    assert frames == sorted(frames)
    assert len(set(frames)) >= 4
    assert moving is not None
    assert np.abs(moving - still).max() > 0.1


def test_the_shown_frame_follows_the_sound(browser):
    browser.run("audio.currentTime = 0, audio.play()")
    browser.wait("audio.currentTime > 0.5")
    at, frame = browser.run(f"[audio.currentTime, Number({STATE}.frame)]")
    browser.run("audio.pause()")
    assert abs(at * FPS - frame) < 0.5 * FPS  # drawn in software it may be late, but not adrift


def test_it_stays_at_the_last_frame(browser):
    browser.run("audio.currentTime = audio.duration - 0.1, audio.play()")
    browser.wait("audio.ended", seconds=30)
    browser.wait(f"{STATE}.frame == {FRAMES - 1}")
    assert browser.run("document.getElementById('play').getAttribute('aria-label')") == "Play"


def doubly_clicked(browser: Browser) -> np.ndarray:
    for count in (1, 2):
        for kind in ("mousePressed", "mouseReleased"):
            browser.mouse(kind, SIZE / 2, SIZE / 2, button="left", clickCount=count)
    return settled(browser)


def drag(browser: Browser, dx: float, dy: float) -> None:
    x = y = SIZE / 2
    browser.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    for share in (0.5, 1.0):
        browser.mouse("mouseMoved", x + share * dx, y + share * dy, button="left", buttons=1)
    browser.mouse("mouseReleased", x + dx, y + dy, button="left")


def test_dragging_swings_the_camera_about_the_head(browser):
    front = seek(browser, 0)
    drag(browser, -100, 20)
    side = settled(browser)
    assert float(browser.run(f"{STATE}.side")) == pytest.approx(25)
    assert float(browser.run(f"{STATE}.up")) == pytest.approx(-5)
    assert np.abs(side - front).mean() > 0.01
    drag(browser, 4000, -4000)
    settled(browser)
    assert float(browser.run(f"{STATE}.side")) == -40  # an avatar of one photo has no back
    assert float(browser.run(f"{STATE}.up")) == 20


def test_scrolling_comes_closer_and_a_double_click_goes_back(browser):
    seek(browser, 0)
    front = doubly_clicked(browser)
    assert float(browser.run(f"{STATE}.side")) == 0
    browser.mouse("mouseWheel", SIZE / 2, SIZE / 2, deltaX=0, deltaY=-400)
    close = settled(browser)
    assert float(browser.run(f"{STATE}.zoom")) == pytest.approx(np.exp(-0.4), rel=1e-3)
    assert np.abs(close - front).mean() > 0.01
    np.testing.assert_allclose(doubly_clicked(browser), front, atol=2 / 255)
    assert float(browser.run(f"{STATE}.zoom")) == 1
