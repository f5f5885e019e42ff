"""Trajectory alignment (paper 001, L_traj): the student's points move as the teacher's deformation field moves them.

Of paper 001 only the supplement is known: that the loss aligns with the deformation field fitted to the teacher's
clips (App. B), and that it greatly improves smoothness, measured by the distance between second differences of joints
(App. F). How it does so is our own reading: what is measured is asked for, positions and their first and second
differences in time.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

FRAME = 1 / 25
"""Seconds of the unit of time: at 25 frames a second, differences are simply those between frames."""


def trajectory_alignment(
    student: Float[Tensor, "B T M 3"],
    teacher: Float[Tensor, "B T M 3"],
    *,
    fps: float,
    visible: Float[Tensor, "B T M"] | None = None,
    velocity: float = 1.0,
    acceleration: float = 1.0,
) -> Float[Tensor, " B"]:
    """Mean |x - x~|^2 + velocity mean |x' - x~'|^2 + acceleration mean |x'' - x~''|^2, over frames and points.

    Positions in metres; the derivatives are differences between frames times `fps` FRAME, that is, per 25th of a
    second: a motion costs the same at any frame rate. With weights of 1 a slow error (below 4 Hz) is paid for as
    position and a fast one as acceleration: jitter from frame to frame costs 16 times as much there.

    `visible` in [0, 1] says how well the teacher's clips show a point; means are weighted by it, a difference by the
    least of its frames'. What is not seen counts nothing, whatever it holds; an example that shows nothing has 0.
    Points are particles or, where their turning matters as well, Gaussians' means.
    Raises ValueError for fewer than three frames, which have no acceleration.
    """
    if student.shape[1] < 3:
        raise ValueError(f"acceleration needs three frames, not {student.shape[1]}")
    error = student - teacher
    seen = torch.ones_like(error[..., 0]) if visible is None else visible
    # Chosen, not multiplied by zero: a point that was not seen may hold NaN.
    error = torch.where(seen[..., None] > 0, error, 0)
    total = _mean_square(error, seen)
    for weight in (velocity, acceleration):
        error = error.diff(dim=1) * (fps * FRAME)
        # The least of two frames, then of two such pairs.
        seen = torch.minimum(seen[:, 1:], seen[:, :-1])
        total = total + weight * _mean_square(error, seen)
    return total


def _mean_square(error: Float[Tensor, "B t M 3"], weights: Float[Tensor, "B t M"]) -> Float[Tensor, " B"]:
    total = weights.sum(dim=(1, 2))
    squares = (error.square().sum(dim=-1) * weights).sum(dim=(1, 2))
    return squares / torch.where(total > 0, total, 1)
