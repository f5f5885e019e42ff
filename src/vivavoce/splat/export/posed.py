"""One frame of a driven avatar as Gaussians that stand by themselves, for programs that know nothing of motion."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
from jaxtyping import Float32

from vivavoce.splat.avatar import Avatar, quats_and_scales
from vivavoce.splat.deform import deform
from vivavoce.types import Binding, Gaussians


def posed(
    avatar: Avatar, transforms: Float32[np.ndarray, "M 3 4"], gains: Float32[np.ndarray, "G 3"]
) -> Gaussians:
    """The Gaussians of one frame of a `Motion`, in the camera's space, in the avatar's order.

    The deformed covariances J S J^T are taken apart into rotations and standard deviations; colours are
    multiplied by their kind's gain.
    """
    rest = avatar.gaussians
    means, covariances = deform(rest.means, avatar.covariances, avatar.binding, transforms)
    quats, scales = quats_and_scales(covariances)
    return Gaussians(means, quats, scales, rest.opacities, rest.colors * gains[avatar.kinds])


def within_photo(avatar: Avatar) -> Avatar:
    """The avatar without what continues the photo beyond its edges, by up to `lift.pad` pixels.

    A film needs it, so that a moving body shows no border; seen from the side it is a mirror image of the body.
    """
    camera, pad = avatar.lift.camera, avatar.lift.pad
    x, y, z = avatar.gaussians.means.T
    beyond = np.maximum(
        np.abs(camera.focal * x / z + camera.cx - camera.width / 2) - camera.width / 2,
        np.abs(camera.focal * y / z + camera.cy - camera.height / 2) - camera.height / 2,
    )
    kept = (beyond <= 0) | (beyond > pad)
    gaussians, binding = avatar.gaussians, avatar.binding
    return replace(
        avatar,
        gaussians=Gaussians(*(getattr(gaussians, f.name)[kept] for f in fields(Gaussians))),
        covariances=avatar.covariances[kept],
        kinds=avatar.kinds[kept],
        binding=Binding(*(getattr(binding, f.name)[kept] for f in fields(Binding))),
    )
