"""Dense keypoint alignment (paper 003, eq. 9): face and hands of the rendering where the teacher's frames have them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

FACE = slice(17, 85)
HANDS = slice(85, 127)
"""Of the 127 keypoints of `features.physical_state`: 17 of the body, 68 of the face, 21 of the left and right hand."""


def charbonnier(squares: Float[Tensor, "*s"], scale: float) -> Float[Tensor, "*s"]:
    """rho(r) = sqrt(r^2 + scale^2) - scale of squared distances r^2: r^2 / (2 scale) within the scale, r far beyond.

    Its pull never exceeds 1, so that a keypoint found in a wrong place moves no more than any other; and it never
    fades, as that of Geman and McClure does, so that a hand which starts far from the teacher's is still drawn there.
    """
    return squares / ((squares + scale**2).sqrt() + scale)


def keypoint_alignment(
    drawn: Float[Tensor, "B F 127 3"],
    teacher: Float[Tensor, "B F 127 3"],
    *,
    hand_weight: float = 1.0,
    scale: float = 0.02,
    aspect: float = 1.0,
) -> Float[Tensor, " B"]:
    """Sum over frames of mean_face rho(|K - K~|) + hand_weight mean_hands rho(|K - K~|), in half picture widths.

    Keypoints are x, y and confidence in [0, 1] as in `features.physical_state`: x over the picture's width, y over its
    height, each from -1 to 1; `aspect` is height over width. `scale`, in half picture widths, is where rho turns from
    square to linear: 5 pixels of 512, about twice a detector's jitter.

    Where eq. 9 leaves it open, rho is taken point by point, and a mean weighs each point by both confidences, which
    are constants (else a rendering would do well to hide its hands). A point that either side does not see counts
    nothing, whatever it holds; a part of which less than one whole point is seen in a frame fades to 0.
    """
    seen = (drawn[..., 2] * teacher[..., 2]).detach()
    offset = (drawn[..., :2] - teacher[..., :2]) * drawn.new_tensor([1.0, aspect])
    # Chosen, not multiplied by zero: a point that was not found may hold NaN.
    squares = torch.where(seen[..., None] > 0, offset, 0).square().sum(dim=-1)
    penalty = charbonnier(squares, scale) * seen

    def mean(part: slice) -> Float[Tensor, "B F"]:
        return penalty[..., part].sum(dim=-1) / seen[..., part].sum(dim=-1).clamp(min=1)

    return (mean(FACE) + hand_weight * mean(HANDS)).sum(dim=1)
