"""Disguises of pictures: what is random comes from each picture's own generator, and places move with the pixels."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter1d

from vivavoce.train import disguise
from vivavoce.train.disguise import SPARE, Draws, disguised

SIZE = 96


def _draws(count, seed=0):
    return Draws.of([torch.Generator().manual_seed(1000 * seed + k) for k in range(count)], SIZE)


def _still(count=1):
    """Draws that leave everything as it is but the tint, which they leave as little changed as can be."""
    uniform = torch.full((count, 24 + SPARE), 0.5)
    uniform[:, :5] = 1.0
    uniform[:, 11] = 0.0
    uniform[:, 23] = 1.0
    return Draws(uniform, torch.zeros(count, 3, SIZE, SIZE))


def _pictures(count, seed=0):
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def test_still_draws_change_nothing():
    pictures = _pictures(2).clamp(0.01, 1)
    found, maps, nobody = disguised(pictures, _pictures(2, seed=1), _still(2))
    torch.testing.assert_close(found, pictures, atol=2e-5, rtol=0)
    torch.testing.assert_close(maps, torch.eye(2, 3).expand(2, 2, 3))
    assert not nobody.any()


def test_a_picture_is_disguised_alike_whatever_batch_it_is_in():
    pictures, others = _pictures(12), _pictures(12, seed=1)
    draws = _draws(12)
    together = disguised(pictures, others, draws)
    apart = [
        disguised(
            pictures[k : k + 1], others[k : k + 1], Draws(draws.uniform[k : k + 1], draws.noise[k : k + 1])
        )
        for k in range(12)
    ]
    for k, whole in enumerate(together):
        torch.testing.assert_close(whole, torch.cat([part[k] for part in apart]), atol=1e-5, rtol=0)


def test_disguised_pictures_are_pictures_of_many_kinds():
    pictures = _pictures(1).expand(200, -1, -1, -1)
    found, _, nobody = disguised(pictures, pictures, _draws(200))
    assert found.isfinite().all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert 0.01 < nobody.float().mean() < 0.12
    assert len({round(float(f.std()), 4) for f in found}) > 150


@pytest.mark.parametrize(
    "u", [(0.9, 0.2, 0.5, 0.5, 1.0), (0.3, 0.6, 0.9, 0.1, 1.0), (0.5, 0.5, 0.1, 0.9, 0.9)]
)
def test_places_move_with_the_pixels(u):
    """A bright dot is where the map says that it went."""
    y, x = np.mgrid[:SIZE, :SIZE]
    at = np.array([0.3, -0.2])
    pixel = (at + 1) / 2 * SIZE - 0.5
    dot = np.exp(-0.5 * ((x - pixel[0]) ** 2 + (y - pixel[1]) ** 2) / 2.5**2)
    picture = torch.from_numpy(dot).float().expand(1, 3, SIZE, SIZE)
    moved, maps = disguise._moved(picture, torch.tensor([u]))
    weight = moved[0, 0].numpy().astype(np.float64)
    centre = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    told = maps[0, :, :2].numpy() @ at + maps[0, :, 2].numpy()
    np.testing.assert_allclose(2 * (centre + 0.5) / SIZE - 1, told, atol=2e-3)
    assert np.abs(told - at).max() > 0.02


def test_three_in_ten_stay_where_they_are():
    _, maps = disguise._moved(_pictures(400), torch.rand(400, 5, generator=torch.Generator().manual_seed(2)))
    still = (maps == torch.eye(2, 3)).all((1, 2)).float().mean()
    assert 0.2 < still < 0.4


def test_three_in_ten_are_neither_blurred_nor_noisy():
    picture = torch.full((1, 3, SIZE, SIZE), 0.5).expand(300, -1, -1, -1)
    found, _, _ = disguised(picture, picture, _draws(300))
    flat = (found.flatten(2).std(dim=2) < 1e-5).all(1).float().mean()
    assert 0.3 < flat < 0.8  # of a flat picture only noise is seen


def test_blur_is_a_gaussian():
    picture = _pictures(2)
    found = disguise._blurred(picture, torch.tensor([1.2, 0.4]), torch.tensor([True, False]))
    wanted = picture[0].numpy().astype(np.float64)
    for axis in (1, 2):
        wanted = gaussian_filter1d(wanted, 1.2, axis=axis, mode="nearest", radius=3)
    np.testing.assert_allclose(found[0].numpy(), wanted, atol=1e-4)
    assert torch.equal(found[1], picture[1])


def test_blocks_are_rounded_cosines():
    picture = _pictures(1)
    found = disguise._blocky(picture, torch.tensor([0.1]), torch.tensor([True]))
    block = picture[0, 1, 8:16, 24:32].numpy().astype(np.float64)
    steps = 0.1 * (1 + np.arange(8) + np.arange(8)[:, None])
    wanted = idctn(np.round(dctn(block, norm="ortho") / steps) * steps, norm="ortho")
    np.testing.assert_allclose(found[0, 1, 8:16, 24:32].numpy(), wanted, atol=1e-4)


def test_soft_pictures_have_lost_their_detail():
    picture = _pictures(2)
    found = disguise._softened(picture, torch.tensor([0.0, 0.0]), torch.tensor([True, False]))
    assert found[0].diff(dim=-1).abs().mean() < 0.3 * picture[0].diff(dim=-1).abs().mean()
    assert torch.equal(found[1], picture[1])


def test_a_later_frame_shines_through():
    pictures, others = torch.full((1, 3, SIZE, SIZE), 0.5), torch.full((1, 3, SIZE, SIZE), 0.7)
    draws = _still()
    draws.uniform[:, 0], draws.uniform[:, 6] = 0.0, 1.0
    found, _, _ = disguised(pictures, others, draws)
    torch.testing.assert_close(found, torch.full_like(found, 0.6), atol=1e-4, rtol=0)


def test_where_nobody_is_there_are_tiles_noise_or_blots():
    pictures = _pictures(3)
    pictures[:] = torch.linspace(0, 1, SIZE)[:, None]
    draws = _draws(3)
    found = disguise._deserted(pictures, draws.noise, torch.tensor([0.1, 0.5, 0.9]))
    torch.testing.assert_close(found[0].flatten().sort()[0], pictures[0].flatten().sort()[0])
    torch.testing.assert_close(found[1], 0.5 + 0.3 * draws.noise[1])
    assert found[2].diff(dim=-1).abs().mean() < 0.1 * found[1].diff(dim=-1).abs().mean()
    assert found[2].std() > 0.1


def test_a_shuffled_picture_has_the_same_tiles():
    picture = _pictures(1)
    noise = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    found = disguise._shuffled(picture, noise)

    def tiles(p):
        return sorted(
            float(p[0, :, i : i + 16, k : k + 16].double().sum())
            for i in range(0, SIZE, 16)
            for k in range(0, SIZE, 16)
        )

    assert tiles(found) == pytest.approx(tiles(picture))
    assert not torch.equal(found, picture)
