"""An avatar in as few Gaussians as a small picture has pixels, drawn with gradients: what motion is fitted with.

Those Gaussians of an avatar that share a pixel of such a picture, and a layer, become one of their mean place and
opacity that is as large as all of them together and hangs on all their particles. Means and Jacobians (splat/deform.py)
are linear in the particles' transforms, so that one product with a sparse matrix gives those of all frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from scipy.sparse import csr_array
from torch import Tensor

from vivavoce.splat.avatar import EPS2D, Avatar
from vivavoce.splat.backgrounds import resolve_background
from vivavoce.splat.deform import MAX_STRETCH
from vivavoce.splat.fit import fit_colors, fit_opacities
from vivavoce.splat.layers import KINDS
from vivavoce.splat.rasterize.cpu import CpuRasterizer
from vivavoce.splat.rasterize.differentiable import rasterize_differentiable
from vivavoce.types import Binding, Camera

_ROWS, _COLUMNS = [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]
_FULL = [[0, 1, 2], [1, 3, 4], [2, 4, 5]]
_SHIFTS = (
    (0.0, 2.0),
    (0.5, 1.0),
)  # pixels, and weights: colours fitted to one view alone ring between its pixels
_ROUNDS = 16  # of conjugate gradients


@dataclass(frozen=True)
class Sketch:
    """n Gaussians at rest in the camera's space, and how they follow M particles."""

    means: Float[Tensor, "n 3"]
    covariances: Float[Tensor, "n 6"]
    opacities: Float[Tensor, " n"]
    colors: Float[Tensor, "n 3"]
    kinds: Int64[Tensor, " n"]
    """Index into layers.KINDS."""
    follow: Tensor
    """Sparse (4 n, 4 M), from entry j of row c of the particles' [R | t], less rest, to entry c of the Gaussians'
    shifts and of the three columns of their Jacobians, less the identity."""
    camera: Camera
    background: Float[Tensor, "h w 3"]

    @classmethod
    def of(cls, avatar: Avatar, width: int, height: int) -> Sketch:
        """For pictures of that size, no larger than the avatar's own and of its shape, before its own background."""
        camera = avatar.lift.camera.scaled(width, height)
        group, count = _groups(avatar, camera)
        mean = csr_array(((1 / count)[group], (group, np.arange(len(group)))))
        kinds = np.zeros(len(count), np.int64)
        kinds[group] = avatar.kinds
        means = (mean @ avatar.gaussians.means).astype(np.float32)
        covariances = ((mean @ avatar.covariances) * count[:, None]).astype(np.float32)
        opacities = (mean @ avatar.gaussians.opacities).astype(np.float32)
        colors = (mean @ avatar.gaussians.colors).astype(np.float32)
        opacities, colors = _fitted(avatar, camera, (means, covariances, opacities, colors), kinds)
        plate = resolve_background("photo", avatar, width, height)
        assert plate is not None
        return cls(
            *map(torch.from_numpy, (means, covariances, opacities)),
            colors=torch.from_numpy(colors),
            kinds=torch.from_numpy(kinds),
            follow=_following(avatar, mean, means),
            camera=camera,
            background=torch.from_numpy(plate),
        )

    def moved(
        self, transforms: Float[Tensor, "T M 3 4"]
    ) -> tuple[Float[Tensor, "T n 3"], Float[Tensor, "T n 6"]]:
        """Means and covariances under particle transforms, as `splat.deform` has them."""
        frames, particles = transforms.shape[:2]
        away = (transforms - torch.eye(3, 4)).permute(1, 3, 2, 0).reshape(4 * particles, 3 * frames)
        found = torch.sparse.mm(self.follow, away).view(4, len(self.means), 3, frames)
        # Single entries of the matrices lie together: a product of many small ones would take ten times as long.
        shifts, J = (part.permute(0, 2, 3, 1).contiguous() for part in (found[:1], found[1:]))
        J = J + torch.eye(3)[..., None, None]
        size = (J * J).sum((0, 1)).clamp(min=MAX_STRETCH**2).sqrt()
        J = J * (MAX_STRETCH / size)
        rest = self.covariances.T[torch.tensor(_FULL)][:, None, :, None]
        half = (J[:, :, None] * rest).sum(0)
        covariances = (half[_ROWS] * J[:, _COLUMNS].transpose(0, 1)).sum(1)
        return self.means + shifts[0].permute(1, 2, 0), covariances.permute(1, 2, 0)

    def draw(
        self, transforms: Float[Tensor, "T M 3 4"], gains: Float[Tensor, "T G 3"]
    ) -> Float[Tensor, "T h w 3"]:
        """Pictures (RGB) before the background, differentiable in the transforms; gains as in `types.Motion`."""
        means, covariances = self.moved(transforms)
        return rasterize_differentiable(
            means,
            covariances,
            self.opacities.expand(len(means), -1),
            self.colors * gains[:, self.kinds],
            self.camera,
            background=self.background,
            eps2d=EPS2D,
        )[0]


