"""Image terms against formulas written anew; what the encoder without weights answers to."""

import math

import pytest
import torch
from scipy import ndimage
from torch.autograd import gradcheck

from vivavoce.losses.photometric import absolute_error, image_loss, oriented_structure, perceptual_error


def video(seed, *shape):
    return torch.rand(*shape, 3, generator=torch.Generator().manual_seed(seed)).double()


def halves(pictures):
    """An encoder with two maps: the pictures themselves, and the means of 2 x 2 pixels."""
    return [pictures, torch.nn.functional.avg_pool2d(pictures, 2)]


def test_frames_are_summed_and_pixels_averaged():
    drawn, wanted = video(0, 2, 3, 4, 6), video(1, 2, 3, 4, 6)
    found = absolute_error(drawn, wanted)
    by_hand = [sum((drawn[b, t] - wanted[b, t]).abs().numpy().mean() for t in range(3)) for b in range(2)]
    assert found.tolist() == pytest.approx(by_hand)


def test_weights_make_weighted_means():
    drawn, wanted = video(0, 1, 2, 4, 6), video(1, 1, 2, 4, 6)
    weights = torch.rand(1, 2, 4, 6, generator=torch.Generator().manual_seed(2)).double()
    expected = 0.0
    for t in range(2):
        error = (drawn[0, t] - wanted[0, t]).abs().mean(dim=-1)
        expected += sum((weights[0, t] * error).flatten().tolist()) / sum(weights[0, t].flatten().tolist())
    assert absolute_error(drawn, wanted, weights=weights).item() == pytest.approx(expected)
    for loss in (absolute_error, perceptual_error):
        torch.testing.assert_close(
            loss(drawn, wanted, weights=torch.full_like(weights, 7)), loss(drawn, wanted)
        )


def test_what_has_no_weight_counts_nothing():
    drawn, wanted = video(0, 1, 2, 4, 6).requires_grad_(), video(1, 1, 2, 4, 6)
    weights = torch.zeros(1, 2, 4, 6).double()
    weights[0, 1, :, 3:] = 1
    absolute_error(drawn, wanted, weights=weights).sum().backward()
    assert drawn.grad[0, 0].abs().max() == 0
    assert drawn.grad[0, 1, :, :3].abs().max() == 0
    assert drawn.grad[0, 1, :, 3:].abs().min() > 0
    nothing = torch.zeros_like(weights)
    assert image_loss(drawn, wanted, perceptual=1.0, weights=nothing).item() == 0


def test_features_are_compared_by_squares_place_by_place():
    drawn, wanted = video(0, 1, 2, 4, 4), video(1, 1, 2, 4, 4)
    weights = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(2)).double()
    expected = 0.0
    for t in range(2):
        ours, theirs, w = drawn[0, t].numpy(), wanted[0, t].numpy(), weights[0, t].numpy()
        expected += (w * ((ours - theirs) ** 2).mean(axis=-1)).sum() / w.sum()
        ours, theirs, w = (v.reshape(2, 2, 2, 2, -1).mean(axis=(1, 3)) for v in (ours, theirs, w))
        expected += (w[..., 0] * ((ours - theirs) ** 2).mean(axis=-1)).sum() / w.sum()
    found = perceptual_error(drawn, wanted, encoder=halves, weights=weights)
    assert found.item() == pytest.approx(expected)
    both = image_loss(drawn, wanted, perceptual=0.3, encoder=halves)
    expected = absolute_error(drawn, wanted) + 0.3 * perceptual_error(drawn, wanted, encoder=halves)
    torch.testing.assert_close(both, expected)


@pytest.mark.parametrize("encoder", [halves, oriented_structure])
def test_gradients_are_finite_differences(encoder):
    drawn, wanted = video(0, 1, 1, 6, 4).requires_grad_(), video(1, 1, 1, 6, 4)
    weights = torch.rand(1, 1, 6, 4, generator=torch.Generator().manual_seed(2)).double()

    def loss(pictures):
        return image_loss(pictures, wanted, perceptual=0.5, encoder=encoder, weights=weights)

    assert gradcheck(loss, drawn)


def test_the_smallest_level_has_eight_pixels():
    sizes = [tuple(level.shape) for level in oriented_structure(torch.rand(2, 3, 40, 33))]
    assert sizes == [(2, 15, 40, 33), (2, 15, 20, 17), (2, 15, 10, 9)]
    assert len(oriented_structure(torch.rand(1, 3, 512, 512))) == 4
    assert len(oriented_structure(torch.rand(1, 3, 2, 2))) == 1


