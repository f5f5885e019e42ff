"""Pose sequences: skeletons drawn where the points are, and poses taken from the right instants of a source."""

import io
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from portraits import portrait
from rendered import render
from vivavoce.errors import InputError, OutputError
from vivavoce.features.physical_state import keypoints_of
from vivavoce.features.portrait import find_landmarks
from vivavoce.features.pose import draw_over, draw_pose, read_pose, write_pose

FACE = slice(17, 85)


def to_bytes(image):
    return (image * 255 + 0.5).astype(np.uint8)


def film(path, frames, fps, *, turn=0, options=None):
    """A video of RGB frames; `turn` tells players to turn them counterclockwise by so many degrees."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if turn:
            stream.set_display_rotation(turn)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def sound(path, *, cover=False):
    """Half a second of a tone, with a still picture of it if `cover`."""
    with av.open(str(path), "w") as container:
        picture = None
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuvj420p"
            picture.disposition = Disposition.attached_pic
        stream = container.add_stream("aac" if path.suffix == ".mp4" else "pcm_s16le", rate=16000)
        tone = (8000 * np.sin(np.arange(8000) / 8)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        if picture is not None:
            still = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
            container.mux(picture.encode(still))
            container.mux(picture.encode(None))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbered(count):
    """Keypoints whose nose tells the number of their frame."""
    points = np.zeros((count, 127, 3), np.float32)
    points[:, 0, 0] = np.arange(count) / 1000
    points[:, 0, 2] = 1
    return points


def numbers(keypoints):
    return np.round(keypoints[:, 0, 0] * 1000).astype(int).tolist()


def two_points(a, b, at, to):
    """One frame in which only the points of those numbers are seen."""
    points = np.zeros((1, 127, 3), np.float32)
    points[0, a], points[0, b] = (*at, 1), (*to, 1)
    return points


def distance_to_segment(shape, a, b):
    """Of every pixel's centre, in pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    a, b = np.array(a), np.array(b)
    t = (((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / ((b - a) ** 2).sum()).clip(0, 1)
    return np.hypot(x - a[0] - t * (b - a)[0], y - a[1] - t * (b - a)[1])


@pytest.mark.parametrize(
    ("a", "b", "reach"), [(5, 7, 2.5), (17, 18, 1.5), (85, 86, 1.5), (111, 112, 1.5), (17 + 41, 17 + 36, 1.5)]
)
def test_a_line_is_drawn_between_the_points_and_nowhere_else(a: int, b: int, reach: float):
    width, height = 320, 240
    picture = draw_pose(two_points(a, b, (-0.5, -0.25), (0.25, 0.5)), width, height)[0]
    far = distance_to_segment(picture.shape, (80, 90), (200, 180))
    lit = picture.max(axis=2)
    assert lit[far < 0.5].min() > 100
    assert lit[far > reach + 1].max() == 0


@pytest.mark.parametrize(("a", "b"), [(5, 8), (33, 34), (58, 59), (89, 90), (84, 85), (104, 107)])
def test_points_that_are_no_neighbours_are_not_joined(a: int, b: int):
    assert draw_pose(two_points(a, b, (-0.5, -0.25), (0.25, 0.5)), 64, 64).max() == 0


def test_unseen_points_draw_nothing():
    points = np.random.default_rng(0).uniform(-1, 1, (2, 127, 3)).astype(np.float32)
    points[..., 2] = 0
    points[1, 5, 2] = 1  # one end of a limb alone
    assert draw_pose(points, 128, 96).shape == (2, 96, 128, 3)
    assert draw_pose(points, 128, 96).max() == 0


def test_lines_are_as_thick_in_proportion_on_any_picture():
    points = two_points(11, 13, (0, -0.8), (0, 0.8))
    shares = [(draw_pose(points, n, n)[0].max(axis=2)[n // 2] > 127).sum() / n for n in (480, 1920)]
    assert shares[0] == pytest.approx(shares[1], rel=0.4)
    assert 0.005 < shares[1] < 0.02


def test_limbs_and_the_fingers_of_both_hands_have_colours_of_their_own():
    seen = set()
    for a, b in [
        (5, 7),
        (6, 8),
        (7, 9),
        (8, 10),
        *((h, h + f) for h in (85, 106) for f in (1, 5, 9, 13, 17)),
    ]:
        picture = draw_pose(two_points(a, b, (-0.5, 0), (0.5, 0)), 256, 256)[0]
        seen.add(tuple(picture.reshape(-1, 3)[picture.sum(axis=2).argmax()].tolist()))
    assert len(seen) == 14


def test_a_limb_that_leaves_the_picture_is_drawn_up_to_its_edge():
    picture = draw_pose(two_points(5, 7, (0.0, 0.0), (1e9, 0.0)), 128, 128)[0].max(axis=2)
    assert picture[64, 66:].min() > 100
    assert picture[:, :60].max() == 0
    assert picture[:60].max() == 0


def test_a_skeleton_over_a_picture_leaves_the_rest_as_it_was():
    frame = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    before = frame.copy()
    points = two_points(5, 7, (-0.5, -0.25), (0.25, 0.5))
    drawn, alone = draw_over(frame, points[0]), draw_pose(points, 128, 96)[0]
    assert np.array_equal(frame, before)
    off = alone.max(axis=2) == 0
    assert np.array_equal(drawn[off], frame[off])
    share = alone.max(axis=2, keepdims=True) / 255
    assert (share > 0.8).sum() > 20
    color = alone / share.clip(1e-9)
    np.testing.assert_allclose(drawn, frame * (1 - share) + color * share, atol=12)


def test_the_skeleton_lies_on_the_face_that_was_found():
    truth = render(1)
    pixels = to_bytes(truth.image)
    lines = draw_pose(keypoints_of(find_landmarks(pixels))[None], 512, 512)[0]
    for mark in (152, 291, 4):  # chin, mouth corner, nose
        x, y = truth.landmarks[mark, :2].astype(int)
        assert lines[y - 8 : y + 9, x - 8 : x + 9].max() > 200, mark


@pytest.mark.parametrize(
    ("source", "target", "seconds"), [(30, 25, 2), (25, 30, 2), (25, 25, 1), (60, 16, 2)]
)
def test_each_frame_has_the_pose_that_is_shown_at_its_middle(tmp_path, source, target, seconds):
    path = tmp_path / "a.npz"
    write_pose(path, numbered(source * seconds), float(source))
    found = numbers(read_pose(path, fps=float(target), frames=target * seconds))
    for t, i in enumerate(found):
        middle = Fraction(2 * t + 1, 2 * target)
        assert Fraction(i, source) <= middle < Fraction(i + 1, source)
    if (source, target) == (30, 25):
        assert found[:7] == [0, 1, 3, 4, 5, 6, 7]


def test_a_pose_a_little_too_short_holds_its_last_frame(tmp_path):
    path = tmp_path / "a.npz"
    write_pose(path, numbered(48), 25.0)
    assert numbers(read_pose(path, fps=25.0, frames=50))[-3:] == [47, 47, 47]
    assert numbers(read_pose(path, fps=25.0, frames=46)) == list(range(46))


@pytest.mark.parametrize(
    ("fps", "frames", "told"),
    [
        (25.0, 47, r"lasts 2\.00 s and the clip 1\.88 s: cut it to that\."),
        (25.0, 53, r"lasts 2\.00 s and the clip 2\.12 s: cut the speech, or give a longer one\."),
        (4.0, 10, r"lasts 2\.00 s and the clip 2\.50 s"),
    ],
)
def test_a_pose_of_another_length_is_refused_with_both_lengths(tmp_path, fps, frames, told):
    path = tmp_path / "a.npz"
    write_pose(path, numbered(50), 25.0)
    with pytest.raises(InputError, match=told):
        read_pose(path, fps=fps, frames=frames)


def test_the_tolerance_is_a_frame_where_that_is_more(tmp_path):
    path = tmp_path / "a.npz"
    write_pose(path, numbered(50), 25.0)
    assert numbers(read_pose(path, fps=4.0, frames=9))[-1] == 49  # 2.25 s


def test_a_file_keeps_what_was_written_and_unseen_points_are_zero(tmp_path):
    points = np.random.default_rng(2).uniform(-1.2, 1.2, (5, 127, 3)).astype(np.float32)
    points[..., 2] = np.arange(127) % 2
    write_pose(tmp_path / "a.npz", points, 24000 / 1001)
    found = read_pose(tmp_path / "a.npz", fps=23.976, frames=5)
    assert np.array_equal(found[:, 1::2], points[:, 1::2])
    assert np.all(found[:, ::2] == 0)
    with pytest.raises(OutputError, match=r"choose one of \.npz"):
        write_pose(tmp_path / "a.npy", points, 24.0)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"keypoints": np.zeros((5, 17, 3)), "fps": 25}, r"shape \(5, 17, 3\): write them as \(F, 127, 3\)"),
        ({"keypoints": np.zeros((0, 127, 3)), "fps": 25}, r"shape \(0, 127, 3\)"),
        ({"keypoints": np.float32(1), "fps": 25}, r"shape \(\)"),
        ({"keypoints": np.full((5, 127, 3), np.nan), "fps": 25}, "not finite numbers"),
        ({"keypoints": np.zeros((5, 127, 3)), "fps": 0}, "fps in .* is 0: write"),
        ({"keypoints": np.zeros((5, 127, 3)), "fps": np.nan}, "fps in .* is nan: write"),
        ({"keypoints": np.zeros((5, 127, 3)), "fps": 1e-7}, "fps in .* is 1e-07: write"),
        ({"keypoints": np.zeros((5, 127, 3))}, "is not a pose file, or is damaged"),
        ({"keypoints": np.array([{}], object), "fps": 25}, "is not a pose file, or is damaged"),
        ({"keypoints": np.zeros((5, 127, 3)), "fps": 25}, "No frame of .* shows a person"),
        ({"keypoints": np.full((5, 127, 3), 300.0), "fps": 25}, "coordinates from -1 to 1"),
    ],
)
def test_a_pose_file_that_cannot_be_used_is_told_of(tmp_path, arrays, told):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=told):
        read_pose(tmp_path / "a.npz", fps=25.0, frames=5)