def _groups(avatar: Avatar, camera: Camera) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " n"]]:
    """The group of each Gaussian, of those of one kind that rest in one pixel, and how many are in each group."""
    means = avatar.gaussians.means.astype(np.float64)
    pixels = np.floor(camera.focal * means[:, :2] / means[:, 2:] + (camera.cx, camera.cy))
    places = np.column_stack([avatar.kinds, pixels])
    _, group, count = np.unique(places, axis=0, return_inverse=True, return_counts=True)
    return group.reshape(-1), count


def _fitted(
    avatar: Avatar,
    camera: Camera,
    sketched: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    kinds: Int64[np.ndarray, " n"],
) -> tuple[Float32[np.ndarray, " n"], Float32[np.ndarray, "n 3"]]:
    """Opacities and colours with which means, covariances and so on look at rest as the avatar does from afar."""
    means, covariances, opacities, colors = sketched
    pictures = [_from_afar(avatar, camera, shift) for shift, _ in _SHIFTS]
    cameras = [_moved(camera, shift) for shift, _ in _SHIFTS]
    rasters = [CpuRasterizer(own, len(means), eps2d=EPS2D) for own in cameras]
    # What lies behind the skin is hidden by it, whatever the matte says there.
    front = kinds == KINDS.index("skin")
    shown = np.where(front, opacities, 0).astype(np.float32)
    shown = fit_opacities(rasters[0], means, covariances, shown, pictures[0][1])
    opacities = np.where(front, shown, opacities).astype(np.float32)
    views = []
    for raster, (picture, _), (_, weight) in zip(rasters, pictures, _SHIFTS, strict=True):
        raster.place(means, covariances, opacities)
        views.append((raster, picture, weight))
    return opacities, fit_colors(views, colors, iterations=_ROUNDS)


def _from_afar(
    avatar: Avatar, camera: Camera, shift: float
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """The avatar at rest (premultiplied RGB, alpha) in pixels of `camera`, moved left and up by `shift` of them."""
    import cv2

    own, gaussians, size = avatar.lift.camera, avatar.gaussians, (camera.width, camera.height)
    raster = CpuRasterizer(_moved(own, shift * own.width / camera.width), len(gaussians), eps2d=EPS2D)
    raster.place(gaussians.means, avatar.covariances, gaussians.opacities, presorted=True)
    rgb, transmittance = (
        cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in raster.blend(gaussians.colors)
    )
    return rgb, 1 - transmittance


def _moved(camera: Camera, shift: float) -> Camera:
    return replace(camera, cx=camera.cx - shift, cy=camera.cy - shift)


def _following(avatar: Avatar, mean: csr_array, means: Float32[np.ndarray, "n 3"]) -> Tensor:
    """`Sketch.follow`.

    With weights w_k and their gradients g_k, a Gaussian at x shifts by sum_k w_k D_k (x, 1), and column d of its
    Jacobian changes by sum_k D_k (w_k e_d + g_kd (x, 1)), where D_k = T_k - [I | 0].
    """
    weights, *gradients = (csr_array(mean @ part) for part in _hold(avatar.binding, len(avatar.rest)))
    at = np.column_stack([means, np.ones(len(means))])
    rows, columns, values = [], [], []
    for k, slopes in enumerate([weights, *gradients]):
        for j in range(4):
            block = slopes.multiply(at[:, j, None])
            block = (block + weights if j == k - 1 else block).tocoo()
            rows.append(k * len(means) + block.row)
            columns.append(4 * block.col + j)
            values.append(block.data)
    where = np.stack([np.concatenate(rows), np.concatenate(columns)]).astype(np.int64)
    shape = (4 * len(means), 4 * len(avatar.rest))
    data = torch.from_numpy(np.concatenate(values).astype(np.float32))
    return torch.sparse_coo_tensor(torch.from_numpy(where), data, shape, check_invariants=True).coalesce()


def _hold(binding: Binding, particles: int) -> list[csr_array]:
    """Weights, and their gradients by x, y and z, as sparse matrices (N, M)."""
    count, slots = binding.indices.shape
    where = (np.repeat(np.arange(count), slots), binding.indices.ravel())
    values = [binding.weights, *np.moveaxis(binding.gradients, -1, 0)]
    return [csr_array((np.ravel(value), where), shape=(count, particles)) for value in values]
