"""Pictures as another camera, a codec or a video autoencoder would have left them: what a reader must see through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, interpolate, pad

_SHIFT, _ZOOM, _TURN = 0.1, 0.15, 0.06  # half picture widths, natural logarithm, radians
_COARSE = (40, 50, 60, 75)  # pixels that softened pictures are brought to and back from
_TILE = 16
SPARE = 3
_DRAWS = 24 + SPARE
_OFTEN = (0.25, 0.4, 0.3, 0.2, 0.4)
"""How often a later frame shines through, a picture is softened, blurred, made blocky, and noisy."""
_CLEAN, _NOBODY = 0.3, 0.05
"""The share of pictures with none of these, and of those that show nobody."""

Pictures = Float[Tensor, "B 3 H W"]


@dataclass(frozen=True)
class Draws:
    """Random numbers for B pictures: each picture's come from its own generator."""

    uniform: Float[Tensor, "B 27"]
    """0 to 1; the last SPARE are for whoever else needs some."""
    noise: Pictures

    @staticmethod
    def of(generators: Sequence[torch.Generator], size: int) -> Draws:
        """Numbers for pictures of `size` pixels a side."""
        uniform = [torch.rand(_DRAWS, generator=g) for g in generators]
        noise = [torch.randn(3, size, size, generator=g) for g in generators]
        return Draws(torch.stack(uniform), torch.stack(noise))

    def to(self, device: torch.device) -> Draws:
        """The same on a device."""
        return Draws(self.uniform.to(device), self.noise.to(device))


def disguised(
    pictures: Pictures, others: Pictures, draws: Draws
) -> tuple[Pictures, Float[Tensor, "B 2 3"], Bool[Tensor, " B"]]:
    """Pictures in [0, 1] disguised, the maps that places in them moved by, and which show nobody any more.

    `others` are frames a moment later, which shine through as where a video autoencoder blurs time. A map takes (x, y,
    1) of the old picture, -1 to 1, to the new one.
    """
    u = draws.uniform
    chosen = (u[:, 0:5] < torch.tensor(_OFTEN, device=u.device)) & (u[:, 5:6] > _CLEAN)
    pictures = torch.lerp(pictures, others, _each(0.5 * u[:, 6] * chosen[:, 0]))
    pictures, maps = _moved(pictures, u[:, 7:12])
    pictures = _tinted(pictures, u[:, 12:18])
    pictures = _softened(pictures, u[:, 18], chosen[:, 1])
    pictures = _blurred(pictures, 0.3 + 1.0 * u[:, 19], chosen[:, 2])
    pictures = _blocky(pictures, 0.02 + 0.1 * u[:, 20], chosen[:, 3])
    pictures = pictures + _each(chosen[:, 4]) * _noise(draws.noise, 0.05 * u[:, 21], 0.04 * u[:, 22])
    nobody = u[:, 23] < _NOBODY
    pictures = torch.where(_each(nobody), _deserted(pictures, draws.noise, u[:, 23] / _NOBODY), pictures)
    return pictures.clamp(0, 1), maps, nobody


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _moved(pictures: Pictures, u: Float[Tensor, "B 5"]) -> tuple[Pictures, Float[Tensor, "B 2 3"]]:
    """Shifted, zoomed and turned a little; three in ten stay as they are, and as sharp."""
    spread = (2 * u - 1) * (u[:, 4:] > 0.3)
    zoom, turn = torch.exp(_ZOOM * spread[:, 2]), _TURN * spread[:, 3]
    c, s = zoom * turn.cos(), zoom * turn.sin()
    linear = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)
    shift = _SHIFT * spread[:, :2, None]
    back = torch.linalg.inv(linear)
    grid = affine_grid(torch.cat([back, -back @ shift], 2), list(pictures.shape), align_corners=False)
    moved = grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return moved, torch.cat([linear, shift], 2)


