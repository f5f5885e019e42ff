"""The network of the reader: heatmaps of a person's points in a small frame, and a closer look at the head.

Points are read by soft-argmax: the mean place of a heatmap's softmax, which is finer than its cells (Nibali et al.
2018, "Numerical coordinate regression with convolutional neural networks").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, interpolate, normalize

SIZE = 96
"""Pixels of a frame's side."""
BODY_POINTS = (*range(11), *range(86, 106), *range(107, 127))
"""Of the 127 keypoints (`features.physical_state`): what an upper body shows, without the hands' own wrists."""
HEAD_POINTS = (*range(5), 77, 81, 79, 83)
"""The same for the closer look: nose, eyes, ears; inner corners of the mouth, left before right in the picture; the
middles of upper and lower lip's inner edges."""
FACE = 5
"""How many points BODY_POINTS and HEAD_POINTS both begin with."""
REACH = 0.28
"""Half the side of the closer look, half picture widths."""
LOOK = 40
"""Pixels of its side."""
MOUTH_REACH, MOUTH_LOOK = 0.12, 16
"""The same of the look at the mouth."""
EMBEDDING = 64
_WIDTHS, _GROUPS = (48, 64, 96), 8
_OUTLINE = 32  # channels of the whole head's features


@dataclass(frozen=True)
class Located:
    """P points in a square."""

    points: Float[Tensor, "B P 2"]
    """x and y, -1 to 1 within the square."""
    heat: Float[Tensor, "B P h w"]
    """Logits of the cells."""
    seen: Float[Tensor, "B P"]
    """Logits."""


@dataclass(frozen=True)
class Seen:
    """What the network sees in frames."""

    body: Located
    """BODY_POINTS."""
    head: Located
    """HEAD_POINTS in the closer look."""
    centre: Float[Tensor, "B 2"]
    """Where that one looks."""
    aperture: Float[Tensor, " B"]
    """Of the mouth, in widths of the resting mouth."""
    angles: Float[Tensor, "B 3"]
    """Yaw, pitch and roll of the head against the trunk, radians."""
    identity: Float[Tensor, "B 64"]
    """Of unit length: the more alike two heads look, the larger the product."""


class ReaderNetwork(nn.Module):
    """1.6 million parameters, 0.1 billion multiplications a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Hourglass(5, stride=4, points=len(BODY_POINTS))
        self.head = Hourglass(3, stride=2, points=len(HEAD_POINTS))
        deep = _WIDTHS[-1]
        outline = _OUTLINE * (LOOK // 8) ** 2
        self.outline = nn.Sequential(nn.Conv2d(deep, _OUTLINE, 1), nn.Flatten(), nn.LayerNorm(outline))
        self.mouth = Mouth()
        self.angles = nn.Sequential(
            nn.Linear(outline + deep + 2 * len(HEAD_POINTS), 64), nn.SiLU(), nn.Linear(64, 3)
        )
        self.identity = nn.Linear(outline, EMBEDDING)

    def forward(
        self, pictures: Float[Tensor, "B 3 96 96"], centre: Float[Tensor, "B 2"] | None = None
    ) -> Seen:
        """Pictures in [-1, 1]; `centre` is where to look closer, the middle of the face's points where None."""
        body, deep = self.body(with_places(pictures))
        middle = body.points[:, :FACE].mean(dim=1) if centre is None else centre
        head, close = self.head(looked_at(pictures, middle, REACH, LOOK))
        outline = self.outline(close)
        mouth = middle + REACH * head.points[:, FACE:].mean(dim=1).detach()
        turned = torch.cat([outline, deep.mean(dim=(2, 3)), head.points.flatten(1)], dim=1)
        return Seen(
            body,
            head,
            middle,
            self.mouth(looked_at(pictures, mouth, MOUTH_REACH, MOUTH_LOOK)).float()[:, 0],
            self.angles(turned).float(),
            normalize(self.identity(outline).float(), dim=1),
        )


class Mouth(nn.Sequential):
    """The opening of a mouth from a picture of it, whatever the colours of skin and lips are."""

    def __init__(self) -> None:
        super().__init__(
            nn.InstanceNorm2d(3),
            nn.Conv2d(3, 32, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(48, 64, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(64 * (MOUTH_LOOK // 4) ** 2, 64),
            nn.SiLU(),
            nn.Linear(64, 1),
        )


class Hourglass(nn.Module):
    """Three levels down, two up again, to heatmaps at 1 / `stride` of the picture (U-Net, Ronneberger et al. 2015)."""

    def __init__(self, channels: int, *, stride: int, points: int) -> None:
        super().__init__()
        fine, middle, deep = _WIDTHS
        self.inlet = nn.Conv2d(channels, fine, 2 * stride - 1, stride=stride, padding=stride - 1)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in ((fine, middle), (middle, deep))
        )
        self.levels = nn.ModuleList(Block(width) for width in _WIDTHS)
        self.deepest = Block(deep)
        self.up = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in ((deep, middle), (middle, fine)))
        self.merge = nn.ModuleList(Block(width) for width in (middle, fine))
        self.heat = nn.Conv2d(fine, points, 1)
        self.seen = nn.Conv2d(fine, points, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> tuple[Located, Float[Tensor, "B D n n"]]:
        """The points, and the deepest level's features."""
        fine = self.levels[0](self.inlet(x))
        middle = self.levels[1](self.down[0](fine))
        deep = self.deepest(self.levels[2](self.down[1](middle)))
        up = self.merge[0](middle + interpolate(self.up[0](deep), scale_factor=2.0))
        up = self.merge[1](fine + interpolate(self.up[1](up), scale_factor=2.0))
        heat = self.heat(up).float()
        share = heat.flatten(2).softmax(dim=2)
        seen = (share * self.seen(up).float().flatten(2)).sum(dim=2)
        return Located(expected(share.view_as(heat)), heat, seen), deep


class Block(nn.Module):
    """Two convolutions beside the way through, normalised before (He et al. 2016; Wu & He 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(_GROUPS, width) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        h = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(torch.relu(norm(h)))
        return x + h


def cells(count: int, device: torch.device | None = None) -> Float[Tensor, " n"]:
    """The middles of `count` cells from -1 to 1."""
    return (torch.arange(count, device=device) + 0.5) * (2 / count) - 1


def expected(share: Float[Tensor, "B P h w"]) -> Float[Tensor, "B P 2"]:
    """The mean place (x, y) of shares that sum to 1 over the cells."""
    x, y = (cells(share.shape[dim], share.device) for dim in (3, 2))
    return torch.stack([(share.sum(2) * x).sum(2), (share.sum(3) * y).sum(2)], dim=2)


def with_places(pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 5 H W"]:
    """The pictures with each pixel's x and y beside its colour: left and right look alike, and lie elsewhere."""
    b, _, h, w = pictures.shape
    x, y = cells(w, pictures.device).expand(b, 1, h, w), cells(h, pictures.device)[:, None].expand(b, 1, h, w)
    return torch.cat([pictures, x, y], dim=1)


def looked_at(
    pictures: Float[Tensor, "B 3 H W"], centre: Float[Tensor, "B 2"], reach: float, size: int
) -> Float[Tensor, "B 3 n n"]:
    """Squares of `size` pixels that reach so far around places; beyond the picture goes on what is at its edge."""
    turn = reach * torch.eye(2, device=pictures.device).expand(len(pictures), 2, 2)
    map_ = torch.cat([turn, centre.float()[..., None]], dim=2)
    grid = affine_grid(map_, [len(pictures), 3, size, size], align_corners=False)
    return grid_sample(pictures.float(), grid, padding_mode="border", align_corners=False)
