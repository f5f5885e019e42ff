"""Image-level supervision (paper 003, L_img): absolute error of the pixels and squared distance of a fixed encoder's
features.

Pictures are RGB in [0, 1] as the rasteriser gives them. The paper sums over frames and within them; here a frame
counts its mean, so that neither the picture's size nor the number of features moves the balance of the two terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d, pad

Encoder = Callable[[Tensor], Sequence[Tensor]]
"""phi: pictures (N, 3, H, W) in [0, 1] to feature maps (N, C, h, w), each of its own size."""

_SMOOTH = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_SLOPE = (-1 / 8, -2 / 8, 0.0, 2 / 8, 1 / 8)
_BEND = (1 / 4, 0.0, -2 / 4, 0.0, 1 / 4)
_LEVELS = 4
_SMALLEST = 8  # pixels of the shorter side below which no further level is made
_FAINT = 0.03  # local contrast of eight grey values in 255: what lies far below it is taken for flat


def oriented_structure(pictures: Float[Tensor, "N 3 H W"]) -> list[Float[Tensor, "N 15 h w"]]:
    """A fixed encoder without weights: edges, lines and blobs at up to four scales, whatever the contrast around them.

    Each colour channel of each level of a Gaussian pyramid is filtered with the five first and second derivatives of
    a binomial kernel of variance 1 (the 5 x 5 Sobel kernels). They are steerable (Freeman and Adelson 1991): together
    they answer as strongly to structure of any orientation. Each answer is divided by the root of their local energy,
    as cells of the visual cortex are by their neighbours' (Heeger 1992) and as the metric closest to this one does
    (normalised Laplacian pyramid, Laparra et al. 2016): a crease in the shade of a cheek counts like one in the light.
    """
    found = []
    for level in range(_LEVELS):
        if level:
            if min(pictures.shape[-2:]) < 2 * _SMALLEST:
                break
            pictures = _filtered(pictures.flatten(0, 1)[:, None], [(_SMOOTH, _SMOOTH)])[..., ::2, ::2]
            pictures = pictures.unflatten(0, (-1, 3)).squeeze(2)
        planes = pictures.flatten(0, 1)[:, None]
        # The cross derivative counts twice in the squared length of the matrix of second derivatives.
        first = _filtered(planes, [(_SMOOTH, _SLOPE), (_SLOPE, _SMOOTH)])
        second = _filtered(planes, [(_SMOOTH, _BEND), (_BEND, _SMOOTH), (_SLOPE, _SLOPE)])
        answers = torch.cat([first, second[:, :2], 2**0.5 * second[:, 2:]], dim=1)
        energy = _filtered(answers.square().sum(dim=1, keepdim=True), [(_SMOOTH, _SMOOTH)])
        answers = answers / (energy + _FAINT**2).sqrt()
        found.append(answers.unflatten(0, (-1, 3)).flatten(1, 2))
    return found


def absolute_error(
    drawn: Float[Tensor, "B F H W 3"],
    wanted: Float[Tensor, "B F H W 3"],
    *,
    weights: Float[Tensor, "B F H W"] | None = None,
) -> Float[Tensor, " B"]:
    """Sum over frames of the mean absolute error over pixels and channels; weighted mean over pixels with `weights`.

    Weights are not negative; a frame whose weights are all 0 counts nothing.
    """
    return _over_frames((drawn - wanted).abs().mean(dim=-1), weights)


def perceptual_error(
    drawn: Float[Tensor, "B F H W 3"],
    wanted: Float[Tensor, "B F H W 3"],
    *,
    encoder: Encoder = oriented_structure,
    weights: Float[Tensor, "B F H W"] | None = None,
) -> Float[Tensor, " B"]:
    """Sum over frames and feature maps of the mean squared difference over places and channels.

    Weights as in `absolute_error`, averaged over the pixels of each place of a map.
    """
    drawn_maps, wanted_maps = (encoder(video.flatten(0, 1).permute(0, 3, 1, 2)) for video in (drawn, wanted))
    total = drawn.new_zeros(len(drawn))
    for ours, theirs in zip(drawn_maps, wanted_maps, strict=True):
        squares = (ours - theirs).square().mean(dim=1).unflatten(0, drawn.shape[:2])
        # A batch of frames takes the place of channels, which are pooled one by one.
        shares = None if weights is None else adaptive_avg_pool2d(weights, (ours.shape[-2], ours.shape[-1]))
        total = total + _over_frames(squares, shares)
    return total


def image_loss(
    drawn: Float[Tensor, "B F H W 3"],
    wanted: Float[Tensor, "B F H W 3"],
    *,
    perceptual: float,
    encoder: Encoder = oriented_structure,
    weights: Float[Tensor, "B F H W"] | None = None,
) -> Float[Tensor, " B"]:
    """L_img = `absolute_error` + perceptual `perceptual_error`, summed over frames; lambda_perc is not published."""
    pixels = absolute_error(drawn, wanted, weights=weights)
    return pixels + perceptual * perceptual_error(drawn, wanted, encoder=encoder, weights=weights)


def _filtered(
    planes: Float[Tensor, "P 1 H W"], kernels: Sequence[tuple[Sequence[float], Sequence[float]]]
) -> Float[Tensor, "P K H W"]:
    """Correlated with each kernel, given along y and along x; the outermost pixels go on beyond the border."""
    both = torch.stack([torch.outer(*planes.new_tensor(kernel)) for kernel in kernels])
    return conv2d(pad(planes, (2, 2, 2, 2), mode="replicate"), both[:, None])


def _over_frames(
    error: Float[Tensor, "B F h w"], weights: Float[Tensor, "B F h w"] | None
) -> Float[Tensor, " B"]:
    if weights is None:
        return error.mean(dim=(2, 3)).sum(dim=1)
    total = weights.sum(dim=(2, 3))
    means = (error * weights).sum(dim=(2, 3)) / torch.where(total > 0, total, 1)
    return means.sum(dim=1)