def _tinted(pictures: Pictures, u: Float[Tensor, "B 6"]) -> Pictures:
    """Other brightness, contrast, gamma and colour of the light."""
    spread = 2 * u - 1
    gains = torch.exp(0.08 * spread[:, :3] + 0.1 * spread[:, 3:4])[..., None, None]
    middle = pictures.mean(dim=(1, 2, 3), keepdim=True)
    pictures = (pictures - middle) * _each(torch.exp(0.2 * spread[:, 4])) + middle
    return (pictures * gains).clamp(1e-3, 1) ** _each(torch.exp(0.2 * spread[:, 5]))


def _softened(pictures: Pictures, u: Float[Tensor, " B"], chosen: Bool[Tensor, " B"]) -> Pictures:
    """Brought to fewer pixels and back."""
    out = pictures.clone()
    level = (u * len(_COARSE)).long()
    for k, size in enumerate(_COARSE):
        which = chosen & (level == k)
        if which.any():
            small = interpolate(pictures[which], (size, size), mode="bilinear", antialias=True)
            out[which] = interpolate(small, list(pictures.shape[2:]), mode="bicubic")
    return out


def _blurred(pictures: Pictures, sigma: Float[Tensor, " B"], chosen: Bool[Tensor, " B"]) -> Pictures:
    """Under a Gaussian of `sigma` pixels."""
    if not chosen.any():
        return pictures
    reach = torch.arange(-3, 4, device=pictures.device)
    taps = torch.exp(-0.5 * (reach / sigma[chosen, None]) ** 2)
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None]
    x = pictures[chosen]
    flat = pad(x, (3, 3, 3, 3), mode="replicate").flatten(0, 1)[None]
    flat = conv2d(flat, taps[:, :, None], groups=len(taps))
    flat = conv2d(flat, taps[..., None], groups=len(taps))
    out = pictures.clone()
    out[chosen] = flat[0].view_as(x)
    return out


def _blocky(pictures: Pictures, step: Float[Tensor, " B"], chosen: Bool[Tensor, " B"]) -> Pictures:
    """With the cosines of each block of 8 pixels rounded, coarser the faster they are, as JPEG and H.264 do."""
    b, _, h, w = pictures.shape
    k = torch.arange(8, device=pictures.device)
    basis = torch.cos(math.pi / 8 * (k + 0.5) * k[:, None]) * 0.5
    basis[0] /= math.sqrt(2)
    tiles = pictures.view(b, 3, h // 8, 8, w // 8, 8).transpose(3, 4)
    steps = _each(step)[..., None, None] * (1 + k + k[:, None])
    cosines = ((basis @ tiles @ basis.T) / steps).round() * steps
    rounded = (basis.T @ cosines @ basis).transpose(3, 4).reshape(b, 3, h, w)
    return torch.where(_each(chosen), rounded, pictures)


def _noise(noise: Pictures, fine: Float[Tensor, " B"], blotches: Float[Tensor, " B"]) -> Pictures:
    """Grain, and blotches of eight pixels."""
    size = list(noise.shape[2:])
    coarse = interpolate(noise[:, :, ::8, ::8], size, mode="bilinear")
    return _each(fine) * noise + _each(blotches) * coarse


def _deserted(pictures: Pictures, noise: Pictures, u: Float[Tensor, " B"]) -> Pictures:
    """Pictures of nobody, as a broken method may draw them: shuffled, noise of one pixel, or blots of 24."""
    blots = interpolate(noise[:, :, ::24, ::24], list(noise.shape[2:]), mode="bicubic")
    grain = torch.where(_each(u < 2 / 3), noise, blots)
    return torch.where(_each(u < 1 / 3), _shuffled(pictures, noise), 0.5 + 0.3 * grain)


def _shuffled(pictures: Pictures, noise: Pictures) -> Pictures:
    """Their tiles in another order: colours of a picture, and nobody in it."""
    b, _, h, w = pictures.shape
    rows, columns = h // _TILE, w // _TILE
    tiles = pictures.view(b, 3, rows, _TILE, columns, _TILE).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    order = noise[:, 0, 0, : rows * columns].argsort(dim=1)
    tiles = tiles[torch.arange(b, device=pictures.device)[:, None], order]
    return tiles.view(b, rows, columns, 3, _TILE, _TILE).permute(0, 3, 1, 4, 2, 5).reshape(b, 3, h, w)