def test_the_filters_are_derivatives():
    """Before normalisation: on a polynomial of second degree they are exact, so the ratios of answers are known."""
    y, x = torch.meshgrid(torch.arange(9.0).double() - 4, torch.arange(9.0).double() - 4, indexing="ij")
    picture = 0.3 * x - 0.2 * y + 0.05 * x**2 - 0.07 * y**2 + 0.11 * x * y
    answers = oriented_structure(picture.expand(1, 3, 9, 9))[0][0, :5, 4, 4]
    expected = torch.tensor([0.3, -0.2, 0.1, -0.14, math.sqrt(2) * 0.11]).double()
    torch.testing.assert_close(answers / answers[0] * 0.3, expected)


def test_levels_are_those_of_a_pyramid_by_another_library():
    picture = video(3, 24, 20).permute(2, 0, 1)[None]
    binomial = [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16]
    half = picture.numpy()
    for axis in (2, 3):
        half = ndimage.correlate1d(half, binomial, axis=axis, mode="nearest")
    half = torch.from_numpy(half[..., ::2, ::2].copy())
    torch.testing.assert_close(oriented_structure(picture)[1], oriented_structure(half)[0])


def test_each_answer_is_divided_by_the_energy_around_it():
    picture = video(3, 16, 16).permute(2, 0, 1)[None].numpy()[0, 1]
    smooth, slope, bend = (
        [1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16],
        [-1 / 8, -1 / 4, 0, 1 / 4, 1 / 8],
        [0.25, 0, -0.5, 0, 0.25],
    )

    def filtered(plane, along_y, along_x):
        plane = ndimage.correlate1d(plane, along_y, axis=0, mode="nearest")
        return ndimage.correlate1d(plane, along_x, axis=1, mode="nearest")

    pairs = ((smooth, slope), (slope, smooth), (smooth, bend), (bend, smooth), (slope, slope))
    answers = [filtered(picture, *pair) for pair in pairs]
    answers[4] = answers[4] * math.sqrt(2)
    energy = filtered(sum(a**2 for a in answers), smooth, smooth)
    expected = torch.stack([torch.from_numpy(a / (energy + 0.03**2) ** 0.5) for a in answers])
    found = oriented_structure(video(3, 16, 16).permute(2, 0, 1)[None])[0][0, 5:10]
    torch.testing.assert_close(found, expected)


def stripes(angle, contrast=0.3, shift=0.0):
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    wave = torch.cos(0.5 * (x * math.cos(angle) + y * math.sin(angle)) + shift)
    return (0.5 + contrast * wave)[..., None].expand(32, 32, 3)[None, None]


def test_no_orientation_is_preferred():
    errors = [
        perceptual_error(stripes(angle), stripes(angle, shift=0.5)).item()
        for angle in (0, 0.3, math.pi / 4, 1.2)
    ]
    assert max(errors) / min(errors) < 1.15
    turned = perceptual_error(stripes(0.3).transpose(2, 3), stripes(0.3, shift=0.5).transpose(2, 3))
    assert turned.item() == pytest.approx(errors[1], rel=1e-4)


def test_structure_counts_alike_in_light_and_shade():
    strong = perceptual_error(stripes(0.3, 0.4), stripes(0.3, 0.4, shift=0.5)).item()
    weak = perceptual_error(stripes(0.3, 0.2), stripes(0.3, 0.2, shift=0.5)).item()
    assert weak / strong > 0.85
    pixels = [absolute_error(stripes(0.3, c), stripes(0.3, c, shift=0.5)).item() for c in (0.4, 0.2)]
    assert pixels[1] / pixels[0] == pytest.approx(0.5, rel=0.01)
    brighter = perceptual_error(stripes(0.3), stripes(0.3) + 0.1).item()
    assert brighter < 1e-6


def test_blur_costs_more_than_a_change_of_brightness_of_the_same_pixel_error():
    sharp = video(4, 1, 1, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(
        sharp[0].permute(0, 3, 1, 2), 3, stride=1, padding=1, count_include_pad=False
    ).permute(0, 2, 3, 1)[None]
    pixels = absolute_error(sharp, blurred)
    assert perceptual_error(sharp, blurred) > 100 * perceptual_error(sharp, sharp + pixels)