def test_files_that_are_no_poses_are_refused(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, keypoints=numbered(50), fps=25)
    (tmp_path / "cut.npz").write_bytes(buffer.getvalue()[:-200])
    (tmp_path / "text.mp4").write_text("not a video", encoding="utf-8")
    (tmp_path / "empty.mp4").touch()
    for name, told in (
        ("cut.npz", "is not a pose file, or is damaged"),
        ("text.mp4", "is damaged: give another"),
        ("empty.mp4", r"is empty \(0 bytes\)"),
        ("none.mp4", "There is no pose at"),
    ):
        with pytest.raises(InputError, match=told):
            read_pose(tmp_path / name, fps=25.0, frames=50)


@pytest.mark.parametrize(("name", "cover"), [("a.wav", False), ("a.mp4", True)])
def test_a_recording_without_moving_pictures_is_refused(tmp_path, name: str, cover: bool):
    path = sound(tmp_path / name, cover=cover)
    with pytest.raises(InputError, match="has no moving pictures"):
        read_pose(path, fps=25.0, frames=12)


def test_a_damaged_video_is_refused(tmp_path):
    noise = np.random.default_rng(3).integers(0, 256, (50, 64, 64, 3), dtype=np.uint8)
    path = film(tmp_path / "a.mp4", noise, 25, options={"movflags": "+faststart"})
    data = path.read_bytes()
    path.write_bytes(data[:20000] + bytes(20000) + data[40000:])
    with pytest.raises(InputError, match=r"damaged after 0\.\d s: export it again"):
        read_pose(path, fps=25.0, frames=50)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"lasts 0\.9\d s and the clip 2\.00 s: cut the speech"):
        read_pose(path, fps=25.0, frames=50)


