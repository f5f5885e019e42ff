import cv2
import numpy as np
import pytest

from rendered import Rendering, render
from vivavoce.features.face import Face
from vivavoce.features.matte import _Laplacian, foreground_colors, refine


def levin_laplacian(image: np.ndarray, epsilon: float) -> np.ndarray:
    """The matting Laplacian of 3x3 windows, entry by entry: eq. 12 of Levin, Lischinski & Weiss (2008)."""
    height, width = image.shape[:2]
    L = np.zeros((height * width,) * 2)
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            window = [(r, c) for r in range(row - 1, row + 2) for c in range(column - 1, column + 2)]
            colors = np.array([image[at] for at in window], np.float64)
            centered = colors - colors.mean(axis=0)
            # epsilon / |w| there is our epsilon: we add it to the covariance itself
            inverse = np.linalg.inv(centered.T @ centered / 9 + epsilon * np.eye(3))
            affinity = np.eye(9) - (1 + centered @ inverse @ centered.T) / 9
            index = [r * width + c for r, c in window]
            L[np.ix_(index, index)] += affinity
    return L


def test_the_operator_is_the_matting_laplacian():
    rng = np.random.default_rng(3)
    image = cv2.GaussianBlur(rng.random((12, 14, 3)).astype(np.float32), (0, 0), 1.0)
    p = rng.random((12, 14)).astype(np.float32)
    ours = 9 * _Laplacian(image, radius=1)(p)
    truth = (levin_laplacian(image, 1e-4) @ p.ravel()).reshape(p.shape)
    inside = np.s_[3:-3, 3:-3]  # windows beyond the edge are ours alone
    assert np.abs(ours - truth)[inside].max() < 2e-3 * np.abs(truth).max()


def test_any_matte_that_is_a_line_in_colour_is_smooth_to_it():
    image = cv2.GaussianBlur(np.random.default_rng(1).random((40, 40, 3)).astype(np.float32), (0, 0), 2.0)
    line = (0.3 * image[..., 0] - 0.8 * image[..., 2] + 0.4).astype(np.float32)
    other = np.random.default_rng(2).random((40, 40)).astype(np.float32)
    operator = _Laplacian(image, radius=1)
    assert np.abs(operator(line)).mean() < 0.05 * np.abs(operator(other)).mean()
    assert np.abs(operator(np.ones_like(line))).max() < 1e-3


def _rough(matte: np.ndarray) -> np.ndarray:
    """What a segmentation network makes of a matte: blurred, and a few pixels off."""
    coarse = cv2.resize(matte, (64, 64), interpolation=cv2.INTER_AREA)
    moved = cv2.warpAffine(
        coarse, np.float32([[1, 0, 0.3], [0, 1, -0.2]]), (64, 64), borderMode=cv2.BORDER_REPLICATE
    )
    return (moved > 0.5).astype(np.float32)


@pytest.fixture(scope="module", params=[0, 5])
def rendering(request: pytest.FixtureRequest) -> Rendering:
    return render(request.param)


def test_refinement_finds_the_true_edge_in_a_rough_one(rendering: Rendering):
    rough = _rough(rendering.matte)
    matte = refine(rendering.image, rough, Face(rendering.landmarks, 0.0))
    before = np.abs(cv2.resize(rough, matte.shape[::-1]) - rendering.matte).mean()
    after = np.abs(matte - rendering.matte).mean()
    assert after < 0.45 * before  # stray strands, beyond any rough edge, are the rest
    assert after < 0.008
    assert matte.min() == 0
    assert matte.max() == 1


def test_large_pictures_are_refined_like_small_ones(rendering: Rendering):
    face = Face(rendering.landmarks, 0.0)
    large = cv2.resize(rendering.image, (1536, 1536), interpolation=cv2.INTER_CUBIC)
    rough = _rough(rendering.matte)
    matte = cv2.resize(refine(large, rough, face.scaled(3.0)), (512, 512), interpolation=cv2.INTER_AREA)
    assert np.abs(matte - rendering.matte).mean() < 0.008


def test_a_picture_without_background_is_all_person():
    image = np.random.default_rng(0).random((60, 80, 3)).astype(np.float32)
    face = Face(np.random.default_rng(0).uniform(20, 40, (478, 3)).astype(np.float32), 0.0)
    assert refine(image, np.ones((60, 80), np.float32), face).min() > 0.99


def test_foreground_colours_carry_no_background():
    y, x = np.mgrid[:200, :300].astype(np.float32)
    alpha = (1 / (1 + np.exp((np.hypot(x - 150, y - 100) - 60) / 4))).astype(np.float32)
    fore = np.stack([0.7 + 0.1 * np.sin(x / 20), 0.3 + 0 * x, 0.2 + 0.1 * y / 200], axis=-1).astype(
        np.float32
    )
    back = np.stack([0.1 + 0 * x, 0.6 + 0.2 * x / 300, 0.9 + 0 * x], axis=-1).astype(np.float32)
    image = fore * alpha[..., None] + back * (1 - alpha[..., None])
    estimate = foreground_colors(image, alpha)
    soft = (alpha > 0.1) & (alpha < 0.95)
    assert np.abs(estimate - fore)[soft].mean() < 0.03
    assert np.abs(image - fore)[soft].mean() > 0.15
    assert np.abs(estimate - image)[alpha > 0.999].max() < 0.01
