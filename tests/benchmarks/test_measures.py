"""The measures themselves: on pictures and tracks whose answer is known, so that a good figure means something."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from tests.portraits import portrait

import portrait as portrait_bench
import speaks
from vivavoce.corpus.synth.utterances import Utterance
from vivavoce.corpus.synth.voice import Voice
from vivavoce.features.face import detect, mesh
from vivavoce.features.phones import Phone
from vivavoce.splat.faceframe import measure_face
from vivavoce.types import SPEECH_RATE


@pytest.fixture(scope="module")
def face() -> tuple[np.ndarray, SimpleNamespace]:
    """A frame with a shut mouth, and what the measures want to know of its avatar."""
    frame = (portrait("shut") * 255).astype(np.uint8)
    found = mesh(frame, detect(frame)[0])
    rig = SimpleNamespace(frame=measure_face(found.landmarks.astype(np.float64)))
    return frame, SimpleNamespace(rig=rig, lift=SimpleNamespace(pad=0))


def lowered(frame: np.ndarray, avatar: SimpleNamespace, pixels: float) -> np.ndarray:
    """Everything from the lower lip on moved down, the more the nearer to the mouth, the rest left as it is."""
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
    mouth, width = avatar.rig.frame.mouth, avatar.rig.frame.mouth_width
    below = 0.5 + 0.5 * np.tanh((y - mouth[1] - 0.05 * width) / (0.04 * width))
    near = np.exp(-(((x - mouth[0]) / width) ** 4) - ((y - mouth[1]) / width) ** 4)
    return cv2.remap(frame, x, (y - pixels * below * near).astype(np.float32), cv2.INTER_CUBIC)


def moved(frame: np.ndarray) -> np.ndarray:
    """The frame turned, tilted and shifted, as a head moves it."""
    h, w = frame.shape[:2]
    by = cv2.getRotationMatrix2D((w / 2, h / 2), 2.0, 1.01)
    by[0, 1] += 0.02
    by[:, 2] += (2.5, -1.5)
    return cv2.warpAffine(frame, by, (w, h), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize("pixels", [1.0, 2.5, 4.0])
def test_flow_measures_how_far_the_lower_lip_came_down(face: tuple, pixels: float) -> None:
    frame, avatar = face
    expected = pixels / avatar.rig.frame.mouth_width
    assert speaks.Flow(avatar, frame)(lowered(frame, avatar, pixels)) == pytest.approx(expected, rel=0.3)


def test_flow_does_not_see_the_head_move(face: tuple) -> None:
    frame, avatar = face
    flow = speaks.Flow(avatar, frame)
    opened = flow(lowered(frame, avatar, 3.0))
    assert abs(flow(moved(frame))) < 0.1 * opened
    assert flow(moved(lowered(frame, avatar, 3.0))) == pytest.approx(opened, rel=0.2)


def test_gap_of_landmarks_is_that_of_the_mesh_and_does_not_see_the_head_move(face: tuple) -> None:
    frame, avatar = face
    gap = speaks.Landmarks(avatar)
    points = mesh(frame, detect(frame)[0]).landmarks
    by_hand = np.linalg.norm(points[14] - points[13]) / np.linalg.norm(points[263] - points[33])
    # 13 and 14 are the middle, where the gap is widest; the measure is the mean over the middle half.
    assert 0.75 * by_hand < gap(frame) < by_hand
    assert gap(moved(frame)) == pytest.approx(gap(frame), rel=0.1)


def utterance(phones: list[Phone]) -> Utterance:
    samples = np.zeros(round(phones[-1].end * SPEECH_RATE), np.float32)
    return Utterance(samples, phones, "made up", Voice("none", "none"))


def test_closures_and_silence_are_judged_frame_by_frame() -> None:
    said = utterance(
        [Phone("pau", 0.0, 1.0), Phone("aa", 1.0, 1.4), Phone("b", 1.4, 1.5), Phone("aa", 1.5, 2.0)]
    )
    gap = np.full(50, 0.1, np.float32)
    assert speaks._met(gap, said) == [False]
    gap[36] = 0.0  # shows 1.46 s
    assert speaks._met(gap, said) == [True]
    gap[36], gap[39] = 0.1, 0.0  # 1.58 s is too late
    assert speaks._met(gap, said) == [False]
    gap[:25] = 0.0
    assert speaks._still(gap, said).all()
    gap[10:12] = 0.1
    assert speaks._still(gap, said).sum() == len(speaks._still(gap, said)) - 3


def test_shuffled_correlation_is_low_for_unrelated_sentences_and_one_for_equal_tracks() -> None:
    rng = np.random.default_rng(0)

    def spoken(text: str, target: np.ndarray) -> object:
        made = Utterance(np.zeros(1, np.float32), [], text, Voice("none", "none"))
        return speaks.Spoken(made, target, target, target)

    tracks = [rng.random(100).astype(np.float32) + 0.1 for _ in range(6)]
    assert abs(speaks.shuffled([spoken(str(i), t) for i, t in enumerate(tracks)], "flow")) < 0.15
    same = [spoken(str(i), tracks[0]) for i in range(2)]
    assert speaks.shuffled(same, "flow") == pytest.approx(1)


def test_psnr_of_a_constant_error() -> None:
    a = np.full((4, 4, 3), 0.5, np.float32)
    assert portrait_bench.psnr(a, a + np.float32(0.01)) == pytest.approx(40, abs=1e-3)


def test_hole_in_the_person_is_found_wherever_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    every = portrait_bench.poses()
    some = {name: every[name] for name in ("mouth open", "yaw +12", "pitch -12")}
    monkeypatch.setattr(portrait_bench, "poses", lambda: some)
    s = portrait_bench.subject("shut")
    whole = portrait_bench.holes(s)
    assert all(pose["of"] > 10_000 for pose in whole.values())
    a = s.avatar
    forehead = a.rig.frame.mouth + 0.65 * a.rig.frame.height * -a.rig.frame.axes[1]
    at = a.lift.points(forehead[None].astype(np.float64))[0]
    radius = 6 * a.lift.metre
    a.gaussians.opacities[np.linalg.norm(a.gaussians.means[:, :2] - at[:2], axis=1) < radius] = 0
    torn = portrait_bench.holes(s)
    assert all(torn[name]["pixels"] > whole[name]["pixels"] + 40 for name in torn)