def test_a_person_who_moves_is_followed_at_the_right_instants(tmp_path):
    person = to_bytes(render(1).image)
    step = 6  # pixels a picture
    pictures = [np.roll(person, step * i, axis=1) for i in range(10)]
    path = film(tmp_path / "a.mp4", pictures, 20)
    found = read_pose(path, fps=10.0, frames=5)
    assert found.shape == (5, 127, 3)
    assert found.dtype == np.float32
    assert np.all(found[:, FACE, 2] == 1)
    still = keypoints_of(find_landmarks(person))
    moved = (found - still)[:, FACE, :2].mean(axis=1) * 256
    np.testing.assert_allclose(moved[:, 0], [step * i for i in (1, 3, 5, 7, 9)], atol=0.7)
    np.testing.assert_allclose(moved[:, 1], 0, atol=0.7)
    shoulders = found[:, [5, 6], 0].mean(axis=1) * 256
    np.testing.assert_allclose(np.diff(shoulders), 2 * step, atol=4)


def test_pictures_without_a_person_have_no_points_and_a_film_of_them_is_refused(tmp_path):
    person, nobody = to_bytes(render(1).image), np.full((512, 512, 3), 60, np.uint8)
    found = read_pose(film(tmp_path / "a.mp4", [nobody, person, nobody], 10), fps=10.0, frames=3)
    assert found[:, FACE, 2].mean(axis=1).tolist() == [0, 1, 0]
    assert np.all(found[[0, 2]] == 0)
    with pytest.raises(
        InputError, match=r"No frame of .* shows a person: use a video in which someone faces"
    ):
        read_pose(film(tmp_path / "b.mp4", [nobody] * 3, 10), fps=10.0, frames=3)


def test_a_film_of_a_phone_held_upright_is_turned(tmp_path):
    person = to_bytes(render(1).image)
    lying = np.ascontiguousarray(np.rot90(person, -1))
    path = film(tmp_path / "a.mp4", [lying], 10, turn=90)
    found = read_pose(path, fps=10.0, frames=1)[0]
    np.testing.assert_allclose(found[FACE], keypoints_of(find_landmarks(person))[FACE], atol=0.01)


def test_of_two_people_the_first_that_was_largest_is_followed(tmp_path):
    person = to_bytes(portrait("smile"))
    smaller = np.full_like(person, 128)
    smaller[102:] = cv2.resize(person, (512, 410), interpolation=cv2.INTER_AREA)
    pictures = [np.hstack([person, smaller]), np.hstack([smaller, person])]
    found = read_pose(film(tmp_path / "a.mp4", pictures, 10), fps=10.0, frames=2)
    assert np.all(found[:, FACE, 0] < 0)
