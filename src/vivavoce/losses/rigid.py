"""What keeps a deformed avatar in one piece: as-rigid-as-possible motion, and LHM's two rules for canonical Gaussians.

Points are particles or Gaussians' means, in metres.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def knn_graph(points: Float[Tensor, "N 3"], k: int) -> Int[Tensor, "N k"]:
    """The k nearest others of each point, near before far. Raises ValueError where there are no k others."""
    import numpy as np
    from scipy.spatial import KDTree

    if not 0 < k < len(points):
        raise ValueError(f"{len(points)} points have 1 to {len(points) - 1} neighbours each, not {k}")
    places = points.detach().cpu().double().numpy()
    near = np.asarray(KDTree(places).query(places, k + 1)[1])
    own = near == np.arange(len(places))[:, None]
    # Among more than k + 1 points in one place, a point may not be in its own list; then the last one goes.
    own[~own.any(axis=1), -1] = True
    return torch.from_numpy(near[~own].reshape(-1, k)).to(points.device)


@torch.no_grad()
def best_rotations(
    rest: Float[Tensor, "N 3"],
    moved: Float[Tensor, "*frames N 3"],
    neighbours: Int[Tensor, "N k"],
    *,
    weights: Float[Tensor, "N k"] | None = None,
) -> Float[Tensor, "*frames N 3 3"]:
    """The rotation of each point's neighbourhood that turns its rest edges nearest to its moved ones (Sorkine and
    Alexa 2007, eq. 6): R = V U' of the edges' covariance U S V', with the least axis turned over where that alone
    makes it a rotation. Constant in gradients.
    """
    was, now = _edges(rest, neighbours), _edges(moved, neighbours)
    shares = torch.ones_like(was[..., 0]) if weights is None else weights
    covariance = torch.einsum("nk,nki,...nkj->...nij", shares, was, now)
    u, _, vh = torch.linalg.svd(covariance)
    v, ut = vh.mT.clone(), u.mT
    v[..., 2] *= torch.linalg.det(v @ ut).sign()[..., None]
    return v @ ut


def arap(
    rest: Float[Tensor, "N 3"],
    moved: Float[Tensor, "*frames N 3"],
    neighbours: Int[Tensor, "N k"],
    *,
    rotations: Float[Tensor, "*frames N 3 3"] | None = None,
    weights: Float[Tensor, "N k"] | None = None,
) -> Float[Tensor, "*frames"]:
    """L_reg of paper 003: the energy of Sorkine and Alexa (2007, eq. 3), as a mean over edges, in square metres:

        mean over i, j of w_ij |(p'_j - p'_i) - R_i (p_j - p_i)|^2.

    Zero exactly where each neighbourhood moves as a rigid body. `rotations` are the points' own, with their gradient;
    without them R are `best_rotations`, held constant as the alternating optimisation of the paper does. At the best
    R the energy does not change with R, so this is its full gradient. Weights are 1 where none are given (a cloud of
    points has no cotangents); 1 / |p_j - p_i|^2 makes the energy a mean squared strain, alike in fingers and torso.
    """
    if rotations is None:
        rotations = best_rotations(rest, moved, neighbours, weights=weights)
    was, now = _edges(rest, neighbours), _edges(moved, neighbours)
    squares = (now - torch.einsum("...nij,nkj->...nki", rotations, was)).square().sum(dim=-1)
    return (squares if weights is None else weights * squares).mean(dim=(-2, -1))


def asap(scales: Float[Tensor, "*batch N 3"], *, ratio: float = 5.0) -> Float[Tensor, "*batch"]:
    """LHM's "as spherical as possible" (its `ball` loss): mean over Gaussians of max(longest / shortest - ratio, 0).

    `scales` are standard deviations in metres, positive. This is the form of LHM's published code (Qiu et al.
    2025), with its limit of 5 and its 1e-6 beside the shortest. The code weighs parts of the body apart, by weights
    that are not published: here all count alike. Its configuration weighs the term with 10.
    """
    longest, shortest = scales.amax(dim=-1), scales.amin(dim=-1)
    return (longest / (shortest + 1e-6) - ratio).clamp(min=0).mean(dim=-1)


def acap(offsets: Float[Tensor, "*batch N 3"], *, margin: float = 1.8 / 32) -> Float[Tensor, "*batch"]:
    """LHM's "as close as possible" (its `offset` loss): mean over Gaussians of max(|offset| - margin, 0), in metres.

    `offsets` are those of the Gaussians from their points on the template. The margin is that of LHM's published code,
    a 32nd of a person of 1.8 m; its configuration weighs the term with 1000.
    """
    return (torch.linalg.vector_norm(offsets, dim=-1) - margin).clamp(min=0).mean(dim=-1)


def _edges(
    points: Float[Tensor, "*frames N 3"], neighbours: Int[Tensor, "N k"]
) -> Float[Tensor, "*frames N k 3"]:
    """From each point to its neighbours."""
    others = points.index_select(-2, neighbours.flatten()).unflatten(-2, neighbours.shape)
    return others - points[..., None, :]
